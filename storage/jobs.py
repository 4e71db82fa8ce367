"""Jobs: the work that must be done once, as rows. The engine moves them, this is the truth.

Every function works in the caller's transaction, and changes a row only where it is still
in the state, and at the attempt, that was read. `storage.states` alone says which changes
exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, case, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from audit.errors import Fault
from storage.models import Job
from storage.states import JobKind, JobState, check

OPEN = (JobState.QUEUED, JobState.PARKED)
"""The states of jobs that are not over."""


class NoSuchJob(Fault):
    """A job key that names no row."""

    code = "storage.job.unknown"


class StaleJob(Fault):
    """The job is no longer in the state, or at the attempt, that the caller read."""

    code = "storage.job.stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as it stands; see `storage.models.Job`."""

    key: str
    kind: JobKind
    queue: str
    study_id: int
    state: JobState
    attempt: int
    first_attempt: int
    urgent: bool
    error_code: str
    error: str
    due_at: datetime
    created_at: datetime
    updated_at: datetime

    @property
    def tries(self) -> int:
        """Attempts since the job was made or a person re-drove it, this one included."""
        return self.attempt - self.first_attempt + 1


def create(
    connection: Connection,
    *,
    key: str,
    kind: JobKind,
    queue: str,
    study_id: int,
    urgent: bool,
    now: datetime,
    due_at: datetime | None = None,
) -> bool:
    """Add a job; return False, and change nothing, when `key` is there already."""
    on_postgresql = connection.dialect.name == "postgresql"
    statement = (
        (postgresql.insert(Job) if on_postgresql else sqlite.insert(Job))
        .values(
            key=key,
            kind=str(kind),
            queue=queue,
            study_fk=study_id,
            state=str(JobState.QUEUED),
            attempt=1,
            first_attempt=1,
            urgent=urgent,
            error_code="",
            error="",
            due_at=due_at or now,
            created_at=now,
            updated_at=now,
        )
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(Job.key)
    )
    return connection.execute(statement).first() is not None


def get(connection: Connection, key: str) -> JobRow | None:
    """Return the job, or None when there is none of that key."""
    row = connection.execute(_select().where(Job.key == key)).one_or_none()
    return None if row is None else _job(row)


def finish(connection: Connection, key: str, now: datetime) -> None:
    """Mark the job done.

    Raises
    ------
    NoSuchJob
        When there is none of that key.
    IllegalTransition
        When it is not queued: another run of the same job has ended it.
    StaleJob
        When another transaction has just changed it.
    """
    _change(connection, _need(connection, key), JobState.DONE, now, {"error_code": "", "error": ""})


def retry(
    connection: Connection,
    key: str,
    *,
    attempt_from: int,
    due_at: datetime,
    error_code: str,
    error: str,
    now: datetime,
) -> int:
    """Leave attempt `attempt_from` behind; return the number of the next, due at `due_at`.

    Enqueue the next attempt in the same transaction.

    Raises
    ------
    NoSuchJob, IllegalTransition
        As `finish`.
    StaleJob
        When the job is no longer at `attempt_from`.
    """
    job = _at(_need(connection, key), attempt_from)
    values = {
        "attempt": job.attempt + 1,
        "due_at": due_at,
        "error_code": error_code,
        "error": error,
    }
    _change(connection, job, JobState.QUEUED, now, values)
    return job.attempt + 1


def park(
    connection: Connection,
    key: str,
    *,
    attempt_from: int,
    error_code: str,
    error: str,
    now: datetime,
) -> None:
    """Give the job up until a person looks at it. Raises as `retry`."""
    job = _at(_need(connection, key), attempt_from)
    _change(connection, job, JobState.PARKED, now, {"error_code": error_code, "error": error})


def redrive(connection: Connection, key: str, now: datetime) -> int:
    """Queue a parked job again; return the number of its next attempt.

    Counting towards the limit of attempts starts anew. Enqueue in the same transaction.
    Raises as `finish`, and StaleJob when the job is queued already.
    """
    job = _need(connection, key)
    if job.state is JobState.QUEUED:
        raise StaleJob("the job is queued already")
    attempt = job.attempt + 1
    values = {"attempt": attempt, "first_attempt": attempt, "due_at": now}
    _change(connection, job, JobState.QUEUED, now, values)
    return attempt


def discard(connection: Connection, key: str, now: datetime) -> None:
    """Settle that a parked job need not be done. Raises as `finish`."""
    _change(connection, _need(connection, key), JobState.DISCARDED, now, {})


def listing(
    connection: Connection,
    *,
    state: JobState | None = None,
    kind: JobKind | None = None,
    study_id: int | None = None,
    limit: int = 100,
) -> list[JobRow]:
    """Return jobs: the parked first, then the queued, then what is over; of each the most
    recently changed first."""
    rank = case({str(JobState.PARKED): 0, str(JobState.QUEUED): 1}, value=Job.state, else_=2)
    statement = _select().order_by(rank, Job.updated_at.desc(), Job.key).limit(limit)
    if state is not None:
        statement = statement.where(Job.state == str(state))
    if kind is not None:
        statement = statement.where(Job.kind == str(kind))
    if study_id is not None:
        statement = statement.where(Job.study_fk == study_id)
    return [_job(row) for row in connection.execute(statement)]


def counts(connection: Connection) -> dict[tuple[JobKind, JobState], int]:
    """Return how many jobs of each kind are queued and parked.

    What has ended is not counted: those rows stay for good, and this is asked every second.
    """
    statement = (
        select(Job.kind, Job.state, func.count())
        .where(Job.state.in_([str(state) for state in OPEN]))
        .group_by(Job.kind, Job.state)
    )
    found = dict.fromkeys(((kind, state) for kind in JobKind for state in OPEN), 0)
    for kind, state, count in connection.execute(statement):
        found[JobKind(kind), JobState(state)] = count
    return found


def open_queues(connection: Connection) -> set[str]:
    """Return the queues that hold work which is not over; a person may re-drive the parked."""
    statement = select(Job.queue).where(Job.state.in_([str(state) for state in OPEN])).distinct()
    return set(connection.scalars(statement))


def oldest_due(connection: Connection) -> datetime | None:
    """Return when the longest-waiting queued job was due; None when none is queued."""
    statement = (
        select(Job.due_at).where(Job.state == str(JobState.QUEUED)).order_by(Job.due_at).limit(1)
    )
    return connection.execute(statement).scalar_one_or_none()


def overdue(
    connection: Connection, now: datetime, older_than_s: float, limit: int = 1000
) -> list[JobRow]:
    """Return queued jobs that were due more than `older_than_s` seconds before `now`.

    Longest overdue first: for the reconciler, which asks the engine whether each is
    really on its way.
    """
    statement = (
        _select()
        .where(Job.state == str(JobState.QUEUED))
        .where(Job.due_at < now - timedelta(seconds=older_than_s))
        .order_by(Job.due_at, Job.key)
        .limit(limit)
    )
    return [_job(row) for row in connection.execute(statement)]


def _select() -> Select[Any]:
    return select(*Job.__table__.columns)


def _need(connection: Connection, key: str) -> JobRow:
    job = get(connection, key)
    if job is None:
        raise NoSuchJob("a job key must name a job")
    return job


def _at(job: JobRow, attempt: int) -> JobRow:
    if job.attempt != attempt:
        raise StaleJob("the job has moved on to another attempt")
    return job


def _change(
    connection: Connection,
    job: JobRow,
    wanted: JobState,
    now: datetime,
    values: Mapping[str, Any],
) -> None:
    state = check(job.state, wanted)
    statement = (
        update(Job)
        .where(Job.key == job.key, Job.state == str(job.state), Job.attempt == job.attempt)
        .values(state=str(state), updated_at=now, **values)
    )
    if connection.execute(statement).rowcount != 1:
        raise StaleJob("the job has been changed since it was read")


def _job(row: Row[Any]) -> JobRow:
    values = dict(row._mapping)
    values["study_id"] = values.pop("study_fk")
    values["kind"] = JobKind(values["kind"])
    values["state"] = JobState(values["state"])
    return JobRow(**values)
