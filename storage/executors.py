"""Which node processes are alive: a lock on their name, and a heartbeat in the database.

The engine finds a process's unfinished work by the executor id, so no two processes may
ever bear the same id at once: `claim` sees to that on one machine by a lock on a file,
`register` between machines by the heartbeat. Machines that share a database need clocks
that agree to well within the time-out.
"""

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, update

from audit.errors import Fault
from storage.models import Executor

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class ExecutorTaken(Fault):
    """Another live process bears this executor id."""

    code = "storage.executor.taken"


@contextmanager
def claim(root: Path, executor_id: str) -> Iterator[None]:
    """Hold `executor_id` on this machine until the block, or the process, ends.

    Parameters
    ----------
    root : Path
        The storage root; the lock file lies in ``executors`` below it.
    executor_id : str
        At most 64 letters, digits, ``-``, ``_`` and ``.``.

    Raises
    ------
    ExecutorTaken
        When another process holds it.
    """
    if not _NAME.fullmatch(executor_id):
        raise ValueError("an executor id is 1 to 64 letters, digits, '-', '_' and '.'")
    folder = root / "executors"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{executor_id}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def register(
    connection: Connection,
    executor_id: str,
    *,
    host: str,
    pid: int,
    now: datetime,
    timeout_s: float,
) -> None:
    """Announce a process that starts, and beat for the first time.

    Raises
    ------
    ExecutorTaken
        When a process of another host bears the id and has beaten in the last
        `timeout_s` seconds. On one host `claim` decides, so a restart never waits.
    """
    mine = Executor.executor_id == executor_id
    row = connection.execute(select(Executor.host, Executor.beaten_at).where(mine)).one_or_none()
    if row and row.host != host and row.beaten_at >= now - timedelta(seconds=timeout_s):
        raise ExecutorTaken("a process on another machine bears the executor id")
    connection.execute(delete(Executor).where(mine))
    connection.execute(
        insert(Executor).values(
            executor_id=executor_id, host=host, pid=pid, started_at=now, beaten_at=now
        )
    )


def beat(connection: Connection, executor_id: str, now: datetime) -> bool:
    """Say that the process lives; return False when the others have buried it.

    Its work is others' then; it may `register` again and take new work.
    """
    statement = update(Executor).where(Executor.executor_id == executor_id).values(beaten_at=now)
    return connection.execute(statement).rowcount == 1


def dead(connection: Connection, now: datetime, timeout_s: float) -> list[str]:
    """Return the executors that have not beaten for `timeout_s` seconds.

    Let the engine adopt their work first, and `remove` them then: a crash in between
    only repeats the adoption.
    """
    statement = (
        select(Executor.executor_id)
        .where(Executor.beaten_at < now - timedelta(seconds=timeout_s))
        .order_by(Executor.executor_id)
    )
    return list(connection.execute(statement).scalars())


def remove(
    connection: Connection, executor_id: str, *, unless_beaten_since: datetime | None = None
) -> bool:
    """Forget an executor; return whether there was one to forget.

    One that has beaten since `unless_beaten_since` is alive after all and stays.
    """
    statement = delete(Executor).where(Executor.executor_id == executor_id)
    if unless_beaten_since is not None:
        statement = statement.where(Executor.beaten_at < unless_beaten_since)
    return connection.execute(statement).rowcount == 1


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            raise ExecutorTaken("another process on this machine bears the executor id") from error
        raise
