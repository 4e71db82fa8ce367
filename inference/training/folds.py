"""Splits that keep a group's images together, and sampling that evens out rare labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NO_FOLD = -1
"""Of images that are trained on in every fold and scored in none."""


def group_folds(groups: Sequence[str], *, folds: int, seed: int) -> NDArray[np.int64]:
    """Return a fold number for each image; images of one group share it.

    Parameters
    ----------
    groups : sequence of str
        Group of each image.
    folds : int
        Number of folds.
    seed : int
        Seed of the shuffle. Large groups are placed first, each in the smallest fold.
    """
    names, members = np.unique(np.array(groups), return_inverse=True)
    sizes = np.bincount(members)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of = np.zeros(len(names), dtype=np.int64)
    filled = np.zeros(folds)
    for name in order:
        fold_of[name] = int(np.argmin(filled))
        filled[fold_of[name]] += sizes[name]
    result: NDArray[np.int64] = fold_of[members]
    return result


def balance(targets: NDArray[np.float32], *, most: float) -> NDArray[np.float64]:
    """Return how often each image is drawn: more for its rarest present label.

    Parameters
    ----------
    targets : ndarray of float32, shape (N, L)
        NaN where unknown.
    most : float
        Largest weight relative to the commonest label's.
    """
    present = np.nan_to_num(targets) >= 0.5
    counts = np.maximum(present.sum(axis=0), 1)
    rarity = np.clip(np.sqrt(counts.max() / counts), 1.0, most)
    weights: NDArray[np.float64] = np.where(present, rarity, 1.0).max(axis=1)
    return weights
