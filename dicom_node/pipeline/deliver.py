"""The step *deliver*: the objects of one report to one destination, in one batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from audit.clock import Clock
from audit.entries import Subject
from audit.errors import Fault, PeerUnreachable, Transient
from audit.metrics import Metrics
from audit.records import Writer
from audit.store import append
from dicom_node.config.settings import Destination, ReportProfile
from dicom_node.core.outcome import Outcome
from dicom_node.delivery.answers import SOP_CLASS_NOT_SUPPORTED, UNREACHABLE, all_alike
from dicom_node.delivery.outcome import OutgoingObject, Sender, SendStatus
from dicom_node.pipeline.report import WriteReport
from dicom_node.pipeline.work import Work, delivery_of
from storage.files import FileStore
from storage.index import study
from storage.jobs import JobRow
from storage.reports import (
    DeliveryRow,
    add_report_objects,
    deliveries,
    ensure_deliveries,
    record_delivery,
    report,
    report_objects,
    undelivered,
)
from storage.session import Database

log = structlog.get_logger()

_OTHER_PROFILE = {
    ReportProfile.IHE_AIR: ReportProfile.VIEWER,
    ReportProfile.VIEWER: ReportProfile.IHE_AIR,
}


class NotStored(Transient):
    """The destination did not store every object this time."""

    code = "delivery.objects.not_stored"


class Refused(Fault):
    """The destination will not store an object however often it is sent."""

    code = "delivery.objects.refused"


class UnknownDestination(Fault):
    """A report is due to a destination that the configuration no longer has."""

    code = "config.destination.unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverParts:
    """What the step works with; built by the composition root."""

    database: Database
    files: FileStore
    destinations: Sequence[Destination]
    sender_for: Callable[[Destination], Sender]
    write_report: WriteReport
    work: Work
    writer: Writer
    clock: Clock
    metrics: Metrics


class Deliver:
    """Sends what a destination has not stored yet, and keeps its answers."""

    def __init__(self, parts: DeliverParts) -> None:
        self._parts = parts
        self._destinations = {d.name: d for d in parts.destinations}

    def __call__(self, job: JobRow) -> None:
        """Deliver the report of `job`.

        Raises
        ------
        PeerUnreachable, NotStored
            Some objects are still to be stored; the next attempt sends only those.
        Refused
            The destination refuses an object for good; a person must look.
        UnknownDestination
            The destination is not configured any more.
        """
        report_id, name = delivery_of(job.key)
        destination = self._destinations.get(name)
        if destination is None:
            raise UnknownDestination("the destination is not configured any more")
        self._send(job, report_id, destination)
        if _sr_class_refused(self._rows(report_id, name)):
            self._add_other_profile(report_id, destination)
            self._send(job, report_id, destination)
        check_stored(self._rows(report_id, name))
        with self._parts.database.transaction() as connection:
            self._parts.work.finish(connection, job.key)

    def _rows(self, report_id: int, destination: str) -> list[DeliveryRow]:
        with self._parts.database.reading() as connection:
            return deliveries(connection, report_id, destination)

    def _add_other_profile(self, report_id: int, destination: Destination) -> None:
        """Give the destination the SR in its other profile, with a UID of its own."""
        profile = _OTHER_PROFILE[destination.profile]
        with self._parts.database.reading() as connection:
            existing = report(connection, report_id)
            there = report_objects(connection, report_id, profile)
        objects = [] if there else self._parts.write_report.alternative(existing, profile)
        with self._parts.database.transaction() as connection:
            add_report_objects(connection, report_id, objects)
            ensure_deliveries(
                connection,
                report_id=report_id,
                profile=profile.value,
                destination=destination.name,
            )
        log.warning("pipeline.profile.changed", destination=destination.name, profile=profile.value)

    def _send(self, job: JobRow, report_id: int, destination: Destination) -> None:
        """Send what has not arrived, earlier revisions first, and keep every answer."""
        parts = self._parts
        with parts.database.reading() as connection:
            rows = undelivered(connection, report_id, destination.name)
        if not rows:
            return
        started = parts.clock.monotonic_s()
        objects = [
            OutgoingObject(
                sop_instance_uid=row.sop_instance_uid,
                sop_class_uid=row.sop_class_uid,
                transfer_syntax_uid=row.transfer_syntax_uid,
                path=parts.files.absolute(row.path),
            )
            for row in rows
        ]
        try:
            answers = parts.sender_for(destination).send(objects)
        except PeerUnreachable:
            self._keep_all(job, rows, all_alike(_uids(rows), Outcome.FAILED, UNREACHABLE))
            raise
        self._keep_all(job, rows, answers)
        log.info(
            "pipeline.report.sent",
            destination=destination.name,
            objects=len(answers),
            statuses=sorted({answer.status for answer in answers}),
            duration_s=round(parts.clock.monotonic_s() - started, 3),
        )

    def _keep_all(
        self, job: JobRow, rows: Sequence[DeliveryRow], answers: Sequence[SendStatus]
    ) -> None:
        with self._parts.database.transaction() as connection:
            owner = study(connection, job.study_id)
            for answer in answers:
                self._keep(connection, owner.study_instance_uid, rows, answer)
        for answer in answers:
            self._parts.metrics.count(
                "deliveries_total", destination=rows[0].destination, outcome=answer.outcome.value
            )

    def _keep(
        self,
        connection: Connection,
        study_instance_uid: str,
        rows: Sequence[DeliveryRow],
        answer: SendStatus,
    ) -> None:
        [row] = [row for row in rows if row.sop_instance_uid == answer.sop_instance_uid]
        now = self._parts.clock.now()
        attempt = record_delivery(
            connection,
            report_object_id=row.report_object_id,
            destination=row.destination,
            outcome=answer.outcome.value,
            status=answer.status,
            at=now,
        )
        if attempt is None:  # another revision's job has brought it there meanwhile
            return
        append(
            connection,
            self._parts.writer.delivery(
                delivery_id=f"{row.report_object_id}:{row.destination}",
                attempt=attempt,
                subject=Subject(
                    study_instance_uid=study_instance_uid,
                    sop_instance_uid=row.sop_instance_uid,
                    sop_class_uid=row.sop_class_uid,
                    transfer_syntax_uid=row.transfer_syntax_uid,
                ),
                destination=row.destination,
                outcome=answer.outcome.value,
                status=answer.status,
                sha256=row.sha256,
                recorded_at=now,
            ),
        )


def check_stored(rows: Sequence[DeliveryRow]) -> None:
    """Raise unless every object has arrived; one SR in any profile is enough (pure).

    Raises
    ------
    NotStored
        Something may still be stored at another attempt.
    Refused
        All that is missing is refused for good.
    """
    sr_arrived = any(row.arrived for row in rows if row.role == "SR")
    missing = [row for row in rows if not row.arrived and not (row.role == "SR" and sr_arrived)]
    open_rows = [row for row in missing if row.outcome != Outcome.REFUSED]
    told = [row for row in open_rows or missing if row.status] or missing
    statuses = ", ".join(sorted({f"{row.role} {row.status}".strip() for row in told}))
    if open_rows:
        raise NotStored(f"the destination has not stored: {statuses}")
    if missing:
        raise Refused(f"the destination refuses: {statuses}")


def _sr_class_refused(rows: Sequence[DeliveryRow]) -> bool:
    """Whether all that was said of an SR is that its SOP class is refused: another profile may
    reach it."""
    said = [row.status for row in rows if row.role == "SR" and row.status]
    return said == [SOP_CLASS_NOT_SUPPORTED]


def _uids(rows: Sequence[DeliveryRow]) -> list[str]:
    return [row.sop_instance_uid for row in rows]
