"""Which orders a cancel means: it may name them otherwise than they were placed (pure)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from audit.errors import Rejected
from inference.orders import Order, OrderState
from inference.types import ExpectationSource


class NothingToCancel(Rejected):
    """Cancels name their orders by number alone, and no order of these numbers is known."""

    code = "orders.cancel.unmatched"

    def __init__(self) -> None:
        super().__init__("no order is known that has this placer or filler number")


def is_cancel(order: Order) -> bool:
    """Tell whether this is an HL7 notice that an order is cancelled."""
    return order.source is ExpectationSource.HL7 and order.state is OrderState.CANCELLED


def cancelled_by(cancel: Order, known: Iterable[Order]) -> tuple[Order, ...]:
    """Return what a cancel leaves of the orders that are known: each that it means, cancelled.

    An issuer, of the patient or of the accession, that one side does not name contradicts
    nothing, where that leaves one issuer.

    Of the orders of its accession those of its procedure id, else those of its placer or
    filler number, else all where it names no procedure id. Where the accession is unknown or
    not told, the patient's orders of its placer or filler number. Where none of these is
    known, the cancel itself: its order may have been placed before anybody listened; but
    nothing where it tells no accession number to keep it under.
    """
    patient = cancel.patient
    people = [
        order
        for order in known
        if order.source is ExpectationSource.HL7 and order.patient.patient_id == patient.patient_id
    ]
    own = _of_issuer(patient.issuer, people, lambda order: order.patient.issuer)
    meant = _of_accession(cancel, own) if cancel.accession_number else _of_number(cancel, own)
    if meant:
        return tuple(
            replace(
                order,
                state=OrderState.CANCELLED,
                provenance=cancel.provenance,
                received_at=cancel.received_at,
            )
            for order in meant
        )
    return (cancel,) if cancel.accession_number else ()


def _of_accession(cancel: Order, own: Sequence[Order]) -> Sequence[Order]:
    numbered = [order for order in own if order.accession_number == cancel.accession_number]
    same = _of_issuer(cancel.issuer, numbered, lambda order: order.issuer)
    if not same:
        return _of_number(cancel, own)
    procedure = cancel.requested_procedure_id
    exact = [order for order in same if procedure and order.requested_procedure_id == procedure]
    return exact or _of_number(cancel, same) or ([] if procedure else same)


def _of_issuer(
    issuer: str, orders: Sequence[Order], issuer_of: Callable[[Order], str]
) -> Sequence[Order]:
    """Return the orders whose issuer does not contradict; those of just this one where the
    others are of several."""
    found = [order for order in orders if not issuer or issuer_of(order) in ("", issuer)]
    if len({issuer_of(order) for order in found} - {""}) > 1:
        return [order for order in found if issuer_of(order) == issuer]
    return found


def _of_number(cancel: Order, orders: Iterable[Order]) -> Sequence[Order]:
    """Return the orders whose numbers agree, of those that both sides tell; one at least."""
    return [order for order in orders if _same_number(cancel, order)]


def _same_number(one: Order, other: Order) -> bool:
    told = [
        (ours, theirs)
        for ours, theirs in (
            (one.placer_number, other.placer_number),
            (one.filler_number, other.filler_number),
        )
        if ours and theirs
    ]
    return bool(told) and all(ours == theirs for ours, theirs in told)
