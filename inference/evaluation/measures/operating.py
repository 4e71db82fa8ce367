"""From probabilities to decisions: thresholds, chosen on one split and counted on another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.measures.metrics import share_interval, youden_threshold
from inference.evaluation.measures.predictions import Predictions
from inference.training.dataset import TaskKind

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

YOUDEN = "best sum of sensitivity and specificity"
_WANTED = (0.95, 0.90)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """What one threshold of one class does."""

    label: str
    rule: str
    """How the threshold was chosen."""

    threshold: float
    sensitivity: float
    sensitivity_95: tuple[float, float]
    """Wilson interval, images counted as independent."""

    specificity: float
    specificity_95: tuple[float, float]


def thresholds(chosen_on: Predictions) -> FloatArray:
    """Return the threshold (L,) of each class with the largest Youden index; 0.5 without one."""
    found = np.full(len(chosen_on.classes), 0.5)
    for column in range(len(chosen_on.classes)):
        scores, truth = _column(chosen_on, column)
        if truth.any() and not truth.all():
            found[column] = youden_threshold(scores, truth)
    return found


def decide(predictions: Predictions, at: FloatArray) -> BoolArray:
    """Return the decisions (N, L).

    With exactly one class an image, the most probable; of two classes the positive one at
    or above its threshold; else each class at or above its threshold.

    Parameters
    ----------
    predictions : Predictions
        Probabilities (N, L).
    at : ndarray of float, shape (L,)
        Thresholds.
    """
    scores = predictions.probabilities
    if predictions.kind is TaskKind.MULTI_CLASS:
        one: BoolArray = scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1])
        return one
    decided: BoolArray = scores >= at
    if predictions.kind is TaskKind.BINARY:
        return np.stack([~decided[:, 1], decided[:, 1]], axis=1)
    return decided


def operating_points(chosen_on: Predictions, counted_on: Predictions) -> list[OperatingPoint]:
    """Return usual thresholds of each measured class and what they do on other images.

    Parameters
    ----------
    chosen_on : Predictions
        Images that choose the thresholds; a class that they do not show, or always show, is
        left out.
    counted_on : Predictions
        Images that sensitivity and specificity are counted on.
    """
    points = []
    for column in counted_on.measured:
        scores, truth = _column(chosen_on, column)
        seen, shown = _column(counted_on, column)
        if truth.all() or not truth.any() or shown.all() or not shown.any():
            continue
        rules = {YOUDEN: youden_threshold(scores, truth)}
        for wanted in _WANTED:
            rules[f"sensitivity at least {100 * wanted:.0f} %"] = _sensitive(scores[truth], wanted)
            rules[f"specificity at least {100 * wanted:.0f} %"] = _specific(scores[~truth], wanted)
        rules["probability 50 %"] = 0.5
        for rule, threshold in rules.items():
            label = counted_on.classes[column]
            points.append(_count(label, rule, threshold, seen >= threshold, shown))
    return points


def _count(
    label: str, rule: str, threshold: float, decided: BoolArray, shown: BoolArray
) -> OperatingPoint:
    hits, present = int((decided & shown).sum()), int(shown.sum())
    passed, absent = int((~decided & ~shown).sum()), int((~shown).sum())
    return OperatingPoint(
        label=label,
        rule=rule,
        threshold=float(threshold),
        sensitivity=hits / present,
        sensitivity_95=share_interval(hits, present),
        specificity=passed / absent,
        specificity_95=share_interval(passed, absent),
    )


def _sensitive(present: FloatArray, wanted: float) -> float:
    """Return the highest threshold that the wanted share of present images reaches."""
    return float(np.quantile(present, 1 - wanted, method="lower"))


def _specific(absent: FloatArray, wanted: float) -> float:
    """Return the lowest threshold that the wanted share of absent images stays below."""
    return float(np.nextafter(np.quantile(absent, wanted, method="higher"), np.inf))


def _column(predictions: Predictions, column: int) -> tuple[FloatArray, BoolArray]:
    known = predictions.known[:, column]
    return predictions.probabilities[known, column], predictions.truth[known, column]
