"""A data set on its way to the disk, as a Part 10 file (PS3.10 Section 7)."""

import errno
import hashlib
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from audit.errors import DiskFull, Fault, NodeError
from dicom_node.dimse.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_PREAMBLE = bytes(128) + b"DICM"
_WRITE_BUFFER_BYTES = 64 * 1024
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_SHORT = struct.Struct("<HH2sH")
_LONG = struct.Struct("<HH2sHI")
_META_GROUP = 0x0002


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What the file meta information says; all values are checked before."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source_ae_title: str

    def encoded(self) -> bytes:
        """Return group 0002 in Explicit VR Little Endian (PS3.10 Section 7.1)."""
        content = b"".join(
            (
                _LONG.pack(_META_GROUP, 0x0001, b"OB", 0, 2) + b"\0\1",
                _text(0x0002, b"UI", self.sop_class_uid),
                _text(0x0003, b"UI", self.sop_instance_uid),
                _text(0x0010, b"UI", self.transfer_syntax_uid),
                _text(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
                _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
                _text(0x0016, b"AE", self.source_ae_title),
            )
        )
        length = struct.pack("<I", len(content))
        return _SHORT.pack(_META_GROUP, 0x0000, b"UL", len(length)) + length + content


def _text(element: int, vr: bytes, value: str) -> bytes:
    encoded = value.encode("ascii")
    if len(encoded) % 2:
        encoded += b"\0" if vr == b"UI" else b" "
    return _SHORT.pack(_META_GROUP, element, vr, len(encoded)) + encoded


class IncomingFile:
    """Writes a data set behind its file meta information, and hashes it on the way.

    Raises
    ------
    DiskFull, Fault
        When the file cannot be made.
    """

    def __init__(self, path: Path, meta: FileMeta) -> None:
        start = _PREAMBLE + meta.encoded()
        self.path = path
        self.data_set_offset = len(start)
        self.data_set_bytes = 0
        self._sha256 = hashlib.sha256()
        try:
            self._file = path.open("xb", buffering=_WRITE_BUFFER_BYTES)
            self._file.write(start)
        except OSError as error:
            raise _refusal(error) from error

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return self.data_set_offset + self.data_set_bytes

    @property
    def content_sha256(self) -> str:
        """Of the data set alone, in hexadecimal."""
        return self._sha256.hexdigest()

    def write(self, content: memoryview) -> None:
        """Append a piece of the data set.

        Raises
        ------
        DiskFull, Fault
            When the disk does not take it.
        """
        self._sha256.update(content)
        self.data_set_bytes += len(content)
        try:
            self._file.write(content)
        except OSError as error:
            raise _refusal(error) from error

    def close(self) -> None:
        """End the file: what was written can be read from now on.

        Raises
        ------
        DiskFull, Fault
            When the disk does not take the rest.
        """
        try:
            self._file.close()
        except OSError as error:
            raise _refusal(error) from error

    def discard(self) -> None:
        """Remove the file, unless it has been moved away."""
        with suppress(OSError):  # close() flushes, which a full disk refuses once more
            self._file.close()
        with suppress(OSError):  # what cannot be removed now, the store's sweep removes
            self.path.unlink(missing_ok=True)


def _refusal(error: OSError) -> NodeError:
    if error.errno in _NO_SPACE:
        return DiskFull("no space for an incoming instance")
    return Fault("the temporary folder does not take an incoming instance")
