"""Databases for tests: the fixture `database` runs each test on SQLite and on PostgreSQL.

PostgreSQL is a private cluster on a UNIX socket, started once per test process and thrown
away; it never listens on a port.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from storage.schema import upgrade
from storage.session import Database
from tests.peers import require

BOTH = (
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.peer("PostgreSQL")),
)
POOL_SIZE = 20
_OWNER = "postgres"
_numbers = count(1)


@dataclass(frozen=True)
class PostgresServer:
    """A cluster; anyone on this machine who may enter `folder` is its superuser."""

    folder: Path
    programs: Path

    @property
    def data(self) -> Path:
        """Where the cluster's own files lie."""
        return self.folder / "data"

    def url(self, name: str) -> str:
        """Return the SQLAlchemy URL of the database `name`."""
        return f"postgresql+psycopg://{_OWNER}@/{name}?host={self.folder}"

    def create(self, name: str, template: str = "template1") -> str:
        """Make a database like `template` and return its URL."""
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    @contextmanager
    def lent(self, template: str = "template1") -> Iterator[str]:
        """Make a database like `template`, give its URL, and drop it."""
        name = f"lent_{next(_numbers)}"
        yield self.create(name, template)
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def start(self, *, fsync: bool = False) -> None:
        """Start it; when this returns, it answers."""
        durable = "" if fsync else "-F"
        options = f"{durable} -c listen_addresses='' -c unix_socket_directories={self.folder}"
        self._control("start", "-w", "-l", self.folder / "log", "-o", options)

    def stop(self) -> None:
        """End it at once, whoever is connected, as a crash would."""
        self._control("stop", "-m", "immediate")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(
            host=str(self.folder), user=_OWNER, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement)

    def _control(self, *command: str | Path) -> None:
        _as_owner(self.programs / "pg_ctl", *command, "-D", self.data)


@contextmanager
def postgresql_cluster(*, fsync: bool = False) -> Iterator[PostgresServer]:
    """Run a private PostgreSQL; with `fsync` it keeps what it committed when it is stopped."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="node-pg-"))
    if os.geteuid() == 0:
        account = pwd.getpwnam(_OWNER)
        os.chown(folder, account.pw_uid, account.pw_gid)
    server = PostgresServer(folder, programs)
    identity = ("-U", _OWNER, "-A", "trust", "-N", "-E", "UTF8")
    try:
        _as_owner(programs / "initdb", "-D", server.data, *identity)
        server.start(fsync=fsync)
        yield server
    finally:
        if (server.data / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresServer]:
    """A private PostgreSQL without fsync: these tests ask what it keeps, not how fast."""
    with postgresql_cluster() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: PostgresServer) -> str:
    """The name of a PostgreSQL database that has the node's tables."""
    url = postgresql_server.create("with_tables")
    _upgraded(url)
    return "with_tables"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file that has the node's tables."""
    path = tmp_path_factory.mktemp("sqlite") / "with_tables.db"
    _upgraded(f"sqlite:///{path}")
    return path


@pytest.fixture(params=BOTH)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgresql_server")
        with server.lent() as url:
            yield from _opened(url)
    else:
        yield from _opened(f"sqlite:///{tmp_path / 'node.db'}")


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with the node's tables and no rows."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgresql_server")
        template: str = request.getfixturevalue("postgresql_template")
        with server.lent(template) as url:
            yield from _opened(url)
    else:
        path = tmp_path / "node.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield from _opened(f"sqlite:///{path}")


def _opened(url: str) -> Iterator[Database]:
    database = Database(url, pool_size=POOL_SIZE)
    yield database
    database.close()


def _upgraded(url: str) -> None:
    database = Database(url, pool_size=1)
    upgrade(database)
    database.close()


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs, which Debian keeps off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(found[-1]) if found else "initdb")
    require(initdb)
    return Path(initdb).parent


def _as_owner(*command: str | Path) -> None:
    """Run `command` as an ordinary user, for PostgreSQL refuses to run as root."""
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        require("setpriv")
        prefix = ("setpriv", f"--reuid={_OWNER}", f"--regid={_OWNER}", "--clear-groups")
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    subprocess.run([*prefix, *map(str, command)], check=True, cwd="/", timeout=60, **quiet)
