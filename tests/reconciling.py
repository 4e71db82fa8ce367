"""Building the use cases about a patient's accessions on one database, with a RIS at hand."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmwrite
from pydicom.uid import generate_uid
from sqlalchemy import Connection

from audit.entries import Node
from audit.errors import DatabaseAway, PeerUnreachable
from audit.metrics import NullMetrics
from audit.pseudonym import Pseudonyms
from audit.records import Writer
from dicom_node.config.accession import AcceptAction, AccessionSettings
from dicom_node.config.settings import RetrySettings
from dicom_node.correction.port import CorrectionPreview, Mended, NotMendable
from dicom_node.notify.begin import Announcer
from dicom_node.orders.book import BookParts, OrderBook
from dicom_node.orders.decide import Decide, DecideParts
from dicom_node.orders.watch import WatchOrders
from dicom_node.pipeline.judge_unimaged import JudgeUnimaged, JudgeUnimagedParts
from dicom_node.pipeline.judgement_records import JudgementRecords
from dicom_node.pipeline.patient_images import HeaderReader
from dicom_node.pipeline.presence import Presence
from dicom_node.pipeline.reconcile_orders import (
    ReconcileOrders,
    ReconcileOrdersParts,
    StudyStanding,
)
from dicom_node.pipeline.result import result_document
from dicom_node.pipeline.settle import StillComing
from dicom_node.pipeline.work import Work
from inference.accessions import Standing
from inference.assignment import Options
from inference.manifest import Label, OperatingPoint
from inference.orders import Order, OrderQuery, PatientKey
from inference.types import (
    Decision,
    ExpectationSource,
    ImageAnalysis,
    LabelOutput,
    ModelIdentity,
    Outcome,
    Prediction,
    Task,
    prediction_to_json,
)
from storage import jobs, proposals
from storage.files import FileStore
from storage.incoming import new_instance_from_header
from storage.index import file_instance, study
from storage.results import insert_result, reopen_study
from storage.session import Database
from storage.states import JobKind, JobState, ProposalState
from storage.work import WorkEngine
from tests.accessions import TABLE
from tests.builders import chest_radiograph

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
KEYS = tuple(TABLE.labels)
LABELS = tuple(
    Label(key=key, role="region", operating_point=OperatingPoint(present_at=0.4, absent_below=0.01))
    for key in KEYS
)
MODEL = ModelIdentity(
    name="bodypart",
    version="1.0.0",
    task=Task.BODY_PART,
    weights_sha256="a" * 64,
    configuration_sha256="b" * 64,
    preprocessing="px-1",
    runtime="none",
    device="none",
    precision="none",
)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment

    def monotonic_s(self) -> float:
        return self.moment.timestamp()


class Ris:
    """A worklist that says what it is told to, and counts how often it is asked."""

    name = "worklist"

    def __init__(self) -> None:
        self.orders: tuple[Order, ...] = ()
        self.away = False
        self.asked: list[OrderQuery] = []

    def orders_for(self, wanted: OrderQuery) -> tuple[Order, ...]:
        self.asked.append(wanted)
        if self.away:
            raise PeerUnreachable("the worklist did not answer in time")
        return tuple(
            order
            for order in self.orders
            if wanted.accession_number in ("", order.accession_number)
        )


class Bench:
    """The use cases on one database, with a RIS at hand."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.clock, self.ris = database, Clock(), Ris()
        self.presence, self.settle_s = Presence(), 0.0
        self.files = FileStore(folder, minimum_free_bytes=0, clock=self.clock)
        self.folder = folder
        self.settings = settings = AccessionSettings()
        writer = Writer(node=Node(node_id="n", software_version="0"))
        work = Work(
            database=database,
            engine=WorkEngine(database, executor_id="n"),
            retry=RetrySettings(),
            writer=writer,
            clock=self.clock,
            metrics=NullMetrics(),
        )
        self.book = OrderBook(
            BookParts(
                database=database,
                settings=settings,
                source=self.ris,
                changed=WatchOrders(work, settings, self.clock),
                clock=self.clock,
                metrics=NullMetrics(),
            )
        )
        announcer = Announcer(work, ("webhook",))
        records = JudgementRecords(writer=writer, pseudonyms=Pseudonyms(b"k" * 32))
        self.use_case = ReconcileOrders(
            ReconcileOrdersParts(
                database=database,
                headers=HeaderReader(self.files, TABLE, settings.sources),
                book=self.book,
                settings=settings,
                options=Options(),
                labels=lambda _: LABELS,
                regions=TABLE,
                devices=lambda _title, _station: {},
                still_coming=StillComing(self.presence, lambda _: self.settle_s, self.clock),
                work=work,
                announcer=announcer,
                records=records,
                clock=self.clock,
                metrics=NullMetrics(),
            )
        )
        self.unimaged = JudgeUnimaged(
            JudgeUnimagedParts(
                database=database,
                settings=settings,
                regions=TABLE,
                work=work,
                records=records,
                clock=self.clock,
                metrics=NullMetrics(),
            )
        )
        self.mender = ScriptedMender()
        notify = DecideParts(
            database=database,
            on_accept=AcceptAction.NOTIFY,
            mender=NeverMend(),
            announcer=announcer,
            records=records,
            clock=self.clock,
        )
        self.decide = Decide(notify)
        self.correct = Decide(replace(notify, on_accept=AcceptAction.CORRECT, mender=self.mender))

    def image(
        self, shown: str, *, study: str = "", uid: str = "", day: str = "20260102", **tags: Any
    ) -> int:
        """File an image in which the network saw `shown`; return its study's row.

        Images of one `uid` are one image in other bytes each.
        """
        ds = chest_radiograph(
            StudyInstanceUID=study or generate_uid(),
            SeriesInstanceUID=generate_uid(),
            SOPInstanceUID=uid or generate_uid(),
            **{"PatientID": "P1", "StudyDescription": "", "StudyDate": day, **tags},
        )
        ds.SeriesDescription = ds.BodyPartExamined = ""
        path = f"instances/{generate_uid()}.dcm"
        full = self.files.absolute(path)
        full.parent.mkdir(parents=True, exist_ok=True)
        dcmwrite(full, ds, enforce_file_format=True)
        with self.database.transaction() as connection:
            return self._file(connection, ds, path, shown)

    def _file(self, connection: Connection, ds: Dataset, path: str, shown: str) -> int:
        filed = file_instance(
            connection,
            new_instance_from_header(
                ds,
                sop_class_uid=ds.SOPClassUID,
                sop_instance_uid=ds.SOPInstanceUID,
                transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
                content_sha256=hashlib.sha256(path.encode()).hexdigest(),
                size_bytes=1,
                path=path,
                calling_ae_title="CR1",
                route="all",
                urgent=False,
                received_at=NOW,
            ),
        )
        reopen_study(connection, study_id=filed.study_id)
        prediction = Prediction(
            model=MODEL,
            outcome=Outcome.PREDICTED,
            labels=tuple(
                LabelOutput(
                    key=key,
                    logit=0.0,
                    probability=0.97 if TABLE.labels[key] == shown else 0.0005,
                    threshold=0.4,
                    decision=Decision.UNDETERMINED,
                )
                for key in KEYS
            ),
        )
        document = prediction_to_json(prediction)
        insert_result(
            connection,
            instance_id=filed.instance_id,
            model=document["model"],
            outcome="predicted",
            document=result_document(ImageAnalysis(pixel_sha256=None), prediction, None),
            now=NOW,
        )
        return filed.study_id

    def check(self, study_id: int) -> StudyStanding:
        return self.use_case.check(study_id)

    def changes(self, study_id: int) -> int:
        with self.database.reading() as connection:
            return study(connection, study_id).changes

    def open_proposals(self) -> list[Any]:
        with self.database.reading() as connection:
            return proposals.listing(connection, state=ProposalState.OPEN)

    def jobs(self, kind: JobKind) -> list[str]:
        with self.database.reading() as connection:
            return sorted(
                job.key for job in jobs.listing(connection, state=JobState.QUEUED, kind=kind)
            )


class NeverMend:
    """Fails the test where something would be sent."""

    def preview(self, proposal_id: int) -> Any:
        raise AssertionError

    def mend(self, proposal_id: int, actor: str) -> Any:
        raise AssertionError


class ScriptedMender:
    """Notes what it is asked for; may refuse, or die in the middle."""

    def __init__(self) -> None:
        self.mended: list[tuple[int, str]] = []
        self.refuses = self.dies = False

    def preview(self, proposal_id: int) -> CorrectionPreview:
        if self.refuses:
            raise NotMendable("the proposal moves no image")
        return CorrectionPreview(proposal_id=proposal_id, destinations=("pacs",), objects=())

    def mend(self, proposal_id: int, actor: str) -> Mended:
        if self.dies:
            raise DatabaseAway("gone")
        self.mended.append((proposal_id, actor))
        return Mended(correction_id=1, destinations=("pacs",), objects=2, fresh=True)


def order(accession: str, *regions: str, **changes: Any) -> Order:
    known = Order(
        accession_number=accession,
        patient=PatientKey(patient_id="P1"),
        source=ExpectationSource.HL7,
        regions=regions,
        ordered_on=NOW.date(),
        received_at=NOW,
    )
    return replace(known, **changes)


def standings(found: StudyStanding) -> dict[str, Standing]:
    return {each.accession.accession_number: each.standing for each in found.accessions}
