"""Two orders for the two sides of one region, whose images carry each other's side (pure).

The network sees no sides, so `inference.assignment` finds both orders equally good. Here the
tags speak: where images of either order are tagged with the side of the other, that is one
mistake, an exchange, and not several. Its odds are those of the tags together, against the
prior of one misfiling.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from math import log

from inference.accessions import Basis, Move, OrderedAccession
from inference.assignment import Options
from inference.judged import Judged, sides_differ
from inference.types import Verdict


def side_swaps(
    images: Sequence[Judged],
    known: Mapping[str, OrderedAccession],
    targets: Mapping[str, frozenset[str]],
    moving: Collection[str],
    options: Options,
) -> list[Move]:
    """Return the moves of every exchange that the tagged sides speak of, marked as such.

    An exchange is proposed between two accessions only when each has images that match
    their order but for the side, all of these fulfil the other order, no third accession
    could be meant, and the odds reach ``least_margin``.

    Parameters
    ----------
    known : mapping
        Accessions by key.
    targets : mapping
        For the key of each order that images may belong to, the regions that fulfil it.
    moving : collection of str
        Keys of accessions that images already leave or reach by what they show.
    """
    contradicting: dict[str, list[Judged]] = defaultdict(list)
    for each in images:
        key = each.image.accession
        movable = each.image.settled is None and key not in moving and key in targets
        if movable and each.side_differs and each.verdict.verdict is Verdict.MATCH:
            contradicting[key].append(each)
    partners: dict[str, list[str]] = defaultdict(list)
    for one, other in combinations(sorted(contradicting), 2):
        if sides_differ(known[one].laterality, known[other].laterality) and (
            _all_fulfil(contradicting[one], targets[other])
            and _all_fulfil(contradicting[other], targets[one])
        ):
            partners[one].append(other)
            partners[other].append(one)
    moves: list[Move] = []
    for one, found in sorted(partners.items()):
        if len(found) == 1 and partners[found[0]] == [one]:
            count = len(contradicting[one]) + len(contradicting[found[0]])
            margin = _margin(count, options)
            if margin >= options.least_margin:
                target = known[found[0]]
                moves += [
                    _move(each, known[one], target, targets[found[0]], margin)
                    for each in contradicting[one]
                ]
    return moves


def _all_fulfil(images: Sequence[Judged], fulfilling: frozenset[str]) -> bool:
    return all(fulfilling & {r.region for r in each.image.seen.shown} for each in images)


def _margin(count: int, options: Options) -> float:
    """Return the log odds of one exchange of `count` images over as many wrong tags."""
    tags = count * log((1 - options.other_side) / options.other_side)
    stays = 1 - options.misfiled - options.unordered
    return tags - log(stays / options.misfiled)


def _move(
    each: Judged,
    origin: OrderedAccession,
    target: OrderedAccession,
    fulfilling: frozenset[str],
    margin: float,
) -> Move:
    shown = each.image.seen.probability(fulfilling)
    assert shown is not None
    return Move(
        image=each.image.ref,
        origin=origin.ref,
        target=target.ref,
        region=shown.region,
        probability=shown.probability,
        margin=margin,
        basis=Basis.TAGS,
    )
