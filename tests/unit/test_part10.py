"""What a receiving service learns of a complete Part 10 file."""

import hashlib
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from audit.errors import InvalidDataset
from dicom_node.pipeline.part10 import RefusedEncoding, file_head, received_file
from tests.builders import chest_radiograph, dataset_bytes, part10_bytes


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


def test_a_hash_that_is_already_known_is_not_computed_again(path):
    path.write_bytes(part10_bytes(chest_radiograph()))

    assert received_file(path, content_sha256="f" * 64).content_sha256 == "f" * 64


def test_a_head_and_the_senders_bytes_make_a_file(path):
    ds = chest_radiograph()
    head = file_head(
        sop_class_uid=ds.SOPClassUID,
        sop_instance_uid=ds.SOPInstanceUID,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        source_ae_title="CR_ROOM_1",
    )
    path.write_bytes(head + dataset_bytes(ds))

    assert dcmread(path).file_meta.SourceApplicationEntityTitle == "CR_ROOM_1"
    assert received_file(path).content_sha256 == hashlib.sha256(dataset_bytes(ds)).hexdigest()
    assert (dcmread(path).pixel_array == ds.pixel_array).all()


def test_a_deflated_data_set_is_refused_before_it_is_inflated(path, monkeypatch):
    ds = chest_radiograph()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path.write_bytes(part10_bytes(ds))
    monkeypatch.setattr("zlib.decompress", lambda *_: pytest.fail("inflated"))

    with pytest.raises(RefusedEncoding):
        received_file(path)


def test_an_unknown_transfer_syntax_is_refused(path):
    ds = chest_radiograph()
    path.write_bytes(
        file_head(
            sop_class_uid=ds.SOPClassUID,
            sop_instance_uid=ds.SOPInstanceUID,
            transfer_syntax_uid="1.2.3",
        )
        + dataset_bytes(ds)
    )

    with pytest.raises(RefusedEncoding):
        received_file(path)


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID"])
@pytest.mark.parametrize("value", [None, "", ["1.2", "1.3"]])
def test_an_object_without_one_identity_is_refused(path, keyword, value):
    ds = chest_radiograph()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta = ds.file_meta
    if value is None:
        delattr(ds, keyword)
    else:
        setattr(ds, keyword, value)
    path.write_bytes(
        file_head(
            sop_class_uid=meta.MediaStorageSOPClassUID,
            sop_instance_uid=meta.MediaStorageSOPInstanceUID,
            transfer_syntax_uid=meta.TransferSyntaxUID,
        )
        + dataset_bytes_of_broken(ds)
    )

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
        file_head(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid="1.2"),
    ],
    ids=["empty", "short", "no meta", "wrong prefix", "pdf", "no data set"],
)
def test_what_is_no_dicom_file_is_refused(path, content):
    path.write_bytes(content)

    with pytest.raises(InvalidDataset):
        received_file(path)
