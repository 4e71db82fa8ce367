"""Is each image under the right order, and if not, where does it belong? (pure)

`reconcile` takes a patient's accessions of some days with their images, and says

* of each image and each accession how it stands (`inference.accessions.Standing`);
* which images most probably belong elsewhere (`inference.assignment`), as proposals.

What is certain by construction: an image that matches its order, the side too, is never
moved; nothing moves to a cancelled order, to one that no network here can check, or to one
whose regions the image clearly does not show; every proposal reaches the least margin.

Sides are compared tag against order only (`inference.side_swaps`). Which side an image
really shows is not looked for in its pixels.
"""

from collections.abc import Callable, Iterable, Sequence

from inference.accession_words import (
    accession_sentence,
    image_sentence,
    of_other_side,
    proposal_sentence,
)
from inference.accessions import (
    AccessionVerdict,
    Basis,
    FiledImage,
    ImageStanding,
    Move,
    OrderedAccession,
    Proposal,
    ProposalKind,
    Reconciliation,
    Standing,
)
from inference.assignment import NOWHERE, Assigned, Candidate, Options, assign
from inference.completeness import completeness
from inference.grouping import grouped
from inference.judged import Judged, judged, sides_differ
from inference.regions import RegionMap
from inference.side_swaps import side_swaps
from inference.types import Verdict

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
    each_judged = [
        judged(image, known[image.accession], regions)
        for image in sorted(images, key=_reading_order)
    ]
    targets = {
        key: fulfilling
        for key, accession in sorted(known.items())
        if accession.ref.accession_number and (fulfilling := _fulfilling(accession, regions))
    }
    moves = _moves(each_judged, known, targets, options)
    moving = {ref.key for m in moves for ref in (m.origin, m.target) if ref is not None}
    by_tags = side_swaps(each_judged, known, targets, moving, options)
    wanted = [move for move in (*moves, *by_tags) if not refused(move)]
    reached = {each.image.settled for each in each_judged}
    verdicts = []
    for key, accession in sorted(known.items()):
        own = [each for each in each_judged if each.image.accession == key]
        if own or (accession.overdue and key not in reached):
            others = (targets[other] for other in targets if other != key)
            elsewhere = frozenset[str]().union(*others)
            verdicts.append(_accession_verdict(accession, own, elsewhere, moves, regions))
    return Reconciliation(accessions=tuple(verdicts), proposals=_proposals(wanted, regions))


def _proposals(moves: Sequence[Move], regions: RegionMap) -> tuple[Proposal, ...]:
    return tuple(
        Proposal(
            kind=kind,
            moves=group,
            margin=min(move.margin for move in group),
            sentence=proposal_sentence(kind, group, regions),
        )
        for kind, group in grouped(moves)
        # Of an exchange that tags alone speak of, one half alone is nothing.
        if kind is ProposalKind.SWAP or group[0].basis is Basis.PIXELS
    )


def _reading_order(image: FiledImage) -> tuple[str, int, str]:
    return image.accession, image.ref.number, image.ref.sop_instance_uid


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
    images: Sequence[Judged],
    known: dict[str, OrderedAccession],
    targets: dict[str, frozenset[str]],
    options: Options,
) -> list[Move]:
    """Return where images most probably belong, of those that belong elsewhere."""
    candidates = [_candidate(each, known, targets) for each in images]
    assigned = assign(candidates, list(targets), options)
    moves = []
    for each, candidate in zip(images, candidates, strict=True):
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


def _is_sure(each: Judged, found: Assigned, options: Options) -> bool:
    if found.place != NOWHERE:
        return found.margin >= options.least_margin
    mismatch = each.verdict.verdict is Verdict.MISMATCH
    return mismatch and found.margin >= options.least_margin_missing


def _candidate(
    each: Judged, known: dict[str, OrderedAccession], targets: dict[str, frozenset[str]]
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
            key for key in targets if sides_differ(image.laterality, known[key].laterality)
        ),
    )


def _accession_verdict(
    accession: OrderedAccession,
    filed: Sequence[Judged],
    elsewhere: frozenset[str],
    moves: Sequence[Move],
    regions: RegionMap,
) -> AccessionVerdict:
    """Judge an accession; `elsewhere` are the regions that other orders ask for."""
    missing, complete = completeness(accession, filed, regions)
    moving = {move.image.sop_instance_uid for move in moves if move.target is not None}
    images = []
    for each in filed:
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
