"""Which files belong to which database: an id that both keep.

A sweep that asked the wrong database would find every file without a row. So a store gets
an id at its first start, one copy among its files and one in its database, and a node
starts only where the two are the same.
"""

import os
import uuid
from pathlib import Path

from sqlalchemy import Connection, insert, select

from audit.errors import Fault
from storage.files import FileStore
from storage.models import Instance, Store
from storage.session import Database

STORE_ID = "store-id"
"""The file under the storage root that holds the id."""


class StoreMismatch(Fault):
    """The database and the storage root do not belong together."""

    code = "storage.store.mismatch"


def bind(database: Database, root: Path, files: FileStore) -> None:
    """Return when `root` holds the files of `database`; bind a fresh pair to each other.

    A crash halfway is no harm: a side that holds nothing yet takes the id of the other.

    Raises
    ------
    StoreMismatch
        They are not a pair; the message says what to do.
    DatabaseAway
        The database cannot be reached.
    """
    path = root / STORE_ID
    on_disk = path.read_text("ascii").strip() if path.exists() else None
    with database.transaction() as connection:
        in_database = connection.scalars(select(Store.store_id)).one_or_none()
        if on_disk is not None and on_disk == in_database:
            return
        if on_disk is not None and in_database is not None:
            raise StoreMismatch(
                "the database and the files under storage.root are of two different stores:"
                " let the configuration name a pair, or restore the one that is missing"
            )
        if in_database is None and files.holds_files():
            raise StoreMismatch(
                "the database is new, but storage.root holds files that it does not know:"
                " restore the database that belongs to them, or move the files away"
            )
        if on_disk is None and _has_rows(connection):
            raise StoreMismatch(
                "the files that the database speaks of are not under storage.root:"
                " mount or restore them, or start with a new database"
            )
        store_id = on_disk or in_database or uuid.uuid4().hex
        if on_disk is None:
            _write(path, store_id)
        if in_database is None:
            connection.execute(insert(Store).values(id=1, store_id=store_id))


def _has_rows(connection: Connection) -> bool:
    return connection.execute(select(Instance.id).limit(1)).first() is not None


def _write(path: Path, store_id: str) -> None:
    """Write the file under a name of its own and rename it: never half an id."""
    partial = path.with_name(f".{path.name}.part")
    with partial.open("w", encoding="ascii") as file:
        file.write(f"{store_id}\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
