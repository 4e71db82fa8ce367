"""Many threads' small units of work share one commit, because each commit waits for the disk.

Units that come while a commit is under way form the next one; a lone unit never waits for
company. A unit runs in a savepoint, so its failure is its own.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar
from zlib import crc32

from sqlalchemy import Connection

from audit.errors import DatabaseAway, DiskFull, Transient
from storage.session import AWAY, Database, TransactionConflict

T = TypeVar("T")

MAXIMUM_BATCH = 64
MAXIMUM_WAITING = 1024
"""Units in one lane beyond which `submit` makes its caller wait."""

PLACE_WAIT_S = 30.0
CONFLICT_TRIES = 4


class CommitterClosed(Transient):
    """The node is stopping; the sender should try again elsewhere or later."""

    code = "storage.commit.closed"


class _Unit(Generic[T]):
    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.work = work
        self.outcome: Future[T] = Future()


class GroupCommitter:
    """Runs units of work in shared transactions.

    Parameters
    ----------
    database : Database
        Where they run.
    lanes : int, optional
        Transactions at a time. Left out: one on SQLite, which has one writer; on PostgreSQL
        as many as pay (see ``docs/decisions``).
    batch : int, optional
        Most units in one transaction. Left out: many on SQLite, one on PostgreSQL, which
        groups the flushes of parallel commits by itself, and where a unit must not hold its
        locks while others take theirs in another order.
    """

    def __init__(
        self, database: Database, *, lanes: int | None = None, batch: int | None = None
    ) -> None:
        embedded = database.dialect == "sqlite"
        count = lanes if lanes is not None else (1 if embedded else 8)
        most = batch if batch is not None else (MAXIMUM_BATCH if embedded else 1)
        self._lanes = [_Lane(database, number, most) for number in range(count)]

    def submit(self, work: Callable[[Connection], T], *, key: str = "") -> T:
        """Run `work` in a transaction and return its result once that is durable.

        Parameters
        ----------
        work : callable
            Gets the connection; may be called again after a conflict, so its effects are
            rows alone.
        key : str, optional
            Units of one key (a study) never run at the same time: they would wait for each
            other's locks.

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
        lane = self._lanes[crc32(key.encode()) % len(self._lanes)] if key else self._quietest()
        return lane.submit(work)

    def close(self) -> None:
        """Refuse new units, end those that were accepted, and return then."""
        for lane in self._lanes:
            lane.close()

    def _quietest(self) -> "_Lane":
        return min(self._lanes, key=lambda lane: lane.waiting)


class _Lane:
    """One thread that commits; its transactions follow one another."""

    def __init__(self, database: Database, number: int, batch: int) -> None:
        self._database = database
        self._batch = batch
        self._units: deque[_Unit[Any]] = deque()
        self._closed = False
        self._busy = 0
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._thread = threading.Thread(
            target=self._run, name=f"group-commit-{number}", daemon=True
        )
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._units) + self._busy

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
                self._commit(units)
            except BaseException as error:  # noqa: BLE001 - goes to those who wait for it
                for unit in units:
                    unit.outcome.set_exception(error)
            self._busy = 0

    def _next(self) -> list[_Unit[Any]]:
        """Return the next batch; empty when the lane is closed and done."""
        with self._work:
            self._work.wait_for(lambda: self._closed or bool(self._units))
            units = [self._units.popleft() for _ in range(min(len(self._units), self._batch))]
            self._busy = len(units)
            self._room.notify(len(units))
        return units

    def _commit(self, units: Sequence[_Unit[Any]]) -> None:
        for tries_left in reversed(range(CONFLICT_TRIES)):
            try:
                outcomes = self._transact(units)
            except TransactionConflict:
                if not tries_left:
                    raise
            else:
                break
        for unit, (value, error) in zip(units, outcomes, strict=True):
            if error is None:
                unit.outcome.set_result(value)
            else:
                unit.outcome.set_exception(error)

    def _transact(self, units: Sequence[_Unit[Any]]) -> list[tuple[Any, Exception | None]]:
        with self._database.transaction() as connection:
            if len(units) == 1:
                return [(units[0].work(connection), None)]
            return [_in_savepoint(connection, unit) for unit in units]


def _in_savepoint(connection: Connection, unit: _Unit[Any]) -> tuple[Any, Exception | None]:
    try:
        with connection.begin_nested():
            return unit.work(connection), None
    except (*AWAY, DatabaseAway, DiskFull):
        raise  # of the database, not of the unit: the whole transaction is lost
    except Exception as error:  # noqa: BLE001 - goes to its own caller
        return None, error
