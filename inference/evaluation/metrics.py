"""Measures of a classifier; plain numpy, so that a reader can check them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def auc(scores: FloatArray, truth: BoolArray, weights: FloatArray | None = None) -> float:
    """Return the area under the ROC curve, ties counted half; NaN without both classes.

    Parameters
    ----------
    scores : ndarray of float, shape (N,)
        Higher means more likely present.
    truth : ndarray of bool, shape (N,)
        Present or not.
    weights : ndarray of float, shape (N,), optional
        How often each image counts; bootstrap counts, for instance.
    """
    counts = np.ones(len(scores)) if weights is None else weights
    _, place = np.unique(scores, return_inverse=True)
    present = np.bincount(place, weights=counts * truth)
    absent = np.bincount(place, weights=counts * ~truth)
    if present.sum() == 0 or absent.sum() == 0:
        return float("nan")
    below = np.cumsum(absent) - absent
    return float((present * (below + absent / 2)).sum() / (present.sum() * absent.sum()))


def auc_interval(
    scores: FloatArray,
    truth: BoolArray,
    groups: Sequence[str],
    *,
    rounds: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % interval of the AUC, by drawing patients with replacement.

    Parameters
    ----------
    scores, truth : ndarray, shape (N,)
        As for `auc`.
    groups : sequence of str
        Patient of each image: images of one patient are drawn together.
    rounds : int
        Bootstrap rounds.
    seed : int
        Seed of the draws.
    """
    names, members = np.unique(np.array(groups), return_inverse=True)
    random = np.random.default_rng(seed)
    values = np.empty(rounds)
    for index in range(rounds):
        drawn = np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))
        values[index] = auc(scores, truth, drawn[members].astype(np.float64))
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


def share_interval(successes: int, total: int) -> tuple[float, float]:
    """Return the Wilson 95 % interval of a share."""
    if total == 0:
        return 0.0, 1.0
    z, share = 1.96, successes / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def precision_recall_f1(decided: BoolArray, truth: BoolArray) -> tuple[float, float, float]:
    """Return precision, recall and F1 of one label; 0 where one is undefined."""
    hit = int((decided & truth).sum())
    precision = hit / max(int(decided.sum()), 1)
    recall = hit / max(int(truth.sum()), 1)
    f1 = 2 * hit / max(int(decided.sum()) + int(truth.sum()), 1)
    return precision, recall, f1


def calibration_error(probabilities: FloatArray, truth: BoolArray, *, bins: int = 10) -> float:
    """Return the expected calibration error over equally wide bins."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    error = 0.0
    for index in range(bins):
        inside = place == index
        if inside.any():
            gap = abs(float(probabilities[inside].mean()) - float(truth[inside].mean()))
            error += gap * float(inside.mean())
    return error


def youden_threshold(probabilities: FloatArray, truth: BoolArray) -> float:
    """Return the threshold with the largest sensitivity + specificity - 1."""
    candidates = np.unique(probabilities)
    sensitivity = np.array([(probabilities[truth] >= c).mean() for c in candidates])
    specificity = np.array([(probabilities[~truth] < c).mean() for c in candidates])
    return float(candidates[int(np.argmax(sensitivity + specificity))])
