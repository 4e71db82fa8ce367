"""Part 10 files as they come in: check them, hash their data set, read their header.

Every receiving service ends with a complete file in the store's temporary folder and asks
here for the `ReceivedFile` that the intake takes. A sender may be hostile, so every error
of the parser becomes `InvalidDataset`, and nothing is inflated (see `RefusedEncoding`).
"""

import hashlib
import struct
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset, read_preamble
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
)

from audit.errors import InvalidDataset
from dicom_node.pipeline.receiving import ReceivedFile

PREAMBLE = bytes(128) + b"DICM"
"""PS3.10 Section 7.1."""

_CHUNK_BYTES = 1 << 20
_META_GROUP = 0x0002
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
    """The transfer syntax is unknown, or deflated.

    A deflated data set is refused because a megabyte of it can inflate to a gigabyte; no
    radiograph uses it.
    """

    code = "dicom.transfer_syntax.refused"


def file_head(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    source_ae_title: str = "",
) -> bytes:
    """Return preamble, prefix and File Meta Information of a new file (PS3.10 Section 7.1).

    What follows them in the file is the data set exactly as the sender encoded it.
    """
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    if source_ae_title:
        meta.SourceApplicationEntityTitle = source_ae_title
    buffer = DicomBytesIO()
    buffer.write(PREAMBLE)
    write_file_meta_info(buffer, meta)
    return buffer.getvalue()


def received_file(path: Path, *, content_sha256: str | None = None) -> ReceivedFile:
    """Return what the intake needs to know of the complete Part 10 file at `path`.

    Parameters
    ----------
    content_sha256
        SHA-256 of the data set as 64 hexadecimal digits, when the caller computed it while
        the bytes came in; otherwise the file is read once more for it.

    Raises
    ------
    InvalidDataset
        The file is no Part 10 file, cannot be parsed, or lacks its SOP Class or Instance
        UID.
    RefusedEncoding
        Its transfer syntax is unknown or deflated.
    """
    with path.open("rb") as file:
        meta, content_offset = _read_meta(file)
        transfer_syntax_uid = _accepted_syntax(meta)
        if content_sha256 is None:
            file.seek(content_offset)
            content_sha256 = _sha256(file)
        header = _read_header(file)
        size_bytes = path.stat().st_size
    return ReceivedFile(
        path=path,
        content_sha256=content_sha256,
        size_bytes=size_bytes,
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
    if syntax == DeflatedExplicitVRLittleEndian or syntax not in AllTransferSyntaxes:
        raise RefusedEncoding("the transfer syntax is not accepted")
    return syntax


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _read_header(file: BinaryIO) -> Dataset:
    file.seek(0)
    try:
        return dcmread(file, stop_before_pixels=True)
    except _PARSER_ERRORS:
        raise InvalidDataset("the data set cannot be parsed (PS3.5 Section 7)") from None


def _single_uid(ds: Dataset, keyword: str) -> str:
    """Return the one non-empty value of a UID element; its form is the intake's to judge."""
    try:
        value = ds.get(keyword)
    except _PARSER_ERRORS:
        value = None
    if not isinstance(value, str) or not value:
        raise InvalidDataset(f"{keyword} must hold one value")
    return str(value)
