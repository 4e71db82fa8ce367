"""Was everything imaged that was ordered under an accession? (pure)"""

from collections.abc import Sequence

from inference.accessions import OrderedAccession
from inference.judged import Judged
from inference.regions import RegionMap
from inference.types import Expectation, Verdict


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


def completeness(
    accession: OrderedAccession, images: Sequence[Judged], regions: RegionMap
) -> tuple[tuple[str, ...], bool]:
    """Return the regions ordered and certainly never imaged, and whether all were imaged.

    Parameters
    ----------
    images : sequence of Judged
        Those filed under the accession; where there are none, all of an overdue order is
        missing.
    """
    if accession.expected is None or accession.cancelled:
        return (), False
    if not images:
        return accession.expected.regions if accession.overdue else (), False
    missing: list[str] = []
    complete = True
    shown = {
        region.region
        for each in images
        if each.verdict.verdict is Verdict.MATCH
        for region in each.verdict.seen
    }
    for part in parts(accession.expected, regions):
        fulfilling = frozenset[str]().union(
            *(regions.showing(region) for region in part if region in regions.regions)
        )
        complete = complete and bool(fulfilling & shown)
        if fulfilling and all(_cannot_show(fulfilling, each) for each in images):
            missing += sorted(part)
    return tuple(missing), complete


def _cannot_show(fulfilling: frozenset[str], each: Judged) -> bool:
    seen = each.image.seen
    return seen.ran and not seen.not_ours and fulfilling <= seen.absent
