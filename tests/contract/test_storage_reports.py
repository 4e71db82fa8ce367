"""Results, reports and deliveries: each once, however often a step runs."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, select

from storage import index, listing, reports, results
from storage.models import Report
from storage.reports import NewReportObject
from storage.rows import NoSuchRow
from storage.session import Database
from storage.states import JobState
from tests.filings import NOON, add_job, filed, new_instance, new_uid

MODEL = {
    "name": "bodypart",
    "version": "1.0",
    "task": "body_part",
    "weights_sha256": "a" * 64,
    "configuration_sha256": "b" * 64,
    "runtime": "torch",
}


def keep_result(connection: Connection, instance_id: int, **model: str) -> bool:
    return results.insert_result(
        connection,
        instance_id=instance_id,
        model={**MODEL, **model},
        outcome="predicted",
        document={"labels": [0.5, None], "text": "Größe"},
        now=NOON,
    )


def new_object(role: str = "SR", profile: str = "viewer") -> NewReportObject:
    uid = new_uid()
    return NewReportObject(
        profile=profile,
        role=role,
        series_instance_uid=new_uid(),
        sop_instance_uid=uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        sha256="c" * 64,
        path=f"reports/{uid}.dcm",
    )


def keep_report(
    database: Database, study_id: int, revision: int = 1, *objects: NewReportObject, **others: Any
) -> int | None:
    with database.transaction() as connection:
        values: dict[str, Any] = {
            "changes": index.study(connection, study_id).changes,
            "document": {"revision": revision},
            "instance_ids": [row.id for row in index.current_instances(connection, study_id)],
            "created_at": NOON,
        }
        return reports.insert_report(
            connection,
            study_id=study_id,
            revision=revision,
            objects=objects,
            **{**values, **others},
        )


def unreported(database: Database) -> list[int]:
    with database.reading() as connection:
        return [study.study_id for study in index.settling(connection)]


def test_a_result_is_kept_once_for_each_model_and_configuration(database: Database) -> None:
    image = filed(database)
    silent = filed(database)
    with database.transaction() as connection:
        fresh = [
            keep_result(connection, image.instance_id),
            keep_result(connection, image.instance_id),
            keep_result(connection, image.instance_id, configuration_sha256="d" * 64),
        ]
    assert fresh == [True, False, True]

    with database.reading() as connection:
        found = results.results_for(connection, [image.instance_id, silent.instance_id])
    assert [row.configuration_sha256[0] for row in found[image.instance_id]] == ["b", "d"]
    assert found[silent.instance_id] == []
    first = found[image.instance_id][0]
    assert first.document == {"labels": [0.5, None], "text": "Größe"}
    assert (first.model_name, first.task, first.created_at) == ("bodypart", "body_part", NOON)


def test_a_report_settles_its_study(database: Database) -> None:
    image = filed(database)
    assert unreported(database) == [image.study_id]

    report_id = keep_report(database, image.study_id)

    assert unreported(database) == []
    assert report_id is not None
    with database.reading() as connection:
        row = reports.report(connection, report_id)
        assert index.study(connection, image.study_id).revision == 1
    assert (row.study_id, row.revision, row.document) == (image.study_id, 1, {"revision": 1})


def test_the_same_revision_is_written_once(database: Database) -> None:
    study_id = filed(database).study_id

    assert keep_report(database, study_id) is not None
    assert keep_report(database, study_id) is None
    assert keep_report(database, study_id, 3) is None
    assert keep_report(database, study_id, 2) is not None


def test_of_two_workers_one_writes_the_report(database: Database) -> None:
    study_id = filed(database).study_id
    workers = 4
    start = threading.Barrier(workers)

    def worker(_: int) -> bool:
        start.wait(20)
        return keep_report(database, study_id, 1, new_object()) is not None

    with ThreadPoolExecutor(workers) as pool:
        assert sorted(pool.map(worker, range(workers))) == [False] * (workers - 1) + [True]


def test_an_image_that_came_while_the_report_was_written_is_not_forgotten(
    database: Database,
) -> None:
    image = new_instance()
    study_id = filed(database, image).study_id
    with database.reading() as connection:
        seen = index.study(connection, study_id).changes
    # Received before the first image was, committed after the report had looked.
    filed(database, new_instance(study_instance_uid=image.study_instance_uid))

    keep_report(database, study_id, 1, changes=seen)

    assert unreported(database) == [study_id]


def test_a_result_that_came_after_the_report_opens_its_study_again(database: Database) -> None:
    study_id = filed(database).study_id
    keep_report(database, study_id)

    with database.transaction() as connection:
        results.reopen_study(connection, study_id=study_id)

    assert unreported(database) == [study_id]


def test_an_image_that_is_only_stored_asks_for_no_report(database: Database) -> None:
    filed(database, route="")

    assert unreported(database) == []


def test_the_predecessor_is_the_newest_sr_of_the_same_profile(database: Database) -> None:
    study_id = filed(database).study_id
    old, new, picture = new_object(), new_object(), new_object("SC")
    other = new_object(profile="ihe-air")
    keep_report(database, study_id, 1, old, other)
    keep_report(database, study_id, 2, picture, new)

    with database.reading() as connection:
        viewer = reports.previous_report(connection, study_id, "viewer", before_revision=9)
        air = reports.previous_report(connection, study_id, "ihe-air", before_revision=9)
        assert reports.previous_report(connection, study_id, "none", before_revision=9) is None
        first = reports.previous_report(connection, study_id, "viewer", before_revision=2)
        assert first is not None
        assert first.sop_instance_uid == old.sop_instance_uid
    assert viewer is not None
    assert air is not None
    assert (viewer.sop_instance_uid, air.sop_instance_uid) == (
        new.sop_instance_uid,
        other.sop_instance_uid,
    )
    assert viewer.series_instance_uid == new.series_instance_uid


def test_objects_of_another_profile_may_follow_and_come_once(database: Database) -> None:
    study_id = filed(database).study_id
    first, later = new_object(), new_object(profile="ihe-air")
    report_id = keep_report(database, study_id, 1, first)
    assert report_id is not None

    for _ in range(2):
        with database.transaction() as connection:
            reports.add_report_objects(connection, report_id, [later])

    with database.reading() as connection:
        assert len(reports.report_objects(connection, report_id)) == len([first, later])
        (only,) = reports.report_objects(connection, report_id, "ihe-air")
        assert index.known_paths(connection, [later.path]) == {later.path}
    assert only.sop_instance_uid == later.sop_instance_uid


def delivering(database: Database, *objects: NewReportObject) -> list[reports.DeliveryRow]:
    report_id = keep_report(database, filed(database).study_id, 1, *objects)
    assert report_id is not None
    with database.transaction() as connection:
        reports.ensure_deliveries(
            connection, report_id=report_id, profile="viewer", destination="pacs"
        )
        return reports.ensure_deliveries(
            connection, report_id=report_id, profile="viewer", destination="pacs"
        )


def test_every_object_of_the_profile_is_delivered_once(database: Database) -> None:
    wanted = new_object(), new_object("SC")

    rows = delivering(database, *wanted, new_object(profile="ihe-air"))

    assert [row.sop_instance_uid for row in rows] == [each.sop_instance_uid for each in wanted]
    assert {(row.outcome, row.attempts, row.arrived) for row in rows} == {("pending", 0, False)}
    assert [row.path for row in rows] == [each.path for each in wanted]


@pytest.mark.parametrize("arrived", ["delivered", "warning"])
def test_what_has_arrived_stays_arrived(database: Database, arrived: str) -> None:
    (row,) = delivering(database, new_object())

    def answer(outcome: str, status: str) -> int | None:
        return keep_answer(database, row, outcome, status)

    assert answer("failed", "A700H") == 1
    assert answer(arrived, "0000H") == 2
    assert answer("failed", "A700H") is None
    with database.reading() as connection:
        (kept,) = reports.deliveries(connection, report_id_of(connection), "pacs")
        assert reports.deliveries(connection, report_id_of(connection), "elsewhere") == []
    assert (kept.outcome, kept.status, kept.attempts, kept.delivered_at) == (
        arrived,
        "0000H",
        2,
        NOON,
    )
    assert kept.arrived


def keep_answer(
    database: Database, row: reports.DeliveryRow, outcome: str, status: str
) -> int | None:
    with database.transaction() as connection:
        return reports.record_delivery(
            connection,
            report_object_id=row.report_object_id,
            destination="pacs",
            outcome=outcome,
            status=status,
            at=NOON,
        )


def test_a_refused_sr_that_arrived_in_another_profile_counts_no_more(database: Database) -> None:
    first, other = delivering(database, new_object(), new_object("SC"))
    with database.transaction() as connection:
        report_id = report_id_of(connection)
        reports.add_report_objects(connection, report_id, [new_object(profile="ihe-air")])
        *_, instead = reports.ensure_deliveries(
            connection, report_id=report_id, profile="ihe-air", destination="pacs"
        )

    def so_far() -> tuple[int, int]:
        with database.reading() as connection:
            [row] = listing.study_listing(connection, 1)
        return row.delivered, row.deliveries

    keep_answer(database, first, "refused", "sop-class-not-supported")
    assert so_far() == (0, 3)
    keep_answer(database, instead, "delivered", "0000H")
    assert so_far() == (1, 2)
    keep_answer(database, other, "refused", "C000H")
    assert so_far() == (1, 2)

    with database.transaction() as connection:
        reports.send_refused_again(connection, report_id, "elsewhere")
        assert reports.undelivered(connection, report_id, "pacs") == []
        reports.send_refused_again(connection, report_id, "pacs")
        [again] = reports.undelivered(connection, report_id, "pacs")
    assert again.sop_instance_uid == other.sop_instance_uid
    assert (again.outcome, again.status, again.attempts) == ("pending", "", 1)


def report_id_of(connection: Connection) -> int:
    return connection.scalars(select(Report.id)).one()


def test_the_list_shows_the_newest_study_first_and_how_far_it_is(database: Database) -> None:
    image = new_instance(study_description="XR CHEST PA")
    study_id = filed(database, image).study_id
    filed(
        database,
        new_instance(study_instance_uid=image.study_instance_uid, accession_number="FAKE-ACC-2"),
    )
    report_id = keep_report(database, study_id, 1, new_object(), new_object("SC"))
    assert report_id is not None
    with database.transaction() as connection:
        first, _ = reports.ensure_deliveries(
            connection, report_id=report_id, profile="viewer", destination="pacs"
        )
        reports.record_delivery(
            connection,
            report_object_id=first.report_object_id,
            destination="pacs",
            outcome="delivered",
            status="0000H",
            at=NOON,
        )
        add_job(connection, "analyse:1", study_id)
        add_job(connection, "analyse:2", study_id, JobState.PARKED)
    newest = filed(database, received_at=NOON.replace(hour=13))

    with database.reading() as connection:
        top, below = listing.study_listing(connection, 10)
        assert [s.study_id for s in listing.study_listing(connection, 1)] == [newest.study_id]
    assert (top.study_id, top.report, top.revision) == (newest.study_id, None, 0)
    assert below.accession_numbers == ("FAKE-ACC-1", "FAKE-ACC-2")
    assert (below.patient_name, below.study_description) == ("Invented^Patient", "XR CHEST PA")
    assert (below.instances, below.waiting_jobs, below.parked_jobs) == (2, 1, 1)
    assert (below.report, below.deliveries, below.delivered) == ({"revision": 1}, 2, 1)
    assert "Invented" not in repr(below)


def test_a_report_that_is_not_there_is_a_fault(database: Database) -> None:
    with database.reading() as connection, pytest.raises(NoSuchRow):
        reports.report(connection, 404)
