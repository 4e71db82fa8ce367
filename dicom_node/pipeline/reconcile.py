"""Brings domain rows that do not advance back to the engine; the net under every crash."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from audit.clock import Clock
from audit.errors import Fault, Transient
from audit.metrics import Metrics
from dicom_node.pipeline.work import OnPark, Work
from storage import executors, jobs
from storage.files import FileStore
from storage.index import known_paths
from storage.jobs import JobRow
from storage.session import Database
from storage.states import IllegalTransition, JobKind
from storage.work import Fate, WorkEngine

log = structlog.get_logger()

OVERDUE_S = 30.0
"""How long past its due time a job is left alone before it is looked at."""

DEAD_AFTER_S = 30.0
"""Silence after which another process's work is taken over."""

ORPHAN_AGE_S = 3600.0
"""Files without a row are younger than this while their transaction is under way."""

KEEP_ORPHANS_S = 30 * 86400.0
"""How long an orphan stays in the quarantine before it is removed."""

KEEP_FINISHED = timedelta(days=1)


class OutcomeLost(Transient):
    """An attempt ended while the database was away: what it did was undone."""

    code = "engine.outcome.lost"


class KillsProcesses(Fault):
    """Every process that ran this attempt died: it is not tried again by itself."""

    code = "engine.process.killed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileParts:
    """What the use case works with; built by the composition root."""

    database: Database
    engine: WorkEngine
    work: Work
    on_park: Mapping[JobKind, OnPark]
    """What it means that a job is given up, as for the runner."""

    files: FileStore
    executor_id: str
    clock: Clock
    metrics: Metrics


class Reconcile:
    """One pass over everything that should have moved."""

    def __init__(self, parts: ReconcileParts) -> None:
        self._parts = parts

    def __call__(self) -> None:
        """Take over dead executors' work, and re-enqueue jobs that were lost."""
        self._adopt_dead()
        self._requeue_lost()

    def sweep(self) -> None:
        """Set files without a row aside, and remove what was set aside long ago and the
        engine's finished work; looks at every file."""
        self._sweep_orphans()
        if removed := self._parts.files.clear_quarantine(KEEP_ORPHANS_S):
            log.info("reconcile.orphans.removed", count=removed)
        self._parts.engine.garbage_collect(self._parts.clock.now() - KEEP_FINISHED)

    def _adopt_dead(self) -> None:
        parts = self._parts
        looked_at = parts.clock.now()
        with parts.database.reading() as connection:
            dead = executors.dead(connection, looked_at, timeout_s=DEAD_AFTER_S)
        others = [executor for executor in dead if executor != parts.executor_id]
        if not others:
            return
        adopted = parts.engine.adopt(others)
        with parts.database.transaction() as connection:
            for executor in others:
                executors.remove(connection, executor, unless_beaten_since=looked_at)
        log.warning("reconcile.executors.adopted", executors=len(others), workflows=adopted)

    def _requeue_lost(self) -> None:
        parts = self._parts
        with parts.database.reading() as connection:
            late = jobs.overdue(connection, parts.clock.now(), OVERDUE_S)
        fates = parts.engine.fates((job.key, job.attempt) for job in late)
        for job in late:
            fate = fates[job.key, job.attempt]
            if fate is Fate.LIVE:
                continue
            try:
                self._bring_back(job, fate)
            except (IllegalTransition, jobs.StaleJob):
                continue  # it moved on since we looked
            parts.metrics.count("reconciled_jobs_total", kind=job.kind)
            log.warning(
                "reconcile.job.requeued", job_key=job.key, attempt=job.attempt, reason=fate.value
            )

    def _bring_back(self, job: JobRow, fate: Fate) -> None:
        parts, on_park = self._parts, self._parts.on_park.get(job.kind)
        if fate is Fate.CRASHED:
            killer = KillsProcesses("the process died with this work too often")
            parts.work.fail(job, killer, on_park)
        elif fate in (Fate.ENDED, Fate.LOST):
            lost = OutcomeLost("the attempt ended and could not say how")
            parts.work.fail(job, lost, on_park)
        else:
            with parts.database.transaction() as connection:
                parts.engine.enqueue(
                    connection,
                    job_key=job.key,
                    attempt=job.attempt,
                    queue=job.queue,
                    urgent=job.urgent,
                )

    def _sweep_orphans(self) -> None:
        parts = self._parts

        def known(paths: list[str]) -> set[str]:
            with parts.database.reading() as connection:
                return known_paths(connection, paths)

        for orphan in parts.files.orphans(known, older_than_s=ORPHAN_AGE_S):
            if parts.files.quarantine(orphan):
                log.warning("reconcile.orphan.quarantined")
