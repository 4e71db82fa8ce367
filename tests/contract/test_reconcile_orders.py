"""A patient's accessions are judged together, on both databases, from stored files."""

import errno
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from sqlalchemy import update

from audit.errors import DatabaseAway, Transient
from audit.store import AuditFilter, query
from dicom_node.correction.port import NotMendable
from dicom_node.orders.decide import NobodyDecided
from dicom_node.pipeline import patient_images
from inference.accessions import Standing
from inference.orders import OrderState, PatientKey
from inference.types import ExpectationSource
from storage import jobs, proposals
from storage.engine import migrate
from storage.order_models import Proposal
from storage.session import Database
from storage.states import IllegalTransition, JobKind, ProposalState
from tests.reconciling import NOW, Bench, order, standings


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    migrate(database)
    return Bench(database, tmp_path)


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
    assert len(bench.ris.asked) == asked == 1, "the answer about the patient holds the number"
    bench.clock.moment = NOW + timedelta(minutes=10)
    bench.check(knee)
    assert len(bench.ris.asked) == 2


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


@pytest.mark.parametrize("accepted", [True, False])
def test_a_decided_move_is_not_proposed_again_when_its_image_comes_in_other_bytes(
    bench: Bench, accepted: bool
) -> None:
    bench.book.keep((order("A", "KNEE"), order("B", "ANKLE")))
    image = {"study": generate_uid(), "uid": generate_uid(), "AccessionNumber": "A"}
    knee = bench.image("ANKLE", **image)
    bench.check(knee)
    [first] = bench.open_proposals()
    (bench.decide.accept if accepted else bench.decide.reject)(first.id, actor="anna")

    bench.image("ANKLE", **image)
    bench.check(knee)

    assert bench.open_proposals() == []


def test_a_move_that_was_rejected_by_the_row_of_its_image_stays_rejected(bench: Bench) -> None:
    knee, _ = misfiled(bench)
    bench.check(knee)
    [first] = bench.open_proposals()
    bench.decide.reject(first.id, actor="anna")
    [move] = first.document["moves"]
    former = [str(move["image"]["instance_id"]), "A", "KNEE", "->", "B", "ANKLE"]
    keys = [hashlib.sha256(json.dumps(former).encode()).hexdigest()]
    with bench.database.transaction() as connection:
        connection.execute(
            update(Proposal).values(document={**first.document, "move_keys": keys}, key="former")
        )

    bench.check(knee)

    assert bench.open_proposals() == []


def test_a_study_that_comes_later_is_told_of_the_proposal_it_has_to_do_with(
    bench: Bench,
) -> None:
    knee, _ = misfiled(bench)
    bench.check(knee)
    [row] = bench.open_proposals()

    ankle = bench.image("ANKLE", AccessionNumber="B")

    assert [each.id for each in bench.check(ankle).proposals] == [row.id]
    settled = bench.changes(knee), bench.changes(ankle)
    bench.check(knee)
    bench.check(ankle)
    assert (bench.changes(knee), bench.changes(ankle)) == settled, "nothing changes any more"


def test_a_study_that_was_reported_before_is_opened_when_a_proposal_speaks_of_it(
    bench: Bench,
) -> None:
    knee, _ = misfiled(bench)
    bench.check(knee)
    [row] = bench.open_proposals()
    ankle = bench.image("ANKLE", AccessionNumber="B")
    before = bench.changes(ankle)

    bench.check(knee)

    assert bench.changes(ankle) == before + 1
    with bench.database.reading() as connection:
        assert proposals.studies_of(connection, row.id) == [knee, ankle]


def test_a_header_that_cannot_be_read_just_now_is_not_taken_for_an_empty_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    knee = bench.image("KNEE", AccessionNumber="A", StudyDescription="XR KNEE")

    def fails(_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(patient_images, "received_file", fails)
        with pytest.raises(Transient):
            bench.check(knee)

    assert standings(bench.check(knee)) == {"A": Standing.MATCH}


def test_a_file_that_is_away_is_read_once_it_is_back(bench: Bench) -> None:
    knee = bench.image("KNEE", AccessionNumber="A", StudyDescription="XR KNEE")
    [path] = bench.files.absolute("instances").glob("*.dcm")
    away = path.rename(bench.folder / "away.dcm")
    assert standings(bench.check(knee)) == {"A": Standing.NOT_DECLARED}

    away.rename(path)

    assert standings(bench.check(knee)) == {"A": Standing.MATCH}


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
