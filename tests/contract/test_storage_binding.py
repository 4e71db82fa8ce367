"""A database and its files: a pair, or no start."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from audit.errors import Disposition
from storage.binding import STORE_ID, StoreMismatch, bind
from storage.files import FileStore
from storage.models import Store
from storage.session import Database
from tests.filings import filed


class Root:
    """A storage root."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = FileStore(path, minimum_free_bytes=0)
        self.id = path / STORE_ID

    def bind(self, database: Database) -> None:
        bind(database, self.path, self.files)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    made = Root(tmp_path / "root")
    yield made
    made.files.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Root]:
    made = Root(tmp_path / "other")
    yield made
    made.files.close()


def id_of(database: Database) -> str:
    with database.reading() as connection:
        return connection.scalars(select(Store.store_id)).one()


def forget(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(delete(Store))


def fill(database: Database, root: Root) -> None:
    filed(database)
    root.files.write("instances/ab/x.dcm", b"x")


def test_a_fresh_pair_is_bound_and_known_again(database: Database, root: Root) -> None:
    root.bind(database)
    fill(database, root)

    root.bind(database)

    assert root.id.read_text().strip() == id_of(database) != ""


def test_the_files_of_another_database_are_refused(
    database: Database, root: Root, other: Root
) -> None:
    root.bind(database)
    other.id.write_text("another")

    with pytest.raises(StoreMismatch, match="two different stores") as failure:
        other.bind(database)

    assert failure.value.disposition is Disposition.PARK
    assert other.id.read_text() == "another"


def test_a_new_database_is_refused_where_files_lie(database: Database, root: Root) -> None:
    root.bind(database)
    root.files.write("instances/ab/x.dcm", b"x")
    forget(database)

    for with_id in (True, False):
        if not with_id:
            root.id.unlink()
        with pytest.raises(StoreMismatch, match="restore the database"):
            root.bind(database)

    assert not root.id.exists()


def test_a_database_is_refused_where_its_files_are_not(
    database: Database, root: Root, other: Root
) -> None:
    root.bind(database)
    fill(database, root)

    with pytest.raises(StoreMismatch, match="mount or restore"):
        other.bind(database)

    assert not other.id.exists()


def test_a_binding_that_a_crash_cut_short_is_ended(
    database: Database, root: Root, other: Root
) -> None:
    root.bind(database)
    bound = id_of(database)
    forget(database)
    root.bind(database)
    assert id_of(database) == bound, "the row did not come to be"

    root.id.unlink()
    root.bind(database)

    assert root.id.read_text().strip() == bound, "the file did not come to be"
