"""How the images of a patient stand to the orders: plain frozen values, ready for JSON.

`inference.reconcile` makes them. Sentences name regions and accession numbers, for SR,
command line and REST; they never go into a log.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from inference.orders import Side
from inference.types import Expectation, ImageVerdict
from inference.verify import Seen


class Standing(StrEnum):
    """How an image, or a whole accession, stands to its order; worst first."""

    MISMATCH = "mismatch"
    """Shows something that was not ordered, while what was ordered is not shown elsewhere,
    or another order of the patient asks for it."""

    INCOMPLETE = "incomplete"
    """Of an accession only: a part was ordered and never imaged, or no image came at all."""

    EXTRA = "extra"
    """Everything ordered was imaged; this shows something more, which nobody ordered."""

    UNCERTAIN = "uncertain"
    NOT_DECLARED = "not_declared"
    MATCH = "match"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessionRef:
    """An accession, and what a copy filed under it must say."""

    key: str
    """Unique among the patient's accessions; what moves refer to."""

    accession_number: str
    """Empty for images without one, which are nobody's."""

    issuer: str = ""
    study_instance_uid: str = ""
    """Of its order, or else of its images; empty where neither is known or they differ."""

    requested_procedure_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedAccession:
    """What was ordered under one accession, all its requested procedures together."""

    ref: AccessionRef
    expected: Expectation | None = None
    """None where nothing known was ordered."""

    laterality: Side = Side.UNSAID
    cancelled: bool = False
    """Every order of it was cancelled: no image belongs there."""

    overdue: bool = False
    """It has no image, and none is awaited any more; what was ordered was never imaged."""

    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """An image, and what people call it."""

    instance_id: int
    sop_instance_uid: str
    study_instance_uid: str
    number: int
    """1, 2, 3 … within its accession."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FiledImage:
    """An image as it was filed, and what the body part network saw."""

    ref: ImageRef
    accession: str
    """`AccessionRef.key` of where it is filed."""

    seen: Seen
    laterality: Side = Side.UNSAID
    """As tagged."""

    expected: Expectation | None = None
    """What its own header says, for an accession whose order is known from headers alone."""

    settled: str | None = None
    """`AccessionRef.key` of where a person has agreed that it belongs, known here or not:
    it is taken for filed there when others are moved, and never moves itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStanding:
    """How one image stands to the order of its accession."""

    image: ImageRef
    standing: Standing
    verdict: ImageVerdict
    side_differs: bool
    """The tagged side is not the ordered one. Sides are read from tags alone."""

    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessionVerdict:
    """How the images of one accession stand to its order."""

    accession: AccessionRef
    standing: Standing
    expected: Expectation | None
    cancelled: bool
    stale: bool
    missing: tuple[str, ...]
    """Ordered regions that no image shows, or could show."""

    images: tuple[ImageStanding, ...]
    sentence: str


class ProposalKind(StrEnum):
    """What would put it right."""

    SWAP = "swap"
    """Images of two or more accessions change places."""

    MOVE = "move"
    """Images of one accession belong to another, and none comes back."""

    MISSING_ORDER = "missing_order"
    """Images belong to none of the patient's orders: one was never placed, or is not known."""


class Basis(StrEnum):
    """What a move rests on."""

    PIXELS = "pixels"
    """The region that the network saw."""

    TAGS = "tags"
    """The tagged side alone: both orders are for this region, of either side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One image, and where it belongs."""

    image: ImageRef
    origin: AccessionRef
    target: AccessionRef | None
    """None where no order of the patient fits."""

    region: str
    """The region seen in the image for which it belongs there."""

    probability: float
    """Of that region, calibrated."""

    margin: float
    """How much worse, in nats, the best explanation is in which the image does not go there."""

    basis: Basis = Basis.PIXELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Where misfiled images belong. Nothing moves without a person's word."""

    kind: ProposalKind
    moves: tuple[Move, ...]
    margin: float
    """The least of its moves'."""

    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """A patient's accessions of some days, and what would put them right."""

    accessions: tuple[AccessionVerdict, ...]
    """Those with images and those that are overdue, in the order of their keys."""

    proposals: tuple[Proposal, ...]


_PROPOSAL = TypeAdapter(Proposal)
_ACCESSION = TypeAdapter(AccessionVerdict)


def proposal_to_json(proposal: Proposal) -> dict[str, Any]:
    """Return `proposal` as JSON types only."""
    document: dict[str, Any] = _PROPOSAL.dump_python(proposal, mode="json")
    return document


def proposal_from_json(document: dict[str, Any]) -> Proposal:
    """Return the proposal that `proposal_to_json` wrote."""
    return _PROPOSAL.validate_python(document)


def accession_to_json(verdict: AccessionVerdict) -> dict[str, Any]:
    """Return `verdict` as JSON types only."""
    document: dict[str, Any] = _ACCESSION.dump_python(verdict, mode="json")
    return document


def accession_from_json(document: dict[str, Any]) -> AccessionVerdict:
    """Return the verdict that `accession_to_json` wrote."""
    return _ACCESSION.validate_python(document)
