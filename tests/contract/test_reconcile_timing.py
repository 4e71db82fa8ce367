"""What is said of studies whose images still come, who is asked, and who is told again."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from dicom_node.orders.proposal_counts import CountProposals
from inference.accessions import Standing
from inference.orders import OrderQuery
from inference.types import ExpectationSource
from storage import checks
from storage.engine import migrate
from storage.jobs import JobRow, get
from storage.session import Database
from storage.states import JobKind
from tests.reconciling import NOW, Bench, order, standings


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    migrate(database)
    return Bench(database, tmp_path)


def listed(bench: Bench) -> dict[str, str]:
    with bench.database.reading() as connection:
        rows = checks.listing(connection)
    return {r.document["verdict"]["accession"]["accession_number"]: r.verdict for r in rows}


def test_nothing_is_said_of_a_sibling_study_whose_images_still_come(bench: Bench) -> None:
    knee = bench.image("ANKLE", AccessionNumber="A", StudyDescription="XR KNEE")
    uid = generate_uid()
    ankle = bench.image("KNEE", study=uid, AccessionNumber="B", StudyDescription="XR ANKLE")
    bench.presence.enter(uid)

    assert standings(bench.check(knee)) == {"A": Standing.MISMATCH}
    assert listed(bench) == {"A": "mismatch"}
    assert bench.open_proposals() == []

    bench.presence.leave(uid)
    bench.check(ankle)
    assert listed(bench) == {"A": "mismatch", "B": "mismatch"}
    assert [row.kind for row in bench.open_proposals()] == ["swap"]


def test_a_proposal_stays_open_while_a_study_that_it_may_depend_on_still_comes(
    bench: Bench,
) -> None:
    knee = bench.image("ANKLE", AccessionNumber="A", StudyDescription="XR KNEE")
    ankle = bench.image("KNEE", AccessionNumber="B", StudyDescription="XR ANKLE")
    bench.check(knee)
    [swap] = bench.open_proposals()
    uid = generate_uid()
    bench.presence.enter(uid)
    bench.image("CHEST", study=uid, AccessionNumber="C", StudyDescription="XR CHEST")
    bench.book.keep((order("A", "ANKLE"), order("B", "KNEE")))

    bench.check(ankle)
    assert [row.id for row in bench.open_proposals()] == [swap.id]
    bench.presence.leave(uid)
    bench.check(ankle)
    assert bench.open_proposals() == []


def test_an_order_that_changed_leaves_a_study_that_still_comes_to_its_own_report(
    bench: Bench,
) -> None:
    uid = generate_uid()
    knee = bench.image("ANKLE", study=uid, AccessionNumber="A")
    bench.book.keep((order("A", "KNEE"),))
    [key] = bench.jobs(JobKind.RECONCILE)
    bench.presence.enter(uid)
    bench.use_case(_job(bench, key))
    assert (listed(bench), bench.jobs(JobKind.RECONCILE)) == ({}, [])

    bench.book.keep((order("A", "HAND", received_at=NOW + timedelta(seconds=1)),))
    [key] = bench.jobs(JobKind.RECONCILE)
    bench.presence.leave(uid)
    bench.use_case(_job(bench, key))
    assert listed(bench) == {"A": "mismatch"}
    assert bench.changes(knee) > 1


def _job(bench: Bench, key: str) -> JobRow:
    with bench.database.reading() as connection:
        found = get(connection, key)
    assert found is not None
    return found


def test_one_question_about_the_patient_answers_for_every_accession_in_its_answer(
    bench: Bench,
) -> None:
    worklist = ExpectationSource.WORKLIST
    bench.ris.orders = (order("A", "KNEE", source=worklist), order("B", "HAND", source=worklist))
    uid = generate_uid()
    for number in ("A", "B", "C"):
        study = bench.image("KNEE", study=uid, AccessionNumber=number)

    bench.check(study)

    asked = [(query.patient is not None, query.accession_number) for query in bench.ris.asked]
    assert asked == [(True, ""), (False, "C")]
    bench.check(study)
    assert len(bench.ris.asked) == 2


def test_an_answer_that_changes_the_order_of_another_study_has_that_one_compared_again(
    bench: Bench,
) -> None:
    far = bench.image("KNEE", AccessionNumber="FAR", day="20260105")
    near = bench.image("KNEE", AccessionNumber="NEAR")
    bench.ris.orders = (
        order("NEAR", "KNEE", source=ExpectationSource.WORKLIST),
        order("FAR", "HAND", source=ExpectationSource.WORKLIST, ordered_on=None),
    )

    bench.check(near)

    jobs = bench.jobs(JobKind.RECONCILE)
    assert {key.split(":")[1] for key in jobs} == {str(far)}
    assert OrderQuery(accession_number="NEAR") not in bench.ris.asked


def test_people_are_told_when_a_proposal_does_not_hold_any_more_and_when_it_does_again(
    bench: Bench,
) -> None:
    knee = bench.image("ANKLE", AccessionNumber="A", StudyDescription="XR KNEE")
    bench.image("KNEE", AccessionNumber="B", StudyDescription="XR ANKLE")
    bench.check(knee)

    def changed(first: str, second: str) -> None:
        bench.clock.moment += timedelta(minutes=1)
        moment = bench.clock.moment
        orders = (order("A", first, received_at=moment), order("B", second, received_at=moment))
        bench.book.keep(orders)
        bench.check(knee)

    changed("ANKLE", "KNEE")
    changed("KNEE", "ANKLE")
    changed("ANKLE", "KNEE")

    told = [key.split(":")[2] for key in bench.jobs(JobKind.NOTIFY)]
    assert sorted(told) == ["open", "reopened", "superseded", "superseded"]


def test_the_count_of_proposals_is_the_databases_whoever_decided(bench: Bench) -> None:
    knee = bench.image("ANKLE", AccessionNumber="A", StudyDescription="XR KNEE")
    bench.image("KNEE", AccessionNumber="B", StudyDescription="XR ANKLE")
    bench.check(knee)
    gauges: dict[tuple[str, str], float] = {}
    count = CountProposals(bench.database, _Gauges(gauges.__setitem__))
    count()
    assert (gauges["swap", "open"], gauges["swap", "accepted"]) == (1, 0)

    [row] = bench.open_proposals()
    bench.decide.accept(row.id, actor="anna")
    count()
    assert (gauges["swap", "open"], gauges["swap", "accepted"]) == (0, 1)


class _Gauges:
    """Metrics that hand every gauge on."""

    def __init__(self, keep: Callable[[tuple[str, str], float], None]) -> None:
        self._keep = keep

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        raise AssertionError

    observe = count

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        assert name == "proposals"
        self._keep((labels["kind"], labels["state"]), value)
