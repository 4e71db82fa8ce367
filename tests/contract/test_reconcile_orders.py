"""A patient's accessions are judged together, on both databases, from stored files."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.uid import generate_uid
from sqlalchemy import Connection

from audit.entries import Node
from audit.errors import DatabaseAway, PeerUnreachable
from audit.metrics import NullMetrics
from audit.pseudonym import Pseudonyms
from audit.records import Writer
from audit.store import AuditFilter, query
from dicom_node.config.accession import AcceptAction, AccessionSettings
from dicom_node.config.settings import RetrySettings
from dicom_node.correction.port import CorrectionPreview, Mended, NotMendable
from dicom_node.notify.begin import Announcer
from dicom_node.orders.book import BookParts, OrderBook
from dicom_node.orders.decide import Decide, DecideParts, NobodyDecided
from dicom_node.orders.watch import WatchOrders
from dicom_node.pipeline.judgement_records import JudgementRecords
from dicom_node.pipeline.patient_images import HeaderReader
from dicom_node.pipeline.reconcile_orders import (
    ReconcileOrders,
    ReconcileOrdersParts,
    StudyStanding,
)
from dicom_node.pipeline.result import result_document
from dicom_node.pipeline.work import Work
from inference.accessions import Standing
from inference.assignment import Options
from inference.manifest import Label, OperatingPoint
from inference.orders import Order, OrderQuery, OrderState, PatientKey
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
from storage.engine import migrate
from storage.files import FileStore
from storage.incoming import new_instance_from_header
from storage.index import file_instance, study
from storage.results import insert_result, reopen_study
from storage.session import Database
from storage.states import IllegalTransition, JobKind, JobState, ProposalState
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
        self.files = FileStore(folder, minimum_free_bytes=0, clock=self.clock)
        self.folder = folder
        settings = AccessionSettings()
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
                work=work,
                announcer=announcer,
                records=records,
                clock=self.clock,
                metrics=NullMetrics(),
            )
        )
        self.mender = _Mender()
        notify = DecideParts(
            database=database,
            on_accept=AcceptAction.NOTIFY,
            mender=_NeverMend(),
            announcer=announcer,
            records=records,
            clock=self.clock,
            metrics=NullMetrics(),
        )
        self.decide = Decide(notify)
        self.correct = Decide(replace(notify, on_accept=AcceptAction.CORRECT, mender=self.mender))

    def image(self, shown: str, *, study: str = "", day: str = "20260102", **tags: Any) -> int:
        """File an image in which the network saw `shown`; return its study's row."""
        ds = chest_radiograph(
            StudyInstanceUID=study or generate_uid(),
            SeriesInstanceUID=generate_uid(),
            SOPInstanceUID=generate_uid(),
            **{"PatientID": "P1", "StudyDescription": "", "StudyDate": day, **tags},
        )
        ds.SeriesDescription = ds.BodyPartExamined = ""
        path = f"instances/{ds.SOPInstanceUID}.dcm"
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
                content_sha256=ds.SOPInstanceUID.rjust(64)[-64:],
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


class _NeverMend:
    """Fails the test where something would be sent."""

    def preview(self, proposal_id: int) -> Any:
        raise AssertionError

    def mend(self, proposal_id: int, actor: str) -> Any:
        raise AssertionError


class _Mender:
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


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    migrate(database)
    return Bench(database, tmp_path)


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


def test_a_swap_between_two_studies_is_proposed_once_and_opens_the_other_study(
    bench: Bench,
) -> None:
    knee = bench.image("ANKLE", AccessionNumber="A", StudyDescription="XR KNEE")
    assert standings(bench.check(knee)) == {"A": Standing.MISMATCH}
    ankle = bench.image("KNEE", AccessionNumber="B", StudyDescription="XR ANKLE")
    before = bench.changes(knee)

    found = bench.check(ankle)

    [row] = found.proposals
    assert row.kind == "swap"
    assert bench.changes(knee) > before, "the report on the first study must say so, too"
    settled = (bench.changes(knee), bench.changes(ankle))
    assert bench.check(knee).proposals[0].id == row.id
    bench.check(ankle)
    assert (bench.changes(knee), bench.changes(ankle)) == settled, "nothing changes any more"
    assert bench.jobs(JobKind.NOTIFY) == [f"notify:{row.id}:open:webhook"]


def test_studies_of_other_days_and_of_other_patients_are_left_alone(bench: Bench) -> None:
    bench.image("KNEE", AccessionNumber="B", StudyDescription="XR ANKLE", day="20260110")
    bench.image("KNEE", AccessionNumber="C", StudyDescription="XR ANKLE", PatientID="P2")
    issuer = {"IssuerOfPatientID": "ELSEWHERE"}
    bench.image("KNEE", AccessionNumber="D", StudyDescription="XR ANKLE", **issuer)
    knee = bench.image("ANKLE", AccessionNumber="A", StudyDescription="XR KNEE")
    moves = [m for row in bench.check(knee).proposals for m in row.document["moves"]]
    assert all(move["target"] is None for move in moves)


def test_images_without_patient_id_have_no_siblings(bench: Bench) -> None:
    bench.image("KNEE", AccessionNumber="B", StudyDescription="XR ANKLE", PatientID="")
    knee = bench.image("ANKLE", AccessionNumber="A", StudyDescription="XR KNEE", PatientID="")
    moves = [m for row in bench.check(knee).proposals for m in row.document["moves"]]
    assert all(move["target"] is None for move in moves)


def test_two_patients_with_one_accession_number_of_two_issuers_do_not_mix(bench: Bench) -> None:
    def issued(by: str) -> Any:
        item = Dataset()
        item.LocalNamespaceEntityID = by
        return [item]

    bench.book.keep(
        (
            order("7", "KNEE", issuer="NORTH"),
            order("7", "ANKLE", issuer="SOUTH", patient=PatientKey(patient_id="P2")),
        )
    )
    north = bench.image(
        "KNEE", AccessionNumber="7", IssuerOfAccessionNumberSequence=issued("NORTH")
    )
    south = bench.image(
        "ANKLE",
        AccessionNumber="7",
        PatientID="P2",
        IssuerOfAccessionNumberSequence=issued("SOUTH"),
    )
    assert standings(bench.check(north)) == {"7": Standing.MATCH}
    assert standings(bench.check(south)) == {"7": Standing.MATCH}


def test_an_image_without_accession_number_is_offered_the_order_that_waits(bench: Bench) -> None:
    bench.book.keep((order("B", "ANKLE"),))
    nameless = bench.image("ANKLE", AccessionNumber="")
    found = bench.check(nameless)
    [row] = found.proposals
    assert row.document["moves"][0]["target"]["accession_number"] == "B"
    assert standings(found) == {"": Standing.NOT_DECLARED}


def test_an_order_that_changed_is_compared_again_and_one_that_did_not_is_not(
    bench: Bench,
) -> None:
    bench.book.keep((order("A", "KNEE"),))
    knee = bench.image("KNEE", AccessionNumber="A")
    assert standings(bench.check(knee)) == {"A": Standing.MATCH}
    before = bench.changes(knee)

    later = NOW + timedelta(minutes=1)
    assert bench.book.keep((order("A", "KNEE", received_at=later),)) == 0
    assert bench.jobs(JobKind.RECONCILE) == []
    assert bench.book.keep((order("A", "ANKLE", received_at=later),)) == 1
    [key] = bench.jobs(JobKind.RECONCILE)
    with bench.database.reading() as connection:
        job = jobs.get(connection, key)
    assert job is not None
    bench.use_case(job)

    assert bench.jobs(JobKind.RECONCILE) == []
    assert bench.changes(knee) == before + 1
    assert standings(bench.check(knee)) == {"A": Standing.MISMATCH}


def test_a_change_after_the_time_of_watching_begins_nothing(bench: Bench) -> None:
    bench.image("KNEE", AccessionNumber="A")
    bench.clock.moment = NOW + timedelta(days=30)
    assert bench.book.keep((order("A", "ANKLE"),)) == 1
    assert bench.jobs(JobKind.RECONCILE) == []


def test_a_cancelled_order_is_told(bench: Bench) -> None:
    bench.book.keep((order("A", "KNEE", state=OrderState.CANCELLED),))
    found = bench.check(bench.image("KNEE", AccessionNumber="A", StudyDescription="XR KNEE"))
    [accession] = found.accessions
    assert accession.cancelled
    assert accession.sentence.startswith("Its order was cancelled.")


def test_a_worklist_is_asked_once_while_its_answer_is_fresh(bench: Bench) -> None:
    bench.ris.orders = (order("A", "ANKLE", source=ExpectationSource.WORKLIST),)
    knee = bench.image("KNEE", AccessionNumber="A", StudyDescription="XR KNEE")
    found = bench.check(knee)
    assert standings(found) == {"A": Standing.MISMATCH}
    assert found.accessions[0].expected is not None
    assert found.accessions[0].expected.source is ExpectationSource.WORKLIST
    asked = len(bench.ris.asked)
    bench.check(knee)
    assert len(bench.ris.asked) == asked == 2, "by number, and by patient and day"
    bench.clock.moment = NOW + timedelta(minutes=10)
    bench.check(knee)
    assert len(bench.ris.asked) == 4


def test_a_worklist_that_is_away_leaves_what_is_known_and_marks_it_stale(bench: Bench) -> None:
    bench.ris.orders = (order("A", "KNEE", source=ExpectationSource.WORKLIST),)
    knee = bench.image("KNEE", AccessionNumber="A")
    assert not bench.check(knee).accessions[0].stale
    before = bench.changes(knee)
    bench.ris.away = True
    bench.clock.moment = NOW + timedelta(minutes=10)

    [accession] = bench.check(knee).accessions

    assert (accession.stale, accession.standing) == (True, Standing.MATCH)
    asked = len(bench.ris.asked)
    bench.check(knee)
    assert len(bench.ris.asked) == asked, "one time-out is enough for a while"
    assert bench.changes(knee) == before, "going stale is no reason for another report"


def test_a_worklist_that_lies_about_the_patient_is_not_believed(bench: Bench) -> None:
    foreign = PatientKey(patient_id="SOMEBODY-ELSE")
    bench.ris.orders = (order("A", "ANKLE", source=ExpectationSource.WORKLIST, patient=foreign),)
    knee = bench.image("KNEE", AccessionNumber="A", StudyDescription="XR KNEE")
    assert standings(bench.check(knee)) == {"A": Standing.MATCH}


def test_a_proposal_that_an_order_has_answered_is_superseded(bench: Bench) -> None:
    bench.book.keep((order("A", "KNEE"), order("B", "ANKLE")))
    knee = bench.image("ANKLE", AccessionNumber="A")
    bench.check(knee)
    [row] = bench.open_proposals()
    later = NOW + timedelta(minutes=1)
    bench.book.keep((order("A", "ANKLE", received_at=later),))
    bench.check(knee)
    assert bench.open_proposals() == []
    with bench.database.reading() as connection:
        assert proposals.get(connection, row.id).state is ProposalState.SUPERSEDED


def rejected(bench: Bench) -> tuple[int, Callable[[], list[Any]]]:
    bench.book.keep((order("A", "KNEE"), order("B", "ANKLE")))
    knee = bench.image("ANKLE", AccessionNumber="A")
    bench.check(knee)
    [row] = bench.open_proposals()
    bench.decide.reject(row.id, actor="anna", note="add-on view")
    return knee, bench.open_proposals


def test_what_a_person_rejected_is_not_proposed_again(bench: Bench) -> None:
    knee, offered = rejected(bench)
    bench.check(knee)
    assert offered() == []


def test_what_a_person_rejected_comes_again_when_the_orders_are_others(bench: Bench) -> None:
    knee, offered = rejected(bench)
    later = NOW + timedelta(minutes=1)
    bench.book.keep((order("A", "HAND", received_at=later),))
    bench.check(knee)
    assert len(offered()) == 1


def test_every_step_is_audited_with_who_and_when_and_names_no_order(bench: Bench) -> None:
    knee = bench.image("ANKLE", AccessionNumber="SECRET-A", StudyDescription="XR KNEE")
    bench.book.keep((order("SECRET-B", "ANKLE"),))
    bench.check(knee)
    [row] = bench.open_proposals()
    before = bench.changes(knee)
    bench.decide.accept(row.id, actor="anna")
    assert bench.changes(knee) == before + 1, "the next report says that it was accepted"
    with pytest.raises(IllegalTransition):
        bench.decide.reject(row.id, actor="bert")
    with pytest.raises(NobodyDecided):
        bench.decide.accept(row.id, actor=" ")

    with bench.database.reading() as connection:
        records = list(query(connection, AuditFilter()))
    told = [(r.body["outcome"], r.body["actor"]) for r in records if r.kind == "proposal_changed"]
    assert sorted(told) == [("accepted", "anna"), ("open", "node")]
    [checked] = [r for r in records if r.kind == "accession_checked"]
    assert (checked.body["outcome"], checked.body["order"]["regions"]) == ("mismatch", ["KNEE"])
    assert not any("SECRET" in r.payload for r in records)
    assert bench.jobs(JobKind.NOTIFY) == [
        f"notify:{row.id}:accepted:webhook",
        f"notify:{row.id}:open:webhook",
    ]


def test_where_accepting_corrects_the_package_is_begun_and_a_death_in_between_is_made_good(
    bench: Bench,
) -> None:
    knee = bench.image("ANKLE", AccessionNumber="A", StudyDescription="XR KNEE")
    bench.book.keep((order("B", "ANKLE"),))
    bench.check(knee)
    [row] = bench.open_proposals()
    bench.mender.dies = True
    with pytest.raises(DatabaseAway):
        bench.correct.accept(row.id, actor="anna")
    bench.mender.dies = False

    decided = bench.correct.accept(row.id, actor="bert")

    assert decided.mended is not None
    assert bench.mender.mended == [(row.id, "bert")]
    assert decided.proposal.decided_by == "anna", "the word that counts is the first"


def test_a_correction_that_cannot_be_made_is_refused_before_anything_is_decided(
    bench: Bench,
) -> None:
    study = generate_uid()
    bench.image("KNEE", study=study, AccessionNumber="A", StudyDescription="XR KNEE")
    bench.check(bench.image("CHEST", study=study, AccessionNumber="A", StudyDescription="XR KNEE"))
    [row] = bench.open_proposals()
    assert row.kind == "missing_order"
    bench.mender.refuses = True
    with pytest.raises(NotMendable):
        bench.correct.accept(row.id, actor="anna")
    assert [each.id for each in bench.open_proposals()] == [row.id]
    assert bench.correct.reject(row.id, actor="anna").mended is None


def moved_images(rows: list[Any]) -> list[list[int]]:
    return [[move["image"]["instance_id"] for move in row.document["moves"]] for row in rows]


def misfiled(bench: Bench) -> tuple[int, str]:
    bench.book.keep((order("A", "KNEE"), order("B", "ANKLE")))
    study = generate_uid()
    return bench.image("ANKLE", study=study, AccessionNumber="A"), study


@pytest.mark.parametrize("accepted", [True, False])
def test_a_move_that_was_decided_is_not_proposed_again_when_another_image_comes(
    bench: Bench, accepted: bool
) -> None:
    knee, uid = misfiled(bench)
    bench.check(knee)
    [first] = bench.open_proposals()
    (bench.decide.accept if accepted else bench.decide.reject)(first.id, actor="anna")

    bench.image("ANKLE", study=uid, AccessionNumber="A")
    bench.check(knee)

    [[decided]] = moved_images([first])
    [[fresh]] = moved_images(bench.open_proposals())
    assert fresh != decided, "only the image that came is proposed"


def test_images_of_an_accepted_swap_stay_out_of_what_is_proposed_for_the_next(
    bench: Bench,
) -> None:
    study = generate_uid()
    knee = {"study": study, "AccessionNumber": "A", "StudyDescription": "XR KNEE"}
    row = bench.image("ANKLE", **knee)
    bench.image("KNEE", AccessionNumber="B", StudyDescription="XR ANKLE")
    bench.check(row)
    [swap] = bench.open_proposals()
    bench.decide.accept(swap.id, actor="anna")

    bench.image("ANKLE", **knee)
    bench.check(row)

    [[one, other]] = moved_images([swap])
    [[fresh]] = moved_images(bench.open_proposals())
    assert fresh not in (one, other)


def test_an_accepted_move_holds_when_its_order_is_cancelled(bench: Bench) -> None:
    knee, _ = misfiled(bench)
    bench.check(knee)
    [first] = bench.open_proposals()
    bench.decide.accept(first.id, actor="anna")
    later = NOW + timedelta(minutes=1)
    bench.book.keep((order("B", "ANKLE", state=OrderState.CANCELLED, received_at=later),))
    bench.book.keep((order("C", "ANKLE"),))
    bench.check(knee)
    assert bench.open_proposals() == []
