"""What a data set holds, and what would mislead whoever trains on it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.measures.subgroups import ATTRIBUTES, band_order, subgroup_of
from inference.evaluation.reports.duplicates import SharedGroup, Twins, shared_groups, twins
from inference.evaluation.reports.inventory import Facts, Unreadable
from inference.training.dataset import DataSet, TaskKind
from inference.training.samples import Sample, Split, target_matrix

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """How many images show one class."""

    label: str
    present: dict[str, int]
    """By split."""

    share: dict[str, float]
    """Of the images of the split whose label is known."""

    unknown: int
    """Images whose label is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubgroupShare:
    """How many images of one subgroup there are, and how often they show each class."""

    attribute: str
    value: str
    images: dict[str, int]
    """By split."""

    share: dict[str, float]
    """Of each class among the subgroup's images whose label is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The 0, 5, 25, 50, 75, 95 and 100 percentiles of a size, in pixels."""

    rows: tuple[float, ...]
    columns: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """What `explore` found; every part is a table or a figure of the report."""

    name: str
    kind: TaskKind
    classes: tuple[str, ...]
    images: dict[str, int]
    """By split."""

    groups: dict[str, int]
    """Patients, by split."""

    balance: list[Balance]
    together: tuple[tuple[int, ...], ...]
    """``together[i][j]``: images that show class i and class j."""

    histograms: dict[str, tuple[float, ...]]
    """Mean share of pixels in each bin of grey, by class."""

    sizes: Spread | None
    """None where no image can be read."""

    subgroups: list[SubgroupShare]
    twins: list[Twins]
    shared_groups: list[SharedGroup]
    blank: tuple[str, ...]
    """Images of which all pixels are equal."""

    unreadable: list[Unreadable]
    missing: tuple[str, ...]
    """Lines of the set's table whose image is not there; counted nowhere else."""

    passed_over: tuple[str, ...]
    """Files among the folders of classes that are none of the set."""

    @property
    def empty_splits(self) -> tuple[Split, ...]:
        """The splits without images."""
        return tuple(split for split in get_args(Split) if split not in self.images)

    @property
    def unlearnable(self) -> tuple[str, ...]:
        """The classes that no training image shows; all of them where there is none."""
        return tuple(row.label for row in self.balance if not row.present.get("train"))

    @property
    def leaks(self) -> bool:
        """Whether a patient or an image is in more than one split."""
        return bool(self.shared_groups) or any(len(set_.splits) > 1 for set_ in self.twins)


def explore(
    data: DataSet, facts: Sequence[Facts], unreadable: Sequence[Unreadable] = ()
) -> Exploration:
    """Return what a data set holds.

    Parameters
    ----------
    data : DataSet
        The images and their labels.
    facts : sequence of Facts
        Of its readable images; see `inference.evaluation.reports.inventory.inspect`.
    unreadable : sequence of Unreadable
        The others.
    """
    samples = data.samples
    targets = target_matrix(samples, data.classes)
    present = (np.nan_to_num(targets) >= 0.5).astype(np.int64)
    together = present.T @ present
    return Exploration(
        name=data.name,
        kind=data.kind,
        classes=data.classes,
        images={split: len(data.part(split)) for split in splits_of(data)},
        groups={split: len({s.group for s in data.part(split)}) for split in splits_of(data)},
        balance=[_balance(data, label) for label in data.classes],
        together=tuple(tuple(int(cell) for cell in row) for row in together),
        histograms=_histograms(data, facts),
        sizes=_sizes(facts),
        subgroups=_subgroups(data),
        twins=twins(samples, facts),
        shared_groups=shared_groups(samples),
        blank=tuple(fact.path.as_posix() for fact in facts if fact.blank),
        unreadable=list(unreadable),
        missing=data.missing,
        passed_over=data.passed_over,
    )


def splits_of(data: DataSet) -> tuple[Split, ...]:
    """Return the splits that hold images, in the order of training."""
    return tuple(split for split in get_args(Split) if data.part(split))


def shows(sample: Sample, label: str) -> bool:
    """Return whether an image is known to show a class."""
    return sample.targets.get(label, 0.0) >= 0.5


def _balance(data: DataSet, label: str) -> Balance:
    present: dict[str, int] = {}
    share: dict[str, float] = {}
    for split in splits_of(data):
        part = data.part(split)
        present[split] = sum(shows(sample, label) for sample in part)
        share[split] = _share(part, label)
    unknown = sum(label not in sample.targets for sample in data.samples)
    return Balance(label=label, present=present, share=share, unknown=unknown)


def _share(samples: Sequence[Sample], label: str) -> float:
    known = [shows(sample, label) for sample in samples if label in sample.targets]
    return float(np.mean(known)) if known else float("nan")


def _histograms(data: DataSet, facts: Sequence[Facts]) -> dict[str, tuple[float, ...]]:
    by_path = {fact.path: fact.histogram for fact in facts}
    found: dict[str, tuple[float, ...]] = {}
    for label in data.classes:
        rows = [by_path[s.path] for s in data.samples if shows(s, label) and s.path in by_path]
        if rows:
            found[label] = tuple(float(value) for value in np.mean(rows, axis=0))
    return found


def _sizes(facts: Sequence[Facts]) -> Spread | None:
    if not facts:
        return None
    return Spread(
        rows=_quantiles(np.array([fact.rows for fact in facts])),
        columns=_quantiles(np.array([fact.columns for fact in facts])),
    )


def _quantiles(values: NDArray[np.int64]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(values, _QUANTILES))


def _subgroups(data: DataSet) -> list[SubgroupShare]:
    rows = []
    for attribute in ATTRIBUTES:
        members: dict[str, list[Sample]] = defaultdict(list)
        for sample in data.samples:
            members[subgroup_of(sample.attributes, attribute) or NOT_STATED].append(sample)
        if set(members) == {NOT_STATED}:
            continue
        for value in sorted(members, key=lambda v: (v == NOT_STATED, band_order(v))):
            inside = members[value]
            rows.append(
                SubgroupShare(
                    attribute=attribute,
                    value=value,
                    images={x: sum(s.split == x for s in inside) for x in splits_of(data)},
                    share={label: _share(inside, label) for label in data.classes},
                )
            )
    return rows
