"""Losses over known targets only, and the course of the learning rate."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inference.training.dataset import TaskKind
from inference.training.loop import FloatArray, positive_weights
from inference.training.task import RateSchedule, TrainingTask

Objective = Callable[[Tensor, Tensor], Tensor]
"""From logits (N, L) and targets (N, L), NaN where unknown, to one number."""

_FLOOR = 0.01
"""Rates never fall below this share of their peak."""


def sigmoid_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    positive_weight: Tensor,
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
    gamma : float
        Focusing: how fast well classified examples fade.
    smoothing : float
        Targets become ``target * (1 - smoothing) + smoothing / 2``.
    """
    known = ~torch.isnan(targets)
    wanted = torch.nan_to_num(targets) * (1.0 - smoothing) + smoothing / 2
    present, absent = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    terms = positive_weight * wanted * torch.exp(gamma * absent) * present
    terms = terms + (1.0 - wanted) * torch.exp(gamma * present) * absent
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


def objective_of(task: TrainingTask, targets: FloatArray, device: str) -> Objective:
    """Return the loss that a task describes.

    Parameters
    ----------
    task : TrainingTask
    targets : ndarray of float32, shape (N, L)
        Of the training images: what the weights of rare classes are taken from.
    device : str
        Where logits and targets will be.
    """
    gamma = task.loss.gamma if task.loss.name == "focal" else 0.0
    smoothing, most = task.loss.smoothing, task.balance.weight_most
    if task.kind is TaskKind.MULTI_CLASS and task.loss.name != "bce":
        counts = np.maximum(targets.sum(axis=0), 1.0)
        rarity = np.clip(np.sqrt(counts.max() / counts), 1.0, most)
        weight = torch.from_numpy(rarity.astype(np.float32)).to(device)
        return lambda logits, wanted: softmax_loss(
            logits, wanted, class_weight=weight, gamma=gamma, smoothing=smoothing
        )
    weight = positive_weights(targets, most=most).to(device)
    return lambda logits, wanted: sigmoid_loss(
        logits, wanted, positive_weight=weight, gamma=gamma, smoothing=smoothing
    )


def rate_factor(schedule: RateSchedule, *, epoch: float, epochs: int) -> float:
    """Return the share of the peak rate that holds at a (fractional) epoch.

    Parameters
    ----------
    schedule : RateSchedule
        ``cosine`` falls along a half cosine; ``one_cycle`` rises along one for 30 % of the
        time and falls along another; ``step`` falls by a factor every few epochs. A linear
        warm-up comes before ``cosine`` and ``step``.
    epoch : float
        From 0 to `epochs`.
    epochs : int
        Length of the training.
    """
    done = min(epoch / epochs, 1.0)
    if schedule.name == "one_cycle":
        rise = 0.3
        share = done / rise if done < rise else 1.0 - (done - rise) / (1.0 - rise)
        return _FLOOR + (1.0 - _FLOOR) * 0.5 * (1.0 - math.cos(math.pi * share))
    warmth = min(1.0, (epoch + 0.05) / schedule.warmup_epochs) if schedule.warmup_epochs else 1.0
    if schedule.name == "step":
        steps = int(epoch // schedule.step_epochs)
        return float(warmth * max(schedule.step_factor**steps, _FLOOR))
    return warmth * (_FLOOR + (1.0 - _FLOOR) * 0.5 * (1.0 + math.cos(math.pi * done)))
