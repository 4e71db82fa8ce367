"""Compares a patient's images with the orders, and keeps verdicts and proposals.

It runs within the step *report*, on the images of a settled study, and as the step
*reconcile* when an order changed after the images came. What changes for another study of
the patient opens that study for a new report revision.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from audit.clock import Clock
from audit.errors import Transient
from audit.metrics import Metrics
from dicom_node.config.accession import AccessionSettings
from dicom_node.notify.begin import Announcer
from dicom_node.orders.book import OrderBook
from dicom_node.pipeline.decided import decisions_of, move_parts, proposal_document
from dicom_node.pipeline.gathering import Gathered, gathered, queries_for
from dicom_node.pipeline.judgement_records import JudgementRecords
from dicom_node.pipeline.patient_images import (
    HeaderReader,
    PatientImages,
    patient_key,
    read_patient,
    token_of,
)
from dicom_node.pipeline.work import Work
from inference.accessions import (
    AccessionVerdict,
    Proposal,
    Reconciliation,
    accession_to_json,
)
from inference.assignment import Options
from inference.manifest import Label
from inference.reconcile import reconcile
from inference.regions import RegionMap
from inference.types import ImageVerdict
from storage import checks, proposals
from storage.checks import CheckRow
from storage.jobs import JobRow
from storage.patients import lock_patient, studies_of_patient
from storage.proposals import ProposalRow, Proposed
from storage.results import reopen_study
from storage.session import Database
from storage.states import ProposalState

_TRIES = 5


class PatientBusy(Transient):
    """Images of the patient kept coming while they were compared; try again."""

    code = "pipeline.patient.busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileOrdersParts:
    """What the use case works with; built by the composition root."""

    database: Database
    headers: HeaderReader
    book: OrderBook
    settings: AccessionSettings
    options: Options
    labels: Callable[[str], Sequence[Label]]
    regions: RegionMap
    devices: Callable[[str, str], Mapping[str, str]]
    """Returns the metric labels of (calling AE title, station name): closed sets."""

    work: Work
    announcer: Announcer
    records: JudgementRecords
    clock: Clock
    metrics: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStanding:
    """What a report on one study says of its orders."""

    accessions: tuple[AccessionVerdict, ...] = ()
    verdicts: Mapping[int, ImageVerdict] = field(default_factory=dict)
    """By the image's row; images that the network did not see are left out."""

    proposals: tuple[ProposalRow, ...] = ()
    """Open and accepted ones that speak of images of the study."""


class ReconcileOrders:
    """Judges the accessions of a patient; the step of a job ``reconcile:…``, too."""

    def __init__(self, parts: ReconcileOrdersParts) -> None:
        self._parts = parts

    def __call__(self, job: JobRow) -> None:
        """Judge again, because an order changed; a change opens the study for a report."""
        self.check(job.study_id, reported=True)
        with self._parts.database.transaction() as connection:
            self._parts.work.finish(connection, job.key)

    def check(self, study_id: int, *, reported: bool = False) -> StudyStanding:
        """Judge the accessions of a study and of its patient's others of the same days.

        Parameters
        ----------
        study_id : int
        reported : bool
            False where the caller is writing the report on `study_id` itself, so that this
            study need not be opened for another.

        Raises
        ------
        PatientBusy
            Images or results kept coming; the next attempt sees them.
        """
        parts = self._parts
        for _ in range(_TRIES):
            seen = read_patient(
                parts.database,
                parts.headers,
                study_id,
                labels=parts.labels,
                regions=parts.regions,
                day_window=parts.settings.day_window,
            )
            parts.book.ask(queries_for(seen, study_id))
            with parts.database.transaction() as connection:
                lock_patient(connection, seen.patient.id)
                if self._is_current(connection, seen):
                    found = gathered(
                        connection, seen, parts.book, parts.settings, parts.clock.now()
                    )
                    result = self._reconciled(connection, seen, found)
                    self._keep(connection, seen, found, result, None if reported else study_id)
                    return self._standing(connection, seen, found, result, study_id)
        raise PatientBusy("images of the patient kept coming while they were compared")

    def _reconciled(
        self, connection: Connection, seen: PatientImages, found: Gathered
    ) -> Reconciliation:
        parts = self._parts
        decisions = decisions_of(proposals.decided_of(connection, seen.patient.id))
        return reconcile(
            found.accessions,
            decisions.settled(found),
            parts.regions,
            parts.options,
            refused=lambda move: decisions.refused(move, found),
        )

    def _is_current(self, connection: Connection, seen: PatientImages) -> bool:
        known = {study.id for study in seen.studies}
        now = (s for s in studies_of_patient(connection, seen.patient.id) if s.id in known)
        return token_of(now) == seen.token

    def _keep(
        self,
        connection: Connection,
        seen: PatientImages,
        found: Gathered,
        result: Reconciliation,
        own: int | None,
    ) -> None:
        """Keep what changed; open the other studies that it speaks of for a new report.

        Studies' rows are written before any audit record, as everybody does.
        """
        now = self._parts.clock.now()
        changed = [
            verdict
            for verdict in result.accessions
            if self._keep_check(connection, seen, found, verdict, now)
        ]
        judged = {verdict.accession.key for verdict in result.accessions}
        gone = checks.forget_checks(connection, found.waiting_keys - judged)
        moved = self._keep_proposals(connection, seen, found, result.proposals, now)
        touched = {
            study for verdict in changed for study in found.studies_of(verdict.accession.key)
        }
        touched |= {study for row in moved for study in proposals.studies_of(connection, row.id)}
        if gone:  # reports on the siblings called the order incomplete
            touched |= {study.id for study in seen.studies}
        for study in seen.studies:
            if study.id in touched and study.id != own:
                reopen_study(connection, study_id=study.id)
        patient = patient_key(seen.patient)
        for verdict in changed:
            self._parts.records.checked(connection, patient, verdict, now)
        for row in moved:
            self._parts.records.changed(connection, patient, row, actor="node", now=now)

    def _keep_check(
        self,
        connection: Connection,
        seen: PatientImages,
        found: Gathered,
        verdict: AccessionVerdict,
        now: datetime,
    ) -> bool:
        key = verdict.accession.key
        known = checks.check_of(connection, key)
        document = found.check_document(key, accession_to_json(verdict))
        changed = checks.keep_check(
            connection,
            CheckRow(
                key=key,
                patient_fk=seen.patient.id,
                accession_fk=found.accession_rows.get(key),
                verdict=verdict.standing.value,
                document=document,
                checked_at=now,
            ),
        )
        if not changed:
            return False
        self._count(found, verdict, known)
        return known is None or _lasting(known.document) != _lasting(document)

    def _count(self, found: Gathered, verdict: AccessionVerdict, known: CheckRow | None) -> None:
        """Count each image once for every standing that it comes to, and an order without."""
        if not verdict.images and known is None:
            self._parts.metrics.count("orders_unimaged_total")
        before = {
            each["image"]["instance_id"]: each["standing"]
            for each in (known.document["verdict"]["images"] if known is not None else ())
        }
        for image in verdict.images:
            if before.get(image.image.instance_id) == image.standing.value:
                continue
            of = found.by_instance[image.image.instance_id]
            self._parts.metrics.count(
                "accession_images_total",
                standing=image.standing.value,
                **self._parts.devices(of.row.calling_ae_title, of.header.station),
            )

    def _keep_proposals(
        self,
        connection: Connection,
        seen: PatientImages,
        found: Gathered,
        wanted: Sequence[Proposal],
        now: datetime,
    ) -> list[ProposalRow]:
        """Return the proposals that were opened or superseded."""
        moved: list[ProposalRow] = []
        keys = []
        for proposal in wanted:
            key = proposal_key(seen.patient.id, proposal, found)
            keys.append(key)
            row_id, became = proposals.propose(
                connection,
                key=key,
                kind=proposal.kind.value,
                patient_fk=seen.patient.id,
                study_ids=found.studies_of_proposal(proposal),
                document=proposal_document(proposal, found),
                now=now,
            )
            if became is not Proposed.KNOWN:
                row = proposals.get(connection, row_id)
                moved.append(row)
                self._parts.announcer.announce(connection, row)
                self._parts.metrics.count("proposals_total", kind=row.kind, change="open")
        gone = proposals.supersede(
            connection,
            patient_fk=seen.patient.id,
            study_ids=[study.id for study in seen.studies],
            keep=keys,
            now=now,
        )
        for row_id in gone:
            row = proposals.get(connection, row_id)
            moved.append(row)
            self._parts.metrics.count("proposals_total", kind=row.kind, change="superseded")
        return moved

    def _standing(
        self,
        connection: Connection,
        seen: PatientImages,
        found: Gathered,
        result: Reconciliation,
        study_id: int,
    ) -> StudyStanding:
        told = (ProposalState.OPEN, ProposalState.ACCEPTED)
        own = {image.row.id for image in seen.images if image.row.study_id == study_id}
        return StudyStanding(
            accessions=tuple(
                verdict
                for verdict in result.accessions
                if not verdict.images
                or any(each.image.instance_id in own for each in verdict.images)
            ),
            verdicts={
                each.image.instance_id: each.verdict
                for verdict in result.accessions
                for each in verdict.images
                if each.image.instance_id in own
                and found.by_instance[each.image.instance_id].seen.ran
            },
            proposals=tuple(
                row for row in proposals.of_study(connection, study_id) if row.state in told
            ),
        )


def proposal_key(patient: int, proposal: Proposal, found: Gathered) -> str:
    """Return the key of a proposal: its moves, and what was ordered on both sides.

    Moves that a person rejected come again only where the orders became others.
    """

    moves = sorted(move_parts(move, found) for move in proposal.moves)
    return hashlib.sha256(json.dumps([patient, proposal.kind.value, moves]).encode()).hexdigest()


def _lasting(document: dict[str, Any]) -> dict[str, Any]:
    """Return a check without what may change by the mere passing of time."""
    verdict = {key: value for key, value in document["verdict"].items() if key != "stale"}
    return {"verdict": verdict}
