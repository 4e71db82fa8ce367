"""What was ordered: one order of one accession, wherever it was learnt (pure).

An order is known from a worklist, from an HL7 message, or from the headers of the images
themselves. The value is the same for all three; `Order.source` and `Order.provenance` say
which it was.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from inference.types import Code, Expectation, ExpectationSource


class OrderState(StrEnum):
    """Where an order stands with whoever placed it."""

    SCHEDULED = "scheduled"
    CHANGED = "changed"
    """Placed, and altered since: the newest content counts."""

    CANCELLED = "cancelled"


class Side(StrEnum):
    """Laterality as ordered or as tagged (0020,0060); never read from pixels."""

    LEFT = "L"
    RIGHT = "R"
    BOTH = "B"
    UNSAID = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientKey:
    """A patient: the same Patient ID of two issuers is two people."""

    patient_id: str
    issuer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How an order came to be known; kept with it."""

    peer: str = ""
    """AE title of the worklist, sending application of the message, or calling AE title."""

    message_id: str = ""
    """HL7 message control id (MSH-10), or the number of the image's row; empty for C-FIND."""

    event: str = ""
    """``C-FIND``, the HL7 message and order control such as ``ORM^O01 NW``, or ``image``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One requested procedure of one accession.

    Two orders may share an accession number: their `requested_procedure_id` differs.
    """

    accession_number: str
    """Empty only in a cancel that names its order by placer or filler number alone."""

    issuer: str = ""
    """Issuer of Accession Number (PS3.3 Section 10.14), as ``storage.filing`` joins it."""

    requested_procedure_id: str = ""
    placer_number: str = ""
    """The number that HL7 messages give it where it was placed (ORC-2); a cancel may name it."""

    filler_number: str = ""
    """The same of where it is carried out (ORC-3)."""

    patient: PatientKey
    source: ExpectationSource
    provenance: Provenance = Provenance()
    regions: tuple[str, ...] = ()
    """Region keys. An image of any one of them fulfils the order, and the order is complete
    when each of them was imaged. Empty where nothing the table knows was named."""

    laterality: Side = Side.UNSAID
    codes: tuple[Code, ...] = ()
    """The procedure as coded by whoever ordered it."""

    matched_words: tuple[str, ...] = ()
    """Entries of the mapping table that matched; never the free text itself."""

    texts: tuple[str, ...] = ()
    """What the procedure is called, without a code, where the table finds no region in it;
    for whoever keeps the table. A few, cut to what is kept."""

    state: OrderState = OrderState.SCHEDULED
    study_instance_uid: str = ""
    """Known before the images: worklist items and OMI messages carry it."""

    ordered_on: date | None = None
    """The scheduled day, or the day of the order where none is scheduled."""

    received_at: datetime
    """When this node learnt it; with a time zone."""

    stale: bool = False
    """True where its source could not be asked again when it was due."""

    def expectation(self) -> Expectation | None:
        """Return what `inference.verify.judge` compares an image with."""
        if not self.regions or self.state is OrderState.CANCELLED:
            return None
        return Expectation(
            regions=self.regions, source=self.source, matched_words=self.matched_words
        )

    def as_stale(self) -> "Order":
        """Return the same order, marked as not confirmed lately."""
        return replace(self, stale=True)


_PATTERN_SIGNS = frozenset("*?\\")
"""Wild cards and the separator of a list (PS3.4 Section C.2.2.2, PS3.5 Section 6.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderQuery:
    """What a source is asked: by accession, or by patient and day; empty matches anything."""

    accession_number: str = ""
    issuer: str = ""
    patient: PatientKey | None = None
    day: date | None = None

    @property
    def is_pattern(self) -> bool:
        """Whether a number in it would match others, too, where it is asked by C-FIND."""
        patient_id = self.patient.patient_id if self.patient is not None else ""
        return not _PATTERN_SIGNS.isdisjoint(self.accession_number + patient_id)


_ORDER = TypeAdapter(Order)


def order_to_json(order: Order) -> dict[str, Any]:
    """Return `order` as JSON types only."""
    document: dict[str, Any] = _ORDER.dump_python(order, mode="json")
    return document


def order_from_json(document: dict[str, Any]) -> Order:
    """Return the order that `order_to_json` wrote."""
    return _ORDER.validate_python(document)


def content_of(order: Order) -> list[object]:
    """Return what an order asks for, as JSON types only.

    When it was learnt, from which message, and whether it is stale is not in it: a notice
    whose content did not change asks for nothing new.
    """
    return [
        sorted(order.regions),
        order.laterality.value,
        order.state is OrderState.CANCELLED,
        order.study_instance_uid,
        order.ordered_on.isoformat() if order.ordered_on is not None else None,
    ]
