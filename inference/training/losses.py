"""Losses over known targets only, and what a rare label weighs in them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inference.training.samples import FloatArray

Objective = Callable[[Tensor, Tensor], Tensor]
"""From logits (N, L) and targets (N, L), NaN where unknown, to one number."""


def sigmoid_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    positive_weight: Tensor,
    negative_weight: Tensor | float = 1.0,
    gamma: float = 0.0,
    smoothing: float = 0.0,
) -> Tensor:
    """Return the binary cross-entropy of every output alone, focused by `gamma`.

    With p the probability given to the target, each term is ``-(1 - p)**gamma * log(p)``
    (Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 4; gamma 0 is
    plain cross-entropy).

    Parameters
    ----------
    logits, targets : Tensor, shape (N, L)
        NaN targets do not count. Targets between 0 and 1 are a mixture of both.
    positive_weight : Tensor, shape (L,)
        Weight of a present label's term.
    negative_weight : Tensor, shape (L,), or float
        Weight of an absent label's term.
    gamma : float
        Focusing: how fast well classified examples fade.
    smoothing : float
        Targets become ``target * (1 - smoothing) + smoothing / 2``.
    """
    known = ~torch.isnan(targets)
    wanted = torch.nan_to_num(targets) * (1.0 - smoothing) + smoothing / 2
    present, absent = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    terms = positive_weight * wanted * torch.exp(gamma * absent) * present
    terms = terms + negative_weight * (1.0 - wanted) * torch.exp(gamma * present) * absent
    return -(terms * known).sum() / known.sum().clamp_min(1)


def softmax_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weight: Tensor,
    gamma: float = 0.0,
    smoothing: float = 0.0,
) -> Tensor:
    """Return the cross-entropy of exactly one class per image, focused by `gamma`.

    Parameters
    ----------
    logits, targets : Tensor, shape (N, C)
        Each row of targets sums to 1; none is unknown.
    class_weight : Tensor, shape (C,)
        Weight of each class; the mean over images is taken by these weights.
    gamma : float
        As in `sigmoid_loss`.
    smoothing : float
        Share of the target spread evenly over the classes (Szegedy et al., 2016).
    """
    wanted = targets * (1.0 - smoothing) + smoothing / targets.shape[1]
    log_share = functional.log_softmax(logits, dim=1)
    focus = (1.0 - log_share.exp()) ** gamma
    weights = (targets * class_weight).sum(dim=1)
    each = -(wanted * focus * log_share).sum(dim=1)
    return (each * weights).sum() / weights.sum()


def one_of(logits: Tensor, targets: Tensor, *, smoothing: float) -> Tensor:
    """Return the softmax cross-entropy of images that show at least one of these labels.

    Several present labels share the target evenly; an unknown (NaN) label takes no part.

    Parameters
    ----------
    logits, targets : Tensor, shape (N, L)
        Of labels of which an image mostly shows one.
    smoothing : float
        Share of the target that goes to all known labels alike (Szegedy et al., 2016).
    """
    known = ~torch.isnan(targets)
    present = torch.nan_to_num(targets)
    total = present.sum(dim=1, keepdim=True)
    even = known / known.sum(dim=1, keepdim=True).clamp_min(1)
    shares = (1 - smoothing) * present / total.clamp_min(1e-6) + smoothing * even
    log_shares = functional.log_softmax(logits.masked_fill(~known, -1e4), dim=1)
    shown = total[:, 0] > 0
    each = -(shares * log_shares.masked_fill(~known, 0.0)).sum(dim=1)
    return (each * shown).sum() / shown.sum().clamp_min(1)


def positive_weights(targets: FloatArray, *, most: float) -> Tensor:
    """Return the square root of absent over present per label, at most `most`."""
    known = ~np.isnan(targets)
    present = np.maximum(np.nansum(targets, axis=0), 1.0)
    absent = np.maximum(known.sum(axis=0) - present, 1.0)
    return torch.from_numpy(np.clip(np.sqrt(absent / present), 1.0, most).astype(np.float32))
