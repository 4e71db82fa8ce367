"""Compares a patient's images with the orders, and keeps verdicts and proposals.

It runs within the step *report*, on the images of a settled study, and as the step
*reconcile* when an order changed after the images came. What changes for another study of
the patient opens that study for a new report revision.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from audit.clock import Clock
from audit.errors import Transient
from audit.metrics import Metrics
from dicom_node.config.accession import AccessionSettings
from dicom_node.notify.begin import Announcer
from dicom_node.orders.book import OrderBook
from dicom_node.pipeline.decided import decisions_of
from dicom_node.pipeline.gathering import Gathered, gathered, queries_for
from dicom_node.pipeline.judgement_records import JudgementRecords
from dicom_node.pipeline.keep_judgement import Judgement, JudgementKeeper
from dicom_node.pipeline.patient_images import (
    HeaderReader,
    PatientImages,
    read_patient,
    token_of,
)
from dicom_node.pipeline.work import Work
from inference.accessions import (
    AccessionVerdict,
    Reconciliation,
)
from inference.assignment import Options
from inference.manifest import Label
from inference.reconcile import reconcile
from inference.regions import RegionMap
from inference.types import ImageVerdict
from storage import proposals
from storage.jobs import JobRow
from storage.patients import lock_patient, studies_of_patient
from storage.proposals import ProposalRow
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

    still_coming: Callable[[Connection, Collection[int]], frozenset[int]]
    """Returns those of some studies that have not settled."""

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
        self._keeper = JudgementKeeper(
            announcer=parts.announcer,
            records=parts.records,
            devices=parts.devices,
            clock=parts.clock,
            metrics=parts.metrics,
        )

    def __call__(self, job: JobRow) -> None:
        """Judge again, because an order changed; a change opens the study for a report.

        A study that has not settled is left to its own report.
        """
        with self._parts.database.reading() as connection:
            coming = self._parts.still_coming(connection, (job.study_id,))
        if not coming:
            self.check(job.study_id, reported=True)
        with self._parts.database.transaction() as connection:
            self._parts.work.finish(connection, job.key)

    def check(self, study_id: int, *, reported: bool = False) -> StudyStanding:
        """Judge the accessions of a study and of its patient's others of the same days.

        What concerns a sibling study that has not settled is left for that one's report.

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
        UnreadNow
            A stored image cannot be read just now.
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
            together = [study.id for study in seen.studies]
            parts.book.ask(queries_for(seen, study_id), asking=together)
            with parts.database.transaction() as connection:
                lock_patient(connection, seen.patient.id)
                if self._is_current(connection, seen):
                    found = gathered(
                        connection, seen, parts.book, parts.settings, parts.clock.now()
                    )
                    result = self._reconciled(connection, seen, found)
                    others = {study.id for study in seen.studies} - {study_id}
                    self._keeper.keep(
                        connection,
                        Judgement(
                            seen=seen,
                            found=found,
                            result=result,
                            coming=parts.still_coming(connection, others),
                        ),
                        own=None if reported else study_id,
                    )
                    return self._standing(connection, found, result, study_id)
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

    def _standing(
        self,
        connection: Connection,
        found: Gathered,
        result: Reconciliation,
        study_id: int,
    ) -> StudyStanding:
        told = (ProposalState.OPEN, ProposalState.ACCEPTED)
        own = {key for key, image in found.by_instance.items() if image.row.study_id == study_id}
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
