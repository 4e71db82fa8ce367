"""Orders as their sources tell them, and the questions that were put to those sources.

Every function works in the caller's transaction and may be repeated. `inference.orders`
knows what an order means; here it is columns and a document.
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select, true, update

from storage.models import Accession, Instance, Patient, Study
from storage.order_models import OrderLookup, WorkOrder
from storage.rows import columns_of, insert, made_of

_KEY = (
    "source",
    "accession_number",
    "issuer",
    "requested_procedure_id",
    "patient_id",
    "issuer_of_patient_id",
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NewOrder:
    """A notice of an order, ready to be kept; it has no repr, for it names a patient."""

    source: str
    accession_number: str
    issuer: str
    requested_procedure_id: str
    patient_id: str
    issuer_of_patient_id: str
    state: str
    ordered_on: date | None
    content_sha256: str
    document: dict[str, Any]
    received_at: datetime
    stale_after: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OrderRow:
    """An order as it stands; see `storage.models.WorkOrder`."""

    id: int
    source: str
    accession_number: str
    issuer: str
    patient_id: str
    issuer_of_patient_id: str
    state: str
    ordered_on: date | None
    content_sha256: str
    version: int
    document: dict[str, Any]
    received_at: datetime
    seen_at: datetime
    stale_after: datetime | None


class Kept(StrEnum):
    """What a notice changed."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "same"
    """Known already; it is confirmed."""

    OLDER = "older"
    """A later notice came first; nothing changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOrder:
    """Where a notice was kept."""

    kept: Kept
    order_id: int
    version: int


def keep_order(connection: Connection, new: NewOrder) -> KeptOrder:
    """Keep a notice of an order: make its row, or bring it up to date."""
    values = asdict(new)
    made = connection.execute(
        insert(connection, WorkOrder)
        .values(**values, version=1, seen_at=new.received_at)
        .on_conflict_do_nothing(index_elements=_KEY)
        .returning(WorkOrder.id)
    ).scalar_one_or_none()
    if made is not None:
        return KeptOrder(kept=Kept.NEW, order_id=made, version=1)
    known = connection.execute(
        select(WorkOrder.id, WorkOrder.version, WorkOrder.content_sha256, WorkOrder.received_at)
        .where(*(getattr(WorkOrder, name) == values[name] for name in _KEY))
        .with_for_update()
    ).one()
    if new.received_at < known.received_at:
        return KeptOrder(kept=Kept.OLDER, order_id=known.id, version=known.version)
    same = known.content_sha256 == new.content_sha256
    version = known.version if same else known.version + 1
    connection.execute(
        update(WorkOrder)
        .where(WorkOrder.id == known.id)
        .values(
            state=new.state,
            ordered_on=new.ordered_on,
            content_sha256=new.content_sha256,
            document=new.document,
            received_at=new.received_at,
            seen_at=new.received_at,
            stale_after=new.stale_after,
            version=version,
        )
    )
    return KeptOrder(kept=Kept.SAME if same else Kept.CHANGED, order_id=known.id, version=version)


def orders_of_accession(connection: Connection, accession_number: str) -> list[OrderRow]:
    """Return every order of this number, of all issuers and patients, oldest row first."""
    statement = (
        columns_of(OrderRow, WorkOrder)
        .where(WorkOrder.accession_number == accession_number)
        .order_by(WorkOrder.id)
    )
    return made_of(OrderRow, connection.execute(statement))


def orders_of_patient(
    connection: Connection,
    patient_id: str,
    issuer: str,
    first_day: date | None = None,
    last_day: date | None = None,
) -> list[OrderRow]:
    """Return a patient's orders, oldest row first; an issuer that one side does not name
    contradicts nothing.

    Given days leave out orders of other days; orders without a day are always returned.
    """
    statement = (
        columns_of(OrderRow, WorkOrder)
        .where(
            WorkOrder.patient_id == patient_id,
            _no_contradiction(WorkOrder.issuer_of_patient_id, issuer),
        )
        .order_by(WorkOrder.id)
    )
    if first_day is not None:
        statement = statement.where(
            or_(WorkOrder.ordered_on.is_(None), WorkOrder.ordered_on >= first_day)
        )
    if last_day is not None:
        statement = statement.where(
            or_(WorkOrder.ordered_on.is_(None), WorkOrder.ordered_on <= last_day)
        )
    return made_of(OrderRow, connection.execute(statement))


def unimaged_orders(connection: Connection, first_day: date, last_day: date) -> list[OrderRow]:
    """Return the orders of these days, cancelled ones too, under whose number no image of
    their patient was taken; oldest row first.

    The day of an order that names none is the one on which its newest notice came.
    """
    day = func.coalesce(WorkOrder.ordered_on, func.date(WorkOrder.received_at))
    imaged = (
        select(Instance.id)
        .join(Accession, Accession.id == Instance.accession_fk)
        .join(Patient, Patient.id == Instance.patient_fk)
        .where(
            Accession.accession_number == WorkOrder.accession_number,
            Patient.patient_id == WorkOrder.patient_id,
            Instance.route != "",
        )
    )
    statement = (
        columns_of(OrderRow, WorkOrder)
        .where(day >= first_day, day <= last_day, WorkOrder.patient_id != "", ~imaged.exists())
        .order_by(WorkOrder.id)
    )
    return made_of(OrderRow, connection.execute(statement))


def studies_concerned(
    connection: Connection, *, accession_number: str, patient_id: str, issuer_of_patient_id: str
) -> list[int]:
    """Return the ids of studies with images that an order may be about: those of its
    accession number, and all of its patient."""
    same_patient = and_(
        Patient.patient_id == patient_id,
        _no_contradiction(Patient.issuer_of_patient_id, issuer_of_patient_id),
        Patient.patient_id != "",
    )
    same_number = and_(
        Accession.accession_number == accession_number, Accession.accession_number != ""
    )
    statement = (
        select(Study.id)
        .join(Patient, Patient.id == Study.patient_fk)
        .join(Instance, Instance.study_fk == Study.id)
        .join(Accession, Accession.id == Instance.accession_fk, isouter=True)
        .where(or_(same_patient, same_number), Instance.route != "")
        .distinct()
        .order_by(Study.id)
    )
    return list(connection.scalars(statement))


def _no_contradiction(column: Any, issuer: str) -> ColumnElement[bool]:
    """Whether an issuer may be `issuer`: it is, or one of the two is not named."""
    return or_(column == issuer, column == "") if issuer else true()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """When a question was last put to a source, and whether it answered."""

    asked_at: datetime
    answered: bool


def lookup_key(source: str, *question: str) -> str:
    """Return the key of a question; it does not tell the question."""
    return hashlib.sha256("\x00".join((source, *question)).encode()).hexdigest()


def lookup(connection: Connection, key: str) -> Lookup | None:
    """Return the last time that a question was put, None when it never was."""
    statement = columns_of(Lookup, OrderLookup).where(OrderLookup.key == key)
    return next(iter(made_of(Lookup, connection.execute(statement))), None)


def note_lookup(connection: Connection, key: str, *, at: datetime, answered: bool) -> None:
    """Note that a question was put to a source."""
    statement = insert(connection, OrderLookup).values(key=key, asked_at=at, answered=answered)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "asked_at": statement.excluded.asked_at,
                "answered": statement.excluded.answered,
            },
        )
    )


def forget_lookups(connection: Connection, before: datetime) -> int:
    """Remove notes of questions that were put before a moment; return how many."""
    return connection.execute(delete(OrderLookup).where(OrderLookup.asked_at < before)).rowcount
