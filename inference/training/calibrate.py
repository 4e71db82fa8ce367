"""Turn logits into probabilities that mean what they say."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

_PULL = 2.0
"""Strength of the pull to temperature 1 and bias 0, in units of images."""


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


def fit_calibration(logits: NDArray[np.float32], targets: NDArray[np.float32]) -> Calibration:
    """Return temperature and bias per label that make the known targets most likely.

    Parameters
    ----------
    logits : ndarray of float32, shape (N, L)
        Of images the network did not learn from.
    targets : ndarray of float32, shape (N, L)
        NaN where unknown. A label without both classes keeps temperature 1 and bias 0.
    """
    scores = torch.from_numpy(logits.astype(np.float64))
    truth = torch.from_numpy(targets.astype(np.float64))
    known = ~torch.isnan(truth)
    filled = torch.nan_to_num(truth)
    log_temperature = torch.zeros(scores.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(scores.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [log_temperature, bias], max_iter=300, line_search_fn="strong_wolfe"
    )

    def loss() -> float:
        optimiser.zero_grad()
        scaled = scores * torch.exp(-log_temperature) + bias
        entropy = functional.binary_cross_entropy_with_logits(scaled, filled, reduction="none")
        value = (entropy * known).sum() + _PULL * (log_temperature**2 + bias**2 / 4).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    temperature = torch.exp(log_temperature.detach()).clamp(0.2, 5.0)
    return Calibration(
        temperature=np.round(temperature.numpy(), 4), bias=np.round(bias.detach().numpy(), 4)
    )
