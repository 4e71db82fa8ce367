"""How fast the engine moves work that does nothing.

Usage: python -m tests.bench.bench_engine [URL] [COUNT]

Without a URL it runs on SQLite in a temporary folder. A database that is named must be
one that nothing else uses.
"""

import sys
import tempfile
import threading
import time

from storage import engine
from storage.session import Database
from storage.work import WorkEngine

HANDLERS = 16
IDLE_S = 5.0


def main(url: str, count: int) -> None:
    database = Database(url, pool_size=HANDLERS + 16)
    engine.migrate(database)
    work = WorkEngine(database, executor_id="bench")
    seen: list[float] = []
    all_seen = threading.Event()

    def handler(_job_key: str, _attempt: int) -> None:
        seen.append(time.perf_counter())
        if len(seen) == count:
            all_seen.set()

    run = time.time_ns()  # the keys are new in every run
    begun = time.perf_counter()
    for number in range(count):
        with database.transaction() as connection:
            work.enqueue(
                connection,
                job_key=f"bench:{run}:{number}",
                attempt=1,
                queue="bench",
                urgent=False,
            )
    enqueued = time.perf_counter()
    work.start(handler, {"bench": HANDLERS})
    started = time.perf_counter()
    assert all_seen.wait(120), f"{len(seen)} of {count}"
    print(f"enqueued, one transaction each: {count / (enqueued - begun):.0f}/s")
    print(f"run, {HANDLERS} at once: {count / (seen[-1] - started):.0f}/s")
    busy = time.process_time()
    time.sleep(IDLE_S)
    print(f"idle: {(time.process_time() - busy) / IDLE_S:.1%} of a core")
    work.stop(0)
    database.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        where = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder}/bench.db"
        main(where, int(sys.argv[2]) if len(sys.argv) > 2 else 500)
