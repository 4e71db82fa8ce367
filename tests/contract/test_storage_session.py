"""What the database promises: durable or nothing, one snapshot, errors that say what follows."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from audit.errors import DatabaseAway, DiskFull, InvalidConfiguration
from storage import session
from storage.session import CommitDoubtful, Database
from tests.databases import PostgresServer

NOTE = text("INSERT INTO note (id, body) VALUES (:id, :body)")


@pytest.fixture
def notes(empty_database: Database) -> Database:
    """A database with one table `note`."""
    with empty_database.transaction() as connection:
        connection.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT NOT NULL)"))
    return empty_database


def put(connection: Connection, number: int, body: str = "x") -> None:
    connection.execute(NOTE, {"id": number, "body": body})


def put_twice(connection: Connection) -> None:
    put(connection, 1)
    put(connection, 1)


def numbers(database: Database) -> list[int]:
    with database.reading() as connection:
        return list(connection.scalars(text("SELECT id FROM note ORDER BY id")))


def test_a_transaction_keeps_everything(notes: Database) -> None:
    with notes.transaction() as connection:
        put(connection, 1)
        put(connection, 2)

    assert numbers(notes) == [1, 2]


def test_a_transaction_that_fails_keeps_nothing(notes: Database) -> None:
    with pytest.raises(IntegrityError), notes.transaction() as connection:
        put_twice(connection)

    assert numbers(notes) == []


def test_a_snapshot_does_not_change_while_others_write(notes: Database) -> None:
    with notes.reading() as reader:
        before = reader.execute(text("SELECT count(*) FROM note")).scalar_one()
        with notes.transaction() as writer:
            put(writer, 1)
        after = reader.execute(text("SELECT count(*) FROM note")).scalar_one()

    assert (before, after) == (0, 0)
    assert numbers(notes) == [1]


def test_writing_while_reading_is_an_error(notes: Database) -> None:
    with pytest.raises((DatabaseAway, DBAPIError)), notes.reading() as connection:
        put(connection, 1)

    with notes.transaction() as connection:
        put(connection, 2)
    assert numbers(notes) == [2]


def test_a_commit_is_on_the_disk_when_it_returns(notes: Database) -> None:
    with notes.transaction() as connection:
        if notes.dialect == "postgresql":
            assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
        else:
            full = 2
            assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
            assert connection.execute(text("PRAGMA synchronous")).scalar_one() == full
            assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1


def test_a_broken_rule_is_the_callers_and_shows_no_value(notes: Database) -> None:
    secret = "Invented^Patient"
    with notes.transaction() as connection:
        connection.execute(text("CREATE UNIQUE INDEX one_body ON note (body)"))
        put(connection, 1, secret)

    with pytest.raises(IntegrityError) as failure, notes.transaction() as connection:
        put(connection, 2, secret)

    assert secret not in str(failure.value)
    assert secret not in str(failure.value.orig)
    assert secret not in repr(failure.value)


def test_bad_sql_is_not_blamed_on_the_database(notes: Database) -> None:
    with pytest.raises(DBAPIError), notes.transaction() as connection:
        connection.execute(text("SELECT * FROM nowhere"))


def test_too_few_connections_count_as_away(
    notes: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOCK_WAIT_S", 0.05)
    url = notes.engine.url.render_as_string(hide_password=False)
    narrow = Database(url, pool_size=1)

    with narrow.reading(), pytest.raises(DatabaseAway), narrow.reading():
        pass
    narrow.ping()
    narrow.close()


def test_a_database_held_too_long_counts_as_away(
    notes: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOCK_WAIT_S", 0.05)
    url = notes.engine.url.render_as_string(hide_password=False)
    other = Database(url, pool_size=2)

    with notes.transaction() as holder:
        put(holder, 1)
        with pytest.raises(DatabaseAway), other.transaction() as connection:
            put(connection, 1)
    other.close()


def test_a_full_sqlite_database_is_a_full_disk(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'small.db'}", pool_size=2)
    with database.transaction() as connection:
        connection.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)"))

    with pytest.raises(DiskFull), database.transaction() as connection:
        fill(connection)
    assert numbers(database) == []
    database.close()


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://host/name",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://u:p@h:port/db",
    ],
)
def test_a_url_that_keeps_no_promise_is_refused(url: str) -> None:
    with pytest.raises(InvalidConfiguration):
        Database(url, pool_size=1)


def test_a_database_file_is_its_owners_alone_whoever_made_its_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    database = Database(f"sqlite:///{tmp_path}/node.db", pool_size=1)
    with database.transaction() as connection:
        connection.execute(text("CREATE TABLE note (number INTEGER)"))
    database.close()
    assert {file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {0}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_that_is_not_there_counts_as_away(kind: str, tmp_path: Path) -> None:
    urls = {
        "sqlite": f"sqlite:///{tmp_path}",
        "postgresql": f"postgresql://nobody@/nothing?host={tmp_path}",
    }
    database = Database(urls[kind], pool_size=1)

    with pytest.raises(DatabaseAway):
        database.ping()
    with pytest.raises(DatabaseAway) as failure, database.transaction():
        pass
    assert not isinstance(failure.value, CommitDoubtful)


@pytest.mark.peer("PostgreSQL")
def test_a_link_that_breaks_during_the_commit_leaves_doubt(
    postgresql_server: PostgresServer,
) -> None:
    database = Database(postgresql_server.url("postgres"), pool_size=2)

    with pytest.raises(CommitDoubtful), database.transaction() as connection:
        cut(database, connection)
    database.ping()
    database.close()


@pytest.mark.peer("PostgreSQL")
def test_a_link_that_breaks_before_the_commit_leaves_no_doubt(
    postgresql_server: PostgresServer,
) -> None:
    database = Database(postgresql_server.url("postgres"), pool_size=2)

    with pytest.raises(DatabaseAway) as failure, database.transaction() as connection:
        cut(database, connection, then="SELECT 1")
    assert not isinstance(failure.value, CommitDoubtful)
    database.close()


def fill(connection: Connection) -> None:
    connection.execute(text("PRAGMA max_page_count = 8"))
    put(connection, 1, "x" * 1_000_000)


def cut(database: Database, connection: Connection, then: str = "") -> None:
    """End the session of `connection` as an administrator would, and go on with `then`."""
    pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with database.transaction() as other:
        # Waits, 10 seconds at most, until the session is gone.
        other.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
    if then:
        connection.execute(text(then))
