"""Filing: every image once, under one patient, study and series, whoever brings it when."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select, text

from storage import index
from storage.commit import GroupCommitter
from storage.index import FiledKind, file_instance
from storage.listing import study_listing
from storage.models import Accession, Instance, Patient, Series, Study
from storage.rows import NoSuchRow
from storage.session import Database
from storage.states import JobKind, JobState
from tests.filings import NOON, add_job, filed, new_instance, new_uid

THREADS = 8
SECOND = timedelta(seconds=1)


def counts(database: Database) -> dict[str, int]:
    with database.reading() as connection:
        return {
            table.__tablename__: connection.execute(
                select(func.count()).select_from(table)
            ).scalar_one()
            for table in (Patient, Accession, Study, Series, Instance)
        }


def test_a_new_instance_is_found_again_with_everything_above_it(database: Database) -> None:
    new = new_instance(urgent=True, series_number="3", instance_number="7", modality="DX")

    result = filed(database, new)

    with database.reading() as connection:
        row = index.instance(connection, result.instance_id)
        study = index.study(connection, result.study_id)
        assert index.study_by_uid(connection, new.study_instance_uid) == study
    assert (result.kind, result.revision, result.path) == (FiledKind.STORED, 1, new.path)
    assert row.correlation_id == study.correlation_id == result.correlation_id
    assert (row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid) == (
        new.study_instance_uid,
        new.series_instance_uid,
        new.sop_instance_uid,
    )
    assert (row.accession_number, row.modality, row.series_number, row.instance_number) == (
        "FAKE-ACC-1",
        "DX",
        "3",
        "7",
    )
    assert (row.received_at, study.last_received_at, study.urgent) == (NOON, NOON, True)
    assert row.received_at.tzinfo is not None


def test_an_image_is_as_urgent_as_its_study_has_become(database: Database) -> None:
    routine = new_instance()
    study = routine.study_instance_uid

    first = filed(database, routine)
    stat = filed(database, new_instance(study_instance_uid=study, urgent=True))
    later = filed(database, new_instance(study_instance_uid=study))

    assert [each.urgent for each in (first, stat, later)] == [False, True, True]
    assert filed(database, routine).urgent


def test_the_same_bytes_again_change_nothing(database: Database) -> None:
    new = new_instance()
    first = filed(database, new)
    with database.reading() as connection:
        before = index.study(connection, first.study_id)

    again = filed(database, new, path="instances/other.dcm", received_at=NOON + SECOND, urgent=True)

    assert again == replace(first, kind=FiledKind.DUPLICATE)
    with database.reading() as connection:
        assert index.study(connection, first.study_id) == before


def test_other_bytes_under_the_same_uid_are_a_revision_beside_the_old(database: Database) -> None:
    new = new_instance()
    first = filed(database, new)

    second = filed(database, new, content_sha256="b" * 64, path="instances/b.dcm")

    assert (second.kind, second.revision) == (FiledKind.REVISION, 2)
    assert second.study_id == first.study_id
    with database.reading() as connection:
        assert index.instance(connection, first.instance_id).path == new.path
        current = index.current_instances(connection, first.study_id)
    assert [row.id for row in current] == [second.instance_id]


def test_a_uid_that_another_study_uses_too_hides_nothing(database: Database) -> None:
    image = new_instance()
    first = filed(database, image)

    second = filed(
        database,
        image,
        study_instance_uid=new_uid(),
        content_sha256="b" * 64,
        path="instances/b.dcm",
    )

    assert second.kind is FiledKind.REVISION
    with database.reading() as connection:
        for each in (first, second):
            (row,) = index.current_instances(connection, each.study_id)
            assert row.id == each.instance_id


@pytest.mark.parametrize(
    ("mine", "other", "same"),
    [
        (("A", ""), ("B", ""), False),
        (("A", "NORTH"), ("A", "SOUTH"), False),
        (("A", ""), ("", ""), False),
        (("A", "NORTH"), ("A", ""), True),
        (("A", ""), ("A", "NORTH"), True),
        (("", ""), ("", ""), True),
    ],
)
def test_an_image_of_another_patient_under_the_study_is_told_apart(
    database: Database, mine: tuple[str, str], other: tuple[str, str], same: bool
) -> None:
    first = new_instance(patient_id=mine[0], issuer_of_patient_id=mine[1], series_number="1")
    second = new_instance(
        study_instance_uid=first.study_instance_uid,
        patient_id=other[0],
        issuer_of_patient_id=other[1],
        series_number="2",
        urgent=True,
    )

    own, under_it = filed(database, first), filed(database, second)

    assert (own.same_patient, under_it.same_patient) == (True, same)
    assert filed(database, second).same_patient is same, "a duplicate says so too"
    with database.reading() as connection:
        rows = index.current_instances(connection, own.study_id)
        study = index.study(connection, own.study_id)
        [listed] = study_listing(connection, 10)
    assert [row.same_patient for row in rows] == [True, same]
    assert (study.changes, study.urgent) == ((2, True) if same else (1, False))
    assert (listed.patient_id, listed.instances) == (mine[0], 2)
    assert listed.other_patient_instances == (0 if same else 1)


def test_another_patients_image_of_the_same_uid_hides_none(database: Database) -> None:
    image = new_instance()
    own = filed(database, image)

    other = filed(
        database, image, content_sha256="b" * 64, path="instances/b.dcm", patient_id="FAKE-OTHER"
    )

    with database.reading() as connection:
        rows = index.current_instances(connection, own.study_id)
    assert {row.id: row.same_patient for row in rows} == {
        own.instance_id: True,
        other.instance_id: False,
    }


def test_an_image_without_accession_number_has_none(database: Database) -> None:
    result = filed(database, accession_number="")

    with database.reading() as connection:
        row = index.instance(connection, result.instance_id)
    assert (row.accession_number, row.accession_issuer) == ("", "")
    assert counts(database)["accession"] == 0


def test_two_issuers_make_two_patients_and_two_orders(database: Database) -> None:
    for issuer in ("NORTH", "SOUTH", "NORTH"):
        filed(database, issuer_of_patient_id=issuer, accession_issuer=issuer)

    assert counts(database) == {
        "patient": 2,
        "accession": 2,
        "study": 3,
        "series": 3,
        "instance": 3,
    }


def test_one_new_study_over_many_associations_is_one_study(database: Database) -> None:
    study, series = new_uid(), (new_uid(), new_uid())
    images = [
        new_instance(
            study_instance_uid=study,
            series_instance_uid=series[number % 2],
            received_at=NOON + number * SECOND,
            urgent=number == 5,
        )
        for number in range(THREADS * 4)
    ]
    start = threading.Barrier(THREADS)
    committer = GroupCommitter(database)

    def association(number: int) -> set[int]:
        start.wait(20)
        mine = images[number::THREADS]
        return {
            committer.submit(lambda c, image=image: file_instance(c, image)).study_id  # type: ignore[misc]
            for image in mine
        }

    with ThreadPoolExecutor(THREADS) as pool:
        studies = set().union(*pool.map(association, range(THREADS)))
    committer.close()

    assert len(studies) == 1
    assert counts(database) == {
        "patient": 1,
        "accession": 1,
        "study": 1,
        "series": 2,
        "instance": len(images),
    }
    with database.reading() as connection:
        row = index.study(connection, studies.pop())
    assert row.changes == len(images)
    assert row.last_received_at == images[-1].received_at
    assert row.urgent


def test_transactions_of_their_own_make_one_study_too(database: Database) -> None:
    study = new_uid()
    start = threading.Barrier(THREADS)

    def association(_: int) -> int:
        start.wait(20)
        return filed(database, new_instance(study_instance_uid=study)).study_id

    with ThreadPoolExecutor(THREADS) as pool:
        assert len(set(pool.map(association, range(THREADS)))) == 1
    assert counts(database)["patient"] == counts(database)["study"] == 1


def test_the_same_bytes_over_many_associations_are_stored_once(database: Database) -> None:
    new = new_instance()
    start = threading.Barrier(THREADS)

    def association(number: int) -> FiledKind:
        start.wait(20)
        return filed(database, new, path=f"instances/{number}.dcm").kind

    with ThreadPoolExecutor(THREADS) as pool:
        kinds = sorted(pool.map(association, range(THREADS)))

    assert kinds == [FiledKind.DUPLICATE] * (THREADS - 1) + [FiledKind.STORED]
    with database.reading() as connection:
        study = index.study_by_uid(connection, new.study_instance_uid)
    assert study is not None
    assert study.changes == 1


def test_revisions_over_many_associations_are_numbered_without_gap(database: Database) -> None:
    new = new_instance()
    filed(database, new)
    writers = 4
    start = threading.Barrier(writers)

    def association(number: int) -> int:
        start.wait(20)
        return filed(
            database, new, content_sha256=f"{number:064d}", path=f"instances/{number}.dcm"
        ).revision

    with ThreadPoolExecutor(writers) as pool:
        assert sorted(pool.map(association, range(writers))) == [2, 3, 4, 5]


def test_images_come_in_reading_order(database: Database) -> None:
    study, first, second = new_uid(), new_uid(), new_uid()
    places = [
        (second, "10", "1"),
        (first, "9", "10"),
        (first, "9", "9"),
        (first, "9", "oblique"),
    ]
    for series, series_number, number in places:
        image = new_instance(
            study_instance_uid=study,
            series_instance_uid=series,
            series_number=series_number,
            instance_number=number,
        )
        result = filed(database, image)

    with database.reading() as connection:
        rows = index.current_instances(connection, result.study_id)
    assert [(row.series_number, row.instance_number) for row in rows] == [
        ("9", "9"),
        ("9", "10"),
        ("9", "oblique"),
        ("10", "1"),
    ]


def test_an_older_image_that_is_committed_late_does_not_set_the_clock_back(
    database: Database,
) -> None:
    image = new_instance(received_at=NOON + SECOND)
    result = filed(database, image)
    other = new_instance(study_instance_uid=image.study_instance_uid, received_at=NOON)

    filed(database, other)

    with database.reading() as connection:
        study = index.study(connection, result.study_id)
    assert (study.last_received_at, study.changes) == (NOON + SECOND, 2)


def test_a_study_settles_with_its_routed_images_and_their_jobs(database: Database) -> None:
    image = new_instance()
    result = filed(database, image)
    filed(database, new_instance(study_instance_uid=image.study_instance_uid, route=""))
    filed(database, new_instance(route=""))
    with database.transaction() as connection:
        add_job(connection, "analyse:1", result.study_id)
        add_job(connection, "analyse:2", result.study_id, JobState.DONE)
        add_job(connection, "analyse:3", result.study_id, JobState.PARKED)
        add_job(connection, "report:1:1", result.study_id, JobState.QUEUED, JobKind.REPORT)

    with database.reading() as connection:
        (study,) = index.settling(connection)
    assert study.study_id == result.study_id
    assert (study.waiting, study.retrying, study.changes) == (1, 0, 1)
    with database.transaction() as connection:
        connection.execute(text("UPDATE job SET attempt = 2 WHERE key = 'analyse:1'"))
    with database.reading() as connection:
        (study,) = index.settling(connection)
    assert (study.waiting, study.retrying) == (1, 1)
    with database.transaction() as connection:
        connection.execute(text("UPDATE job SET state = 'done' WHERE state = 'queued'"))
    with database.reading() as connection:
        (study,) = index.settling(connection)
    assert (study.waiting, study.retrying) == (0, 0)


def test_looking_for_settling_studies_reads_no_reported_one(database: Database) -> None:
    asked: list[tuple[str, Any]] = []
    event.listen(
        database.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, values, *_: asked.append((statement, values)),
    )
    with database.transaction() as connection:
        index.settling(connection)
        statement, values = asked[-1]
        if database.dialect == "sqlite":
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        else:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = connection.exec_driver_sql(f"EXPLAIN {statement}", values).all()

    assert "ix_study_unreported" in str(plan)


def test_only_paths_with_a_row_are_known(database: Database) -> None:
    image = new_instance()
    filed(database, image)

    with database.reading() as connection:
        known = index.known_paths(connection, [image.path, "instances/lost.dcm"])
        assert index.known_paths(connection, []) == set()
    assert known == {image.path}


def test_ids_that_name_nothing_are_a_fault(database: Database) -> None:
    with database.reading() as connection:
        with pytest.raises(NoSuchRow):
            index.instance(connection, 404)
        with pytest.raises(NoSuchRow):
            index.study(connection, 404)
        assert index.study_by_uid(connection, "1.2.3") is None
