"""What a receiving service learns of a complete Part 10 file."""

import hashlib
import tracemalloc
from pathlib import Path

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from audit.errors import InvalidDataset
from dicom_node.pipeline.part10 import RefusedEncoding, received_file
from tests.builders import chest_radiograph, dataset_bytes, part10_bytes


def part10_head(transfer_syntax_uid):
    """Return preamble and File Meta Information (PS3.10 Section 7.1) of one element."""
    value = transfer_syntax_uid.encode() + b"\0" * (len(transfer_syntax_uid) % 2)
    element = b"\x02\x00\x10\x00UI" + len(value).to_bytes(2, "little") + value
    return bytes(128) + b"DICM" + element


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.part"


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_the_hash_covers_the_data_set_alone(path, syntax):
    ds = chest_radiograph()
    ds.file_meta.TransferSyntaxUID = syntax
    path.write_bytes(part10_bytes(ds))

    received = received_file(path)

    assert received.content_sha256 == hashlib.sha256(dataset_bytes(ds)).hexdigest()
    assert received.transfer_syntax_uid == syntax
    assert received.size_bytes == path.stat().st_size
    assert received.sop_instance_uid == ds.SOPInstanceUID
    assert received.header.StudyInstanceUID == ds.StudyInstanceUID
    assert "PixelData" not in received.header


def test_a_deflated_data_set_is_inflated_no_further_than_its_header(path):
    ds = chest_radiograph(Rows=8192, Columns=4096, PixelData=bytes(8192 * 4096 * 2))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path.write_bytes(part10_bytes(ds))

    tracemalloc.start()
    received = received_file(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert received.sop_instance_uid == ds.SOPInstanceUID
    assert peak_bytes < len(ds.PixelData)


def test_a_file_that_ends_within_its_pixels_is_refused(path):
    path.write_bytes(part10_bytes(chest_radiograph())[:-10])

    with pytest.raises(InvalidDataset):
        received_file(path)


def test_an_unknown_transfer_syntax_is_refused(path):
    ds = chest_radiograph()
    path.write_bytes(part10_head("1.2.3") + dataset_bytes(ds))

    with pytest.raises(RefusedEncoding):
        received_file(path)


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID"])
@pytest.mark.parametrize("value", [None, "", ["1.2", "1.3"]])
def test_an_object_without_one_identity_is_refused(path, keyword, value):
    ds = chest_radiograph()
    if value is None:
        delattr(ds, keyword)
    else:
        setattr(ds, keyword, value)
    path.write_bytes(part10_head(ExplicitVRLittleEndian) + dataset_bytes_of_broken(ds))

    with pytest.raises(InvalidDataset, match=keyword):
        received_file(path)


def dataset_bytes_of_broken(ds):
    """Encode a data set that no Part 10 writer takes."""
    from io import BytesIO

    from pydicom.filebase import DicomIO
    from pydicom.filewriter import write_dataset

    buffer = BytesIO()
    stream = DicomIO(buffer)
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, ds)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"DICM",
        bytes(128) + b"DICM",
        bytes(128) + b"dicm" + bytes(64),
        b"%PDF-1.7" + bytes(300),
        part10_head(ExplicitVRLittleEndian),
    ],
    ids=["empty", "short", "no meta", "wrong prefix", "pdf", "no data set"],
)
def test_what_is_no_dicom_file_is_refused(path, content):
    path.write_bytes(content)

    with pytest.raises(InvalidDataset):
        received_file(path)
