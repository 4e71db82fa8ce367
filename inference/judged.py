"""One image beside the order of the accession that it is filed under (pure)."""

from dataclasses import dataclass

from inference.accessions import FiledImage, OrderedAccession, Standing
from inference.orders import Side
from inference.regions import RegionMap
from inference.types import ExpectationSource, ImageVerdict, Verdict
from inference.verify import judge_seen

TOLD = frozenset({ExpectationSource.WORKLIST, ExpectationSource.HL7})
"""Sources that speak of the order itself; the others are what images say of theirs."""

_STANDING = {
    Verdict.MATCH: Standing.MATCH,
    Verdict.MISMATCH: Standing.MISMATCH,
    Verdict.UNCERTAIN: Standing.UNCERTAIN,
    Verdict.NOT_DECLARED: Standing.NOT_DECLARED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An image with its verdict where it is filed."""

    image: FiledImage
    verdict: ImageVerdict
    """By regions alone."""

    standing: Standing
    """By regions and sides; `Standing.EXTRA` needs the other images and is found later."""

    side_differs: bool


def judged(image: FiledImage, accession: OrderedAccession, regions: RegionMap) -> Judged:
    """Compare an image with the order of its accession.

    Where that is known from headers alone, the image's own header decides.
    """
    expected = accession.expected
    if expected is not None and expected.source not in TOLD and image.expected is not None:
        expected = image.expected
    verdict = judge_seen(None if accession.cancelled else expected, image.seen, regions)
    standing = _STANDING[verdict.verdict]
    differs = sides_differ(image.laterality, accession.laterality)
    if standing is Standing.MATCH and differs:
        standing = Standing.UNCERTAIN
    return Judged(image=image, verdict=verdict, standing=standing, side_differs=differs)


def sides_differ(tagged: Side, ordered: Side) -> bool:
    """Whether one of the two is left and the other right."""
    return {tagged, ordered} == {Side.LEFT, Side.RIGHT}
