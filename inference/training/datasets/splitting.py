"""Put images into train, validation and test, a patient's always on one side."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from inference.training.dataset import DataSet
from inference.training.datasets.errors import UnusableData
from inference.training.datasets.layout import Layout
from inference.training.samples import Sample, Split

SPLITS: tuple[Split, ...] = get_args(Split)
_ALIASES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
}
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Found:
    """An image as the data set describes it; its split is not settled yet."""

    sample: Sample
    given: Split | None
    """The split that the data set brings, if any."""


def split_named(name: str) -> Split | None:
    """Return the split that a folder or a table calls `name`, or None."""
    return _ALIASES.get(name.strip().lower())


def settled(found: Sequence[Found], layout: Layout) -> tuple[Sample, ...]:
    """Return the samples in their splits.

    A split that the data set brings is kept. Validation and test images that it lacks are
    taken from its training images, whole patients, spread evenly over the classes.

    Raises
    ------
    UnusableData
        When a patient is on both sides of a given split and the layout refuses that.
    """
    given = {f.given for f in found}
    wanted: dict[Split, float] = {
        "test": 0.0 if "test" in given else layout.test_share,
        "val": 0.0 if "val" in given else layout.val_share,
    }
    free = [f.sample for f in found if f.given in (None, "train")]
    taken = _taken(free, wanted, layout.seed)
    samples = [
        replace(f.sample, split=f.given if f.given in ("val", "test") else taken[f.sample.group])
        for f in found
    ]
    return tuple(_without_leaks(samples, layout.leaks))


def check_present(data: DataSet) -> None:
    """Refuse a data set whose table names images that are not there.

    Raises
    ------
    UnusableData
        With every line that does.
    """
    if data.missing:
        raise UnusableData([f"{line}: no such image file" for line in data.missing])


def check_filled(data: DataSet, layout: Layout) -> DataSet:
    """Return `data`, when a network can be trained on it.

    Raises
    ------
    UnusableData
        When images that a table names, a split that was asked for, or the training images of
        a class are missing.
    """
    check_present(data)
    asked: dict[Split, bool] = {
        "train": True,
        "val": layout.val_share > 0,
        "test": layout.test_share > 0,
    }
    problems = [
        f"the {split} split has no images: too few patients to share out"
        for split in SPLITS
        if asked[split] and not data.part(split)
    ]
    seen = {key for s in data.part("train") for key, value in s.targets.items() if value >= 0.5}
    missing = [name for name in data.classes if name not in seen]
    if not problems and missing:
        problems = [f"no training image shows: {', '.join(missing)}"]
    if problems:
        raise UnusableData(problems)
    return data


def _taken(samples: Sequence[Sample], wanted: dict[Split, float], seed: int) -> dict[str, Split]:
    """Return the split of each group: by class, then by chance, an even sequence along both.

    Multiples of the golden ratio fill every stretch of the line evenly, so each class gives
    its share of patients up to one.
    """
    groups = _rarest_class(samples)
    random = np.random.default_rng(seed)
    chance = dict(zip(sorted(groups), random.permutation(len(groups)), strict=True))
    ordered = sorted(groups, key=lambda group: (groups[group], chance[group]))
    start = float(random.random())
    chosen: dict[str, Split] = {}
    for place, group in enumerate(ordered):
        at = (start + place * _GOLDEN) % 1.0
        chosen[group] = (
            "test"
            if at < wanted["test"]
            else "val"
            if at < wanted["test"] + wanted["val"]
            else "train"
        )
    return chosen


def _rarest_class(samples: Sequence[Sample]) -> dict[str, tuple[int, str]]:
    """Return for each group its rarest present class, with how often it is present."""
    counts: dict[str, int] = defaultdict(int)
    for sample in samples:
        for key, value in sample.targets.items():
            counts[key] += value >= 0.5
    rarest: dict[str, tuple[int, str]] = {}
    for sample in samples:
        present = [(counts[k], k) for k, value in sample.targets.items() if value >= 0.5]
        own = min(present, default=(len(samples) + 1, ""))
        rarest[sample.group] = min(own, rarest.get(sample.group, own))
    return rarest


def _without_leaks(samples: list[Sample], leaks: str) -> list[Sample]:
    """Keep each group on one side: the test side first, then validation."""
    if leaks == "keep":
        return samples
    side: dict[str, Split] = {}
    for split in reversed(SPLITS):
        for sample in samples:
            if sample.split == split:
                side.setdefault(sample.group, split)
    kept = [s for s in samples if side[s.group] == s.split]
    if len(kept) < len(samples) and leaks == "refuse":
        raise UnusableData(
            [
                f"{len(samples) - len(kept)} images of patients who are in another split too, "
                f"such as {next(s.path for s in samples if side[s.group] != s.split)}; "
                "`leaks: drop` leaves them out"
            ]
        )
    return kept
