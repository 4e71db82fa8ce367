"""Jobs whose attempt died with its process, or ended without a word; on both databases."""

from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from audit.clock import SystemClock
from audit.entries import Node
from audit.metrics import NullMetrics
from audit.records import Writer
from dicom_node.config.settings import RetrySettings
from dicom_node.pipeline.reconcile import Reconcile, ReconcileParts
from dicom_node.pipeline.work import Work
from storage import jobs
from storage.engine import migrate
from storage.files import FileStore
from storage.session import Database
from storage.states import JobKind, JobState
from storage.work import Fate, WorkEngine
from tests.filings import filed


@pytest.mark.parametrize("fate", [Fate.CRASHED, Fate.ENDED, Fate.LOST])
def test_a_job_that_is_given_up_here_means_what_it_means_elsewhere(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: Fate
) -> None:
    migrate(database)
    clock, told = SystemClock(), list[tuple[str, str]]()
    engine = WorkEngine(database, executor_id="n")
    monkeypatch.setattr(engine, "fates", lambda asked: dict.fromkeys(asked, fate))
    work = Work(
        database=database,
        engine=engine,
        retry=RetrySettings(attempts=1),
        writer=Writer(node=Node(node_id="n", software_version="0")),
        clock=clock,
        metrics=NullMetrics(),
    )
    reconcile = Reconcile(
        ReconcileParts(
            database=database,
            engine=engine,
            work=work,
            on_park={
                JobKind.ANALYSE: lambda _connection, job, code, _reason: told.append(
                    (job.key, code)
                )
            },
            files=FileStore(tmp_path, minimum_free_bytes=0),
            executor_id="n",
            clock=clock,
            metrics=NullMetrics(),
        )
    )
    study_id = filed(database).study_id
    with database.transaction() as connection:
        jobs.create(
            connection,
            key="analyse:1",
            kind=JobKind.ANALYSE,
            queue="analyse",
            study_id=study_id,
            urgent=False,
            now=clock.now() - timedelta(hours=1),
        )

    reconcile()

    with database.reading() as connection:
        job = cast("jobs.JobRow", jobs.get(connection, "analyse:1"))
    assert job.state is JobState.PARKED
    assert told == [("analyse:1", job.error_code)]
