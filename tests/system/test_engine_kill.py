"""kill -9 at any instant: every job's effect happens, and happens once."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, insert, select

from storage import engine, jobs
from storage.models import Patient, Study
from storage.session import Database
from storage.states import JobKind, JobState
from storage.work import Fate, WorkEngine
from tests.system.engine_worker import effect

JOBS = 240
KILLS = 6
SEED = 20260301
ROOT = Path(__file__).parents[2]


@contextmanager
def worker(
    database: Database, executor_id: str, seed: int, *, step_s: float = 0.02, until: str = "ready"
) -> Iterator[subprocess.Popen[str]]:
    """Run a worker; the block begins once it has said `until`."""
    url = database.engine.url.render_as_string(hide_password=False)
    arguments = [url, executor_id, str(seed), str(step_s)]
    command = [sys.executable, "-m", "tests.system.engine_worker", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == f"{until}\n":
                break
        assert process.poll() is None, "the worker did not come up"
        try:
            yield process
        finally:
            process.kill()


def prepare(database: Database) -> WorkEngine:
    """Return an engine that only enqueues; the jobs are made and on their queues."""
    engine.migrate(database)
    effect.create(database.engine)
    now = datetime.now(UTC)
    work = WorkEngine(database, executor_id="sender")
    with database.transaction() as connection:
        connection.execute(insert(Patient).values(id=1, patient_id="SYN-1"))
        connection.execute(
            insert(Study).values(
                id=1,
                study_instance_uid="1.2.3",
                patient_fk=1,
                correlation_id="c-1",
                last_received_at=now,
            )
        )
    for number in range(JOBS):
        kind = JobKind.DELIVER if number % 3 == 0 else JobKind.ANALYSE
        key = f"{kind}:{number}"
        urgent = number % 5 == 0
        with database.transaction() as connection:
            jobs.create(
                connection, key=key, kind=kind, queue=kind, study_id=1, urgent=urgent, now=now
            )
            work.enqueue(connection, job_key=key, attempt=1, queue=kind, urgent=urgent)
    return work


def done(database: Database) -> int:
    with database.reading() as connection:
        return len(jobs.listing(connection, state=JobState.DONE, limit=JOBS + 1))


def wait_until_all_are_done(database: Database) -> None:
    deadline = time.monotonic() + 90
    while done(database) < JOBS:
        assert time.monotonic() < deadline, f"{done(database)} of {JOBS} done"
        time.sleep(0.05)


def effects(database: Database) -> dict[str, int]:
    with database.reading() as connection:
        statement = select(effect.c.job_key, func.count()).group_by(effect.c.job_key)
        return {key: total for key, total in connection.execute(statement)}  # noqa: C416 - rows


def test_killing_the_process_again_and_again_loses_and_repeats_nothing(
    database: Database,
) -> None:
    prepare(database)
    dice = random.Random(SEED)
    killed_at: list[int] = []

    for number in range(KILLS):
        with worker(database, "node-1", number) as process:
            time.sleep(dice.uniform(0.02, 0.7))
            process.kill()
            process.wait(10)
        killed_at.append(done(database))
    with worker(database, "node-1", KILLS):
        wait_until_all_are_done(database)

    assert 0 < killed_at[-1] < JOBS, f"the kills did not hit work under way: {killed_at}"
    assert effects(database).keys() == {
        f"{'deliver' if number % 3 == 0 else 'analyse'}:{number}" for number in range(JOBS)
    }
    assert set(effects(database).values()) == {1}


def test_another_process_takes_over_from_one_that_never_returns(database: Database) -> None:
    work = prepare(database)
    with worker(database, "gone", 0, step_s=60, until="begun") as process:
        process.kill()  # in the middle of a step: there is work to adopt
        process.wait(10)

    def handler(job_key: str, attempt: int) -> None:
        with database.transaction() as connection:
            job = jobs.get(connection, job_key)
            if job is not None and job.state is JobState.QUEUED and job.attempt == attempt:
                connection.execute(insert(effect).values(job_key=job_key))
                jobs.finish(connection, job_key, datetime.now(UTC))

    heir = WorkEngine(database, executor_id="heir")
    heir.start(handler, {"analyse": 8, "deliver": 8})
    try:
        adopted = heir.adopt(["gone"])
        wait_until_all_are_done(database)
    finally:
        heir.stop(5)

    assert adopted > 0
    assert len(effects(database)) == JOBS
    assert set(effects(database).values()) == {1}
    assert work.fates([("analyse:1", 1)]) == {("analyse:1", 1): Fate.ENDED}
