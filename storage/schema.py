"""The version of the tables: what the database has, what this release needs, the way there.

The node refuses to start on a schema that it does not know and never migrates by itself:
``dicom-node db upgrade`` is a person's decision. The work engine's tables are not ours;
`storage.engine.migrate` makes them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from alembic import command
from audit.errors import Fault
from storage.resources import resource
from storage.session import Database, translated

ENGINE_TABLES = frozenset(
    {
        "application_versions",
        "dbos_migrations",
        "notifications",
        "operation_outputs",
        "queues",
        "streams",
        "workflow_events",
        "workflow_events_history",
        "workflow_input",
        "workflow_output",
        "workflow_schedules",
        "workflow_status",
    }
)
"""Tables of the pinned release of DBOS, which on SQLite lie among ours."""

_LOCK = 0x64626D69677261
"""Key of the PostgreSQL advisory lock that lets one process migrate at a time."""


class SchemaMismatch(Fault):
    """The tables are not those that this release works with."""

    code = "storage.schema.mismatch"


def head_revision() -> str:
    """Return the newest revision that this release knows."""
    head = _scripts().get_current_head()
    assert head is not None
    return head


def current_revision(database: Database) -> str | None:
    """Return the revision of the database's tables; None before the first migration.

    Raises
    ------
    DatabaseAway
        The database cannot be reached.
    """
    with database.reading() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def is_empty(database: Database) -> bool:
    """Whether the database holds no table but the work engine's.

    Raises
    ------
    DatabaseAway
        The database cannot be reached.
    """
    with database.reading() as connection:
        return set(inspect(connection).get_table_names()) <= ENGINE_TABLES


def require_head(database: Database) -> None:
    """Return when the tables are those of this release.

    Raises
    ------
    SchemaMismatch
        They are older, newer, or not there; the message says what to do.
    DatabaseAway
        The database cannot be reached.
    """
    current = current_revision(database)
    if current == head_revision():
        return
    if current is not None and current not in _known_revisions():
        raise SchemaMismatch("the database was written by a newer release; start that one")
    raise SchemaMismatch("the tables are older than this release: run `dicom-node db upgrade`")


def upgrade(database: Database) -> None:
    """Bring the tables to this release's revision, wholly or not at all.

    Raises
    ------
    SchemaMismatch
        The database was written by a newer release.
    DatabaseAway, DiskFull
        See `Database.transaction`.
    """
    current = current_revision(database)
    if current is not None and current not in _known_revisions():
        raise SchemaMismatch("the database was written by a newer release; start that one")
    with migrating(database) as connection:
        command.upgrade(_config(connection), "head")


@contextmanager
def migrating(database: Database) -> Iterator[Connection]:
    """Yield the connection of a transaction in which tables may be made and changed.

    One process at a time; the others wait. On SQLite, where a changed table is a new one
    that takes the old one's name, foreign keys are off meanwhile and checked at the end.

    Raises
    ------
    SchemaMismatch
        A row refers to one that is not there; nothing was changed.
    """
    if database.dialect == "postgresql":
        with database.transaction() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield connection
        return
    with translated(), database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                raise SchemaMismatch("a row refers to one that is not there")
            connection.commit()
        finally:
            connection.rollback()
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")


def _config(connection: Connection | None = None) -> Config:
    config = Config(str(resource("alembic.ini")))
    config.attributes["connection"] = connection
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _known_revisions() -> set[str]:
    return {script.revision for script in _scripts().walk_revisions()}
