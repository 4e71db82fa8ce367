"""APScheduler, kept to calling use cases at intervals."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from audit.errors import NodeError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Periodic:
    """A use case and how often it runs, in seconds."""

    name: str
    every_s: float
    run: Callable[[], object]
    at_start: bool = False
    """Whether it runs at once when the scheduler starts, and not only an interval later."""


class Scheduler:
    """Runs each use case in its own slot; a run that overlaps the next is not doubled."""

    def __init__(self, periodics: Sequence[Periodic]) -> None:
        # Its warning that a slow run delays the next one says nothing that metrics do not.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(max(1, len(periodics)))},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        for periodic in periodics:
            first: dict[str, Any] = {"next_run_time": datetime.now(UTC)}
            self._scheduler.add_job(
                _guarded(periodic),
                "interval",
                seconds=periodic.every_s,
                id=periodic.name,
                **(first if periodic.at_start else {}),
            )

    def start(self) -> None:
        """Begin; first runs come at once or after one interval, as each use case says."""
        self._scheduler.start()

    def stop(self) -> None:
        """Begin no further run and wait for those under way."""
        self._scheduler.shutdown(wait=True)


def _guarded(periodic: Periodic) -> Callable[[], None]:
    def run() -> None:
        try:
            periodic.run()
        except NodeError as error:
            log.warning("scheduler.run.failed", task=periodic.name, error_code=error.code)
        except Exception as error:
            log.exception("scheduler.run.crashed", task=periodic.name, error=type(error).__name__)

    return run
