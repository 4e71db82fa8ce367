"""The engine behind a port: it calls a handler for every enqueued (job key, attempt).

DBOS Transact carries the work; nothing outside this module imports it (see
``docs/decisions/0010-dbos-moves-the-work.md``). What callers may rely on:

* `WorkEngine.enqueue` takes part in the caller's transaction: no commit, no work;
* one enqueued attempt runs at least once and, while nobody crashes, exactly once; after
  a crash it runs again, so the handler must find out from the job's row whether there is
  anything left to do;
* urgent work of a queue runs before the rest of it, and older before newer.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum

import structlog
from dbos import EnqueueOptions, WorkflowStatus
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from audit.errors import Fault
from storage import engine
from storage.engine import EngineMisused
from storage.session import Database, translate

_URGENT, _ROUTINE = 1, 10
_TAKEN = "PENDING"
_CRASHED = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"
_ENDED = ["SUCCESS", "ERROR", "CANCELLED", _CRASHED]
_CHUNK = 500

BEGIN_S = 5.0
"""How long after an attempt was taken from its queue its handler may begin, in seconds."""

Handler = Callable[[str, int], None]
log = structlog.get_logger()


class Fate(StrEnum):
    """What has become of one attempt."""

    LIVE = "live"
    """It waits, is delayed, or runs somewhere."""

    ENDED = "ended"
    """Its handler came back, or let an error out."""

    LOST = "lost"
    """This process took it and does not run it: its end could not be written down, or its
    handler never began, because the database was away."""

    CRASHED = "crashed"
    """Every process that ran it died, as often as is allowed."""

    UNKNOWN = "unknown"
    """It was never enqueued, or ended so long ago that it was removed."""


_FATES = {
    "ENQUEUED": Fate.LIVE,
    _TAKEN: Fate.LIVE,
    "DELAYED": Fate.LIVE,
    _CRASHED: Fate.CRASHED,
}


class HandlerFailed(Fault):
    """A handler let an error out: a bug, for handlers turn errors into retries."""

    code = "storage.engine.handler_failed"


class WorkEngine:
    """Queues of work, and the threads of this process that run it.

    A process that only enqueues never calls `start`.

    Parameters
    ----------
    database : Database
        The engine lives in it, and uses its connections: one for each thread and queue.
    executor_id : str
        Name of this process, unique at any moment and the same after a restart: by it a
        restarted process finds what it had under way (see `storage.executors`).
    """

    def __init__(self, database: Database, *, executor_id: str) -> None:
        self._database = database
        self._executor_id = executor_id
        self._client = engine.client(database.engine)
        self._running: Counter[tuple[str, int]] = Counter()
        self._counting = threading.Lock()
        self._started = False
        self._started_s = 0.0

    def enqueue(
        self,
        connection: Connection,
        *,
        job_key: str,
        attempt: int,
        queue: str,
        urgent: bool,
        delay_s: float = 0,
    ) -> None:
        """Have the handler called with (`job_key`, `attempt`), once `connection` commits.

        An attempt that was enqueued before is not enqueued again. A delay is kept to
        within about a second.
        """
        options: EnqueueOptions = {
            "workflow_name": engine.WORKFLOW,
            "workflow_id": _workflow_id(job_key, attempt),
            "queue_name": queue,
            "app_version": engine.APPLICATION_VERSION,
            "priority": _URGENT if urgent else _ROUTINE,
        }
        if delay_s > 0:
            options["delay_seconds"] = delay_s
        self._client.enqueue_in_transaction(connection, options, job_key, attempt)

    def start(self, handler: Handler, queues: Mapping[str, int]) -> None:
        """Begin to run work; what this executor had under way when it died comes first.

        Parameters
        ----------
        handler : callable
            Called with (job key, attempt) in a thread of its own. It does one domain
            transaction and turns errors into retries; an error that it lets out is
            logged, and the reconciler will find the job.
        queues : mapping
            Name to the number of handlers that run at once in one process. The number
            is kept in the database: of several processes the last to start decides it.

        Raises
        ------
        EngineMisused
            When an engine runs in this process already.
        DatabaseAway
            When the database cannot be reached.
        """
        with self._translated():
            engine.launch(self._database.engine, self._executor_id, self._guarded(handler), queues)
        self._started = True
        self._started_s = time.time()
        log.info("storage.engine.started", executor_id=self._executor_id, queues=sorted(queues))

    def stop(self, drain_s: float) -> bool:
        """Take no more work, let handlers end, and shut down.

        Parameters
        ----------
        drain_s : float
            Seconds to wait for handlers; what runs longer runs again after a restart.

        Returns
        -------
        bool
            Whether every handler has ended.
        """
        if not self._started:
            return True
        engine.shut_down(drain_s)
        self._started = False
        with self._counting:
            drained = not self._running
        log.info("storage.engine.stopped", executor_id=self._executor_id, drained=drained)
        return drained

    def fates(self, attempts: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Fate]:
        """Return what has become of each of `attempts`, (job key, attempt) pairs.

        What another process took counts as live for as long as that process lives: only
        a process itself knows what it runs.
        """
        asked = {_workflow_id(key, attempt): (key, attempt) for key, attempt in attempts}
        fates = dict.fromkeys(asked.values(), Fate.UNKNOWN)
        for chunk in _chunks(list(asked)):
            with self._translated():
                found = self._client.list_workflows(
                    workflow_ids=chunk, load_input=False, load_output=False
                )
            for workflow in found:
                attempt = asked[workflow.workflow_id]
                lost = self._is_lost(attempt, workflow)
                fates[attempt] = Fate.LOST if lost else _FATES.get(workflow.status, Fate.ENDED)
        return fates

    def adopt(self, executor_ids: Sequence[str]) -> int:
        """Put the unfinished work of dead executors back on its queues, for anybody.

        Doing so twice, or from two processes, changes nothing more.

        Returns
        -------
        int
            How many attempts were put back.

        Raises
        ------
        EngineMisused
            When this engine is not running, or is named among the dead.
        """
        if not self._started or self._executor_id in executor_ids:
            raise EngineMisused("only a running engine adopts, and never its own work")
        with self._translated():
            adopted = engine.recover(executor_ids)
        log.warning("storage.engine.adopted", executor_ids=sorted(executor_ids), count=adopted)
        return adopted

    def garbage_collect(self, older_than: datetime) -> int:
        """Remove what ended before `older_than`; return how much that was."""
        before = older_than.astimezone(UTC).isoformat()
        removed = 0
        while True:
            with self._translated():
                ended = self._client.list_workflows(
                    status=_ENDED,
                    completed_before=before,
                    limit=_CHUNK,
                    load_input=False,
                    load_output=False,
                )
                if ended:
                    self._client.delete_workflows([each.workflow_id for each in ended])
            removed += len(ended)
            if len(ended) < _CHUNK:
                return removed

    def _guarded(self, handler: Handler) -> Handler:
        def job(job_key: str, attempt: int) -> None:
            with self._counting:
                self._running[job_key, attempt] += 1
            try:
                handler(job_key, attempt)
            except Exception as error:  # noqa: BLE001 - the last resort; logged and re-raised
                log.error(
                    "storage.handler.failed",
                    job_key=job_key,
                    attempt=attempt,
                    error_type=type(error).__name__,
                )
                # The engine keeps an error's text; another's text may name a patient.
                raise HandlerFailed("the handler let an error out") from None
            finally:
                with self._counting:
                    self._running[job_key, attempt] -= 1
                    if not self._running[job_key, attempt]:
                        del self._running[job_key, attempt]

        return job

    def _is_lost(self, attempt: tuple[str, int], workflow: WorkflowStatus) -> bool:
        if workflow.status != _TAKEN or workflow.executor_id != self._executor_id:
            return False
        if not self._started:  # beside the process that bears the name, as commands do
            return False
        # What was taken before the start is taken again, by the engine, a moment after it.
        taken_s = max((workflow.dequeued_at or 0) / 1000, self._started_s)
        with self._counting:
            return attempt not in self._running and time.time() - taken_s > BEGIN_S

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            meaning = translate(error)
            if meaning is None:
                raise
            raise meaning from error


def _workflow_id(job_key: str, attempt: int) -> str:
    return f"{job_key}#{attempt}"


def _chunks(items: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
