"""Measures of a classifier; plain numpy, so that a reader can check them."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.measures.bootstrap import ROUNDS, interval, resample

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def auc(scores: FloatArray, truth: BoolArray) -> float:
    """Return the area under the ROC curve, ties counted half; NaN without both classes.

    Parameters
    ----------
    scores : ndarray of float, shape (N,)
        Higher means more likely present. Where one is not finite, every measure of a ranking
        is NaN.
    truth : ndarray of bool, shape (N,)
        Present or not.
    """
    return float(weighted_auc(scores, truth, np.ones((1, len(scores))))[0])


def weighted_auc(scores: FloatArray, truth: BoolArray, weights: FloatArray) -> FloatArray:
    """Return the area under the ROC curve for each of R weightings of the images.

    Parameters
    ----------
    scores, truth : ndarray, shape (N,)
        As for `auc`.
    weights : ndarray of float, shape (R, N)
        How often each image counts; bootstrap draws, for instance.

    Returns
    -------
    ndarray of float, shape (R,)
        NaN where a weighting leaves no image of one class, or a score is not finite.
    """
    present, absent = _by_score(scores, truth, weights)
    below = np.cumsum(absent, axis=1) - absent
    pairs = present.sum(axis=1) * absent.sum(axis=1)
    return share((present * (below + absent / 2)).sum(axis=1), pairs)


def average_precision(scores: FloatArray, truth: BoolArray) -> float:
    """Return the precision averaged over the steps of recall; NaN without a present image."""
    return float(weighted_average_precision(scores, truth, np.ones((1, len(scores))))[0])


def weighted_average_precision(
    scores: FloatArray, truth: BoolArray, weights: FloatArray
) -> FloatArray:
    """Return the average precision for each of R weightings; shapes as `weighted_auc`.

    NaN where an image with the class, or one without it, is lacking: nothing is told apart.
    """
    present, absent = (part[:, ::-1] for part in _by_score(scores, truth, weights))
    hits = np.cumsum(present, axis=1)
    precision = share(hits, hits + np.cumsum(absent, axis=1))
    found = share((present * np.nan_to_num(precision)).sum(axis=1), present.sum(axis=1))
    return np.where(absent.sum(axis=1) > 0, found, np.nan)


def _by_score(
    scores: FloatArray, truth: BoolArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the weight of present and of absent images at each distinct score, rising.

    Scores that are not all finite have no order: the weights are then NaN.
    """
    order = np.argsort(scores, kind="stable")
    rising = scores[order]
    starts = np.flatnonzero(np.r_[True, rising[1:] != rising[:-1]])[: len(rising)]
    counted = weights[:, order] if np.isfinite(scores).all() else np.full(weights.shape, np.nan)
    present = np.where(truth[order], counted, 0.0)
    return (
        np.add.reduceat(present, starts, axis=1),
        np.add.reduceat(counted - present, starts, axis=1),
    )


def share(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Return the quotient of each pair, NaN where the denominator is 0."""
    out = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def auc_interval(
    scores: FloatArray,
    truth: BoolArray,
    groups: Sequence[str],
    *,
    rounds: int = ROUNDS,
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
    return interval(
        resample(partial(weighted_auc, scores, truth), groups, rounds=rounds, seed=seed)
    )


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
    """Return the threshold with the largest sensitivity + specificity - 1.

    NaN where a probability is not finite.
    """
    if not np.isfinite(probabilities).all():
        return float("nan")
    present, absent = _by_score(probabilities, truth, np.ones((1, len(truth))))
    missed, passed = (np.cumsum(part[0]) - part[0] for part in (present, absent))
    sensitivity, specificity = 1 - missed / present.sum(), passed / absent.sum()
    return float(np.unique(probabilities)[int(np.argmax(sensitivity + specificity))])
