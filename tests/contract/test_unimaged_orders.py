"""Orders under which no image came are called incomplete, once none is awaited any more."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from audit.store import AuditFilter, query
from dicom_node.config.accession import AccessionSettings, Unimaged
from dicom_node.orders.waiting import is_overdue, keys_of, waiting_of
from inference.accessions import Standing
from inference.orders import OrderState, PatientKey
from inference.types import ExpectationSource
from storage import checks, jobs
from storage.engine import migrate
from storage.session import Database
from storage.states import JobKind, JobState
from tests.reconciling import NOW, Bench, order, standings


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    migrate(database)
    return Bench(database, tmp_path)


def listed(bench: Bench, number: str = "") -> dict[str, str]:
    with bench.database.reading() as connection:
        rows = checks.listing(connection, accession_number=number)
    return {r.document["verdict"]["accession"]["accession_number"]: r.verdict for r in rows}


def later(bench: Bench, **time: float) -> None:
    bench.clock.moment += timedelta(**time)


def test_the_order_of_a_part_that_was_not_imaged_with_the_others_becomes_incomplete(
    bench: Bench,
) -> None:
    knee = bench.image("KNEE", AccessionNumber="A", StudyDescription="XR KNEE")
    bench.book.keep((order("B", "ANKLE"),))
    assert standings(bench.check(knee)) == {"A": Standing.MATCH}
    bench.unimaged()
    before = bench.jobs(JobKind.RECONCILE)

    later(bench, hours=2)
    bench.unimaged()
    [job] = set(bench.jobs(JobKind.RECONCILE)) - set(before)
    assert f":{knee}:order:" in job
    changes = bench.changes(knee)
    bench.use_case.check(knee, reported=True)

    assert listed(bench, "B") == {"B": "incomplete"}
    assert bench.changes(knee) == changes + 1, "the report on the knee must say so"
    assert standings(bench.check(knee)) == {"A": Standing.MATCH, "B": Standing.INCOMPLETE}


def test_no_job_is_known_by_a_hash_of_patient_and_number(bench: Bench) -> None:
    bench.image("KNEE", AccessionNumber="A", StudyDescription="XR KNEE")
    bench.book.keep((order("B", "ANKLE"),))
    later(bench, hours=3)
    bench.unimaged()
    bench.unimaged()
    guess = hashlib.sha256("\x00".join(("P1", "", "", "B")).encode()).hexdigest()[:40]
    keys = [key for key in bench.jobs(JobKind.RECONCILE) if ":order:" in key]
    assert len(keys) == 1
    assert guess not in keys[0]


def test_a_job_that_was_begun_under_such_a_hash_still_ends(bench: Bench) -> None:
    knee = bench.image("KNEE", AccessionNumber="A", StudyDescription="XR KNEE")
    bench.book.keep((order("B", "ANKLE"),))
    later(bench, hours=3)
    key = f"reconcile:{knee}:order:{'a' * 40}:1"
    with bench.database.transaction() as connection:
        jobs.create(
            connection,
            key=key,
            kind=JobKind.RECONCILE,
            queue=JobKind.RECONCILE,
            study_id=knee,
            urgent=False,
            now=bench.clock.now(),
        )
        job = jobs.get(connection, key)
    assert job is not None

    bench.use_case(job)

    with bench.database.reading() as connection:
        ended = jobs.get(connection, key)
    assert ended is not None
    assert ended.state is JobState.DONE
    assert listed(bench, "B") == {"B": "incomplete"}


def test_it_stays_so_while_other_images_come_and_ends_when_its_own_do(bench: Bench) -> None:
    knee = bench.image("KNEE", AccessionNumber="A", StudyDescription="XR KNEE")
    bench.book.keep((order("B", "ANKLE"),))
    later(bench, hours=2)
    assert standings(bench.check(knee))["B"] is Standing.INCOMPLETE
    later(bench, hours=-2)
    assert standings(bench.check(knee))["B"] is Standing.INCOMPLETE

    changes = bench.changes(knee)
    ankle = bench.image("ANKLE", AccessionNumber="B")
    assert standings(bench.check(ankle)) == {"B": Standing.MATCH}
    assert listed(bench) == {"A": "match", "B": "match"}
    assert bench.changes(knee) == changes + 1, "the report on the knee said incomplete"


def test_an_order_of_a_patient_who_never_came_is_incomplete_when_its_days_are_over(
    bench: Bench,
) -> None:
    bench.book.keep((order("B", "ANKLE"), order("C", "KNEE", state=OrderState.CANCELLED)))
    later(bench, days=1)
    bench.unimaged()
    assert listed(bench) == {}

    later(bench, days=1)
    bench.unimaged()
    bench.unimaged()
    assert listed(bench) == {"B": "incomplete"}
    with bench.database.reading() as connection:
        [record] = [r for r in query(connection, AuditFilter()) if r.kind == "accession_checked"]
    assert (record.body["outcome"], record.body["order"]["missing"]) == ("incomplete", ["ANKLE"])
    assert record.body["images"] == {}

    bench.book.keep((order("B", "ANKLE", state=OrderState.CANCELLED),))
    bench.unimaged()
    assert listed(bench) == {}


def test_late_images_of_a_patient_who_never_came_end_it(bench: Bench) -> None:
    bench.book.keep((order("B", "ANKLE"),))
    later(bench, days=2)
    bench.unimaged()
    assert listed(bench) == {"B": "incomplete"}
    ankle = bench.image("ANKLE", AccessionNumber="B", day="20260104")
    bench.check(ankle)
    assert listed(bench) == {"B": "match"}


def test_an_order_that_one_source_tells_with_an_issuer_and_one_without_is_one(
    bench: Bench,
) -> None:
    told = order("B", "ANKLE", issuer="RIS")
    listed_too = order("B", "ANKLE", source=ExpectationSource.WORKLIST)
    bench.book.keep((told, listed_too))

    [waiting] = waiting_of(told.patient, [listed_too, told])
    assert (waiting.number.issuer, set(waiting.orders)) == ("RIS", {told, listed_too})
    later(bench, days=2)
    bench.unimaged()
    with bench.database.reading() as connection:
        [row] = checks.listing(connection, accession_number="B")
    assert (row.key, row.verdict) == (waiting.key, "incomplete")


def test_an_order_that_one_source_tells_with_an_issuer_of_the_patient_is_one(
    bench: Bench,
) -> None:
    told = order("B", "ANKLE", patient=PatientKey(patient_id="P1", issuer="HOSP"))
    bench.book.keep((told, order("B", "ANKLE", source=ExpectationSource.WORKLIST)))
    later(bench, days=2)
    bench.unimaged()
    with bench.database.reading() as connection:
        assert [row.verdict for row in checks.listing(connection, accession_number="B")] == [
            "incomplete"
        ]


def test_it_is_compared_with_images_of_the_patient_whom_one_source_names(bench: Bench) -> None:
    """Another issuer's patient of the same number has images of these days, too."""
    at = {"StudyDescription": "XR KNEE", "AccessionNumber": "A"}
    study = bench.image("KNEE", IssuerOfPatientID="HOSP", **at)
    bench.image("KNEE", IssuerOfPatientID="OTHER", **{**at, "AccessionNumber": "C"})
    hospital = PatientKey(patient_id="P1", issuer="HOSP")
    bench.book.keep((order("B", "ANKLE"),))
    bench.book.keep((order("B", "ANKLE", source=ExpectationSource.WORKLIST, patient=hospital),))
    later(bench, days=2)

    bench.unimaged()

    [key] = [key for key in bench.jobs(JobKind.RECONCILE) if ":order:" in key]
    assert key.split(":")[1] == str(study)


def test_an_issuer_that_is_told_later_makes_no_second_one(bench: Bench) -> None:
    bench.book.keep((order("B", "ANKLE"),))
    later(bench, days=2)
    bench.unimaged()
    bench.book.keep((order("B", "ANKLE", source=ExpectationSource.WORKLIST, issuer="RIS"),))
    bench.unimaged()
    bench.unimaged()
    with bench.database.reading() as connection:
        [row] = checks.listing(connection, accession_number="B")
    assert row.verdict == "incomplete"


def test_where_it_was_cancelled_it_is_not_missed(bench: Bench) -> None:
    told = order("B", "ANKLE", issuer="RIS", state=OrderState.CANCELLED)
    bench.book.keep((told, order("B", "ANKLE", source=ExpectationSource.WORKLIST)))
    later(bench, days=2)
    bench.unimaged()
    assert listed(bench) == {}

    knee = bench.image("KNEE", AccessionNumber="A", StudyDescription="XR KNEE")
    assert standings(bench.check(knee)) == {"A": Standing.MATCH}


def test_orders_of_two_issuers_are_two_and_what_names_none_is_of_neither() -> None:
    here, there = order("B", "ANKLE", issuer="HERE"), order("B", "KNEE", issuer="THERE")

    found = waiting_of(here.patient, [there, order("B", "HAND"), here])

    assert [(each.number.issuer, each.orders) for each in found] == [
        ("HERE", (here,)),
        ("THERE", (there,)),
    ]


def test_a_check_of_it_is_found_again_whoever_names_which_issuer() -> None:
    told = order("B", "ANKLE", patient=PatientKey(patient_id="P1", issuer="HOSP"))
    listed_too = order("B", "ANKLE", issuer="RIS", source=ExpectationSource.WORKLIST)

    [waiting] = waiting_of(PatientKey(patient_id="P1"), [told, listed_too])

    assert waiting.key in keys_of([told, listed_too])
    assert keys_of([told]) < keys_of([told, listed_too])


def test_another_patients_order_of_the_same_number_stays_incomplete(bench: Bench) -> None:
    other = PatientKey(patient_id="P2")
    bench.book.keep((order("7", "ANKLE", patient=other),))
    later(bench, days=2)
    bench.unimaged()
    own = bench.image("KNEE", AccessionNumber="7", StudyDescription="XR KNEE", day="20260104")
    with bench.database.reading() as connection:
        before = [row.key for row in checks.listing(connection, accession_number="7")]
    sibling = bench.image("KNEE", AccessionNumber="9", StudyDescription="XR KNEE", day="20260104")

    bench.check(sibling)
    bench.check(own)

    with bench.database.reading() as connection:
        kept = {row.key: row.verdict for row in checks.listing(connection, accession_number="7")}
    assert [kept.get(key) for key in before] == ["incomplete"]


def test_another_patients_order_of_the_same_number_makes_no_report_again_and_again(
    bench: Bench,
) -> None:
    bench.book.keep((order("7", "KNEE", patient=PatientKey(patient_id="OLDID")),))
    later(bench, days=2)
    first = bench.image("KNEE", AccessionNumber="7", StudyDescription="XR KNEE", day="20260104")
    other = bench.image("ANKLE", AccessionNumber="8", StudyDescription="XR ANKLE", day="20260104")
    bench.check(first)
    bench.check(other)
    settled = bench.changes(first), bench.changes(other)

    for study in (first, other, first, other):
        bench.unimaged()
        bench.check(study)

    assert (bench.changes(first), bench.changes(other)) == settled


def test_an_order_for_tomorrow_is_awaited_however_long_ago_the_last_image_came() -> None:
    tomorrow = order("B", "ANKLE", ordered_on=(NOW + timedelta(days=1)).date())
    settings = AccessionSettings()
    assert not is_overdue((tomorrow,), settings, NOW + timedelta(hours=11), NOW)
    assert is_overdue((tomorrow,), settings, NOW + timedelta(days=3), NOW)


def test_an_order_of_long_ago_is_awaited_while_images_of_its_days_come() -> None:
    old = order("B", "ANKLE", ordered_on=(NOW - timedelta(days=90)).date())
    settings = AccessionSettings()
    assert not is_overdue((old,), settings, NOW + timedelta(minutes=10), NOW)
    assert is_overdue((old,), settings, NOW + timedelta(hours=2), NOW)


@pytest.mark.parametrize(
    ("unimaged", "with_siblings", "without"),
    [(Unimaged.ALL, True, True), (Unimaged.SIBLINGS, True, False), (Unimaged.NONE, False, False)],
)
def test_a_site_says_which_orders_without_images_count(
    unimaged: Unimaged, with_siblings: bool, without: bool
) -> None:
    settings = AccessionSettings(unimaged=unimaged)
    orders, now = (order("B", "ANKLE"),), NOW + timedelta(days=3)
    assert is_overdue(orders, settings, now, NOW) is with_siblings
    assert is_overdue(orders, settings, now, None) is without
