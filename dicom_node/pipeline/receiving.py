"""What a receiving service hands to the intake, and what it gets back (values, ports)."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from pydicom import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends: an application entity over DIMSE, or an HTTP client (empty titles)."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    protocol: str
    """``DIMSE``, ``DIMSE-TLS`` or ``STOW-RS``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedFile:
    """A complete Part 10 file in the store's temporary folder, not yet durable."""

    path: Path
    content_sha256: str
    """Of the data set, without preamble and file meta information."""

    size_bytes: int
    header: Dataset
    """The data set without Pixel Data."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


class ReceiptKind(StrEnum):
    """What the intake did with a file."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """Equal bytes were here already: a success without new work."""

    REVISION = "revision"
    """The same SOP Instance UID with other bytes: kept beside the old ones."""


class Carriage(Protocol):
    """An association (or a STOW-RS request) while it carries instances.

    While one is open, no study that came over it settles.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def receive(self, file: ReceivedFile) -> ReceiptKind:
        """Make `file` durable and file it; return only then.

        On any error the file is removed.

        Raises
        ------
        InvalidDataset
            The header lacks what filing needs, or breaks its rules.
        DiskFull, DatabaseAway
            Nothing was kept; the sender should try again.
        """
        ...


class Reception(Protocol):
    """The intake as receiving services see it."""

    def admits(self, caller: Caller) -> str | None:
        """Return None when `caller` may send, else the name of the rule it breaks:
        ``called-ae-title``, ``calling-ae-title`` or ``address``."""
        ...

    def open(self, caller: Caller) -> Carriage:
        """Begin to receive from `caller`."""
        ...

    def temporary_path(self) -> Path:
        """Return a new path in the store's temporary folder (same file system).

        Raises
        ------
        DiskFull
            When less than the configured free space is left.
        """
        ...

    @property
    def storage_classes(self) -> Collection[str]:
        """The Storage SOP Class UIDs that the node accepts."""
        ...
