"""Which orders are meant by an accession of the images, and which of them holds (pure).

Unknown is never guessed: a number that two issuers gave out means neither where the images
do not name theirs, and an order of another patient is nobody's here.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from dicom_node.config.accession import OrderedBy
from inference.accessions import AccessionRef, OrderedAccession
from inference.completeness import merged_expectation
from inference.orders import Order, OrderState, PatientKey, Side
from inference.types import Expectation, ExpectationSource

SOURCES_OF: dict[OrderedBy, frozenset[ExpectationSource]] = {
    OrderedBy.WORKLIST: frozenset({ExpectationSource.WORKLIST}),
    OrderedBy.HL7: frozenset({ExpectationSource.HL7}),
    OrderedBy.REQUEST: frozenset(
        {
            ExpectationSource.REQUESTED_PROCEDURE_CODE,
            ExpectationSource.REQUESTED_PROCEDURE_DESCRIPTION,
        }
    ),
    OrderedBy.DESCRIPTION: frozenset(
        {
            ExpectationSource.STUDY_DESCRIPTION,
            ExpectationSource.SERIES_DESCRIPTION,
            ExpectationSource.PERFORMED_PROTOCOL,
            ExpectationSource.BODY_PART_EXAMINED,
        }
    ),
}
"""Which of its sources each setting of `accession.sources` stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """An accession as the images, or an order, name it."""

    accession_number: str
    issuer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What the headers of the images of one accession say of its order."""

    expectations: tuple[Expectation, ...] = ()
    """Of each image, by each source that names a region; equal ones once."""

    sides: frozenset[Side] = frozenset()
    study_instance_uid: str = ""
    """Of its images, where they agree."""


def meant_by(number: Number, patient: PatientKey, orders: Iterable[Order]) -> tuple[Order, ...]:
    """Return the orders that an accession of a patient's images means.

    An issuer, of the number or of the patient, that one side does not name contradicts
    nothing; but where the remaining orders are of several issuers, none is meant.
    """
    if not number.accession_number:
        return ()
    same = [
        order
        for order in orders
        if order.accession_number == number.accession_number and _agree(order.issuer, number.issuer)
    ]
    exact = [order for order in same if number.issuer and order.issuer == number.issuer]
    own = of_patient(patient, exact or same)
    return own if len({order.issuer for order in own} - {""}) <= 1 else ()


def of_patient(patient: PatientKey, orders: Iterable[Order]) -> tuple[Order, ...]:
    """Return the orders of a patient; none where they are of people of several issuers."""
    own = [
        order
        for order in orders
        if patient.patient_id
        and order.patient.patient_id == patient.patient_id
        and _agree(order.patient.issuer, patient.issuer)
    ]
    people = {order.patient.issuer for order in own} - {""}
    return tuple(own) if len(people) <= 1 else ()


def holding(
    key: str,
    number: Number,
    orders: Sequence[Order],
    declared: Declared,
    sources: Sequence[OrderedBy],
    *,
    overdue: bool = False,
) -> OrderedAccession:
    """Return what was ordered under an accession, by the first of `sources` that knows.

    A source that says every order was cancelled knows, too.

    Parameters
    ----------
    overdue : bool
        Whether it has no image, and none is awaited any more; holds where a region is known.
    """
    for name in sources:
        told = [order for order in orders if order.source in SOURCES_OF[name]]
        active = [order for order in told if order.state is not OrderState.CANCELLED]
        if told and not active:
            return OrderedAccession(
                ref=_ref(key, number, told, declared),
                expected=None,
                cancelled=True,
                stale=any(order.stale for order in told),
            )
        known = [e for o in active if (e := o.expectation()) is not None]
        expected = merged_expectation(known) or declared_by(name, declared.expectations)
        if expected is not None:
            return OrderedAccession(
                ref=_ref(key, number, active or orders, declared),
                expected=expected,
                laterality=one_side({o.laterality for o in active} or declared.sides),
                overdue=overdue,
                stale=any(order.stale for order in active),
            )
    return OrderedAccession(ref=_ref(key, number, orders, declared))


def declared_by(name: OrderedBy, expectations: Iterable[Expectation]) -> Expectation | None:
    """Return what the headers say through a source; the best of its elements decides."""
    rank = list(ExpectationSource).index
    own = sorted(
        (each for each in expectations if each.source in SOURCES_OF[name]),
        key=lambda each: rank(each.source),
    )
    return merged_expectation(own)


def one_side(sides: Collection[Side]) -> Side:
    """Return the side that several orders of one accession ask for together."""
    said = set(sides) - {Side.UNSAID}
    if not said:
        return Side.UNSAID
    return said.pop() if len(said) == 1 else Side.BOTH


def _agree(one: str, other: str) -> bool:
    return not one or not other or one == other


def _ref(key: str, number: Number, orders: Iterable[Order], declared: Declared) -> AccessionRef:
    known = list(orders)
    uids = {order.study_instance_uid for order in known} - {""}
    procedures = {order.requested_procedure_id for order in known} - {""}
    issuers = {order.issuer for order in known} - {""}
    return AccessionRef(
        key=key,
        accession_number=number.accession_number,
        issuer=number.issuer or (issuers.pop() if len(issuers) == 1 else ""),
        study_instance_uid=uids.pop() if len(uids) == 1 else declared.study_instance_uid,
        requested_procedure_id=procedures.pop() if len(procedures) == 1 else "",
    )
