"""What HL7 v2 order messages say was ordered (pure).

ORM^O01, OMI^O23 and OMG^O19: each ORC or OBR begins an order, and the IPC segments after it
say where it stands in the imaging department. Acknowledgements are in `ack`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from dicom_node.config.orders import Hl7Settings
from dicom_node.orders.er7 import Hl7Refused, Message
from dicom_node.orders.hl7_fields import (
    Group,
    codes_of,
    groups_of,
    identities_of,
    numbers_of,
    patient_of,
    scheduled_day,
    sides_of,
)
from dicom_node.orders.items import clean, kept_codes, kept_texts
from inference.ordered import procedure_expectation
from inference.orders import Order, OrderState, PatientKey, Provenance, Side
from inference.regions import RegionMap
from inference.sides import side_of
from inference.types import ExpectationSource

MESSAGES = {"ORM": "O01", "OMI": "O23", "OMG": "O19"}
"""What is taken: message code and its trigger event (MSH-9)."""

_STATES = {
    **dict.fromkeys(("NW", "RO", "RF", "CH", "PA"), OrderState.SCHEDULED),
    **dict.fromkeys(("XO", "XX", "XR", "SC", "SN", "NA"), OrderState.CHANGED),
    **dict.fromkeys(("CA", "OC", "CR", "DC", "OD", "DR", "RP", "RQ", "RU"), OrderState.CANCELLED),
}
"""HL7 Table 0119; what is not here asks for nothing (holds, refusals, queries)."""

_NOTHING_NEW = frozenset(
    {"HD", "RL", "HR", "OH", "OR", "UA", "UC", "UD", "UF", "UH", "UM", "UN", "UR", "UX", "DE",
     "DF", "FU", "RE", "RR", "SR", "SS", "OE", "OF", "OK", "OP", "PR", "LI", "PY", "AF", "RX",
     "CN", "MC", "NR"}
)  # fmt: skip
_CANCELLED_STATUS = frozenset({"CA", "DC", "RP"})
"""HL7 Table 0038, in a change of status (ORC-1 SC)."""


def check_header(message: Message, settings: Hl7Settings) -> None:
    """Check that the message is of a kind that is taken.

    Raises
    ------
    Hl7Refused
        By MSH-9 to MSH-12.
    """
    header = message.header
    if not header.text(10):
        raise Hl7Refused("MSH-10 is required", error=101)
    trigger = MESSAGES.get(header.text(9))
    if trigger is None:
        raise Hl7Refused("messages of this type are not taken", answer="AR", error=200)
    if header.text(9, 2) != trigger:
        raise Hl7Refused("messages of this event are not taken", answer="AR", error=201)
    if header.text(11) not in settings.processing_ids:
        raise Hl7Refused("hl7.processing_ids does not name MSH-11", answer="AR", error=202)
    if not header.text(12).startswith("2."):
        raise Hl7Refused("MSH-12 must be a version 2", answer="AR", error=203)


def orders_of_message(
    message: Message, settings: Hl7Settings, regions: RegionMap, received_at: datetime
) -> tuple[Order, ...]:
    """Return what the message says of orders; none where it asks for nothing here.

    Parameters
    ----------
    message : Message
        As `er7.read` returned it.
    settings : Hl7Settings
        Where accession number and Patient ID are, and which modalities count.
    regions : RegionMap
        The table of regions.

    Raises
    ------
    Hl7Refused
        When it is not of a kind that is taken, or lacks what an order needs.
    """
    check_header(message, settings)
    reader = _Reader(message, patient_of(message, settings), settings, regions, received_at)
    found: dict[tuple[str, ...], Order] = {}
    for group in groups_of(message):
        for order in reader.orders(group):
            key = _key(order)
            found[key] = _joined(found[key], order) if key in found else order
    # A message that replaces an order cancels the old before it places the new.
    return tuple(sorted(found.values(), key=lambda each: each.state is not OrderState.CANCELLED))


def _key(order: Order) -> tuple[str, ...]:
    """Return what the parts of one order share; a cancel may have its numbers only."""
    key = (order.accession_number, order.issuer, order.requested_procedure_id)
    if order.requested_procedure_id or order.state is not OrderState.CANCELLED:
        return key
    return (*key, order.placer_number, order.filler_number)


def _joined(one: Order, other: Order) -> Order:
    """Return both parts of an order that a message tells in two."""
    if OrderState.CANCELLED in (one.state, other.state):
        return other if one.state is OrderState.CANCELLED else one
    sides = {one.laterality, other.laterality} - {Side.UNSAID}
    return replace(
        one,
        regions=tuple(dict.fromkeys(one.regions + other.regions)),
        codes=tuple(dict.fromkeys(one.codes + other.codes)),
        matched_words=tuple(dict.fromkeys(one.matched_words + other.matched_words)),
        texts=() if one.regions or other.regions else one.texts or other.texts,
        laterality=Side.BOTH if len(sides) > 1 else next(iter(sides), Side.UNSAID),
        study_instance_uid=one.study_instance_uid or other.study_instance_uid,
        ordered_on=one.ordered_on or other.ordered_on,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Makes orders of the groups of one message."""

    message: Message
    patient: PatientKey
    settings: Hl7Settings
    regions: RegionMap
    received_at: datetime

    def orders(self, group: Group) -> Iterator[Order]:
        """Yield what the group asks for; nothing where that does not concern us."""
        state = _state(group)
        if state is None or not _is_ours(group, self.settings):
            return
        codes = codes_of(group)
        cancels, changes = state is OrderState.CANCELLED, state is OrderState.CHANGED
        if changes and not codes:
            return  # a change of something else: what was ordered stays as it is known
        expected = procedure_expectation(codes, (), ExpectationSource.HL7, self.regions)
        placer, filler = numbers_of(group)
        named = identities_of(group, self.settings, cancels=cancels)
        for accession, issuer, procedure_id, study_uid in named:
            yield Order(
                accession_number=accession,
                issuer=issuer,
                requested_procedure_id=procedure_id,
                placer_number=placer,
                filler_number=filler,
                patient=self.patient,
                source=ExpectationSource.HL7,
                provenance=self._provenance(group),
                regions=expected.regions if expected is not None else (),
                laterality=side_of(codes, sides_of(group)),
                codes=kept_codes(codes),
                matched_words=expected.matched_words if expected is not None else (),
                texts=kept_texts((code.meaning for code in codes if not code.value), expected),
                state=state,
                study_instance_uid=study_uid,
                ordered_on=scheduled_day(group, self.message, changes=changes),
                received_at=self.received_at,
            )

    def _provenance(self, group: Group) -> Provenance:
        header = self.message.header
        control = group.orc.text(1) if group.orc is not None else "NW"
        return Provenance(
            peer=clean(header.text(3)),
            message_id=clean(header.text(10)),
            event=f"{header.text(9)}^{header.text(9, 2)} {control}",
        )


def _state(group: Group) -> OrderState | None:
    """Return what the order control makes of the order, None where it asks for nothing."""
    if group.orc is None:
        return OrderState.SCHEDULED
    control = group.orc.text(1)
    if control == "SC" and group.orc.text(5) in _CANCELLED_STATUS:
        return OrderState.CANCELLED
    if control in _NOTHING_NEW:
        return None
    state = _STATES.get(control)
    if state is None:
        raise Hl7Refused("ORC-1 is not of HL7 Table 0119", error=103)
    return state


def _is_ours(group: Group, settings: Hl7Settings) -> bool:
    """Tell whether the order is for a radiograph, as far as it says what it is for."""
    told = {ipc.text(5).upper() for ipc in group.ipcs}
    if group.obr is not None and not told - {""}:
        told = {group.obr.text(24).upper()}
    return not told - {""} or bool(told & set(settings.modalities))
