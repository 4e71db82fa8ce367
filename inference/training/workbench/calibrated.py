"""Calibrate a classifier's outputs on the validation split, whatever the kind of task."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from inference.training.calibrate import Calibration, fit_calibration
from inference.training.dataset import TaskKind
from inference.training.samples import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What was learned from the validation images about the outputs."""

    per_output: Calibration
    """Sigmoid's temperature and bias of each output alone: what a manifest can hold."""

    temperature: float | None
    """Softmax's, for multi-class tasks."""

    def logits(self, logits: FloatArray) -> FloatArray:
        """Return logits whose softmax (multi-class) or sigmoid is the probability."""
        if self.temperature is not None:
            return (logits / self.temperature).astype(np.float32)
        scaled = logits / self.per_output.temperature + self.per_output.bias
        return scaled.astype(np.float32)


def calibrate(logits: FloatArray, targets: FloatArray, kind: TaskKind) -> Calibrated:
    """Return the calibration that makes the validation targets most likely.

    Parameters
    ----------
    logits, targets : ndarray of float32, shape (N, L)
        Of images that were not learned from; NaN where unknown.
    kind : TaskKind
    """
    single = kind is TaskKind.MULTI_CLASS
    return Calibrated(
        per_output=fit_calibration(logits, targets),
        temperature=_softmax_temperature(logits, targets) if single else None,
    )


def _softmax_temperature(logits: FloatArray, targets: FloatArray) -> float:
    """Return the best of a fine grid (Guo et al., On Calibration, ICML 2017)."""
    scores, wanted = torch.from_numpy(logits).double(), torch.from_numpy(targets).double()
    grid = np.geomspace(0.2, 5.0, 201)
    losses = [float(functional.cross_entropy(scores / t, wanted)) for t in grid]
    return float(grid[int(np.argmin(losses))])
