"""Jobs and the engine as one thing: what is begun is queued in the same transaction."""

import random
from collections.abc import Callable
from datetime import timedelta

import structlog
from sqlalchemy import Connection

from audit.clock import Clock
from audit.entries import Subject
from audit.errors import Disposition, NodeError
from audit.metrics import Metrics
from audit.records import Writer
from audit.store import append
from dicom_node.config.settings import RetrySettings
from dicom_node.core.retry import delay_s
from storage import jobs
from storage.index import study
from storage.jobs import JobRow
from storage.reports import send_refused_again
from storage.results import reopen_study
from storage.session import Database
from storage.states import JobKind, JobState
from storage.work import WorkEngine

log = structlog.get_logger()


def analyse_key(instance_id: int) -> str:
    """Return the key of the job that analyses an instance."""
    return f"{JobKind.ANALYSE}:{instance_id}"


def report_key(study_id: int, changes: int) -> str:
    """Return the key of the job that reports a study as it is after so many changes.

    Not by revision: a job that was given up must not stand in the way of the next.
    """
    return f"{JobKind.REPORT}:{study_id}:{changes}"


def deliver_key(report_id: int, destination: str) -> str:
    """Return the key of the job that sends a report to a destination."""
    return f"{JobKind.DELIVER}:{report_id}:{destination}"


def delivery_of(key: str) -> tuple[int, str]:
    """Return the report id and the destination of a `deliver_key`."""
    _, report_id, destination = key.split(":", 2)
    return int(report_id), destination


def correct_key(proposal_id: int, destination: str) -> str:
    """Return the key of the job that sends a correction package to a destination."""
    return f"{JobKind.CORRECT}:{proposal_id}:{destination}"


def reconcile_key(study_id: int, order_id: int, version: int) -> str:
    """Return the key of the job that compares a study with an order that changed."""
    return f"{JobKind.RECONCILE}:{study_id}:{order_id}:{version}"


def overdue_key(study_id: int, order_id: int, changes: int) -> str:
    """Return the key of the job that compares a study with an order without images.

    By the order's row: keys are logged and audited, and a hash of its number could be guessed.
    """
    return f"{JobKind.RECONCILE}:{study_id}:order:{order_id}:{changes}"


def notify_key(proposal_id: int, event: str, channel: str, when: str = "") -> str:
    """Return the key of the job that tells a channel what became of a proposal; `when`
    tells the times apart at which the same became of it."""
    key = f"{JobKind.NOTIFY}:{proposal_id}:{event}:{channel}"
    return f"{key}:{when}" if when else key


def deliver_queue(destination: str) -> str:
    """Return the queue of a destination: each has its own, so none blocks another."""
    return f"{JobKind.DELIVER}:{destination}"


OnPark = Callable[[Connection, JobRow, str, str], None]
"""Adds what it means that a job is given up to the transaction that parks it; gets the
error's code and its reason too."""


class Work:
    """Begins, ends, retries and parks jobs."""

    def __init__(
        self,
        *,
        database: Database,
        engine: WorkEngine,
        retry: RetrySettings,
        writer: Writer,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._engine = engine
        self._retry = retry
        self._writer = writer
        self._clock = clock
        self._metrics = metrics
        self._random = random.Random()  # noqa: S311 - spreads retries; guards nothing

    def begin(
        self,
        connection: Connection,
        *,
        key: str,
        kind: JobKind,
        queue: str,
        study_id: int,
        urgent: bool,
    ) -> bool:
        """Create and queue a job in the caller's transaction; False when it exists."""
        now = self._clock.now()
        fresh = jobs.create(
            connection,
            key=key,
            kind=kind,
            queue=queue,
            study_id=study_id,
            urgent=urgent,
            now=now,
        )
        if fresh:
            self._engine.enqueue(connection, job_key=key, attempt=1, queue=queue, urgent=urgent)
        return fresh

    def finish(self, connection: Connection, key: str) -> None:
        """Mark a job done, in the transaction of its effect."""
        jobs.finish(connection, key, self._clock.now())

    def fail(self, job: JobRow, error: BaseException, on_park: OnPark | None = None) -> None:
        """Try a job again later, or park it with the reason.

        When it is parked, `on_park` adds what that means to the same transaction. Errors
        that this product did not raise on purpose are taken as transient: a bug that always
        fires ends parked, with its class name as the reason.
        """
        code = error.code if isinstance(error, NodeError) else "node.unexpected"
        reason = str(error) if isinstance(error, NodeError) else type(error).__name__
        retryable = not isinstance(error, NodeError) or error.disposition is Disposition.RETRY
        now = self._clock.now()
        with self._database.transaction() as connection:
            if retryable and job.tries < self._retry.attempts:
                wait_s = delay_s(job.tries, self._retry, self._random.random())
                jobs.retry(
                    connection,
                    job.key,
                    attempt_from=job.attempt,
                    due_at=now + timedelta(seconds=wait_s),
                    error_code=code,
                    error=reason,
                    now=now,
                )
                self._engine.enqueue(
                    connection,
                    job_key=job.key,
                    attempt=job.attempt + 1,
                    queue=job.queue,
                    urgent=job.urgent,
                    delay_s=wait_s,
                )
                outcome = "retried"
            else:
                if job.kind is JobKind.ANALYSE:  # a report can now say that it was given up
                    reopen_study(connection, study_id=job.study_id)
                jobs.park(
                    connection,
                    job.key,
                    attempt_from=job.attempt,
                    error_code=code,
                    error=reason,
                    now=now,
                )
                self._record(connection, job, "parked", actor="node", error_code=code)
                if on_park is not None:
                    on_park(connection, job, code, reason)
                outcome = "parked"
        self._metrics.count("job_failures_total", kind=job.kind, outcome=outcome, error_code=code)
        log.warning(
            "pipeline.job.failed",
            job_key=job.key,
            attempt=job.attempt,
            outcome=outcome,
            error_code=code,
        )

    def redrive(self, key: str, *, actor: str) -> bool:
        """Queue a parked job again, on a person's word; False when it is not parked."""
        with self._database.transaction() as connection:
            return self.unpark(connection, key, actor=actor, wanted=JobState.QUEUED)

    def discard(self, key: str, *, actor: str) -> bool:
        """Give a parked job up, on a person's word; False when it is not parked."""
        with self._database.transaction() as connection:
            return self.unpark(connection, key, actor=actor, wanted=JobState.DISCARDED)

    def unpark(self, connection: Connection, key: str, *, actor: str, wanted: JobState) -> bool:
        """Take a parked job to `wanted` in the caller's transaction; False when it is not
        parked. What a destination refused is sent once more by a delivery that is queued."""
        now = self._clock.now()
        job = jobs.get(connection, key)
        if job is None or job.state is not JobState.PARKED:
            return False
        if wanted is JobState.QUEUED:
            attempt = jobs.redrive(connection, key, now)
            if job.kind is JobKind.DELIVER:
                send_refused_again(connection, *delivery_of(key))
            self._engine.enqueue(
                connection,
                job_key=key,
                attempt=attempt,
                queue=job.queue,
                urgent=job.urgent,
            )
        else:
            jobs.discard(connection, key, now)
        change = "redriven" if wanted is JobState.QUEUED else "discarded"
        self._record(connection, job, change, actor=actor, error_code=job.error_code)
        return True

    def _record(
        self, connection: Connection, job: JobRow, change: str, *, actor: str, error_code: str
    ) -> None:
        of = study(connection, job.study_id)
        append(
            connection,
            self._writer.job_changed(
                subject=Subject(study_instance_uid=of.study_instance_uid),
                job_key=job.key,
                attempt=job.attempt,
                change=change,
                actor=actor,
                error_code=error_code,
                recorded_at=self._clock.now(),
            ),
        )
