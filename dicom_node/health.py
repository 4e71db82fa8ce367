"""How the node is, read from its parts when somebody asks."""

from collections.abc import Callable
from datetime import timedelta

from audit.clock import Clock
from audit.errors import NodeError
from dicom_node.web.health import ComponentHealth, HealthReport, HealthState
from storage import jobs
from storage.files import FileStore
from storage.session import Database
from storage.states import JobState

LATE = timedelta(minutes=10)
"""Work that has been due for longer than this is worth a look."""


class Health:
    """Answers ``/healthz``: database, disk and work."""

    def __init__(
        self, database: Database, files: FileStore, minimum_free_bytes: int, clock: Clock
    ) -> None:
        self._database = database
        self._files = files
        self._minimum_free_bytes = minimum_free_bytes
        self._clock = clock

    def __call__(self) -> HealthReport:
        """Look at every part now."""
        return HealthReport(
            components={
                "database": _guarded(self._database_health),
                "disk": _guarded(self._disk_health),
                "work": _guarded(self._work_health),
            }
        )

    def _database_health(self) -> ComponentHealth:
        self._database.ping()
        return ComponentHealth(state=HealthState.OK)

    def _disk_health(self) -> ComponentHealth:
        free = self._files.free_bytes()
        state = HealthState.FAILING if free < self._minimum_free_bytes else HealthState.OK
        return ComponentHealth(state=state, detail=f"{free // 1_000_000} MB free")

    def _work_health(self) -> ComponentHealth:
        with self._database.reading() as connection:
            counts = jobs.counts(connection)
            oldest = jobs.oldest_due(connection)
        parked = sum(n for (_, state), n in counts.items() if state is JobState.PARKED)
        queued = sum(n for (_, state), n in counts.items() if state is JobState.QUEUED)
        late = oldest is not None and self._clock.now() - oldest > LATE
        state = HealthState.DEGRADED if parked or late else HealthState.OK
        return ComponentHealth(state=state, detail=f"{queued} queued, {parked} parked")


def _guarded(look: Callable[[], ComponentHealth]) -> ComponentHealth:
    try:
        return look()
    except NodeError as error:
        return ComponentHealth(state=HealthState.FAILING, detail=error.code)
