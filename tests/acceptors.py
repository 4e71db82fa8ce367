"""A running acceptor for tests, over a Reception that is a folder with nothing behind it."""

import os
import threading
import uuid
from collections.abc import Collection
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from audit.metrics import NullMetrics
from dicom_node.config.settings import DimseSettings
from dicom_node.core.accepted import STORAGE_CLASSES
from dicom_node.dimse.acceptor import Acceptor
from dicom_node.pipeline.receiving import Caller, ReceiptKind, ReceivedFile


class CountingMetrics(NullMetrics):
    """Remembers counts and gauges by name and label values."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], float] = {}
        self.gauges: dict[str, float] = {}
        self._lock = threading.Lock()

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        with self._lock:
            key = (name, *labels.values())
            self.counts[key] = self.counts.get(key, 0) + value

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        self.gauges[name] = value


class FolderReception:
    """Keeps what it receives, fsynced and renamed, in ``<root>/kept``.

    `error` is raised by the next ``receive``; `refuses` is what ``admits`` answers.
    """

    def __init__(self, root: Path, storage_classes: Collection[str] = STORAGE_CLASSES) -> None:
        self.temporary = root / "temporary"
        self.kept = root / "kept"
        for folder in (self.temporary, self.kept):
            folder.mkdir(parents=True, exist_ok=True)
        self.storage_classes = frozenset(storage_classes)
        self.received: list[ReceivedFile] = []
        self.callers: list[Caller] = []
        self.open_carriages = 0
        self.error: BaseException | None = None
        self.refuses: str | None = None
        self.lock = threading.Lock()

    def admits(self, caller: Caller) -> str | None:
        return self.refuses

    def open(self, caller: Caller) -> "_Carriage":
        self.callers.append(caller)
        return _Carriage(self)

    def temporary_path(self) -> Path:
        return self.temporary / f"{uuid.uuid4().hex}.part"

    @property
    def leftovers(self) -> list[Path]:
        """Temporary files that nobody removed."""
        return list(self.temporary.iterdir())


class _Carriage:
    def __init__(self, reception: FolderReception) -> None:
        self._reception = reception

    def __enter__(self) -> Self:
        with self._reception.lock:
            self._reception.open_carriages += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._reception.lock:
            self._reception.open_carriages -= 1

    def receive(self, file: ReceivedFile) -> ReceiptKind:
        reception = self._reception
        if reception.error is not None:
            file.path.unlink()
            raise reception.error
        with file.path.open("rb") as written:
            os.fsync(written.fileno())
        file.path.rename(reception.kept / f"{file.path.stem}.dcm")
        folder = os.open(reception.kept, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        with reception.lock:
            seen = any(one.content_sha256 == file.content_sha256 for one in reception.received)
            reception.received.append(file)
        return ReceiptKind.DUPLICATE if seen else ReceiptKind.STORED


@contextmanager
def accepting(reception, metrics=None, *, drain_s=5.0, **settings):
    """Run an acceptor on a free port, with short time-outs, until the block ends."""
    chosen = {"port": 0, "association_timeout_s": 2.0, "pdu_timeout_s": 2.0, **settings}
    acceptor = Acceptor(DimseSettings(**chosen), reception, metrics or NullMetrics())
    acceptor.start()
    try:
        yield acceptor
    finally:
        acceptor.stop(drain_s)
