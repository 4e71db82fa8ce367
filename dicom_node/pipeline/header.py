"""Reads a received data set up to its pixels, within limits that its sender cannot raise."""

import zlib
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from audit.errors import InvalidDataset

MAXIMUM_HEADER_BYTES = 16 * 1024 * 1024
"""What may be parsed before the pixels; parsed elements take many times their bytes."""

LARGE_VALUE_BYTES = 1024 * 1024
"""A value longer than this is left out of the header (it stays in the file)."""

_PIXEL_DATA_GROUP = 0x7FE0
_UNDEFINED_LENGTH = 0xFFFFFFFF
_SHORT_ELEMENT_BYTES = 8
_LONG_ELEMENT_BYTES = 12


class _Bounded(BufferedReader):
    """A file of which only so many bytes are read; skipped bytes do not count."""

    def __init__(self, path: Path) -> None:
        super().__init__(FileIO(str(path)))
        self._left = MAXIMUM_HEADER_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self._left -= len(content)
        self.check_limit()
        return content

    def check_limit(self) -> None:
        """Raise `InvalidDataset` when too much has been read."""
        if self._left < 0:
            raise InvalidDataset("the data set before Pixel Data is too large") from None


@dataclass(slots=True)
class _PixelDataFinder:
    """Stops the parser at the Pixel Data, and remembers what was found there."""

    implicit: bool
    length: int | None = field(default=None)
    prefix_bytes: int = field(default=_SHORT_ELEMENT_BYTES)

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        if tag >> 16 != _PIXEL_DATA_GROUP:
            return False
        self.length = 0 if length == _UNDEFINED_LENGTH else length
        if not self.implicit and vr in EXPLICIT_VR_LENGTH_32:
            self.prefix_bytes = _LONG_ELEMENT_BYTES
        return True


def read_header(path: Path, offset: int, transfer_syntax_uid: str) -> Dataset:
    """Return the data set of a Part 10 file without group 7FE0 and without large values.

    The structure is checked, values are not: an image with an odd date is still an image.

    Parameters
    ----------
    path : Path
        The file.
    offset : int
        Where the data set begins, in bytes.
    transfer_syntax_uid : str
        In which it is encoded.

    Raises
    ------
    InvalidDataset
        When it is not a sequence of whole data elements, ends within a value, or needs
        more than `MAXIMUM_HEADER_BYTES` before its Pixel Data.
    """
    with _Bounded(path) as file:
        try:
            file.seek(offset)
            if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
                return _parse_deflated(file)
            return _parse(file, path.stat().st_size, transfer_syntax_uid)
        except InvalidDataset:
            raise
        except Exception:  # noqa: BLE001 - hostile bytes make pydicom raise nearly anything
            file.check_limit()
            raise InvalidDataset("the data set cannot be parsed") from None


def _parse(file: BinaryIO, end: int, transfer_syntax_uid: str) -> Dataset:
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    pixels = _PixelDataFinder(implicit)
    header = read_dataset(
        file,
        is_implicit_VR=implicit,
        is_little_endian=transfer_syntax_uid != ExplicitVRBigEndian,
        stop_when=pixels,
        defer_size=LARGE_VALUE_BYTES,
    )
    position = file.tell()
    if pixels.length is not None:
        position += pixels.prefix_bytes + pixels.length
    elif end - position >= _SHORT_ELEMENT_BYTES:
        raise InvalidDataset("the data set ends before its bytes do")
    _drop_large_values(header, end)
    if position > end:
        raise InvalidDataset("the data set ends within a value")
    return header


def _drop_large_values(header: Dataset, end: int) -> None:
    for tag, element in list(header.items()):  # as read: get_item() would read what is deferred
        if not isinstance(element, RawDataElement) or element.length == _UNDEFINED_LENGTH:
            continue
        if element.value_tell + element.length > end:
            raise InvalidDataset("the data set ends within a value")
        if element.length > LARGE_VALUE_BYTES:
            del header[tag]


def _parse_deflated(file: BinaryIO) -> Dataset:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(file.read(MAXIMUM_HEADER_BYTES), MAXIMUM_HEADER_BYTES)
    end = len(content) if inflater.eof else _UNDEFINED_LENGTH * 2
    return _parse(BytesIO(content), end, DeflatedExplicitVRLittleEndian)
