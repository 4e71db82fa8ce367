"""What the collection of an image alone says of its labels, told so that nobody learns it.

Each collection was gathered for a purpose of its own: one shows pneumonia in every second image,
another in every twenty-fifth. A network that tells collections apart by their look guesses
better there, and worse in any hospital. While the loss is taken, each logit is therefore helped
by what the collection says already; what is left to learn is in the image (logit adjustment,
Menon et al., ICLR 2021; a fixed model of the bias beside the learner, Clark et al., EMNLP 2019).
At run time nothing is added.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference.training.samples import FloatArray

_PULL = 20.0
"""Images of the common share that are added to each collection, so that small ones say little."""


def told_by_collection(
    targets: FloatArray, collections: Sequence[str], rows: NDArray[np.int64]
) -> FloatArray:
    """Return log odds of each label in an image's collection less those in all images, (N, L).

    Parameters
    ----------
    targets : ndarray of float32, shape (N, L)
        NaN where unknown; a label that is unknown everywhere says nothing.
    collections : sequence of str, length N
    rows : ndarray of int64
        The training rows, from which alone shares are counted. A collection that has none of
        them says nothing.
    """
    names, members = np.unique(np.array(collections), return_inverse=True)
    known = np.zeros(targets.shape, dtype=bool)
    known[rows] = ~np.isnan(targets[rows])
    present = np.where(known, np.nan_to_num(targets), 0.0).astype(np.float64)
    share = (present.sum(axis=0) + 0.5) / (known.sum(axis=0) + 1.0)
    told = np.zeros((len(names), targets.shape[1]))
    for place in range(len(names)):
        own = members == place
        seen = present[own].sum(axis=0) + _PULL * share
        told[place] = _log_odds(seen / (known[own].sum(axis=0) + _PULL)) - _log_odds(share)
    result: FloatArray = told[members].astype(np.float32)
    return result


def _log_odds(share: NDArray[np.float64]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = np.log(share / (1.0 - share))
    return odds
