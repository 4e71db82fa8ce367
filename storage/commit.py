"""Many threads' small units of work, each durable when `GroupCommitter.submit` returns.

On SQLite, which has one writer, units that come while a commit is under way share the next
one: with eight threads that doubles the rate of a transaction for each. PostgreSQL itself
groups the flushes of parallel commits, so there every unit has its own transaction in its
caller's thread; sharing would make units hold their locks (a study's row, the audit chain)
while others take theirs in another order.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection

from audit.errors import DatabaseAway, DiskFull, Transient
from storage.session import AWAY, Database, TransactionConflict

T = TypeVar("T")

MAXIMUM_BATCH = 64
MAXIMUM_WAITING = 1024
"""Units waiting for a shared commit beyond which `submit` makes its caller wait."""

PARALLEL = 16
"""Units at a time on PostgreSQL; never more than half of the connections."""

PLACE_WAIT_S = 30.0
CONFLICT_TRIES = 4


class CommitterClosed(Transient):
    """The node is stopping; the sender should try again later."""

    code = "storage.commit.closed"


class _Way(Protocol):
    def submit(self, work: Callable[[Connection], T]) -> T: ...
    def close(self) -> None: ...


class GroupCommitter:
    """Runs units of work, in as few commits as pay.

    Parameters
    ----------
    database : Database
        Where they run.
    """

    def __init__(self, database: Database) -> None:
        self._way: _Way = _Shared(database) if database.dialect == "sqlite" else _Apart(database)

    def submit(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction and return its result once that is durable.

        Parameters
        ----------
        work : callable
            Gets the connection. It may be called again after a conflict, so its effects must
            be rows alone; it must neither commit nor roll back.

        Raises
        ------
        DatabaseAway
            Nothing was kept; as `CommitDoubtful`, nobody knows.
        DiskFull
            The database has no room left; nothing was kept.
        CommitterClosed
            `close` was called.
        Exception
            Whatever `work` raised; nothing of this unit was kept.
        """
        return self._way.submit(work)

    def close(self) -> None:
        """Refuse new units, and return when those that were accepted have ended."""
        self._way.close()


class _Apart:
    """A transaction for each unit, in its caller's thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._free = min(PARALLEL, max(1, database.pool_size // 2))
        self._running = 0
        self._closed = False
        self._changed = threading.Condition()

    def submit(self, work: Callable[[Connection], T]) -> T:
        with self._changed:
            has_place = self._changed.wait_for(lambda: self._closed or self._free, PLACE_WAIT_S)
            if self._closed:
                raise CommitterClosed("the node is stopping")
            if not has_place:
                raise DatabaseAway("too many commits wait for the database")
            self._free -= 1
            self._running += 1
        try:
            return _retried(lambda: self._transact(work))
        finally:
            with self._changed:
                self._free += 1
                self._running -= 1
                if self._closed:
                    self._changed.notify_all()
                else:
                    self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with self._database.transaction() as connection:
            return work(connection)


class _Unit(Generic[T]):
    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.work = work
        self.outcome: Future[T] = Future()


class _Shared:
    """One thread that commits; what comes meanwhile is its next batch. A lone unit never
    waits for company."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._units: deque[_Unit[Any]] = deque()
        self._closed = False
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], T]) -> T:
        unit = _Unit(work)
        with self._room:
            has_place = self._room.wait_for(
                lambda: self._closed or len(self._units) < MAXIMUM_WAITING, PLACE_WAIT_S
            )
            if self._closed:
                raise CommitterClosed("the node is stopping")
            if not has_place:
                raise DatabaseAway("too many commits wait for the database")
            self._units.append(unit)
            self._work.notify()
        # No time limit: giving up here would leave the caller ignorant of what was kept.
        return unit.outcome.result()

    def close(self) -> None:
        with self._room:
            self._closed = True
            self._work.notify()
            self._room.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while units := self._next():
            try:
                outcomes = self._transact(units)
            except BaseException as error:  # noqa: BLE001 - goes to those who wait for it
                outcomes = [(None, error)] * len(units)
            for unit, (value, failure) in zip(units, outcomes, strict=True):
                if failure is None:
                    unit.outcome.set_result(value)
                else:
                    unit.outcome.set_exception(failure)

    def _next(self) -> list[_Unit[Any]]:
        """Return the next batch; empty when closed and done."""
        with self._work:
            self._work.wait_for(lambda: self._closed or bool(self._units))
            units = [self._units.popleft() for _ in range(min(len(self._units), MAXIMUM_BATCH))]
            self._room.notify(len(units))
        return units

    def _transact(self, units: Sequence[_Unit[Any]]) -> list[tuple[Any, BaseException | None]]:
        with self._database.transaction() as connection:
            if len(units) == 1:
                return [(units[0].work(connection), None)]
            return [_in_savepoint(connection, unit) for unit in units]


def _in_savepoint(connection: Connection, unit: _Unit[Any]) -> tuple[Any, BaseException | None]:
    """Return the unit's value or its error; its failure undoes its own rows alone."""
    savepoint = connection.begin_nested()
    try:
        value = unit.work(connection)
    except (*AWAY, DatabaseAway, DiskFull):
        # Of the database, not of the unit: the whole transaction is lost, and SQLite may
        # have rolled it back already, savepoint and all.
        raise
    except Exception as error:  # noqa: BLE001 - goes to its own caller
        savepoint.rollback()
        return None, error
    savepoint.commit()
    return value, None


def _retried(attempt: Callable[[], T]) -> T:
    """Return what `attempt` returns, made again when PostgreSQL sacrificed it for another."""
    for _ in range(CONFLICT_TRIES - 1):
        try:
            return attempt()
        except TransactionConflict:
            continue
    return attempt()
