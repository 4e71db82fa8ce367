"""The database: two ways in, one for writing and one for reading, and what its errors mean.

SQLite runs in WAL mode with ``synchronous=FULL``: a commit is on the disk when it returns,
because a C-STORE success rests on it. The work engine shares the SQLAlchemy engine, so a
job is enqueued in the transaction of the rows it works on. It expects of SQLite that
pysqlite itself opens ``BEGIN IMMEDIATE`` before the first write and nothing before a read;
`Database.transaction` therefore begins by its own statement and not by an event.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from audit.errors import DatabaseAway, DiskFull, InvalidConfiguration, NodeError

LOCK_WAIT_S = 30.0
"""How long a statement waits for another transaction before the database counts as away."""

CONNECT_TIMEOUT_S = 5
IDLE_TRANSACTION_S = 60
"""After this silence inside a transaction PostgreSQL ends the session (a hung client)."""

AWAY = (OperationalError, InterfaceError, PoolTimeoutError)
"""SQLAlchemy's errors that speak of the database and not of the statement."""


class TransactionConflict(DatabaseAway):
    """PostgreSQL ended this transaction to free another; run again, it may succeed."""

    code = "storage.transaction.conflict"


class CommitDoubtful(DatabaseAway):
    """The link broke during the commit: nobody knows whether it took place.

    What the rows speak of must be left as it is; files of rows that never came are swept.
    """

    code = "storage.commit.doubtful"


class Database:
    """The rows of the node.

    Parameters
    ----------
    url : str
        SQLAlchemy URL of an SQLite file or of PostgreSQL (the psycopg driver is implied).
    pool_size : int
        Most connections at a time; more threads than this wait for one another.

    Raises
    ------
    InvalidConfiguration
        `url` names neither an SQLite file nor PostgreSQL.
    """

    def __init__(self, url: str, *, pool_size: int) -> None:
        parsed = _supported(url)
        self.dialect = parsed.get_backend_name()
        self.pool_size = pool_size
        self._write_turn = threading.Lock()
        self.engine: Engine = (
            _sqlite_engine(parsed, pool_size)
            if self.dialect == "sqlite"
            else _postgresql_engine(parsed, pool_size)
        )

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Write: everything inside is committed and durable, or nothing is.

        Raises
        ------
        DatabaseAway
            The database cannot be reached, or others held it too long.
        CommitDoubtful, TransactionConflict
            See there; both are a `DatabaseAway`.
        DiskFull
            The database has no room left.
        """
        with self._turn(), translated(), self.engine.connect() as connection:
            if self.dialect == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            _commit(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read one unchanging snapshot; writing inside it is an error.

        Raises
        ------
        DatabaseAway
            The database cannot be reached.
        """
        with translated(), self.engine.connect() as connection:
            if self.dialect == "postgresql":
                connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
                yield connection
                return
            connection.exec_driver_sql("PRAGMA query_only=ON")
            try:
                connection.exec_driver_sql("BEGIN")
                yield connection
            finally:
                connection.rollback()
                connection.exec_driver_sql("PRAGMA query_only=OFF")

    def ping(self) -> None:
        """Ask the database for an answer.

        Raises
        ------
        DatabaseAway
            It gave none.
        """
        with self.reading() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close every connection that is not in use."""
        self.engine.dispose()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Queue for SQLite's one write lock here, where waiting is fair and woken, not polled."""
        if self.dialect != "sqlite":
            yield
            return
        if not self._write_turn.acquire(timeout=LOCK_WAIT_S):
            raise DatabaseAway("other transactions held the database too long")
        try:
            yield
        finally:
            self._write_turn.release()


def translate(error: SQLAlchemyError) -> NodeError | None:
    """Return what `error` means to the node; None when the statement was at fault."""
    if not isinstance(error, AWAY):
        return None
    cause = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(cause, sqlite3.Error):
        primary = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF
        if primary == sqlite3.SQLITE_FULL:
            return DiskFull("the database has no room left")
        if primary == sqlite3.SQLITE_ERROR:  # bad SQL, a missing table: not the database's fault
            return None
    if isinstance(cause, psycopg.errors.DiskFull):
        return DiskFull("the database has no room left")
    if isinstance(cause, (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)):
        return TransactionConflict("another transaction was in the way")
    return DatabaseAway("the database cannot be reached or is locked")


@contextmanager
def translated() -> Iterator[None]:
    """Raise the node's own error where SQLAlchemy raises one that speaks of the database."""
    try:
        yield
    except SQLAlchemyError as error:
        meaning = translate(error)
        if meaning is None:
            raise
        raise meaning from error


def _commit(connection: Connection) -> None:
    try:
        connection.commit()
    except AWAY as error:
        meaning = translate(error)
        if isinstance(meaning, (DiskFull, TransactionConflict)):
            raise meaning from error
        raise CommitDoubtful("the database went away during the commit") from error


def _supported(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise InvalidConfiguration(["database.url: not an SQLAlchemy URL"]) from error
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise InvalidConfiguration(["database.url: must name SQLite or PostgreSQL"])
    if parsed.database in (None, "", ":memory:"):
        raise InvalidConfiguration(["database.url: a database in memory keeps no promise"])
    return parsed


def is_missing(url: str) -> bool:
    """Return whether `url` names an SQLite file that is not there; a server is never missing."""
    parsed = _supported(url)
    return parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists()


def _make_private(file: Path) -> None:
    """Make a database file, and folders, that their owner alone may read: it names patients."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise DatabaseAway(f"the database file cannot be made: {error.strerror}") from error


def _sqlite_engine(url: URL, pool_size: int) -> Engine:
    _make_private(Path(str(url.database)).absolute())
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=LOCK_WAIT_S,
        hide_parameters=True,  # they name patients, and errors are logged
    )

    @event.listens_for(engine, "connect")
    def prepare(dbapi_connection: Any, record: Any) -> None:
        dbapi_connection.isolation_level = "IMMEDIATE"
        dbapi_connection.execute(f"PRAGMA busy_timeout={int(LOCK_WAIT_S * 1000)}")
        dbapi_connection.execute("PRAGMA journal_mode=WAL")
        dbapi_connection.execute("PRAGMA synchronous=FULL")
        dbapi_connection.execute("PRAGMA foreign_keys=ON")

    return engine


def _postgresql_engine(url: URL, pool_size: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=LOCK_WAIT_S,
        pool_pre_ping=True,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "dicom-node",
            # A host that vanished without a word is noticed within half a minute.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 4,
            "tcp_user_timeout": 30_000,
        },
    )

    @event.listens_for(engine, "connect")
    def prepare(dbapi_connection: Any, record: Any) -> None:
        with dbapi_connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = on")
            cursor.execute(f"SET lock_timeout = {int(LOCK_WAIT_S * 1000)}")
            cursor.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION_S}s'")
            cursor.execute("SET timezone = 'UTC'")
        dbapi_connection.commit()

    @event.listens_for(engine, "handle_error")
    def hide_values(context: ExceptionContext) -> None:
        """Drop the DETAIL of an error: it repeats the row, which names a patient."""
        cause = context.original_exception
        if isinstance(cause, psycopg.Error) and cause.diag.message_detail is not None:
            plain = f"{type(cause).__name__}: {cause.diag.message_primary}"
            cause.args = (plain,)
            if context.sqlalchemy_exception is not None:
                context.sqlalchemy_exception.args = (plain,)

    return engine
