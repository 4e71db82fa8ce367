"""ROC and precision-recall curves, and how probabilities compare with what is found."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from inference.evaluation.measures.metrics import calibration_error, share_interval

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Images whose predicted probabilities are alike."""

    predicted: float
    """Mean probability."""

    found: float
    """Share that shows the class."""

    found_95: tuple[float, float]
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """The curves of one class."""

    label: str
    roc: tuple[tuple[float, float], ...]
    """(1 - specificity, sensitivity), from (0, 0) to (1, 1)."""

    precision_recall: tuple[tuple[float, float], ...]
    """(recall, precision), from recall 0."""

    reliability: tuple[Bin, ...]
    calibration_error: float


def class_curves(label: str, probabilities: FloatArray, truth: BoolArray) -> Curves | None:
    """Return the curves of one class, None unless images with and without it are there.

    Parameters
    ----------
    label : str
        Name of the class.
    probabilities : ndarray of float, shape (N,)
        Of the class.
    truth : ndarray of bool, shape (N,)
        Present or not.
    """
    if truth.all() or not truth.any():
        return None
    false_alarms, sensitivity, _ = roc_curve(truth, probabilities)
    precision, recall, _ = precision_recall_curve(truth, probabilities, drop_intermediate=True)
    return Curves(
        label=label,
        roc=_points(false_alarms, sensitivity),
        precision_recall=_points(recall[::-1], precision[::-1]),
        reliability=reliability(probabilities, truth),
        calibration_error=calibration_error(probabilities, truth),
    )


def reliability(probabilities: FloatArray, truth: BoolArray, *, bins: int = 10) -> tuple[Bin, ...]:
    """Return the equally wide bins of probability that hold images (Niculescu-Mizil 2005)."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    found = []
    for index in np.unique(place):
        inside = place == index
        images, present = int(inside.sum()), int(truth[inside].sum())
        found.append(
            Bin(
                predicted=float(probabilities[inside].mean()),
                found=present / images,
                found_95=share_interval(present, images),
                images=images,
            )
        )
    return tuple(found)


def _points(across: Sequence[float], up: Sequence[float]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in zip(across, up, strict=True))
