"""The step *deliver* with a scripted destination: what is sent again, and what is recorded."""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any, cast

import pytest
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from audit.clock import SystemClock
from audit.entries import Node, RecordKind
from audit.metrics import NullMetrics
from audit.records import Writer
from audit.store import AuditFilter, query
from dicom_node.config.settings import ReportProfile, RetrySettings
from dicom_node.core.outcome import Outcome
from dicom_node.delivery.answers import SOP_CLASS_NOT_SUPPORTED, all_alike
from dicom_node.delivery.outcome import OutgoingObject, SendStatus
from dicom_node.pipeline.deliver import Deliver, DeliverParts, NotStored, Refused
from dicom_node.pipeline.work import Work, deliver_key, deliver_queue
from storage import jobs, reports
from storage.engine import migrate
from storage.files import FileStore
from storage.reports import NewReportObject, ReportRow
from storage.session import Database
from storage.states import JobKind, JobState
from storage.work import WorkEngine
from tests.archives import dimse_destination
from tests.filings import NOON, filed, new_uid

Answers = Callable[[Sequence[OutgoingObject]], list[SendStatus]]


class Scripted:
    """A sender that answers as it is told to, and keeps how much it was given each time."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.answers: Answers = answering(Outcome.DELIVERED, "0000H")

    def send(self, objects: Sequence[OutgoingObject]) -> list[SendStatus]:
        self.sent.append(len(objects))
        return self.answers(objects)

    def verify(self) -> None:
        pass


def answering(outcome: Outcome, status: str) -> Answers:
    return lambda objects: all_alike([each.sop_instance_uid for each in objects], outcome, status)


def new_sr(profile: str, sop_class_uid: str) -> NewReportObject:
    uid = new_uid()
    return NewReportObject(
        profile=profile,
        role="SR",
        series_instance_uid=new_uid(),
        sop_instance_uid=uid,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        sha256="c" * 64,
        path=f"reports/{uid}.dcm",
    )


class OtherProfile:
    """Builds the SR of a report in another profile."""

    def alternative(self, _: ReportRow, profile: ReportProfile) -> list[NewReportObject]:
        return [new_sr(profile.value, Comprehensive3DSRStorage)]


class Desk:
    """Reports on one study, and the step that sends them to *pacs*."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.sender = database, Scripted()
        self.study_id = filed(database).study_id
        writer = Writer(node=Node(node_id="n", software_version="0"))
        self.work = Work(
            database=database,
            engine=WorkEngine(database, executor_id="n"),
            retry=RetrySettings(),
            writer=writer,
            clock=SystemClock(),
            metrics=NullMetrics(),
        )
        self.deliver = Deliver(
            DeliverParts(
                database=database,
                files=FileStore(folder, minimum_free_bytes=0),
                destinations=[dimse_destination(104)],
                sender_for=lambda _: self.sender,
                write_report=cast(Any, OtherProfile()),
                work=self.work,
                writer=writer,
                clock=SystemClock(),
                metrics=NullMetrics(),
            )
        )

    def report(self, revision: int) -> str:
        """Keep a report of one SR; return the key of the job that sends it."""
        sr = new_sr("viewer", ComprehensiveSRStorage)
        with self.database.transaction() as connection:
            report_id = reports.insert_report(
                connection,
                study_id=self.study_id,
                revision=revision,
                changes=1,
                document={},
                instance_ids=[],
                objects=[sr],
                created_at=NOON,
            )
            assert report_id is not None
            reports.ensure_deliveries(
                connection, report_id=report_id, profile="viewer", destination="pacs"
            )
            key = deliver_key(report_id, "pacs")
            self.work.begin(
                connection,
                key=key,
                kind=JobKind.DELIVER,
                queue=deliver_queue("pacs"),
                study_id=self.study_id,
                urgent=False,
            )
        return key

    def job(self, key: str) -> jobs.JobRow:
        with self.database.reading() as connection:
            job = jobs.get(connection, key)
        assert job is not None
        return job

    def recorded(self) -> list[tuple[int, str]]:
        """Return the attempt and the answer of every delivery that the audit knows."""
        with self.database.reading() as connection:
            rows = list(query(connection, AuditFilter(kinds=(RecordKind.DELIVERY,))))
        return [(row.body["attempt"], row.body["status"]) for row in rows]


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    migrate(database)
    return Desk(database, tmp_path)


def test_what_was_refused_is_sent_again_when_a_person_redrives_it(desk: Desk) -> None:
    key = desk.report(1)
    desk.sender.answers = answering(Outcome.REFUSED, "HTTP 401")
    with pytest.raises(Refused) as refused:
        desk.deliver(desk.job(key))
    desk.work.fail(desk.job(key), refused.value)
    assert desk.job(key).state is JobState.PARKED

    desk.sender.answers = answering(Outcome.DELIVERED, "0000H")
    assert desk.work.redrive(key, actor="somebody")
    desk.deliver(desk.job(key))

    assert desk.sender.sent == [1, 1]
    assert desk.job(key).state is JobState.DONE
    assert desk.recorded() == [(1, "HTTP 401"), (2, "0000H")]


@pytest.mark.parametrize("taken", [ComprehensiveSRStorage, Comprehensive3DSRStorage])
def test_an_sr_that_was_refused_in_both_profiles_comes_in_one(desk: Desk, taken: str) -> None:
    """Once the destination takes either, and a person has the job redriven."""
    key = desk.report(1)
    classes: list[list[str]] = []

    def taking(*sop_classes: str) -> Answers:
        def answers(objects: Sequence[OutgoingObject]) -> list[SendStatus]:
            classes.append([each.sop_class_uid for each in objects])
            known = all(each.sop_class_uid in sop_classes for each in objects)
            return (
                answering(Outcome.DELIVERED, "0000H")
                if known
                else answering(Outcome.REFUSED, SOP_CLASS_NOT_SUPPORTED)
            )(objects)

        return answers

    desk.sender.answers = taking()
    with pytest.raises(Refused) as refused:
        desk.deliver(desk.job(key))
    desk.work.fail(desk.job(key), refused.value)
    assert classes == [[ComprehensiveSRStorage], [Comprehensive3DSRStorage]]

    classes.clear()
    desk.sender.answers = taking(taken)
    assert desk.work.redrive(key, actor="somebody")
    desk.deliver(desk.job(key))

    both = [[ComprehensiveSRStorage], [Comprehensive3DSRStorage]]
    assert classes == (both[:1] if taken == ComprehensiveSRStorage else both)
    assert desk.job(key).state is JobState.DONE


def test_each_of_two_jobs_that_send_an_object_at_once_has_its_record(desk: Desk) -> None:
    """The first of them is answered first, that it failed; the second brings it there."""
    first, second = desk.report(1), desk.report(2)
    both, failed = Barrier(2), Event()

    def answers(objects: Sequence[OutgoingObject]) -> list[SendStatus]:
        both.wait(20)  # each has read what is to be sent
        if len(objects) == 1:
            return answering(Outcome.FAILED, "link-lost")(objects)
        assert failed.wait(20)
        return answering(Outcome.DELIVERED, "0000H")(objects)

    desk.sender.answers = answers
    other = Thread(target=desk.deliver, args=(desk.job(second),))
    other.start()
    with pytest.raises(NotStored):
        desk.deliver(desk.job(first))
    failed.set()
    other.join(20)

    assert desk.recorded() == [(1, "link-lost"), (2, "0000H"), (1, "0000H")]
