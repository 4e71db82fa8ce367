"""A set of labelled images, whatever folder, table or DICOM files it was read from."""

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from inference.training.samples import Sample, Split


class TaskKind(StrEnum):
    """How the labels of a data set relate to each other."""

    BINARY = "binary"
    """Two classes, of which each image shows one; `DataSet.classes` is (negative, positive)."""

    MULTI_CLASS = "multi_class"
    """Each image shows exactly one class."""

    MULTI_LABEL = "multi_label"
    """An image may show any number of classes, none too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """Images and what is known of them.

    The paths of `samples` are relative to `root`; their targets are keyed by `classes`.
    """

    name: str
    kind: TaskKind
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    root: Path
    missing: tuple[str, ...] = ()
    """Lines of the set's table whose image is not there, as ``labels.csv, line 5``."""

    passed_over: tuple[str, ...] = ()
    """Files below the set's folder of classes that are in no class, or hold no image that counts;
    relative to `root`."""

    def part(self, split: Split) -> tuple[Sample, ...]:
        """Return the samples of one split, in their order."""
        return tuple(sample for sample in self.samples if sample.split == split)


def limited(data: DataSet, limit: int) -> DataSet:
    """Return at most `limit` images of each split, evenly along its list; 0 for all."""
    if not limit:
        return data
    kept: list[Sample] = []
    for split in dict.fromkeys(sample.split for sample in data.samples):
        part = data.part(split)
        rows = np.linspace(0, len(part) - 1, min(limit, len(part))).astype(int)
        kept += [part[row] for row in rows]
    return replace(data, samples=tuple(kept))
