"""Part 10 files as they come in: check them, hash their data set, read their header.

Whoever holds a complete file asks here for the `ReceivedFile` that the intake takes. A
sender may be hostile, so every error of the parser becomes `InvalidDataset`, and the header
is read within the same limits as over DIMSE.
"""

import hashlib
import struct
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag

from audit.errors import InvalidDataset
from dicom_node.core.accepted import TRANSFER_SYNTAXES
from dicom_node.pipeline.header import read_header
from dicom_node.pipeline.receiving import ReceivedFile

_CHUNK_BYTES = 1 << 20
_META_GROUP = 0x0002
_ACCEPTED = frozenset(TRANSFER_SYNTAXES)
_PARSER_ERRORS = (
    InvalidDicomError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    ArithmeticError,
    RuntimeError,  # RecursionError and NotImplementedError are among them
    AssertionError,
    MemoryError,
    struct.error,
)


class RefusedEncoding(InvalidDataset):
    """The file names a transfer syntax that the node does not take."""

    code = "dicom.transfer_syntax.refused"


def received_file(path: Path) -> ReceivedFile:
    """Return what the intake needs to know of the complete Part 10 file at `path`.

    Raises
    ------
    InvalidDataset
        The file is no Part 10 file (PS3.10 Section 7.1), cannot be parsed, ends within a
        value, or lacks its SOP Class or Instance UID.
    RefusedEncoding
        Its transfer syntax is unknown.
    """
    with path.open("rb") as file:
        meta, content_offset = _read_meta(file)
        transfer_syntax_uid = _accepted_syntax(meta)
        file.seek(content_offset)
        content_sha256 = _sha256(file)
    header = read_header(path, content_offset, transfer_syntax_uid)
    return ReceivedFile(
        path=path,
        content_sha256=content_sha256,
        size_bytes=path.stat().st_size,
        header=header,
        sop_class_uid=_single_uid(header, "SOPClassUID"),
        sop_instance_uid=_single_uid(header, "SOPInstanceUID"),
        transfer_syntax_uid=transfer_syntax_uid,
    )


def _read_meta(file: BinaryIO) -> tuple[Dataset, int]:
    """Return the File Meta Information and the offset of the data set behind it."""
    try:
        read_preamble(file, force=False)
        meta = read_dataset(
            file, is_implicit_VR=False, is_little_endian=True, stop_when=_outside_meta
        )
    except _PARSER_ERRORS:
        raise InvalidDataset("not a DICOM file (PS3.10 Section 7.1)") from None
    return meta, file.tell()


def _outside_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group != _META_GROUP


def _accepted_syntax(meta: Dataset) -> str:
    syntax = _single_uid(meta, "TransferSyntaxUID")
    if syntax not in _ACCEPTED:
        raise RefusedEncoding("the transfer syntax is not accepted")
    return syntax


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _single_uid(ds: Dataset, keyword: str) -> str:
    """Return the one non-empty value of a UID element; its form is the intake's to judge."""
    try:
        value = ds.get(keyword)
    except _PARSER_ERRORS:
        value = None
    if not isinstance(value, str) or not value:
        raise InvalidDataset(f"{keyword} must hold one value")
    return str(value)
