"""Mistakes of filing, made on purpose on images whose truth is known (pure).

A patient here is a set of orders with the images that truly belong to them. A mistake
files some images elsewhere, or takes an image or an order away. Nothing looks at pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from inference.accessions import AccessionRef, FiledImage, ImageRef, OrderedAccession
from inference.regions import RegionMap
from inference.types import Expectation, ExpectationSource
from inference.verify import Seen


class Mistake(StrEnum):
    """What went wrong."""

    NONE = "none"
    SWAP = "swap"
    """Images of two orders change places: one of each, or all."""

    MISPLACE = "misplace"
    """An image lies under another order."""

    LOST_ORDER = "lost order"
    """An order is unknown, and its images lie under another."""

    JOINED = "joined"
    """No mistake: two orders under one accession, everything imaged."""

    DROPPED = "dropped"
    """Two orders under one accession, and the images of one of them are missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImage:
    """An image, what it truly shows, and what a network that never saw it says."""

    uid: str
    person: str
    """Whom it shows; people, not images, are drawn for the intervals."""

    regions: tuple[str, ...]
    """Region keys of its labels."""

    seen: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An order with the images that truly belong to it; all show the same regions."""

    key: str
    regions: tuple[str, ...]
    images: tuple[LabelledImage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing:
    """One patient as the node would find them."""

    mistake: Mistake
    accessions: tuple[OrderedAccession, ...]
    images: tuple[FiledImage, ...]
    truth: dict[str, str]
    """Key of the accession that each image (by UID) belongs to; empty where none is known."""

    touched: frozenset[str]
    """UIDs of the images that the mistake moved."""

    people: tuple[str, ...]
    visible: bool
    """Whether some touched image shows nothing that fulfils the order it lies under."""

    missing: tuple[str, ...] = ()
    """Regions ordered and, by the labels, not imaged."""


@dataclass(slots=True)
class _Draft:
    """A filing in the making: orders by key, and for each image where it lies."""

    orders: dict[str, tuple[str, ...]]
    lies: dict[str, str]
    truth: dict[str, str]
    images: dict[str, LabelledImage]
    missing: tuple[str, ...] = ()


def file_patient(
    parts: Sequence[Part], mistake: Mistake, random: np.random.Generator, regions: RegionMap
) -> Filing:
    """Return a patient's filing with one mistake.

    Parameters
    ----------
    parts : sequence of Part
        At least one; two for any mistake.
    mistake : Mistake
    random : numpy Generator
        Chooses the orders and images.
    regions : RegionMap
        Says whether a wrong order accepts what an image shows.
    """
    draft = _Draft(
        orders={part.key: part.regions for part in parts},
        lies={image.uid: part.key for part in parts for image in part.images},
        truth={image.uid: part.key for part in parts for image in part.images},
        images={image.uid: image for part in parts for image in part.images},
    )
    if mistake is not Mistake.NONE:
        first, second = (parts[index] for index in random.permutation(len(parts))[:2])
        _MISTAKES[mistake](draft, first, second, random)
    touched = frozenset(uid for uid, key in draft.lies.items() if key != draft.truth[uid])
    return Filing(
        mistake=mistake,
        accessions=tuple(_accession(key, wanted) for key, wanted in draft.orders.items()),
        images=tuple(
            _filed(draft.images[uid], key, number)
            for number, (uid, key) in enumerate(draft.lies.items(), start=1)
        ),
        truth={uid: draft.truth[uid] for uid in draft.lies},
        touched=touched,
        people=tuple(sorted({image.person for part in parts for image in part.images})),
        visible=any(
            not fulfils(draft.orders[draft.lies[uid]], draft.images[uid].regions, regions)
            for uid in touched
        ),
        missing=draft.missing,
    )


def fulfils(ordered: Sequence[str], shown: Sequence[str], regions: RegionMap) -> bool:
    """Tell whether an image that shows `shown` is accepted by an order for `ordered`."""
    accepted = frozenset[str]().union(*(regions.showing(region) for region in ordered))
    return bool(accepted & frozenset(shown))


def _swap(draft: _Draft, first: Part, second: Part, random: np.random.Generator) -> None:
    whole = bool(random.integers(2))
    for part, place in ((first, second.key), (second, first.key)):
        chosen = part.images if whole else (_one(part, random),)
        draft.lies |= {image.uid: place for image in chosen}


def _misplace(draft: _Draft, first: Part, second: Part, random: np.random.Generator) -> None:
    draft.lies[_one(first, random).uid] = second.key


def _lose_order(draft: _Draft, first: Part, second: Part, random: np.random.Generator) -> None:
    del draft.orders[first.key]
    for image in first.images:
        draft.lies[image.uid] = second.key
        draft.truth[image.uid] = ""


def _join(draft: _Draft, first: Part, second: Part, random: np.random.Generator) -> None:
    draft.orders[second.key] = tuple(dict.fromkeys((*second.regions, *first.regions)))
    del draft.orders[first.key]
    for image in first.images:
        draft.lies[image.uid] = draft.truth[image.uid] = second.key


def _drop(draft: _Draft, first: Part, second: Part, random: np.random.Generator) -> None:
    _join(draft, first, second, random)
    for image in first.images:
        del draft.lies[image.uid]
    draft.missing = tuple(region for region in first.regions if region not in second.regions)


_MISTAKES = {
    Mistake.SWAP: _swap,
    Mistake.MISPLACE: _misplace,
    Mistake.LOST_ORDER: _lose_order,
    Mistake.JOINED: _join,
    Mistake.DROPPED: _drop,
}


def _one(part: Part, random: np.random.Generator) -> LabelledImage:
    return part.images[int(random.integers(len(part.images)))]


def _accession(key: str, wanted: tuple[str, ...]) -> OrderedAccession:
    expected = Expectation(regions=wanted, source=ExpectationSource.WORKLIST)
    return OrderedAccession(ref=AccessionRef(key=key, accession_number=key), expected=expected)


def _filed(image: LabelledImage, key: str, number: int) -> FiledImage:
    ref = ImageRef(
        instance_id=number, sop_instance_uid=image.uid, study_instance_uid=key, number=number
    )
    return FiledImage(ref=ref, accession=key, seen=image.seen)


def renamed(parts: Sequence[Part], prefix: str) -> tuple[Part, ...]:
    """Return parts of several people as orders of one, with keys that are all different."""
    return tuple(
        replace(part, key=f"{prefix}-{number}") for number, part in enumerate(parts, start=1)
    )
