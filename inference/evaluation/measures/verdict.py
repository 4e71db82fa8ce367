"""The body part verdict over many images at once, and thresholds chosen for it.

The rule of the running node: *match* when any expected region reaches its ``present_at`` or
is the region with the highest probability, `LEAST_LIKELY` at least and not below
``absent_below``; *mismatch* when every expected region lies below ``absent_below`` and some
other region reaches ``present_at``; *uncertain* otherwise, and wherever ``NotOurs`` is present.
Here every image has one expected region. Flags are of bool, shape (M,), one for each trial.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.measures.metrics import share_interval
from inference.verify import LEAST_LIKELY

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """Images beside the region that an order names for each."""

    probabilities: FloatArray
    """Shape (M, R): calibrated, regions only."""

    not_ours: BoolArray
    """Shape (M,): whether NotOurs is present."""

    expected: IntArray
    """Shape (M,): column of the ordered region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """One pair for every region: classes are too thin for a pair each."""

    present_at: float
    absent_below: float


def mismatches(trials: Trials, thresholds: Thresholds) -> BoolArray:
    """Return which trials the rule calls a mismatch."""
    probabilities, rows = trials.probabilities, np.arange(len(trials.expected))
    expected = probabilities[rows, trials.expected]
    others = probabilities.copy()
    others[rows, trials.expected] = -1.0
    highest = others.max(axis=1)
    flagged: BoolArray = (
        (expected < thresholds.absent_below)
        & (expected < highest)
        & (highest >= thresholds.present_at)
        & ~trials.not_ours
    )
    return flagged


def matches(trials: Trials, thresholds: Thresholds) -> BoolArray:
    """Return which trials the rule calls a match."""
    rows = np.arange(len(trials.expected))
    expected = trials.probabilities[rows, trials.expected]
    least = max(LEAST_LIKELY, thresholds.absent_below)
    top = np.maximum(trials.probabilities.max(axis=1), least)
    found: BoolArray = (expected >= np.minimum(thresholds.present_at, top)) & ~trials.not_ours
    return found


def filed_correctly(probabilities: FloatArray, not_ours: BoolArray, truth: BoolArray) -> Trials:
    """Return a trial for every image and every region it truly shows."""
    images, regions = np.nonzero(truth)
    return Trials(
        probabilities=probabilities[images],
        not_ours=not_ours[images],
        expected=regions.astype(np.int64),
    )


def swapped(
    probabilities: FloatArray,
    not_ours: BoolArray,
    truth: BoolArray,
    possible: BoolArray,
    *,
    seed: int,
    rounds: int = 20,
) -> Trials:
    """Return trials in which each image is filed under another image's region.

    Parameters
    ----------
    probabilities : ndarray of float, shape (N, R)
        Calibrated probabilities of the regions.
    not_ours : ndarray of bool, shape (N,)
        Whether NotOurs is present.
    truth : ndarray of bool, shape (N, R)
        Regions that the image shows.
    possible : ndarray of bool, shape (N, R)
        Regions that it shows or may show: never used as a wrong order.
    seed : int
        Seed of the swaps.
    rounds : int
        Swaps tried per image.
    """
    random = np.random.default_rng(seed)
    shown = np.flatnonzero(truth.any(axis=1))
    images, regions = np.nonzero(truth)
    image = np.repeat(shown, rounds)
    expected = regions[random.integers(0, len(images), len(image))]
    wrong = ~possible[image, expected]
    return Trials(
        probabilities=probabilities[image[wrong]],
        not_ours=not_ours[image[wrong]],
        expected=expected[wrong].astype(np.int64),
    )


MOST_FALSE = 0.005
"""False flags for each correctly filed image that the operating points may cost."""


def choose_thresholds(
    correct: Trials, wrong: Trials, *, most_false: float = MOST_FALSE
) -> Thresholds:
    """Return the pair that flags most swaps with at most `most_false` false flags."""
    best, found = Thresholds(present_at=0.99, absent_below=0.001), -1.0
    for present_at in np.arange(0.30, 0.96, 0.05):
        for absent_below in (0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3):
            pair = Thresholds(
                present_at=round(float(present_at), 2),
                absent_below=min(absent_below, round(float(present_at), 2)),
            )
            if mismatches(correct, pair).mean() > most_false:
                continue
            sensitivity = float(mismatches(wrong, pair).mean())
            if sensitivity > found + 1e-9:
                best, found = pair, sensitivity
    return best


def verdict_rates(correct: Trials, wrong: Trials, pair: Thresholds) -> dict[str, object]:
    """Return the rates that the manifest and the card state."""
    false = int(mismatches(correct, pair).sum())
    low, high = share_interval(false, len(correct.expected))
    return {
        "correctly_filed": len(correct.expected),
        "correctly_filed_flagged": round(false / len(correct.expected), 4),
        "correctly_filed_flagged_95": [round(low, 4), round(high, 4)],
        "correctly_filed_match": round(float(matches(correct, pair).mean()), 4),
        "swapped": len(wrong.expected),
        "swapped_flagged": round(float(mismatches(wrong, pair).mean()), 4),
        "swapped_called_match": round(float(matches(wrong, pair).mean()), 4),
    }
