"""The step *correct*: the package of one proposal to one destination."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from audit.clock import Clock
from audit.entries import Subject
from audit.metrics import Metrics
from audit.records import Writer
from audit.store import append
from dicom_node.config.settings import Destination
from dicom_node.core.outcome import Outcome
from dicom_node.correction.build import COPY
from dicom_node.delivery.outcome import OutgoingObject, Sender, SendStatus
from dicom_node.pipeline.deliver import NotStored, Refused, UnknownDestination
from dicom_node.pipeline.work import Work
from storage.corrections import (
    CorrectionDeliveryRow,
    correction_deliveries,
    record_correction_delivery,
)
from storage.files import FileStore
from storage.jobs import JobRow
from storage.session import Database

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectParts:
    """What the step works with; built by the composition root."""

    database: Database
    files: FileStore
    destinations: Mapping[str, Destination]
    sender_for: Callable[[Destination], Sender]
    work: Work
    writer: Writer
    clock: Clock
    metrics: Metrics


class Correct:
    """Sends what a destination has not stored yet, and keeps its answers.

    A rejection note goes only after every copy has arrived: a package that is cut short
    leaves an image twice, never nowhere.
    """

    def __init__(self, parts: CorrectParts) -> None:
        self._parts = parts

    def __call__(self, job: JobRow) -> None:
        """Send the package of `job`, whose key is ``correct:<proposal id>:<destination>``.

        Raises
        ------
        PeerUnreachable, NotStored
            Some objects are still to be stored; the next attempt sends only those.
        Refused
            The destination refuses an object for good; a person must look.
        UnknownDestination
            The destination is not configured any more.
        """
        _, proposal, name = job.key.split(":", 2)
        destination = self._parts.destinations.get(name)
        if destination is None:
            raise UnknownDestination("the destination is not configured any more")
        for copies in (True, False):
            part = self._rows(int(proposal), name, copies=copies)
            self._send(int(proposal), destination, [row for row in part if not row.arrived])
            _check_stored(self._rows(int(proposal), name, copies=copies))
        with self._parts.database.transaction() as connection:
            self._parts.work.finish(connection, job.key)

    def _rows(self, proposal: int, name: str, *, copies: bool) -> list[CorrectionDeliveryRow]:
        with self._parts.database.reading() as connection:
            rows = correction_deliveries(connection, proposal, name)
        return [row for row in rows if (row.role == COPY) is copies]

    def _send(
        self, proposal: int, destination: Destination, rows: Sequence[CorrectionDeliveryRow]
    ) -> None:
        if not rows:
            return
        parts = self._parts
        started = parts.clock.monotonic_s()
        answers = parts.sender_for(destination).send(
            [
                OutgoingObject(
                    sop_instance_uid=row.sop_instance_uid,
                    sop_class_uid=row.sop_class_uid,
                    transfer_syntax_uid=row.transfer_syntax_uid,
                    path=parts.files.absolute(row.path),
                )
                for row in rows
            ]
        )
        self._keep(rows, answers)
        for answer in answers:
            parts.metrics.count(
                "corrections_total", destination=destination.name, outcome=answer.outcome.value
            )
        log.info(
            "correction.package.sent",
            proposal_id=proposal,
            destination=destination.name,
            objects=len(answers),
            statuses=sorted({answer.status for answer in answers}),
            duration_s=round(parts.clock.monotonic_s() - started, 3),
        )

    def _keep(self, rows: Sequence[CorrectionDeliveryRow], answers: Sequence[SendStatus]) -> None:
        """Keep the answers and their audit records in one transaction."""
        by_uid = {row.sop_instance_uid: row for row in rows}
        now = self._parts.clock.now()
        with self._parts.database.transaction() as connection:
            for answer in answers:
                row = by_uid[answer.sop_instance_uid]
                outcome, status = answer.outcome.value, answer.status
                record_correction_delivery(connection, row, outcome=outcome, status=status, at=now)
                append(
                    connection,
                    self._parts.writer.delivery(
                        delivery_id=f"correction:{row.correction_object_id}:{row.destination}",
                        attempt=row.attempts + 1,
                        subject=Subject(
                            study_instance_uid=row.study_instance_uid,
                            series_instance_uid=row.series_instance_uid,
                            sop_instance_uid=row.sop_instance_uid,
                            sop_class_uid=row.sop_class_uid,
                            transfer_syntax_uid=row.transfer_syntax_uid,
                        ),
                        destination=row.destination,
                        outcome=outcome,
                        status=status,
                        sha256=row.sha256,
                        recorded_at=now,
                    ),
                )


def _check_stored(rows: Sequence[CorrectionDeliveryRow]) -> None:
    """Raise unless every object has arrived (pure)."""
    missing = [row for row in rows if not row.arrived]
    refused = [row for row in missing if row.outcome == Outcome.REFUSED]
    statuses = ", ".join(sorted({f"{row.role} {row.status}" for row in refused or missing}))
    if refused:
        raise Refused(f"the destination refuses: {statuses}")
    if missing:
        raise NotStored(f"the destination has not stored: {statuses}")
