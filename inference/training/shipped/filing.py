"""Simulated filing: each image under a region it shows, and under another image's region."""

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.measures.verdict import Trials, filed_correctly, swapped
from inference.training.samples import Sample
from inference.training.shipped.labels import BODYPART_KEYS, NOT_OURS, OTHERS
from inference.training.shipped.looked_at import put_right

SOURCES = ("unifesp", "limbs")
"""Only these count: their labels name what is shown, and their mix is not of our making."""


def filing_trials(
    probabilities: NDArray[np.float64],
    targets: NDArray[np.float32],
    samples: list[Sample],
    not_ours_at: float,
    *,
    as_labelled: bool = False,
    seed: int = 11,
) -> tuple[Trials, Trials]:
    """Return correctly filed images and swapped ones.

    Parameters
    ----------
    probabilities : ndarray of float, shape (N, L)
        Calibrated, out of fold, in the order of `BODYPART_KEYS`.
    targets : ndarray of float32, shape (N, L)
        As labelled; NaN where unknown: neither a correct nor a wrong order. Labels known to
        be wrong are put right (`looked_at`), unless `as_labelled`.
    samples : list of Sample
        The images.
    not_ours_at : float
        ``present_at`` of NotOurs.
    seed : int
        Seed of the swaps.
    """
    used = np.array([s.source in SOURCES for s in samples])
    used &= np.nan_to_num(targets[:, BODYPART_KEYS.index(NOT_OURS)]) < 0.5
    count = BODYPART_KEYS.index(OTHERS)
    known = targets if as_labelled else put_right(targets, samples)
    regions = known[used, :count]
    truth = np.nan_to_num(regions) >= 0.5
    possible = truth | np.isnan(regions)
    scores = probabilities[used, :count]
    strange = probabilities[used, BODYPART_KEYS.index(NOT_OURS)] >= not_ours_at
    return (
        filed_correctly(scores, strange, truth),
        swapped(scores, strange, truth, possible, seed=seed),
    )
