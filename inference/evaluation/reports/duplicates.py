"""Images that occur twice, and what leaks from one split into another."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from inference.evaluation.reports.inventory import Facts
from inference.training.samples import Sample

HASH_BITS = 10
"""Hashes that differ in no more bits are compared pixel by pixel."""

ALIKE = 0.99
"""Correlation of two small copies from which images count as nearly the same. Hashes alone
pair hundreds of different radiographs of one body part."""

_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """Images that are the same, or nearly."""

    paths: tuple[str, ...]
    exact: bool
    """Whether the files are equal byte by byte."""

    splits: tuple[str, ...]
    """Every split that one of them is in, sorted; more than one is leakage."""

    labels_differ: bool
    """Whether their known labels contradict each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedGroup:
    """A patient, or group of look-alikes, with images in several splits."""

    group: str
    images: dict[str, int]
    """Number of images by split."""


def twins(samples: Sequence[Sample], facts: Sequence[Facts]) -> list[Twins]:
    """Return the sets of images that are equal, then those that nearly are.

    Parameters
    ----------
    samples : sequence of Sample
        Every image of the data set.
    facts : sequence of Facts
        Of the readable ones.
    """
    by_path = {sample.path: sample for sample in samples}
    equal: dict[str, list[Facts]] = defaultdict(list)
    for fact in facts:
        equal[fact.sha256].append(fact)
    exact = [members for members in equal.values() if len(members) > 1]
    one_of_each = [members[0] for members in equal.values() if not members[0].blank]
    near = [
        [twin for row in rows for twin in equal[one_of_each[row].sha256]]
        for rows in _clusters(one_of_each)
    ]
    return [
        _twins([by_path[fact.path] for fact in members], exact=same)
        for sets, same in ((exact, True), (near, False))
        for members in sets
    ]


def shared_groups(samples: Sequence[Sample]) -> list[SharedGroup]:
    """Return the groups that have images in more than one split, sorted by name."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for sample in samples:
        counts[sample.group][sample.split] += 1
    return [
        SharedGroup(group=group, images=dict(sorted(splits.items())))
        for group, splits in sorted(counts.items())
        if len(splits) > 1
    ]


def _twins(members: Sequence[Sample], *, exact: bool) -> Twins:
    known: dict[str, set[bool]] = defaultdict(set)
    for sample in members:
        for key, value in sample.targets.items():
            known[key].add(value >= 0.5)
    return Twins(
        paths=tuple(sample.path.as_posix() for sample in members),
        exact=exact,
        splits=tuple(sorted({sample.split for sample in members})),
        labels_differ=any(len(values) > 1 for values in known.values()),
    )


def _clusters(facts: Sequence[Facts]) -> list[NDArray[np.int64]]:
    """Return the rows of images that nearly equal each other, directly or through others."""
    pairs = _pairs(facts)
    if not len(pairs):
        return []
    size = len(facts)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    _, member_of = connected_components(graph, directed=False)
    return [np.flatnonzero(member_of == c) for c in np.unique(member_of[pairs[:, 0]])]


def _pairs(facts: Sequence[Facts]) -> NDArray[np.int64]:
    """Return pairs of rows (P, 2): hashes a few bits apart and small copies that correlate."""
    hashes = np.array([fact.hash for fact in facts], dtype=np.uint64)
    found = [np.zeros((0, 2), dtype=np.int64)]
    for start in range(0, len(facts), _BLOCK):
        differing = np.bitwise_count(hashes[start : start + _BLOCK, None] ^ hashes[None, start:])
        for first, second in np.argwhere(differing <= HASH_BITS) + start:
            if first < second and _correlation(facts[first], facts[second]) >= ALIKE:
                found.append(np.array([[first, second]]))
    return np.concatenate(found)


def _correlation(first: Facts, second: Facts) -> float:
    return float((first.patch * second.patch).sum())
