"""What a change of an order leaves as it was: what it does not tell (pure)."""

from collections.abc import Iterable
from dataclasses import replace

from inference.orders import Order, OrderState, Side
from inference.types import ExpectationSource


def is_change(order: Order) -> bool:
    """Tell whether this is an HL7 notice that an order changed."""
    return order.source is ExpectationSource.HL7 and order.state is OrderState.CHANGED


def completed(change: Order, known: Iterable[Order]) -> Order:
    """Return a change with the day, Study Instance UID and side of its order where it tells none.

    The side stays with the body part: a change to another one has the side that it tells. Where
    its order is not known its day is the notice's: without one it would be of every day.
    """
    before = next((order for order in known if _name_of(order) == _name_of(change)), None)
    if before is None:
        return replace(change, ordered_on=change.ordered_on or change.received_at.date())
    keeps_side = change.laterality is Side.UNSAID and change.regions == before.regions
    return replace(
        change,
        ordered_on=change.ordered_on or before.ordered_on,
        study_instance_uid=change.study_instance_uid or before.study_instance_uid,
        laterality=before.laterality if keeps_side else change.laterality,
    )


def _name_of(order: Order) -> tuple[object, ...]:
    """Return what the book keeps an order under."""
    return (
        order.source,
        order.accession_number,
        order.issuer,
        order.requested_procedure_id,
        order.patient,
    )
