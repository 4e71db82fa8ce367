"""Turn logits into probabilities that mean what they say."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_PULL = (2.0, 0.5)
"""Strength of the pull of a label's log temperature to 0 and of its bias to 0, in images."""

_TEMPERATURES = (0.2, 5.0)

PULL_ALIKE = (50.0, 10.0)
"""The same of labels of one kind, to what they share (docs/decisions/0022)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Per label: probability = sigmoid(logit / temperature + bias)."""

    temperature: NDArray[np.float64]
    bias: NDArray[np.float64]

    def __call__(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return calibrated probabilities of logits (N, L)."""
        scaled = logits.astype(np.float64) / self.temperature + self.bias
        result: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-scaled))
        return result


def fit_calibration(
    logits: NDArray[np.float32],
    targets: NDArray[np.float32],
    *,
    alike: int = 0,
    pull: tuple[float, float] = PULL_ALIKE,
) -> Calibration:
    """Return temperature and bias per label that make the known targets most likely.

    Parameters
    ----------
    logits : ndarray of float32, shape (N, L)
        Of images the network did not learn from.
    targets : ndarray of float32, shape (N, L)
        NaN where unknown. A label without both classes keeps temperature 1 and bias 0, or
        about what the others of its kind share.
    alike : int
        Leading labels of one kind, of which an image mostly shows one. What they share is
        fitted freely, and each is pulled to that: a few images of a rare label then do not
        decide its rank among the others.
    pull : tuple of float
        How strongly: of a log temperature and of a bias, in images.
    """
    scores = torch.from_numpy(logits.astype(np.float64))
    truth = torch.from_numpy(targets.astype(np.float64))
    known = ~torch.isnan(truth)
    filled = torch.nan_to_num(truth)
    kind = torch.arange(scores.shape[1]) < alike
    strength = torch.where(kind, torch.tensor(pull)[:, None], torch.tensor(_PULL)[:, None])
    shared = torch.zeros((2, 1), dtype=torch.float64, requires_grad=True)
    own = torch.zeros((2, scores.shape[1]), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([shared, own], max_iter=300, line_search_fn="strong_wolfe")

    def loss(held: Tensor | None = None) -> float:
        optimiser.zero_grad()
        log_temperature, bias = own + shared * kind
        log_temperature = log_temperature if held is None else held
        scaled = scores * torch.exp(-log_temperature) + bias
        entropy = functional.binary_cross_entropy_with_logits(scaled, filled, reduction="none")
        value: Tensor = (entropy * known).sum() + (strength * own**2).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    log_temperature, bias = (own + shared * kind).detach()
    within = log_temperature.clamp(*map(math.log, _TEMPERATURES))
    if not torch.equal(within, log_temperature):  # then the bias must fit what the limit left
        optimiser.step(partial(loss, within))  # type: ignore[no-untyped-call]
        _, bias = (own + shared * kind).detach()
    temperature = torch.exp(within)
    return Calibration(temperature=np.round(temperature.numpy(), 4), bias=np.round(bias.numpy(), 4))


def calibrated_apart(
    logits: NDArray[np.float32],
    folds: NDArray[np.int64],
    calibration_of: Callable[[NDArray[np.bool_]], Calibration],
) -> NDArray[np.float64]:
    """Return the probabilities of out-of-fold logits, each fold's calibrated on the others.

    Parameters
    ----------
    logits : ndarray of float32, shape (N, L)
    folds : ndarray of int64, shape (N,)
    calibration_of : callable
        Fits a calibration to the rows of a mask (N,).
    """
    probabilities = np.empty(logits.shape)
    for fold in np.unique(folds):
        rows = folds == fold
        probabilities[rows] = calibration_of(~rows)(logits[rows])
    return probabilities
