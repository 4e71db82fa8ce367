"""What one classifier said of labelled images: what `evaluate` measures."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from inference.training.dataset import TaskKind

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Probabilities and truth of N images and L classes."""

    name: str
    """Of the classifier, as a reader knows it."""

    kind: TaskKind
    classes: tuple[str, ...]
    probabilities: FloatArray
    """Shape (N, L)."""

    targets: FloatArray
    """Shape (N, L): 1 present, 0 absent, NaN unknown."""

    paths: tuple[str, ...]
    """Relative to the data folder."""

    groups: tuple[str, ...]
    """Patient of each image."""

    splits: tuple[str, ...]
    attributes: tuple[Mapping[str, str], ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def known(self) -> BoolArray:
        """Where the truth is known, shape (N, L)."""
        return ~np.isnan(self.targets)

    @property
    def truth(self) -> BoolArray:
        """Where a class is known to be present, shape (N, L)."""
        return np.nan_to_num(self.targets) >= 0.5

    @property
    def measured(self) -> tuple[int, ...]:
        """Columns that curves and tables are made of: of two classes the positive one only."""
        return (1,) if self.kind is TaskKind.BINARY else tuple(range(len(self.classes)))

    def part(self, split: str) -> "Predictions":
        """Return the images of one split."""
        return self.take(np.flatnonzero(np.array(self.splits) == split))

    def take(self, rows: NDArray[np.int64]) -> "Predictions":
        """Return some of the images, in the order of `rows`."""
        return replace(
            self,
            probabilities=self.probabilities[rows],
            targets=self.targets[rows],
            paths=tuple(self.paths[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows),
            splits=tuple(self.splits[row] for row in rows),
            attributes=tuple(self.attributes[row] for row in rows),
        )


def probabilities_of(logits: NDArray[np.floating], kind: TaskKind) -> FloatArray:
    """Return the probabilities of logits (N, L): they add up to 1 unless labels are many."""
    scores = logits.astype(np.float64)
    found: FloatArray = expit(scores) if kind is TaskKind.MULTI_LABEL else softmax(scores, axis=1)
    return found
