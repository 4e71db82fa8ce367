"""``dicom-node check``: try everything that the configuration names, before serving."""

import argparse
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

from audit.clock import SystemClock
from audit.errors import InvalidConfiguration, NodeError
from audit.metrics import NullMetrics
from dicom_node.bootstrap import load_inference
from dicom_node.bootstrap_data import open_database
from dicom_node.cli.parsing import add_config_flag, add_json_flag, print_json_lines
from dicom_node.config.load import load
from dicom_node.config.orders import Hl7Settings
from dicom_node.config.settings import Destination, NodeSettings, TlsSettings
from dicom_node.core.access import AccessPolicy
from dicom_node.delivery.factory import make_sender
from dicom_node.dimse.security import server_context
from dicom_node.dimse.worklist import WorklistClient
from dicom_node.orders.er7 import check_charset
from dicom_node.web.bearer import token_of
from inference.regions import load_regions
from storage import schema
from storage.files import FileStore


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    ok: bool
    detail: str


def register(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    add_config_flag(parser)
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each check; return 1 when any failed."""
    settings = load(arguments.config)
    failed = False
    for finding in findings(settings, str(arguments.config)):
        failed = failed or not finding.ok
        if arguments.json:
            print_json_lines([asdict(finding)])
        else:
            print(f"{'ok    ' if finding.ok else 'FAILED'}  {finding.check}: {finding.detail}")
    return 1 if failed else 0


def findings(settings: NodeSettings, source: str) -> Iterator[Finding]:
    """Yield the outcome of every check, in the order in which the node would fail."""
    yield Finding("configuration", True, f"{source} is valid")
    checks: list[tuple[str, Callable[[NodeSettings], str]]] = [
        ("access", _access),
        ("disk", _disk),
        ("database", _database),
        ("port dimse", lambda s: _port(s.dimse.host, s.dimse.port)),
        ("port web", lambda s: _port(s.web.host, s.web.port)),
        ("tokens", _tokens),
        ("body-part words", _regions),
        ("models", _models),
    ]
    tls = settings.dimse.tls
    if tls is not None:
        checks.insert(4, ("port dimse-tls", lambda s: _tls(s.dimse.host, tls)))
    hl7 = settings.hl7
    if hl7 is not None:
        checks.append(("port hl7", lambda s: _hl7(hl7)))
    if settings.worklist is not None:
        checks.append(("worklist", _worklist))
    for name, check in checks:
        yield _tried(name, partial(check, settings))
    for destination in settings.destinations:
        answers = partial(_destination, destination, settings.dimse.ae_title)
        yield _tried(f"destination {destination.name}", answers)
    if not settings.routes:
        yield Finding("routes", False, "there is no route: images would only be stored")


def _tried(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except NodeError as error:
        return Finding(name, False, f"{error} [{error.code}]")
    except OSError as error:
        return Finding(name, False, error.strerror or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - the other checks are wanted all the same
        return Finding(name, False, f"failed for an unknown reason ({type(error).__name__})")


def _destination(destination: Destination, calling_ae_title: str) -> str:
    make_sender(destination, calling_ae_title).verify()
    return f"answers ({destination.kind})"


def _access(settings: NodeSettings) -> str:
    AccessPolicy.from_settings(settings)
    if settings.access.accept_unknown_peers:
        return "anybody may send (accept_unknown_peers)"
    if not settings.access.peers:
        raise InvalidConfiguration(["nobody may send: access.peers names no peer"])
    return f"{len(settings.access.peers)} peers may send"


def _disk(settings: NodeSettings) -> str:
    store = FileStore(settings.storage.root, minimum_free_bytes=settings.storage.minimum_free_bytes)
    try:
        probe = store.temporary_path()
        probe.write_bytes(b"probe")
        store.adopt(probe, "probe/check")
        store.remove("probe/check")
        store.absolute("probe").rmdir()
        return f"{store.free_bytes() // 1_000_000} MB free in {settings.storage.root}"
    finally:
        store.close()


def _database(settings: NodeSettings) -> str:
    with open_database(settings) as database:
        database.ping()
        if schema.is_empty(database):
            return f"{database.dialect}, empty: `dicom-node serve` will make the tables"
        schema.require_head(database)
        return f"{database.dialect}, schema {schema.current_revision(database)}"


def _port(host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    socket.create_server((host, port), family=family).close()
    return f"{host}:{port} is free"


def _tls(host: str, settings: TlsSettings) -> str:
    server_context(settings)
    return _port(host, settings.port)


def _tokens(settings: NodeSettings) -> str:
    named = {
        "web.stow_token_file": settings.web.stow_token_file,
        "accession.api_token_file": settings.accession.api_token_file,
    }
    files = {setting: path for setting, path in named.items() if path is not None}
    for setting, path in files.items():
        token_of(path, setting)
    return f"{len(files)} files hold one"


def _regions(settings: NodeSettings) -> str:
    table = load_regions(settings.inference.region_map_file)
    return f"{len(table.regions)} regions"


def _hl7(settings: Hl7Settings) -> str:
    check_charset(settings.charset)
    return f"{_port(settings.host, settings.port)}, {len(settings.addresses)} networks may send"


def _worklist(settings: NodeSettings) -> str:
    assert settings.worklist is not None
    WorklistClient(settings.worklist, settings.dimse.ae_title, SystemClock()).verify()
    return "answers C-ECHO and C-FIND"


def _models(settings: NodeSettings) -> str:
    service = load_inference(settings, SystemClock(), NullMetrics())
    try:
        service.warm_up()
        return ", ".join(
            f"{m.name} {m.version} by {m.runtime}, {m.precision}, on {m.device}"
            for m in service.identities()
        )
    finally:
        service.close()
