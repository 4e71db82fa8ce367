"""The header of a received file: what is kept, and what a sender cannot make us do."""

import tracemalloc
import zlib

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from audit.errors import InvalidDataset
from dicom_node.dimse.incoming import FileMeta, IncomingFile
from dicom_node.pipeline import header as header_module
from dicom_node.pipeline.header import LARGE_VALUE_BYTES, read_header
from tests.builders import chest_radiograph, dataset_bytes

_OFFSET = 10


def header_of(tmp_path, content: bytes, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    path = tmp_path / "file"
    path.write_bytes(bytes(_OFFSET) + content)
    return read_header(path, _OFFSET, syntax)


def test_a_header_has_every_element_but_the_pixels(tmp_path):
    ds = chest_radiograph()

    header = header_of(tmp_path, dataset_bytes(ds))

    assert set(ds.keys()) - set(header.keys()) == {ds["PixelData"].tag}
    assert header.PatientName == ds.PatientName


def test_a_large_value_stays_in_the_file(tmp_path):
    ds = chest_radiograph()
    ds.add_new(0x00091001, "OB", bytes(LARGE_VALUE_BYTES + 2))
    ds.add_new(0x00091002, "OB", bytes(LARGE_VALUE_BYTES))

    header = header_of(tmp_path, dataset_bytes(ds))

    assert 0x00091001 not in header
    assert len(header[0x00091002].value) == LARGE_VALUE_BYTES
    assert header.Rows == ds.Rows


def test_a_deflated_header_is_read(tmp_path):
    deflated = zlib.compress(dataset_bytes(ds := chest_radiograph()))[2:-4]

    header = header_of(tmp_path, deflated, DeflatedExplicitVRLittleEndian)

    assert header.SOPInstanceUID == ds.SOPInstanceUID


def test_a_deflated_bomb_inflates_no_further_than_its_header_may(tmp_path, monkeypatch):
    monkeypatch.setattr(header_module, "MAXIMUM_HEADER_BYTES", 100_000)
    start = dataset_bytes(chest_radiograph())
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(start + bytes(50_000_000)) + packer.flush()
    tracemalloc.start()
    header_of(tmp_path, bomb, DeflatedExplicitVRLittleEndian)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 5_000_000


def test_a_header_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(header_module, "MAXIMUM_HEADER_BYTES", 10_000)
    item = bytes.fromhex("feff00e000000000")
    endless = bytes.fromhex("08001111") + b"SQ\0\0" + b"\xff" * 4 + item * 5_000

    with pytest.raises(InvalidDataset, match="too large"):
        header_of(tmp_path, endless)


def test_deep_nesting_is_refused(tmp_path):
    opening = (
        bytes.fromhex("08001111") + b"SQ\0\0" + b"\xff" * 4 + bytes.fromhex("feff00e0ffffffff")
    )

    with pytest.raises(InvalidDataset):
        header_of(tmp_path, opening * 5_000)


def test_a_false_length_allocates_nothing(tmp_path):
    claims_four_gigabytes = bytes.fromhex("09000110") + b"OB\0\0" + b"\xfe\xff\xff\xff"

    with pytest.raises(InvalidDataset, match="ends within a value"):
        header_of(tmp_path, claims_four_gigabytes)


def test_file_meta_information_is_what_pydicom_reads(tmp_path):
    ds = chest_radiograph()
    meta = FileMeta(
        sop_class_uid=ds.SOPClassUID,
        sop_instance_uid=ds.SOPInstanceUID,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        source_ae_title="PACS1",
    )
    file = IncomingFile(tmp_path / "file", meta)
    file.write(memoryview(dataset_bytes(ds)))
    file.close()

    read = dcmread(tmp_path / "file")

    assert read == ds
    assert read.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert read.file_meta.SourceApplicationEntityTitle == "PACS1"
    assert read.file_meta.FileMetaInformationVersion == b"\0\1"
    assert file.size_bytes == (tmp_path / "file").stat().st_size
