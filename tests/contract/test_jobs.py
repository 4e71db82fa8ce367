"""Jobs as rows: once by key, changed only from the state that was read."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert

from storage import jobs
from storage.jobs import JobRow, NoSuchJob, StaleJob
from storage.models import Patient, Study
from storage.session import Database
from storage.states import IllegalTransition, JobKind, JobState

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


@pytest.fixture
def study_id(database: Database) -> int:
    with database.transaction() as connection:
        connection.execute(insert(Patient).values(id=1, patient_id="SYN-1"))
        connection.execute(
            insert(Study).values(
                id=7,
                study_instance_uid="1.2.3",
                patient_fk=1,
                correlation_id="c-7",
                last_received_at=NOW,
            )
        )
    return 7


@pytest.fixture
def made(database: Database, study_id: int) -> str:
    create(database, "analyse:1")
    return "analyse:1"


def create(database: Database, key: str, **options: Any) -> bool:
    values = {
        "kind": JobKind.ANALYSE,
        "queue": "analyse",
        "study_id": 7,
        "urgent": False,
        "now": NOW,
        **options,
    }
    with database.transaction() as connection:
        return jobs.create(connection, key=key, **values)


def read(database: Database, key: str) -> JobRow:
    with database.reading() as connection:
        job = jobs.get(connection, key)
    assert job is not None
    return job


def retry(database: Database, key: str, attempt_from: int) -> int:
    with database.transaction() as connection:
        return jobs.retry(
            connection,
            key,
            attempt_from=attempt_from,
            due_at=LATER,
            error_code="storage.disk.full",
            error="no space",
            now=NOW,
        )


def park(database: Database, key: str, attempt_from: int = 1) -> None:
    with database.transaction() as connection:
        jobs.park(
            connection, key, attempt_from=attempt_from, error_code="x.y", error="why", now=LATER
        )


def finish(database: Database, key: str) -> None:
    with database.transaction() as connection:
        jobs.finish(connection, key, LATER)


def redrive(database: Database, key: str) -> int:
    with database.transaction() as connection:
        return jobs.redrive(connection, key, LATER)


def discard(database: Database, key: str) -> None:
    with database.transaction() as connection:
        jobs.discard(connection, key, LATER)


def test_a_new_job_is_queued_at_its_first_attempt_and_due_now(
    database: Database, made: str
) -> None:
    assert read(database, made) == JobRow(
        key=made,
        kind=JobKind.ANALYSE,
        queue="analyse",
        study_id=7,
        state=JobState.QUEUED,
        attempt=1,
        first_attempt=1,
        urgent=False,
        error_code="",
        error="",
        due_at=NOW,
        created_at=NOW,
        updated_at=NOW,
    )


def test_a_key_makes_one_job(database: Database, made: str) -> None:
    finish(database, made)

    assert create(database, made, urgent=True) is False

    assert (read(database, made).state, read(database, made).urgent) == (JobState.DONE, False)


def test_an_unknown_job_is_none_to_read_and_an_error_to_change(database: Database) -> None:
    with database.reading() as connection:
        assert jobs.get(connection, "nobody") is None
    for change in (finish, redrive, discard, park):
        with pytest.raises(NoSuchJob):
            change(database, "nobody")


def test_a_finished_job_forgets_its_error_and_stays_finished(database: Database, made: str) -> None:
    retry(database, made, 1)

    finish(database, made)

    done = read(database, made)
    assert (done.state, done.error_code, done.error) == (JobState.DONE, "", "")
    assert done.updated_at == LATER
    for change in (finish, redrive, discard):
        with pytest.raises(IllegalTransition):
            change(database, made)
    with pytest.raises(IllegalTransition):
        park(database, made, attempt_from=2)


def test_a_retry_moves_to_the_next_attempt(database: Database, made: str) -> None:
    assert retry(database, made, 1) == 2

    job = read(database, made)
    assert (job.attempt, job.state, job.due_at) == (2, JobState.QUEUED, LATER)
    assert (job.error_code, job.error, job.tries) == ("storage.disk.full", "no space", 2)


def test_a_retry_or_park_of_an_attempt_gone_by_is_stale(database: Database, made: str) -> None:
    retry(database, made, 1)

    with pytest.raises(StaleJob):
        retry(database, made, 1)
    with pytest.raises(StaleJob):
        park(database, made, 1)
    assert read(database, made).attempt == 2


def test_a_parked_job_keeps_its_reason_until_a_person_redrives_it(
    database: Database, made: str
) -> None:
    retry(database, made, 1)
    park(database, made, 2)
    parked = read(database, made)
    assert (parked.state, parked.error_code, parked.error) == (JobState.PARKED, "x.y", "why")

    assert redrive(database, made) == 3

    job = read(database, made)
    assert (job.state, job.attempt, job.tries, job.due_at) == (JobState.QUEUED, 3, 1, LATER)


def test_only_a_parked_job_is_redriven_or_discarded(database: Database, made: str) -> None:
    with pytest.raises(StaleJob):
        redrive(database, made)
    with pytest.raises(IllegalTransition):
        discard(database, made)

    park(database, made)
    discard(database, made)

    assert read(database, made).state is JobState.DISCARDED


def test_of_two_who_finish_at_once_one_wins(database: Database, made: str) -> None:
    outcomes: list[str] = []
    ready = threading.Barrier(2)

    def run() -> None:
        ready.wait(10)
        try:
            finish(database, made)
            outcomes.append("done")
        except (StaleJob, IllegalTransition):
            outcomes.append("late")

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(outcomes) == ["done", "late"]


def test_a_change_between_reading_and_writing_is_noticed(
    database: Database, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read(database, made)
    retry(database, made, 1)
    monkeypatch.setattr(jobs, "get", lambda _connection, _key: before)

    with pytest.raises(StaleJob):
        finish(database, made)


def test_listing_counting_and_lateness(database: Database, study_id: int) -> None:
    create(database, "analyse:1", due_at=NOW - timedelta(seconds=90))
    create(database, "analyse:2", due_at=NOW - timedelta(seconds=30))
    create(database, "analyse:3", due_at=NOW + timedelta(seconds=30))
    create(database, "report:7:1", kind=JobKind.REPORT, due_at=NOW - timedelta(hours=1))
    park(database, "report:7:1")

    with database.reading() as connection:
        counts = jobs.counts(connection)
        assert {which: count for which, count in counts.items() if count} == {
            (JobKind.ANALYSE, JobState.QUEUED): 3,
            (JobKind.REPORT, JobState.PARKED): 1,
        }
        assert counts[JobKind.ANALYSE, JobState.PARKED] == 0, "a count that fell is told too"
        assert jobs.oldest_due(connection) == NOW - timedelta(seconds=90)
        late = jobs.overdue(connection, NOW, 20)
        assert [job.key for job in late] == ["analyse:1", "analyse:2"]
        assert [job.key for job in jobs.overdue(connection, NOW, 60)] == ["analyse:1"]
        assert jobs.listing(connection)[0].key == "report:7:1"
        parked = jobs.listing(connection, state=JobState.PARKED)
        assert [job.key for job in parked] == ["report:7:1"]
        assert len(jobs.listing(connection, kind=JobKind.ANALYSE, limit=2)) == 2
        assert jobs.listing(connection, study_id=8) == []


def test_parked_jobs_are_listed_before_any_number_of_those_that_are_over(
    database: Database, study_id: int
) -> None:
    for number in (1, 2, 3, 4, 5):
        create(database, f"analyse:{number}", now=NOW + timedelta(seconds=number))
    park(database, "analyse:1")
    for number in (4, 5):
        with database.transaction() as connection:
            jobs.finish(connection, f"analyse:{number}", LATER + timedelta(seconds=number))

    with database.reading() as connection:
        keys = [job.key for job in jobs.listing(connection)]
        assert jobs.listing(connection, limit=1)[0].key == "analyse:1"
    assert keys == [f"analyse:{number}" for number in (1, 3, 2, 5, 4)]


def test_a_parked_job_keeps_its_queue_open_until_it_is_over(
    database: Database, study_id: int
) -> None:
    create(database, "deliver:1:gone", kind=JobKind.DELIVER, queue="deliver:gone")
    park(database, "deliver:1:gone")
    with database.reading() as connection:
        assert jobs.open_queues(connection) == {"deliver:gone"}

    discard(database, "deliver:1:gone")
    with database.reading() as connection:
        assert jobs.open_queues(connection) == set()


def test_no_job_is_due_where_there_is_none(database: Database) -> None:
    with database.reading() as connection:
        assert jobs.oldest_due(connection) is None
        assert set(jobs.counts(connection).values()) == {0}


def test_what_is_over_is_neither_counted_nor_read(database: Database, made: str) -> None:
    finish(database, made)
    asked: list[tuple[str, Any]] = []
    event.listen(
        database.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, values, *_: asked.append((statement, values)),
    )

    with database.transaction() as connection:
        assert set(jobs.counts(connection).values()) == {0}
        statement, values = asked[-1]
        if database.dialect == "sqlite":
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        else:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = connection.exec_driver_sql(f"EXPLAIN {statement}", values).all()

    assert "ix_job_state_kind" in str(plan)
    assert "SCAN job" not in str(plan)
