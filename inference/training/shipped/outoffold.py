"""What networks that never saw an image said of it, kept for later evaluations.

The trainings of the shipped models write these files; copies of theirs lie in the tests.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.training.whole import whole

KEPT = Path(".work/out-of-fold")
OUT_OF_FOLD = KEPT / "bodypart.npz"
OUT_OF_FOLD_CHEST = KEPT / "chest-findings.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfFold:
    """Logits of training images, each by a network that saw neither it nor its group."""

    logits: NDArray[np.float32]
    """Shape (N, L), columns as the labels of the model."""

    paths: tuple[str, ...]
    """Of the images, relative to the data folder."""

    folds: NDArray[np.int64]
    weights_sha256: str
    """Of the network that was fitted to all of them; empty where that is not known."""


def keep(found: OutOfFold, file: Path) -> None:
    """Write out-of-fold logits beside the images they are of."""
    with whole(file) as stream:
        np.savez_compressed(
            stream,
            logits=found.logits,
            paths=np.array(found.paths),
            folds=found.folds,
            weights_sha256=np.array(found.weights_sha256),
        )


def load(file: Path) -> OutOfFold:
    """Return what `keep` wrote.

    Raises
    ------
    FileNotFoundError
        The network was not trained on this machine.
    """
    with np.load(file) as stored:
        return OutOfFold(
            logits=stored["logits"],
            paths=tuple(str(path) for path in stored["paths"]),
            folds=stored["folds"],
            weights_sha256=str(stored["weights_sha256"]),
        )
