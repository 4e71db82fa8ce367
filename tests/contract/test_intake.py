"""The intake: what it answers for is on the disk and in the database, and nothing else is."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from sqlalchemy import update
from structlog.testing import capture_logs

from audit.clock import SystemClock
from audit.entries import Node
from audit.errors import DatabaseAway
from audit.metrics import NullMetrics
from audit.pseudonym import open_key
from audit.records import Writer
from audit.store import AuditFilter, query
from dicom_node.config.settings import NodeSettings, RetrySettings
from dicom_node.core.accepted import STORAGE_CLASSES
from dicom_node.core.access import AccessPolicy
from dicom_node.pipeline import intake as intake_module
from dicom_node.pipeline.intake import Intake, IntakeParts
from dicom_node.pipeline.part10 import received_file
from dicom_node.pipeline.presence import Presence
from dicom_node.pipeline.receiving import Caller, ReceiptKind
from dicom_node.pipeline.work import Work
from storage import engine, index, jobs
from storage.commit import GroupCommitter
from storage.files import FileStore
from storage.listing import study_listing
from storage.models import Job
from storage.reports import NewReportObject, insert_report
from storage.session import CommitDoubtful, Database
from storage.states import JobState
from storage.work import WorkEngine
from tests.builders import chest_radiograph, part10_bytes
from tests.nodes import node_settings

CALLER = Caller(
    calling_ae_title="TEST_CR", called_ae_title="AI_NODE", address="127.0.0.1", protocol="DIMSE"
)


class Desk:
    """An intake on real storage, and what may be asked of it."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.files = FileStore(folder / "node", minimum_free_bytes=0)
        self.root = folder / "node"
        self._folder = folder
        self.committer = GroupCommitter(database)
        self.configure(node_settings(folder))

    def configure(self, settings: NodeSettings) -> None:
        """Take images by `settings` from now on."""
        database, folder = self.database, self._folder
        writer = Writer(node=Node(node_id="node-test", software_version="0"))
        work = Work(
            database=database,
            engine=WorkEngine(database, executor_id="node-test"),
            retry=RetrySettings(),
            writer=writer,
            clock=SystemClock(),
            metrics=NullMetrics(),
        )
        self._intake = Intake(
            IntakeParts(
                settings=settings,
                access=AccessPolicy.from_settings(settings),
                storage_classes=frozenset(STORAGE_CLASSES),
                files=self.files,
                committer=self.committer,
                work=work,
                presence=Presence(),
                writer=writer,
                pseudonyms=open_key(folder / "key"),
                device_uid="2.25.7",
                clock=SystemClock(),
                metrics=NullMetrics(),
            )
        )

    def receive(self, ds: Dataset, padding: str = "") -> ReceiptKind:
        """Hand `ds` in; `padding` makes its file meta information longer."""
        if padding:
            ds.file_meta.ImplementationVersionName = padding
        path = self._intake.temporary_path()
        path.write_bytes(part10_bytes(ds))
        with self._intake.open(CALLER) as carriage:
            return carriage.receive(received_file(path))

    def stored(self) -> set[Path]:
        return set((self.root / "instances").rglob("*.dcm"))

    def row(self) -> index.InstanceRow:
        with self.database.reading() as connection:
            return index.instance(connection, 1)

    def job(self, instance_id: int = 1) -> jobs.JobRow:
        with self.database.reading() as connection:
            job = jobs.get(connection, f"analyse:{instance_id}")
        assert job is not None
        return job

    def park(self, code: str = "node.unexpected") -> None:
        with self.database.transaction() as connection:
            connection.execute(update(Job).values(state=JobState.PARKED.value, error_code=code))

    def close(self) -> None:
        self.committer.close()
        self.files.close()


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Iterator[Desk]:
    engine.migrate(database)
    made = Desk(database, tmp_path)
    yield made
    made.close()


def test_an_image_is_kept_once_however_often_it_comes(desk: Desk) -> None:
    ds = chest_radiograph()

    assert desk.receive(ds) is ReceiptKind.STORED
    assert desk.receive(ds, padding="LONGER") is ReceiptKind.DUPLICATE

    assert desk.stored() == {desk.root / desk.row().path}
    assert desk.job().attempt == 1


def test_an_image_that_no_route_took_is_analysed_when_it_comes_again_and_one_does(
    desk: Desk, tmp_path: Path
) -> None:
    ds, settings = chest_radiograph(), node_settings(tmp_path)
    desk.configure(settings.model_copy(update={"routes": ()}))
    assert desk.receive(ds) is ReceiptKind.STORED
    assert desk.row().route == ""
    with desk.database.reading() as connection:
        assert jobs.get(connection, "analyse:1") is None
        assert [study.routed for study in study_listing(connection, 9)] == [False]

    desk.configure(settings)
    assert desk.receive(ds) is ReceiptKind.DUPLICATE

    assert desk.row().route == settings.routes[0].name
    assert desk.job().state is JobState.QUEUED
    with desk.database.reading() as connection:
        assert [study.routed for study in study_listing(connection, 9)] == [True]
    assert len(desk.stored()) == 1


def test_once_an_image_of_a_study_is_urgent_all_that_follow_are(desk: Desk) -> None:
    study = generate_uid()
    for priority in ("", "STAT", ""):
        desk.receive(chest_radiograph(StudyInstanceUID=study, StudyPriorityID=priority))

    assert [desk.job(number).urgent for number in (1, 2, 3)] == [False, True, True]


def written(desk: Desk, sop_instance_uid: str) -> None:
    """Let a report of study 1 have an object with this UID."""
    with desk.database.transaction() as connection:
        insert_report(
            connection,
            study_id=1,
            revision=1,
            changes=index.study(connection, 1).changes,
            document={},
            instance_ids=[1],
            objects=[
                NewReportObject(
                    profile="any",
                    role="SC",
                    series_instance_uid="2.25.1",
                    sop_instance_uid=sop_instance_uid,
                    sop_class_uid=SecondaryCaptureImageStorage,
                    transfer_syntax_uid=ExplicitVRLittleEndian,
                    sha256="a" * 64,
                    path="reports/1.dcm",
                )
            ],
            created_at=SystemClock().now(),
        )


@pytest.mark.parametrize(
    "traces",
    [
        {"InstanceCreatorUID": "2.25.7"},
        {"ManufacturerModelName": "dicom-node", "ImageType": ["DERIVED", "SECONDARY"]},
        {"SOPInstanceUID": "2.25.9"},
    ],
    ids=["made by this node", "made by another node", "kept as a report object"],
)
def test_a_result_of_ours_that_comes_back_is_stored_and_nothing_more(
    desk: Desk, traces: dict[str, str]
) -> None:
    image = chest_radiograph()
    desk.receive(image)
    written(desk, "2.25.9")
    returned = chest_radiograph(
        StudyInstanceUID=image.StudyInstanceUID,
        SOPClassUID=SecondaryCaptureImageStorage,
        Modality="OT",
        StudyPriorityID="STAT",
        **traces,
    )

    assert desk.receive(returned) is ReceiptKind.STORED
    assert desk.receive(returned) is ReceiptKind.DUPLICATE

    with desk.database.reading() as connection:
        assert index.instance(connection, 2).route == ""
        assert jobs.get(connection, "analyse:2") is None
        study = index.study(connection, 1)
    assert (study.changes, study.reported_changes, study.urgent) == (1, 1, False)


@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_a_lost_file_is_restored_by_the_same_image_and_its_analysis_tried_again(
    desk: Desk, damage: str
) -> None:
    ds = chest_radiograph()
    desk.receive(ds)
    lost = desk.root / desk.row().path
    desk.park()
    if damage == "lost":
        lost.unlink()
    else:
        lost.write_bytes(lost.read_bytes()[:-2])

    assert desk.receive(ds, padding="LONGER") is ReceiptKind.DUPLICATE

    row = desk.row()
    restored = desk.root / row.path
    assert restored != lost
    assert received_file(restored).content_sha256 == row.content_sha256
    assert restored.stat().st_size == row.size_bytes
    assert (desk.job().state, desk.job().attempt) == (JobState.QUEUED, 2)
    with desk.database.reading() as connection:
        [record] = query(connection, AuditFilter())
    assert (record.body["outcome"], record.body["actor"]) == ("redriven", "intake")
    assert record.body["subject"]["study_instance_uid"] == desk.row().study_instance_uid


def test_bytes_that_the_analysis_found_damaged_are_replaced(desk: Desk) -> None:
    ds = chest_radiograph()
    desk.receive(ds)
    damaged = desk.root / desk.row().path
    damaged.write_bytes(damaged.read_bytes()[:-2] + b"??")
    desk.park("storage.file.damaged")

    desk.receive(ds)

    row = desk.row()
    assert received_file(desk.root / row.path).content_sha256 == row.content_sha256
    assert desk.job().state is JobState.QUEUED


def test_a_file_that_is_there_wakes_no_parked_work(desk: Desk) -> None:
    ds = chest_radiograph()
    desk.receive(ds)
    desk.park()

    desk.receive(ds)

    assert desk.job().state is JobState.PARKED


@pytest.mark.parametrize("error", [DatabaseAway("away"), ZeroDivisionError()])
def test_an_image_that_could_not_be_filed_leaves_no_file(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(intake_module, "file_instance", broken)
    with pytest.raises(type(error)):
        desk.receive(chest_radiograph())

    assert desk.stored() == set()


def test_an_image_of_which_nobody_knows_whether_it_was_filed_keeps_its_file(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubtful(*_: object) -> None:
        raise CommitDoubtful("the database went away during the commit")

    monkeypatch.setattr(desk.committer, "submit", doubtful)
    with pytest.raises(CommitDoubtful):
        desk.receive(chest_radiograph())

    assert len(desk.stored()) == 1


def test_an_image_of_another_patient_is_kept_and_audited_but_not_analysed(desk: Desk) -> None:
    ds = chest_radiograph(PatientID="FAKE-ONE")
    desk.receive(ds)
    other = chest_radiograph(PatientID="FAKE-TWO", StudyInstanceUID=ds.StudyInstanceUID)

    with capture_logs() as events:
        assert desk.receive(other) is ReceiptKind.STORED

    assert len(desk.stored()) == 2
    with desk.database.reading() as connection:
        assert [job.key for job in jobs.listing(connection)] == ["analyse:1"]
        [record] = query(connection, AuditFilter())
    assert (record.kind, record.body["outcome"]) == ("instance_received", "patient_conflict")
    assert record.body["subject"]["sop_instance_uid"] == other.SOPInstanceUID
    assert "intake.patient.conflicted" in [each["event"] for each in events]
    assert "FAKE" not in str(events)
