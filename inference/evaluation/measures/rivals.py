"""Classifiers beside each other on the same images, with the interval of the difference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.measures.bootstrap import ROUNDS, interval, resample
from inference.evaluation.measures.predictions import Predictions
from inference.evaluation.measures.scores import MEASURES, Measure, overall

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
_Pair = tuple[tuple[Predictions, BoolArray], tuple[Predictions, BoolArray]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """What one other classifier reaches, and what the network adds."""

    name: str
    images: int
    """That both have answered."""

    measures: dict[str, Measure]
    """`MEASURES` of the other classifier on those images."""

    gain: dict[str, Measure]
    """The network's minus the other's, patients drawn alike for both."""


def hold_against(
    network: Predictions,
    decided: BoolArray,
    rivals: Sequence[tuple[Predictions, BoolArray]],
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> list[Rival]:
    """Return how each other classifier does on the images that the network answered too.

    Parameters
    ----------
    network : Predictions
        N images, L classes.
    decided : ndarray of bool, shape (N, L)
        What the network decided.
    rivals : sequence of (Predictions, ndarray of bool)
        Other classifiers of the same classes, with their decisions. One that shares no
        image with the network is left out.
    rounds, seed : int
        Of the bootstrap.
    """
    found = []
    for other, others_decided in rivals:
        mine, theirs = _shared(network.paths, other.paths)
        if not len(mine):
            continue
        pair = (
            (network.take(mine), decided[mine]),
            (other.take(theirs), others_decided[theirs]),
        )

        def both(weights: FloatArray, pair: _Pair = pair) -> FloatArray:
            return np.stack([overall(*side, weights) for side in pair], axis=1)

        exact = both(np.ones((1, len(mine))))[0]
        drawn = resample(both, pair[0][0].groups, rounds=rounds, seed=seed)
        found.append(
            Rival(
                name=other.name,
                images=len(mine),
                measures=_named(exact[1], drawn[:, 1]),
                gain=_named(exact[0] - exact[1], drawn[:, 0] - drawn[:, 1]),
            )
        )
    return found


def _shared(
    first: Sequence[str], second: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the names in both, in the order of the first."""
    places = {name: row for row, name in enumerate(second)}
    pairs = [(row, places[name]) for row, name in enumerate(first) if name in places]
    rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _named(exact: FloatArray, drawn: FloatArray) -> dict[str, Measure]:
    measures = {}
    for place, name in enumerate(MEASURES):
        low, high = interval(drawn[:, place])
        measures[name] = Measure(value=float(exact[place]), low=low, high=high)
    return measures
