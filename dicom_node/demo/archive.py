"""A small archive that keeps what it is sent: the demo's stand-in for a PACS.

It answers C-ECHO and C-STORE (every Storage SOP class and transfer syntax that
pynetdicom knows) and writes Part 10 files, durable before the answer.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_node.core.status import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, SUCCESS

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Receipt:
    """One C-STORE that was answered with success."""

    sop_instance_uid: str
    sha256: str
    """Of the data set as it came."""


class Archive:
    """An archive that serves while its ``with`` block lasts.

    Parameters
    ----------
    folder : Path
        Where files go, as ``<SOP Instance UID>.dcm``; made if missing.
    port : int
        TCP port on 127.0.0.1; 0 asks the system for a free one.
    ae_title : str
        Its own title; it answers to any.

    Examples
    --------
    >>> with Archive(Path("archive")) as archive:  # doctest: +SKIP
    ...     send_to("127.0.0.1", archive.port)
    """

    def __init__(self, folder: Path, port: int = 0, ae_title: str = "ARCHIVE") -> None:
        self.folder = folder
        self.ae_title = ae_title
        self.receipts: list[Receipt] = []
        """Everything stored, in order; an object that came twice is there twice."""

        self._port = port
        self._ae = AE(ae_title)
        self._ae.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        self._server: Any = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._server = self._ae.start_server(
            ("127.0.0.1", self._port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._on_c_store), (evt.EVT_C_ECHO, _on_c_echo)],
        )
        _log.info("demo.archive.opened", ae_title=self.ae_title, port=self.port)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._ae.shutdown()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def files(self) -> list[Path]:
        """Return the stored files, by name."""
        return sorted(self.folder.glob("*.dcm"))

    def _on_c_store(self, event: Any) -> int:
        """Keep one object; the answer is a status of PS3.4 Table B.2-1."""
        uid = UID(str(event.request.AffectedSOPInstanceUID))
        if not uid.is_valid:  # it becomes a file name
            return CANNOT_UNDERSTAND
        try:
            self._keep(uid, event.encoded_dataset())
            content = event.request.DataSet.getvalue()
            self.receipts.append(Receipt(str(uid), hashlib.sha256(content).hexdigest()))
        except OSError as error:
            _log.warning("demo.archive.failed", ae_title=self.ae_title, errno=error.errno)
            return OUT_OF_RESOURCES
        return SUCCESS

    def _keep(self, uid: str, content: bytes) -> None:
        partial = self.folder / f".{uid}.part"
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.folder / f"{uid}.dcm")
        finally:
            partial.unlink(missing_ok=True)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _on_c_echo(_event: Any) -> int:
    return SUCCESS
