"""Reports on studies, the DICOM objects they became, and where those were delivered.

One report per (study, revision); one delivery per (object, destination). Every function
works in the caller's transaction and may be repeated.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, exists, select, update
from sqlalchemy import insert as plain_insert
from sqlalchemy.orm import aliased

from storage.models import Delivery, Report, ReportInstance, ReportObject, Study
from storage.rows import NoSuchRow, columns_of, insert, made_of

ARRIVED = ("delivered", "warning")
"""The outcomes (`dicom_node.core.outcome.Outcome`) of an object that the peer stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReportObject:
    """A DICOM object of a report whose file is durable."""

    profile: str
    role: str
    """``SR`` or ``SC``."""

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: str
    path: str
    """Relative to the storage root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportObjectRow:
    """A DICOM object of a report."""

    id: int
    report_id: int
    profile: str
    role: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """One revision of the report on a study."""

    id: int
    study_id: int
    revision: int
    document: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """One report object on its way to one destination, with what is sent."""

    report_object_id: int
    destination: str
    outcome: str
    status: str
    attempts: int
    delivered_at: datetime | None
    role: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: str
    path: str

    @property
    def arrived(self) -> bool:
        """Whether the peer has stored it."""
        return self.outcome in ARRIVED


def insert_report(
    connection: Connection,
    *,
    study_id: int,
    revision: int,
    changes: int,
    document: dict[str, Any],
    instance_ids: Collection[int],
    objects: Sequence[NewReportObject],
    created_at: datetime,
) -> int | None:
    """Keep report `revision` of a study, if the one before it is the newest.

    Parameters
    ----------
    connection : Connection
        Of the transaction that also marks the job done.
    study_id, revision : int
        The key; `revision` starts at 1.
    changes : int
        `StudyRow.changes`, read in the same snapshot as the results the report speaks of.
        What changed since is left to the next revision.
    document : dict
        What the report says, JSON types only.
    instance_ids : collection of int
        The instances it speaks of.
    objects : sequence of NewReportObject
        What was built from it.
    created_at : datetime
        The present, aware.

    Returns
    -------
    int or None
        The report's id; None, and nothing changes, when this revision is not the next one.
    """
    moved = connection.execute(
        update(Study)
        .where(Study.id == study_id, Study.revision == revision - 1)
        .values(revision=revision, reported_changes=changes)
    )
    if moved.rowcount != 1:
        return None
    report_id = connection.execute(
        plain_insert(Report)
        .values(study_fk=study_id, revision=revision, document=document, created_at=created_at)
        .returning(Report.id)
    ).scalar_one()
    if instance_ids:
        connection.execute(
            plain_insert(ReportInstance),
            [{"report_fk": report_id, "instance_fk": each} for each in sorted(set(instance_ids))],
        )
    add_report_objects(connection, report_id, objects)
    return report_id


def add_report_objects(
    connection: Connection, report_id: int, objects: Sequence[NewReportObject]
) -> None:
    """Add objects to a report, as when a destination needs another profile; those whose SOP
    Instance UID is there already are left alone."""
    for each in objects:
        connection.execute(
            insert(connection, ReportObject)
            .values(report_fk=report_id, **asdict(each))
            .on_conflict_do_nothing(index_elements=["sop_instance_uid"])
        )


def report(connection: Connection, report_id: int) -> ReportRow:
    """Return one report.

    Raises
    ------
    NoSuchRow
        When `report_id` names none.
    """
    rows = made_of(ReportRow, connection.execute(_reports().where(Report.id == report_id)))
    if not rows:
        raise NoSuchRow("no report has this id")
    return rows[0]


def report_objects(
    connection: Connection, report_id: int, profile: str | None = None
) -> list[ReportObjectRow]:
    """Return the objects of a report, in the order in which they were kept."""
    statement = _objects().where(ReportObject.report_fk == report_id).order_by(ReportObject.id)
    if profile is not None:
        statement = statement.where(ReportObject.profile == profile)
    return made_of(ReportObjectRow, connection.execute(statement))


def report_instances(connection: Connection, report_id: int) -> set[int]:
    """Return the ids of the instances that a report speaks of."""
    statement = select(ReportInstance.instance_fk).where(ReportInstance.report_fk == report_id)
    return set(connection.scalars(statement))


def nothing_to_report(connection: Connection, *, study_id: int, changes: int) -> None:
    """Note that what a study holds up to `changes` gives no report."""
    connection.execute(
        update(Study)
        .where(Study.id == study_id, Study.reported_changes < changes)
        .values(reported_changes=changes)
    )


def previous_report(
    connection: Connection, study_id: int, profile: str, *, before_revision: int
) -> ReportObjectRow | None:
    """Return the SR of the newest report before `before_revision` that was built in
    `profile`: the predecessor of that revision (PS3.3 Section C.17.2.1)."""
    statement = (
        _objects()
        .join(Report, Report.id == ReportObject.report_fk)
        .where(
            Report.study_fk == study_id,
            ReportObject.profile == profile,
            ReportObject.role == "SR",
            Report.revision < before_revision,
        )
        .order_by(Report.revision.desc(), ReportObject.id)
        .limit(1)
    )
    return next(iter(made_of(ReportObjectRow, connection.execute(statement))), None)


def ensure_deliveries(
    connection: Connection, *, report_id: int, profile: str, destination: str
) -> list[DeliveryRow]:
    """Make sure that each object of `profile` has its delivery to `destination`, one that
    `send_refused_again` held back included; return all deliveries of the report there."""
    for each in report_objects(connection, report_id, profile):
        connection.execute(
            insert(connection, Delivery)
            .values(
                report_object_fk=each.id,
                destination=destination,
                outcome="pending",
                status="",
                attempts=0,
            )
            .on_conflict_do_update(
                index_elements=["report_object_fk", "destination"],
                set_={"outcome": "pending"},
                where=(Delivery.outcome == "refused") & (Delivery.status == ""),
            )
        )
    return deliveries(connection, report_id, destination)


def record_delivery(
    connection: Connection,
    *,
    report_object_id: int,
    destination: str,
    outcome: str,
    status: str,
    at: datetime,
) -> int | None:
    """Keep what the peer answered for one object; counts as one attempt.

    An object that has arrived stays arrived: a later failure of a needless repetition does
    not hide it.

    Returns
    -------
    int or None
        The number of the attempt, which no other answer for this object has; None when there
        is no such delivery, or its object has arrived already.
    """
    return connection.execute(
        update(Delivery)
        .where(
            Delivery.report_object_fk == report_object_id,
            Delivery.destination == destination,
            Delivery.outcome.not_in(ARRIVED),
        )
        .values(
            outcome=str(outcome),
            status=status[:32],
            attempts=Delivery.attempts + 1,
            delivered_at=at if outcome in ARRIVED else None,
        )
        .returning(Delivery.attempts)
    ).scalar_one_or_none()


def send_refused_again(connection: Connection, report_id: int, destination: str) -> None:
    """Let what a destination refused of a report be sent to it once more, as on a person's
    word; an SR that arrived in another profile is not sent in the refused one again.

    Where an SR was refused in both profiles the second is held back, refused without a status,
    until the first is refused again.
    """
    rows = deliveries(connection, report_id, destination)
    reports = [row.report_object_id for row in rows if row.role == "SR"]
    connection.execute(
        update(Delivery)
        .where(
            Delivery.report_object_fk.in_([row.report_object_id for row in rows]),
            Delivery.destination == destination,
            Delivery.outcome == "refused",
            ~sr_replaced(),
        )
        .values(
            outcome=case((Delivery.report_object_fk.in_(reports[1:]), "refused"), else_="pending"),
            status="",
        )
    )


def sr_replaced() -> ColumnElement[bool]:
    """Whether a delivery is of an SR that was refused, and that arrived in another profile."""
    refused, arrived = aliased(ReportObject), aliased(ReportObject)
    other = aliased(Delivery)
    return and_(
        Delivery.outcome == "refused",
        exists(
            select(other.report_object_fk)
            .join(arrived, arrived.id == other.report_object_fk)
            .join(refused, refused.report_fk == arrived.report_fk)
            .where(
                refused.id == Delivery.report_object_fk,
                other.destination == Delivery.destination,
                other.outcome.in_(ARRIVED),
                refused.role == "SR",
                arrived.role == "SR",
            )
            .correlate(Delivery)
        ),
    )


def deliveries(
    connection: Connection, report_id: int, destination: str | None = None
) -> list[DeliveryRow]:
    """Return the deliveries of a report, to one destination or to all."""
    statement = (
        _deliveries()
        .where(ReportObject.report_fk == report_id)
        .order_by(Delivery.destination, ReportObject.id)
    )
    if destination is not None:
        statement = statement.where(Delivery.destination == destination)
    return made_of(DeliveryRow, connection.execute(statement))


def undelivered(connection: Connection, report_id: int, destination: str) -> list[DeliveryRow]:
    """Return what is still to be sent of a report, and before it of the earlier reports on
    the same study, in the order of their revisions; what was refused for good is left out."""
    own = select(Report.study_fk, Report.revision).where(Report.id == report_id).subquery()
    statement = (
        _deliveries()
        .join(Report, Report.id == ReportObject.report_fk)
        .join(own, (own.c.study_fk == Report.study_fk) & (Report.revision <= own.c.revision))
        .where(Delivery.destination == destination, Delivery.outcome.in_(("pending", "failed")))
        .order_by(Report.revision, ReportObject.id)
    )
    return made_of(DeliveryRow, connection.execute(statement))


def _deliveries() -> Select[Any]:
    return columns_of(
        DeliveryRow, Delivery, ReportObject, report_object_id=Delivery.report_object_fk
    ).join(ReportObject, ReportObject.id == Delivery.report_object_fk)


def _reports() -> Select[Any]:
    return columns_of(ReportRow, Report, study_id=Report.study_fk)


def _objects() -> Select[Any]:
    return columns_of(ReportObjectRow, ReportObject, report_id=ReportObject.report_fk)
