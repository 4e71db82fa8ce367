"""The images that a classifier got most wrong: look at them before believing a number."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.measures.predictions import Predictions

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One image that was answered wrongly."""

    path: str
    truth: tuple[str, ...]
    """Classes that its labels name; empty where they name none."""

    said: tuple[str, ...]
    """Classes that the classifier named."""

    worst: str
    """The class with the largest error."""

    probability: float
    """That the classifier gave `worst`."""

    error: float
    """Distance of that probability from the label, 0 to 1."""


def failures(predictions: Predictions, decided: BoolArray, *, most: int = 24) -> list[Failure]:
    """Return the wrongly answered images, the largest error first.

    Parameters
    ----------
    predictions : Predictions
        N images, L classes.
    decided : ndarray of bool, shape (N, L)
        Which classes each image was said to show.
    most : int
        Return no more than these.
    """
    wrong = (decided != predictions.truth) & predictions.known
    columns = list(predictions.measured)
    distance = np.abs(predictions.probabilities - np.nan_to_num(predictions.targets))
    errors = np.where(wrong, distance, -1.0)[:, columns]
    largest = errors.max(axis=1, initial=-1.0)
    rows = np.argsort(-largest, kind="stable")[:most]
    found = []
    for row in rows[largest[rows] >= 0]:
        column = columns[int(errors[row].argmax())]
        found.append(
            Failure(
                path=predictions.paths[row],
                truth=_named(predictions, predictions.truth[row]),
                said=_named(predictions, decided[row]),
                worst=predictions.classes[column],
                probability=float(predictions.probabilities[row, column]),
                error=float(distance[row, column]),
            )
        )
    return found


def _named(predictions: Predictions, shown: BoolArray) -> tuple[str, ...]:
    return tuple(predictions.classes[column] for column in np.flatnonzero(shown))
