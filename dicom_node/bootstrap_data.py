"""The composition root's part about what lies under a node's root: database, key, name.

Imports neither a network nor a server, so that commands that only look start at once.
"""

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audit.entries import Node as AuditNode
from audit.pseudonym import BrokenKey, Pseudonyms, open_key
from audit.records import Writer
from audit.store import holds_records
from dicom_node.config.settings import NodeSettings
from dicom_node.version import software_commit, software_version
from storage import schema
from storage.session import Database, is_missing


@contextmanager
def open_database(settings: NodeSettings) -> Iterator[Database]:
    """Yield the node's database, made where it is not there, and close it afterwards."""
    database = Database(settings.database_url, pool_size=settings.database.pool_size)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def open_tables(settings: NodeSettings) -> Iterator[Database]:
    """Yield the database of a node that has run; make nothing where none has.

    Raises
    ------
    SchemaMismatch
        There are no tables, or not those of this release.
    """
    no_tables = schema.SchemaMismatch(
        "the database has no tables: `dicom-node serve` makes them. Else name the configuration of "
        "the node by --config, and mind that relative paths count from this folder"
    )
    if is_missing(settings.database_url):
        raise no_tables
    with open_database(settings) as database:
        if schema.is_empty(database):
            raise no_tables
        schema.require_head(database)
        yield database


def open_pseudonyms(settings: NodeSettings, database: Database) -> Pseudonyms:
    """Return the pseudonyms under the node's key, which lies beside its data.

    Raises
    ------
    BrokenKey
        When there is no key and the audit has records: under a new one nobody in them could
        be found again, and one patient would have two names.
    """
    settings.storage.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = settings.storage.root / "pseudonym.key"
    if not file.exists():
        with database.reading() as connection:
            if holds_records(connection):
                raise BrokenKey(
                    "pseudonym.key is missing and the audit has records: put the key back from "
                    "the backup of the storage; where it was destroyed on purpose, make a new "
                    "one (openssl rand -hex 32), under which nobody before is found"
                )
    return open_key(file)


def audit_writer(settings: NodeSettings) -> Writer:
    """Return what makes audit records in the name of this node."""
    return Writer(
        node=AuditNode(
            node_id=node_id(settings.storage.root),
            software_version=software_version(),
            commit=software_commit(),
            host=socket.gethostname(),
        )
    )


def node_id(root: Path) -> str:
    """Return the name that this installation keeps for good; made at the first call."""
    path = root / "node-id"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="ascii") as file:
            file.write(f"node-{uuid.uuid4().hex[:12]}\n")
    except FileExistsError:
        pass
    return path.read_text(encoding="ascii").strip()
