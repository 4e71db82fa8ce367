"""Which class is taken for which."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.measures.predictions import Predictions

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Counts of images by true and by named class."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """``counts[i][j]``: images that show class i and of which class j was said. Where an image
    may show several classes it counts in several cells."""

    totals: tuple[int, ...]
    """Images that show each class: what a row is a share of."""

    nothing: tuple[int, ...]
    """Images of each class of which no class was said."""


def confusion(predictions: Predictions, decided: BoolArray) -> Confusion:
    """Return how often each class was said of the images that show each class.

    Parameters
    ----------
    predictions : Predictions
        N images, L classes.
    decided : ndarray of bool, shape (N, L)
        Which classes each image was said to show.
    """
    truth = predictions.truth.astype(np.int64)
    counts = truth.T @ decided.astype(np.int64)
    silent = ~decided.any(axis=1)
    return Confusion(
        classes=predictions.classes,
        counts=tuple(tuple(int(cell) for cell in row) for row in counts),
        totals=tuple(int(total) for total in truth.sum(axis=0)),
        nothing=tuple(int(count) for count in truth[silent].sum(axis=0)),
    )
