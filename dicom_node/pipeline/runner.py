"""The handler that the engine calls: find the job, run its step, say what happened."""

import contextlib
from collections.abc import Callable, Mapping

import structlog

from audit.clock import Clock
from audit.errors import NodeError
from audit.metrics import Metrics
from dicom_node.pipeline.work import OnPark, Work
from storage import jobs
from storage.index import study
from storage.jobs import JobRow
from storage.session import Database
from storage.states import IllegalTransition, JobKind, JobState

log = structlog.get_logger()


Step = Callable[[JobRow], None]
"""Does the job's effect and marks it done in one transaction; may run twice."""


class Runner:
    """Runs one attempt of one job; never raises for a failed step."""

    def __init__(
        self,
        *,
        database: Database,
        work: Work,
        steps: Mapping[JobKind, Step],
        on_park: Mapping[JobKind, OnPark],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._work = work
        self._steps = steps
        self._on_park = on_park
        self._clock = clock
        self._metrics = metrics

    def __call__(self, job_key: str, attempt: int) -> None:
        """Run attempt `attempt` of `job_key`; an attempt that is out of date does nothing."""
        with self._database.reading() as connection:
            job = jobs.get(connection, job_key)
            if job is None or job.state is not JobState.QUEUED or job.attempt != attempt:
                return
            correlation_id = study(connection, job.study_id).correlation_id
        started = self._clock.monotonic_s()
        with (
            structlog.contextvars.bound_contextvars(correlation_id=correlation_id),
            contextlib.suppress(IllegalTransition, jobs.StaleJob),  # another run has ended it
        ):
            self._attempt(job)
        self._metrics.observe(
            "job_duration_seconds", self._clock.monotonic_s() - started, kind=job.kind
        )

    def _attempt(self, job: JobRow) -> None:
        on_park = self._on_park.get(job.kind)
        try:
            self._steps[job.kind](job)
        except (IllegalTransition, jobs.StaleJob):
            raise
        except Exception as error:
            if not isinstance(error, NodeError):
                log.exception("pipeline.step.crashed", job_key=job.key, error_type=_name(error))
            self._work.fail(job, error, on_park)


def _name(error: BaseException) -> str:
    return type(error).__name__
