"""Is each image under the right order, and if not, where does it belong? (pure)

`reconcile` takes a patient's accessions of some days with their images, and says

* of each image and each accession how it stands (`inference.accessions.Standing`);
* which images most probably belong elsewhere (`inference.assignment`), as proposals.

What is certain by construction: an image that matches its order is never moved; nothing
moves to a cancelled order, to one that no network here can check, or to one whose regions
the image clearly does not show; every proposal reaches the least margin.

Sides are compared tag against order only. Which side an image really shows is not looked
for in its pixels.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from inference.accession_words import (
    accession_sentence,
    image_sentence,
    of_other_side,
    proposal_sentence,
)
from inference.accessions import (
    AccessionVerdict,
    FiledImage,
    ImageStanding,
    Move,
    OrderedAccession,
    Proposal,
    Reconciliation,
    Standing,
)
from inference.assignment import NOWHERE, Assigned, Candidate, Options, assign
from inference.grouping import grouped
from inference.orders import Side
from inference.regions import RegionMap
from inference.types import Expectation, ExpectationSource, ImageVerdict, Verdict
from inference.verify import judge_seen

TOLD = frozenset({ExpectationSource.WORKLIST, ExpectationSource.HL7})
"""Sources that speak of the order itself; the others are what images say of theirs."""

_STANDING = {
    Verdict.MATCH: Standing.MATCH,
    Verdict.MISMATCH: Standing.MISMATCH,
    Verdict.UNCERTAIN: Standing.UNCERTAIN,
    Verdict.NOT_DECLARED: Standing.NOT_DECLARED,
}
_WORST_FIRST = tuple(Standing)


def reconcile(
    accessions: Iterable[OrderedAccession],
    images: Iterable[FiledImage],
    regions: RegionMap,
    options: Options | None = None,
    refused: Callable[[Move], bool] = lambda _: False,
) -> Reconciliation:
    """Compare a patient's images with the patient's orders.

    Parameters
    ----------
    accessions : iterable of OrderedAccession
        Of one patient; every `FiledImage.accession` names one of them. Those without
        images may be where an image belongs.
    images : iterable of FiledImage
        Each once. Both come in any order; the answer does not depend on it.
    regions : RegionMap
        The table of regions.
    options : Options, optional
        What is believed beforehand.
    refused : callable, optional
        Whether a person has decided on a move already: it is in no proposal then.
    """
    options = options or Options()
    known = {accession.ref.key: accession for accession in accessions}
    judged = [
        _judge(image, known[image.accession], regions)
        for image in sorted(images, key=_reading_order)
    ]
    targets = {
        key: fulfilling
        for key, accession in sorted(known.items())
        if accession.ref.accession_number and (fulfilling := _fulfilling(accession, regions))
    }
    moves = _moves(judged, known, targets, options)
    proposals = tuple(
        Proposal(
            kind=kind,
            moves=group,
            margin=min(move.margin for move in group),
            sentence=proposal_sentence(kind, group, regions),
        )
        for kind, group in grouped([move for move in moves if not refused(move)])
    )
    verdicts = tuple(
        _accession_verdict(
            accession,
            [each for each in judged if each.image.accession == key],
            frozenset[str]().union(*(targets[other] for other in targets if other != key)),
            moves,
            regions,
        )
        for key, accession in sorted(known.items())
        if any(each.image.accession == key for each in judged)
    )
    return Reconciliation(accessions=verdicts, proposals=proposals)


def merged_expectation(expectations: Sequence[Expectation]) -> Expectation | None:
    """Return what several procedures of one accession expect together, None for none.

    They must be of one source; the first decides.
    """
    if not expectations:
        return None
    source = expectations[0].source
    same = [each for each in expectations if each.source is source]
    return Expectation(
        regions=tuple(dict.fromkeys(region for each in same for region in each.regions)),
        source=source,
        matched_words=tuple(dict.fromkeys(word for each in same for word in each.matched_words)),
    )


def parts(expected: Expectation, regions: RegionMap) -> tuple[frozenset[str], ...]:
    """Return the parts of an order that each need an image: the regions any of which will do.

    A word of the table that stands for several regions ("distal tibia": lower leg or
    ankle) is one part; every other region is a part of its own.
    """
    words = regions.lexicon.words
    wanted = frozenset(expected.regions)
    found: dict[frozenset[str], None] = {}
    for word in expected.matched_words:
        meant = frozenset(words.get(word) or words.get(f"{word}?") or ()) & wanted
        if len(meant) > 1:
            found[meant] = None
    joined = frozenset[str]().union(*found)
    return (*found, *(frozenset({region}) for region in expected.regions if region not in joined))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """An image with its verdict where it is filed."""

    image: FiledImage
    verdict: ImageVerdict
    standing: Standing
    side_differs: bool


def _reading_order(image: FiledImage) -> tuple[str, int, str]:
    return image.accession, image.ref.number, image.ref.sop_instance_uid


def _judge(image: FiledImage, accession: OrderedAccession, regions: RegionMap) -> _Judged:
    expected = accession.expected
    if expected is not None and expected.source not in TOLD and image.expected is not None:
        expected = image.expected
    verdict = judge_seen(None if accession.cancelled else expected, image.seen, regions)
    standing = _STANDING[verdict.verdict]
    differs = _sides_differ(image.laterality, accession.laterality)
    if standing is Standing.MATCH and differs:
        standing = Standing.UNCERTAIN
    return _Judged(image=image, verdict=verdict, standing=standing, side_differs=differs)


def _sides_differ(tagged: Side, ordered: Side) -> bool:
    one_side = {Side.LEFT, Side.RIGHT}
    return {tagged, ordered} == one_side


def _fulfilling(accession: OrderedAccession, regions: RegionMap) -> frozenset[str]:
    """Regions whose images fulfil the order; empty where that cannot be told of all of it."""
    if accession.cancelled or accession.expected is None:
        return frozenset()
    each = [
        regions.showing(region) if region in regions.regions else frozenset()
        for region in accession.expected.regions
    ]
    return frozenset[str]().union(*each) if all(each) else frozenset()


def _moves(
    judged: Sequence[_Judged],
    known: dict[str, OrderedAccession],
    targets: dict[str, frozenset[str]],
    options: Options,
) -> list[Move]:
    """Return where images most probably belong, of those that belong elsewhere."""
    candidates = [_candidate(each, known, targets) for each in judged]
    assigned = assign(candidates, list(targets), options)
    moves = []
    for each, candidate in zip(judged, candidates, strict=True):
        found = assigned[candidate.key]
        if found.place == candidate.filed or not _is_sure(each, found, options):
            continue
        seen = each.image.seen
        shown = seen.probability(targets[found.place]) if found.place else seen.ranked[0]
        assert shown is not None
        moves.append(
            Move(
                image=each.image.ref,
                origin=known[each.image.accession].ref,
                target=known[found.place].ref if found.place else None,
                region=shown.region,
                probability=shown.probability,
                margin=found.margin,
            )
        )
    return moves


def _is_sure(each: _Judged, found: Assigned, options: Options) -> bool:
    if found.place != NOWHERE:
        return found.margin >= options.least_margin
    mismatch = each.verdict.verdict is Verdict.MISMATCH
    return mismatch and found.margin >= options.least_margin_missing


def _candidate(
    each: _Judged, known: dict[str, OrderedAccession], targets: dict[str, frozenset[str]]
) -> Candidate:
    image, seen = each.image, each.image.seen
    origin = known[image.accession]
    held = image.accession if image.settled is None else image.settled
    filed = held if held in targets else NOWHERE
    nobodys = not origin.ref.accession_number or origin.cancelled
    doubted = each.standing in (Standing.MISMATCH, Standing.UNCERTAIN)
    movable = seen.ran and not seen.not_ours and bool(seen.ranked)
    fits = {}
    for key, fulfilling in targets.items():
        shown = seen.probability(fulfilling)
        possible = key == filed or bool(
            fulfilling & {found.region for found in seen.ranked} - seen.absent
        )
        if shown is not None and possible:
            fits[key] = shown.probability
    knowable = nobodys or (filed in fits)
    return Candidate(
        key=image.ref.sop_instance_uid,
        filed=filed,
        locked=image.settled is not None or not (movable and knowable and (nobodys or doubted)),
        fits=fits,
        best=seen.ranked[0].probability if seen.ranked else 0.0,
        sides_differ=frozenset(
            key for key in targets if _sides_differ(image.laterality, known[key].laterality)
        ),
    )


def _accession_verdict(
    accession: OrderedAccession,
    judged: Sequence[_Judged],
    elsewhere: frozenset[str],
    moves: Sequence[Move],
    regions: RegionMap,
) -> AccessionVerdict:
    """Judge an accession; `elsewhere` are the regions that other orders ask for."""
    missing, complete = _completeness(accession, judged, regions)
    moving = {move.image.sop_instance_uid for move in moves if move.target is not None}
    images = []
    for each in judged:
        standing = each.standing
        leaves = each.image.ref.sop_instance_uid in moving
        wanted = leaves or elsewhere & each.image.seen.present
        if standing is Standing.MISMATCH and complete and not wanted:
            standing = Standing.EXTRA
        images.append(
            ImageStanding(
                image=each.image.ref,
                standing=standing,
                verdict=of_other_side(each.verdict, each.image.laterality, accession.laterality)
                if each.side_differs
                else each.verdict,
                side_differs=each.side_differs,
                sentence=image_sentence(
                    each.verdict, standing, each.side_differs, accession.cancelled
                ),
            )
        )
    standings = [image.standing for image in images]
    standings += [Standing.INCOMPLETE] if missing else []
    standing = min(standings, key=_WORST_FIRST.index)
    return AccessionVerdict(
        accession=accession.ref,
        standing=standing,
        expected=accession.expected,
        cancelled=accession.cancelled,
        stale=accession.stale,
        missing=missing,
        images=tuple(images),
        sentence=accession_sentence(accession, images, missing, regions),
    )


def _completeness(
    accession: OrderedAccession, judged: Sequence[_Judged], regions: RegionMap
) -> tuple[tuple[str, ...], bool]:
    """Return the regions ordered and certainly never imaged, and whether all were imaged."""
    if accession.expected is None or accession.cancelled:
        return (), False
    missing: list[str] = []
    complete = True
    shown = {
        region.region
        for each in judged
        if each.verdict.verdict is Verdict.MATCH
        for region in each.verdict.seen
    }
    for part in parts(accession.expected, regions):
        fulfilling = frozenset[str]().union(
            *(regions.showing(region) for region in part if region in regions.regions)
        )
        complete = complete and bool(fulfilling & shown)
        if fulfilling and all(_cannot_show(fulfilling, each) for each in judged):
            missing += sorted(part)
    return tuple(missing), complete


def _cannot_show(fulfilling: frozenset[str], each: _Judged) -> bool:
    seen = each.image.seen
    return seen.ran and not seen.not_ours and fulfilling <= seen.absent
