"""The sentences of a reconciliation: what a technologist reads (pure)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from inference.accessions import (
    AccessionRef,
    Basis,
    ImageStanding,
    Move,
    OrderedAccession,
    ProposalKind,
    Standing,
)
from inference.orders import Side
from inference.regions import RegionMap
from inference.types import ImageVerdict, Verdict

_SIDE = "The side tagged is not the side ordered (sides are read from tags, never from the pixels)."
_BY_TAGS = "Only the sides tagged say so; sides are never read from the pixels."
_SIDE_NAMES = {Side.LEFT: "left", Side.RIGHT: "right"}
_COUNTED = (
    (Standing.MISMATCH, "does not show what was ordered", "do not show what was ordered"),
    (
        Standing.EXTRA,
        "shows something more that nobody ordered",
        "show something more that nobody ordered",
    ),
    (Standing.UNCERTAIN, "is uncertain", "are uncertain"),
    (
        Standing.NOT_DECLARED,
        "has no known order to compare with",
        "have no known order to compare with",
    ),
    (Standing.MATCH, "matches", "match"),
)


def proposal_sentence(kind: ProposalKind, moves: Sequence[Move], regions: RegionMap) -> str:
    """Return what would put it right, in one sentence; a second where tags alone say so."""
    if moves[0].basis is Basis.TAGS:
        return f"{_sentence(kind, moves, regions)} {_BY_TAGS}"
    return _sentence(kind, moves, regions)


def _sentence(kind: ProposalKind, moves: Sequence[Move], regions: RegionMap) -> str:
    if kind is ProposalKind.MISSING_ORDER:
        return (
            f"{_capital(_images(moves, regions))} {_verb(moves, 'fits', 'fit')} no order of this"
            " patient; an order may be missing."
        )
    if kind is ProposalKind.MOVE:
        return f"{_capital(_fits(moves, regions))}."
    legs: dict[tuple[str, str], list[Move]] = {}
    for move in moves:
        assert move.target is not None
        legs.setdefault((move.origin.key, move.target.key), []).append(move)
    first, *others = legs.values()
    if len(others) == 1:
        return f"{_capital(_fits(first, regions))}; swap with {_images(others[0], regions)}."
    ring = "; ".join(_fits(leg, regions) for leg in legs.values())
    return f"These change places: {ring}."


def image_sentence(
    verdict: ImageVerdict, standing: Standing, side_differs: bool, cancelled: bool
) -> str:
    """Return how one image stands to its order."""
    if cancelled:
        return "The order of this accession was cancelled."
    said = [verdict.reason]
    if standing is Standing.EXTRA:
        said.append("What was ordered is shown by other images; this one is extra.")
    if side_differs:
        said.append(_SIDE)
    return " ".join(said)


def of_other_side(verdict: ImageVerdict, tagged: Side, ordered: Side) -> ImageVerdict:
    """Return the verdict on an image tagged with the other side: no match is certain."""
    if verdict.verdict is not Verdict.MATCH:
        return verdict
    sides = f"The side tagged is {_SIDE_NAMES[tagged]}, the side ordered is {_SIDE_NAMES[ordered]}."
    return replace(
        verdict,
        verdict=Verdict.UNCERTAIN,
        reason=f"{verdict.reason.removesuffix('Match.')}{sides} Please look.",
    )


def accession_sentence(
    accession: OrderedAccession,
    images: Sequence[ImageStanding],
    missing: Iterable[str],
    regions: RegionMap,
) -> str:
    """Return how a whole accession stands, in one or two sentences."""
    counts = Counter(image.standing for image in images)
    said = []
    if accession.cancelled:
        said.append("Its order was cancelled.")
    if not images:
        said.append("No image has come under it.")
    for standing, one, many in _COUNTED:
        if count := counts[standing]:
            share = "The image" if len(images) == 1 else f"{count} of {len(images)} images"
            said.append(f"{share} {one if count == 1 else many}.")
    names = [regions.name(r) if r in regions.regions else r.lower() for r in missing]
    if names:
        said.append(f"Ordered and not imaged: {', '.join(names)}.")
    if any(image.side_differs for image in images):
        said.append(_SIDE)
    return " ".join(said)


def _fits(moves: Sequence[Move], regions: RegionMap) -> str:
    target = moves[0].target
    assert target is not None
    shown = ", ".join(dict.fromkeys(_shown(move, regions) for move in moves))
    return (
        f"{_plural(moves)} {_numbers(moves)} {_of(moves[0].origin)} {_verb(moves, 'fits', 'fit')}"
        f" {_name(target)} ({shown})"
    )


def _images(moves: Sequence[Move], regions: RegionMap) -> str:
    shown = ", ".join(dict.fromkeys(_shown(move, regions) for move in moves))
    return f"{_plural(moves)} {_numbers(moves)} {_of(moves[0].origin)} ({shown})"


def _shown(move: Move, regions: RegionMap) -> str:
    return f"{regions.name(move.region)}, {min(move.probability, 0.99):.2f}"


def _numbers(moves: Sequence[Move]) -> str:
    numbers = [str(move.image.number) for move in moves]
    return numbers[0] if len(numbers) == 1 else f"{', '.join(numbers[:-1])} and {numbers[-1]}"


def _plural(moves: Sequence[Move]) -> str:
    return "image" if len(moves) == 1 else "images"


def _verb(moves: Sequence[Move], one: str, many: str) -> str:
    return one if len(moves) == 1 else many


def _of(accession: AccessionRef) -> str:
    number = accession.accession_number
    return f"of accession {number}" if number else "without accession number"


def _name(accession: AccessionRef) -> str:
    number = accession.accession_number
    return f"accession {number}" if number else "the images without accession number"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
