"""Archives to send to: a scripted Storage SCP, DCMTK's storescp, and Orthanc both ways."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from pydicom import Dataset, dcmread
from pynetdicom import AE, evt

from dicom_node.config.settings import DimseDestination, StowDestination
from dicom_node.delivery.factory import make_sender
from dicom_node.delivery.outcome import OutgoingObject, Sender
from tests.builders import part10_bytes
from tests.orthanc import Orthanc, free_port
from tests.peers import require

CALLING = "AI_NODE"


class Archive(Protocol):
    """What a contract test needs of an archive."""

    def sender(self) -> Sender: ...
    def held(self) -> dict[str, Dataset]: ...


def outgoing(folder: Path, ds: Dataset) -> OutgoingObject:
    """Write `ds` to a file, as the report step does."""
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    path.write_bytes(part10_bytes(ds))
    return OutgoingObject(
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        path=path,
    )


def dimse_destination(port: int, **overrides: Any) -> DimseDestination:
    """Return a destination on this machine."""
    return DimseDestination(
        **{
            "kind": "dimse",
            "name": "pacs",
            "host": "127.0.0.1",
            "port": port,
            "ae_title": "ARCHIVE",
            "timeout_s": 5,
            **overrides,
        }
    )


def stow_destination(url: str, **overrides: Any) -> StowDestination:
    """Return a STOW-RS destination."""
    return StowDestination(
        **{"kind": "stow", "name": "pacs", "url": url, "timeout_s": 5, **overrides}
    )


@dataclass
class ScriptedScp:
    """A pynetdicom Storage SCP that answers what it is told to."""

    port: int
    statuses: Sequence[int] = ()
    """One status for each C-STORE in turn; success once they are used up."""

    before_answer: Callable[[evt.Event, int], None] = lambda _event, _number: None
    syntaxes: list[str] = field(default_factory=list)
    associations: int = 0
    _held: dict[str, Dataset] = field(default_factory=dict)

    def sender(self, **overrides: Any) -> Sender:
        return make_sender(dimse_destination(self.port, **overrides), CALLING)

    def held(self) -> dict[str, Dataset]:
        return dict(self._held)

    def on_association(self, _event: evt.Event) -> None:
        self.associations += 1

    def on_c_store(self, event: evt.Event) -> int:
        number = len(self.syntaxes)
        self.syntaxes.append(str(event.context.transfer_syntax))
        self.before_answer(event, number)
        status = self.statuses[number] if number < len(self.statuses) else 0x0000
        if status == 0x0000:
            ds = event.dataset
            ds.file_meta = event.file_meta
            self._held[str(ds.SOPInstanceUID)] = ds
        return status


@contextmanager
def scripted_scp(
    sop_classes: Sequence[str],
    syntaxes: Sequence[str],
    *,
    ssl_context: Any = None,
    **options: Any,
) -> Iterator[ScriptedScp]:
    """Run a Storage SCP that accepts `sop_classes` in `syntaxes`.

    Options of the AE (`require_called_aet`, `maximum_associations`) may be given.
    """
    ae = AE(ae_title="ARCHIVE")
    ae.add_supported_context("1.2.840.10008.1.1")
    for sop_class in sop_classes:
        ae.add_supported_context(sop_class, list(syntaxes))
    for name, value in options.items():
        setattr(ae, name, value)
    scp = ScriptedScp(port=0)
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, scp.on_c_store), (evt.EVT_ACCEPTED, scp.on_association)],
        ssl_context=ssl_context,
    )
    scp.port = server.server_address[1]
    try:
        yield scp
    finally:
        server.shutdown()


@dataclass(frozen=True)
class DcmtkArchive:
    """DCMTK's storescp."""

    port: int
    folder: Path

    def sender(self) -> Sender:
        return make_sender(dimse_destination(self.port), CALLING)

    def held(self) -> dict[str, Dataset]:
        found = [dcmread(path) for path in self.folder.iterdir()]
        return {str(ds.SOPInstanceUID): ds for ds in found}


@contextmanager
def running_storescp(folder: Path, *options: str) -> Iterator[DcmtkArchive]:
    """Run storescp with `options` until the block ends."""
    require("storescp")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = subprocess.Popen(
        ["storescp", "-q", "-aet", "ARCHIVE", "-od", str(folder), *options, str(port)]
    )
    try:
        wait_for_port(port)
        yield DcmtkArchive(port, folder)
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class OrthancArchive:
    """Orthanc, reached by C-STORE or by STOW-RS."""

    orthanc: Orthanc
    protocol: str

    def sender(self) -> Sender:
        if self.protocol == "stow":
            return make_sender(stow_destination(self.orthanc.dicomweb_url), CALLING)
        return make_sender(
            dimse_destination(self.orthanc.dicom_port, ae_title=self.orthanc.ae_title), CALLING
        )

    def held(self) -> dict[str, Dataset]:
        return {
            uid: dcmread(BytesIO(self.orthanc.file(uid)))
            for uid in self.orthanc.sop_instance_uids()
        }


def wait_for_port(port: int, deadline_s: float = 10.0) -> None:
    """Return once something listens on `port` of this machine."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


@contextmanager
def silent_listener() -> Iterator[int]:
    """Accept connections on the port that is yielded, and never say a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopped = threading.Event()
        kept: list[socket.socket] = []

        def accept() -> None:
            listener.settimeout(0.05)
            while not stopped.is_set():
                try:
                    kept.append(listener.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            stopped.set()
            thread.join()
            for connection in kept:
                connection.close()


@contextmanager
def relayed(port: int, pass_on: Callable[[socket.socket, socket.socket], None]) -> Iterator[int]:
    """Pass the answers of the server on `port` back to one client, and what the client says
    to the server as `pass_on` (client, server) does; yield the port to call. What `pass_on`
    leaves unread stays unread: the connections end with the block."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(("127.0.0.1", port)) as server,
    ):
        clients: list[socket.socket] = []

        def there() -> None:
            clients.append(listener.accept()[0])
            threading.Thread(target=back, daemon=True).start()
            with suppress(OSError):
                pass_on(clients[0], server)

        def back() -> None:
            with suppress(OSError):
                while said := server.recv(1 << 16):
                    clients[0].sendall(said)

        threading.Thread(target=there, daemon=True).start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            for each in (*clients, server):  # a mere close waits for the thread that reads
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
