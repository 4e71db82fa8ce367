"""Intervals by drawing patients with replacement (Efron 1979), many rounds at a time."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]
"""From weights (R, N), how often each image was drawn, to values (R,) or (R, K)."""

ROUNDS = 1000
_CELLS = 2_000_000
"""Weights held in memory at once."""


def draws(groups: Sequence[str], *, rounds: int = ROUNDS, seed: int = 0) -> Iterator[FloatArray]:
    """Yield blocks of weights (R, N) that add up to `rounds` rounds.

    Parameters
    ----------
    groups : sequence of str
        Patient of each of the N images: images of one patient are drawn together.
    rounds : int
        Rounds in all blocks together.
    seed : int
        Seed of the draws; equal seeds draw the same patients.
    """
    names, members = np.unique(np.array(groups), return_inverse=True)
    random = np.random.default_rng(seed)
    block = max(1, _CELLS // max(len(members), 1))
    for start in range(0, rounds, block):
        drawn = [
            np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))
            for _ in range(min(block, rounds - start))
        ]
        yield np.array(drawn)[:, members].astype(np.float64)


def resample(
    statistic: Statistic, groups: Sequence[str], *, rounds: int = ROUNDS, seed: int = 0
) -> FloatArray:
    """Return what a statistic is in each round, shape (rounds,) or (rounds, K)."""
    blocks = draws(groups, rounds=rounds, seed=seed)
    return np.concatenate([statistic(weights) for weights in blocks])


def interval(values: FloatArray) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentiles of the rounds in which the statistic exists.

    NaN twice when it exists in none.
    """
    found = values[~np.isnan(values)]
    if not len(found):
        return float("nan"), float("nan")
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)
