"""Building orders and images for tests of reconciliation."""

from inference.accessions import AccessionRef, FiledImage, ImageRef, OrderedAccession
from inference.orders import Side
from inference.regions import load_regions
from inference.types import Expectation, ExpectationSource, RegionProbability
from inference.verify import Seen

TABLE = load_regions()
NETWORK = tuple(sorted(set(TABLE.labels.values())))
"""Regions that the shipped network names."""


def saw(**shown: float) -> Seen:
    """Return what a network says that sees exactly `shown`; the rest is clearly absent."""
    probabilities = dict.fromkeys(NETWORK, 0.0005) | shown
    ranked = sorted(probabilities.items(), key=lambda pair: (-pair[1], pair[0]))
    return Seen(
        ran=True,
        ranked=tuple(RegionProbability(region=r, probability=p) for r, p in ranked),
        present=frozenset(r for r, p in ranked if p >= 0.4),
        absent=frozenset(r for r, p in ranked if p < 0.01),
    )


def ordered(
    number: str,
    *regions: str,
    issuer: str = "",
    side: Side = Side.UNSAID,
    cancelled: bool = False,
    stale: bool = False,
    source: ExpectationSource = ExpectationSource.WORKLIST,
    words: tuple[str, ...] = (),
) -> OrderedAccession:
    """Return an accession under which `regions` were ordered."""
    expected = Expectation(regions=regions, source=source, matched_words=words)
    return OrderedAccession(
        ref=AccessionRef(key=f"{issuer}/{number}", accession_number=number, issuer=issuer),
        expected=expected if regions else None,
        laterality=side,
        cancelled=cancelled,
        stale=stale,
    )


def image(
    uid: str,
    accession: OrderedAccession,
    seen: Seen,
    *,
    number: int = 1,
    side: Side = Side.UNSAID,
    expected: Expectation | None = None,
) -> FiledImage:
    """Return an image filed under `accession`."""
    return FiledImage(
        ref=ImageRef(
            instance_id=abs(hash(uid)) % 1000,
            sop_instance_uid=uid,
            study_instance_uid="1.2",
            number=number,
        ),
        accession=accession.ref.key,
        seen=seen,
        laterality=side,
        expected=expected,
    )
