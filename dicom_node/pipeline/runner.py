"""The handler that the engine calls: find the job, run its step, say what happened."""

from collections.abc import Callable, Mapping

import structlog

from audit.clock import Clock
from audit.errors import NodeError
from audit.metrics import Metrics
from dicom_node.pipeline.work import Work
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
        database: Database,
        work: Work,
        steps: Mapping[JobKind, Step],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._work = work
        self._steps = steps
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
        with structlog.contextvars.bound_contextvars(correlation_id=correlation_id):
            try:
                self._steps[job.kind](job)
            except (IllegalTransition, jobs.StaleJob):
                return  # another run of this job has ended it
            except NodeError as error:
                self._work.fail(job, error)
            except Exception as error:
                log.exception("pipeline.step.crashed", job_key=job_key, error=type(error).__name__)
                self._work.fail(job, error)
        self._metrics.observe(
            "job_duration_seconds", self._clock.monotonic_s() - started, kind=job.kind
        )
