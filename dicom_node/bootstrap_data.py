"""The composition root's part about what lies under a node's root: database, key, name.

Imports neither a network nor a server, so that commands that only look start at once.
"""

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audit.entries import Node as AuditNode
from audit.pseudonym import Pseudonyms, open_key
from audit.records import Writer
from dicom_node.config.settings import NodeSettings
from dicom_node.version import software_commit, software_version
from storage.session import Database


@contextmanager
def open_database(settings: NodeSettings) -> Iterator[Database]:
    """Yield the node's database and close it afterwards."""
    settings.storage.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(settings.database_url, pool_size=settings.database.pool_size)
    try:
        yield database
    finally:
        database.close()


def open_pseudonyms(settings: NodeSettings) -> Pseudonyms:
    """Return the pseudonyms under the node's key, which lies beside its data."""
    settings.storage.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return open_key(settings.storage.root / "pseudonym.key")


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
