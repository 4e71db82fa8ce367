"""A small real process around the engine, for `test_engine_kill` to kill.

Usage: python -m tests.system.engine_worker URL EXECUTOR SEED STEP_S

It says ``ready`` when it serves the queues, and ``begun`` when a step begins.
"""

import random
import sys
import time
from datetime import UTC, datetime

from sqlalchemy import Column, Integer, MetaData, String, Table, insert

from storage import jobs
from storage.session import Database
from storage.states import JobState
from storage.work import WorkEngine

QUEUES = {"analyse": 4, "deliver": 2}

effect = Table(
    "test_effect",
    MetaData(),
    Column("id", Integer, primary_key=True),  # no unique key: doing it twice must show
    Column("job_key", String(160), nullable=False),
)


def main(url: str, executor_id: str, seed: str, step_s: str) -> None:
    database = Database(url, pool_size=20)
    work = WorkEngine(database, executor_id=executor_id)
    dice = random.Random(seed)

    def handler(job_key: str, attempt: int) -> None:
        with database.reading() as connection:
            job = jobs.get(connection, job_key)
        if job is None or job.state is not JobState.QUEUED or job.attempt != attempt:
            return
        print("begun", flush=True)
        time.sleep(dice.uniform(0.5, 1) * float(step_s))  # the step's work
        now = datetime.now(UTC)
        with database.transaction() as connection:
            if attempt == 1 and job_key.endswith("7"):
                following = jobs.retry(
                    connection,
                    job_key,
                    attempt_from=attempt,
                    due_at=now,
                    error_code="test.again",
                    error="",
                    now=now,
                )
                work.enqueue(
                    connection, job_key=job_key, attempt=following, queue=job.queue, urgent=False
                )
                return
            connection.execute(insert(effect).values(job_key=job_key))
            jobs.finish(connection, job_key, now)

    work.start(handler, QUEUES)
    print("ready", flush=True)
    sys.stdin.read()
    work.stop(10)


if __name__ == "__main__":
    main(*sys.argv[1:])
