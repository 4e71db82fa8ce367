"""A reception that keeps what it gets in a folder, for tests of receiving services."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydicom.uid import (
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
)

from dicom_node.pipeline.receiving import Caller, ReceiptKind, ReceivedFile

CLASSES = frozenset(
    {
        str(uid)
        for uid in (
            ComputedRadiographyImageStorage,
            DigitalXRayImageStorageForPresentation,
            ComprehensiveSRStorage,
        )
    }
)


@dataclass
class FolderReception:
    """Implements `Reception`; `fault` is asked before each file is kept, and may raise."""

    folder: Path
    fault: Callable[[ReceivedFile], None] = lambda _file: None
    rule: str | None = None
    storage_classes: Collection[str] = CLASSES
    received: list[ReceivedFile] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)
    open_carriages: int = 0
    _paths: int = 0

    def admits(self, caller: Caller) -> str | None:
        return self.rule

    def open(self, caller: Caller) -> "FolderCarriage":
        self.callers.append(caller)
        return FolderCarriage(self)

    def temporary_path(self) -> Path:
        self._paths += 1
        return self.folder / f"{self._paths}.part"

    def left_over(self) -> set[Path]:
        """Return the files of the folder that were not received."""
        return set(self.folder.iterdir()) - {file.path for file in self.received}


@dataclass
class FolderCarriage:
    """Implements `Carriage`."""

    reception: FolderReception

    def __enter__(self) -> Self:
        self.reception.open_carriages += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.reception.open_carriages -= 1

    def receive(self, file: ReceivedFile) -> ReceiptKind:
        try:
            self.reception.fault(file)
        except BaseException:
            file.path.unlink()
            raise
        known = {one.content_sha256 for one in self.reception.received}
        self.reception.received.append(file)
        return ReceiptKind.DUPLICATE if file.content_sha256 in known else ReceiptKind.STORED
