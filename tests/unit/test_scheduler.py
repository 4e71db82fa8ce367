"""Use cases at intervals: when they begin, and that one which fails is run again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from structlog.testing import capture_logs

from audit.errors import DatabaseAway
from dicom_node.scheduler import Periodic, Scheduler

NEVER_S = 3600.0


@contextmanager
def started(*periodics: Periodic) -> Iterator[None]:
    scheduler = Scheduler(periodics)
    scheduler.start()
    try:
        yield
    finally:
        scheduler.stop()


def test_what_is_to_run_at_the_start_does_and_nothing_else() -> None:
    at_once, later = threading.Event(), threading.Event()

    with started(
        Periodic("later", NEVER_S, later.set),
        Periodic("at once", NEVER_S, at_once.set, at_start=True),
    ):
        assert at_once.wait(10)

    assert not later.is_set()


def test_a_use_case_that_fails_is_told_of_and_runs_again() -> None:
    runs: list[int] = []
    enough = threading.Event()

    def away() -> None:
        runs.append(1)
        if len(runs) == 2:
            enough.set()
        raise DatabaseAway("the database cannot be reached")

    with capture_logs() as events, started(Periodic("beat", 0.05, away, at_start=True)):
        assert enough.wait(10)

    assert {
        "event": "scheduler.run.failed",
        "task": "beat",
        "error_code": "storage.database.away",
        "log_level": "warning",
    } in events
