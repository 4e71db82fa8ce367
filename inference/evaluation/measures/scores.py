"""How good a classifier is: one line over all classes, one row a class, with intervals."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.measures.bootstrap import ROUNDS, interval, resample
from inference.evaluation.measures.metrics import (
    calibration_error,
    share,
    share_interval,
    weighted_auc,
    weighted_average_precision,
)
from inference.evaluation.measures.predictions import Predictions

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MEASURES = ("mean_auc", "mean_average_precision", "macro_f1", "all_right")
"""Columns of `overall`; `all_right` is the share of images whose every known label is right."""

_PER_CLASS = ("auc", "average_precision", "sensitivity", "specificity", "precision", "f1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number and its 95 % interval, patients drawn with replacement; NaN where undefined.

    Where no draw differs, the interval of a share is Wilson's, and other measures have none.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """How well one class is told from the others."""

    label: str
    images: int
    """Whose label is known."""

    present: int
    auc: Measure
    average_precision: Measure
    threshold: float | None
    """Present at or above; None where the most probable class is taken."""

    sensitivity: Measure
    specificity: Measure
    precision: Measure
    f1: Measure
    calibration_error: float


def class_rows(
    predictions: Predictions,
    decided: BoolArray,
    at: FloatArray | None,
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> list[ClassRow]:
    """Return a row for each measured class.

    Parameters
    ----------
    predictions : Predictions
        N images, L classes.
    decided : ndarray of bool, shape (N, L)
        Which classes each image is said to show.
    at : ndarray of float, shape (L,), or None
        The thresholds that decided; None where none did.
    rounds, seed : int
        Of the bootstrap.
    """
    rows = []
    for column in predictions.measured:
        known = predictions.known[:, column]
        scores, truth = predictions.probabilities[known, column], predictions.truth[known, column]
        groups = [group for group, take in zip(predictions.groups, known, strict=True) if take]
        of_class = partial(_class_measures, scores, truth, decided[known, column])
        exact = of_class(np.ones((1, len(scores))))[0]
        drawn = resample(of_class, groups, rounds=rounds, seed=seed)
        counts = _counts(truth, decided[known, column])
        rows.append(
            ClassRow(
                label=predictions.classes[column],
                images=len(scores),
                present=int(truth.sum()),
                threshold=None if at is None else float(at[column]),
                calibration_error=calibration_error(scores, truth),
                **{
                    name: _measure(exact[place], drawn[:, place], counts.get(name))
                    for place, name in enumerate(_PER_CLASS)
                },
            )
        )
    return rows


def summary(
    predictions: Predictions, decided: BoolArray, *, rounds: int = ROUNDS, seed: int = 0
) -> dict[str, Measure]:
    """Return each of `MEASURES` with its interval; parameters as `class_rows`."""
    of_all = partial(overall, predictions, decided)
    exact = of_all(np.ones((1, len(predictions))))[0]
    drawn = resample(of_all, predictions.groups, rounds=rounds, seed=seed)
    counts = {"all_right": (int(_all_right(predictions, decided).sum()), len(predictions))}
    return {
        name: _measure(exact[place], drawn[:, place], counts.get(name))
        for place, name in enumerate(MEASURES)
    }


def overall(predictions: Predictions, decided: BoolArray, weights: FloatArray) -> FloatArray:
    """Return `MEASURES` for each of R weightings (R, N) of the images, shape (R, 4).

    Means are over the measured classes that a weighting allows to measure.
    """
    known, truth = predictions.known, predictions.truth
    each = []
    for column in predictions.measured:
        rows = known[:, column]
        each.append(
            _class_measures(
                predictions.probabilities[rows, column],
                truth[rows, column],
                decided[rows, column],
                weights[:, rows],
            )
        )
    means = _mean_of_known(np.array(each))
    all_right = share(weights @ _all_right(predictions, decided), weights.sum(axis=1))
    place = [_PER_CLASS.index(name) for name in ("auc", "average_precision", "f1")]
    return np.column_stack([means[:, place], all_right])


def _class_measures(
    scores: FloatArray, truth: BoolArray, decided: BoolArray, weights: FloatArray
) -> FloatArray:
    """Return `_PER_CLASS` of one class for each weighting, shape (R, 6)."""
    present, absent = weights @ truth, weights @ ~truth
    called, hits = weights @ decided, weights @ (decided & truth)
    return np.column_stack(
        [
            weighted_auc(scores, truth, weights),
            weighted_average_precision(scores, truth, weights),
            share(hits, present),
            share(weights @ ~(decided | truth), absent),
            share(hits, called),
            share(2 * hits, called + present),
        ]
    )


def _mean_of_known(values: FloatArray) -> FloatArray:
    """Return the mean over the first axis, of what is not NaN."""
    known = ~np.isnan(values)
    return share(np.nan_to_num(values).sum(axis=0), known.sum(axis=0).astype(np.float64))


def _all_right(predictions: Predictions, decided: BoolArray) -> BoolArray:
    right: BoolArray = ((decided == predictions.truth) | ~predictions.known).all(axis=1)
    return right


def _counts(truth: BoolArray, decided: BoolArray) -> dict[str, tuple[int, int]]:
    """Return what each share of a class is of: how many, and of how many."""
    hits = int((decided & truth).sum())
    return {
        "sensitivity": (hits, int(truth.sum())),
        "specificity": (int((~decided & ~truth).sum()), int((~truth).sum())),
        "precision": (hits, int(decided.sum())),
    }


def _measure(exact: float, drawn: FloatArray, counts: tuple[int, int] | None = None) -> Measure:
    low, high = interval(drawn)
    if low == high:
        low, high = share_interval(*counts) if counts else (float("nan"), float("nan"))
    return Measure(value=float(exact), low=low, high=high)
