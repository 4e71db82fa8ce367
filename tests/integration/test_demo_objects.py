"""The demo's images as validators see them, and its archive as senders see it."""

import errno
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from dicom_node.demo.archive import Archive
from dicom_node.demo.phantoms import demo_studies
from dicom_node.demo.radiograph import Identity
from dicom_node.demo.wrap import wrap
from tests.builders import chest_radiograph, part10_bytes
from tests.peers import require

NOW = datetime(2026, 1, 2, 10, 15, tzinfo=UTC)


def errors(path: Path) -> list[str]:
    """What dciodvfy calls an error."""
    done = subprocess.run(
        ["dciodvfy", "-new", path], capture_output=True, text=True, check=False, timeout=60
    )
    told = done.stdout + done.stderr
    assert "Image" in told  # it recognised the IOD
    return [line for line in told.splitlines() if line.startswith("Error")]


@pytest.mark.peer("dicom3tools")
def test_every_image_of_the_demo_is_valid(tmp_path):
    require("dciodvfy")
    path = tmp_path / "image.dcm"
    found = {}
    for study in demo_studies(seed=1, taken_at=NOW):
        for image in study:
            image.save_as(path, enforce_file_format=True)
            found[image.SeriesDescription, image.StudyDescription] = errors(path)

    assert len(found) == 5
    assert [line for lines in found.values() for line in lines] == []


@pytest.mark.peer("dicom3tools")
@pytest.mark.parametrize("body_part", ["", "CHEST", "KNEE"])
def test_a_wrapped_picture_is_valid(tmp_path, body_part):
    require("dciodvfy")
    picture = tmp_path / "x.jpg"
    Image.new("L", (33, 21), 90).save(picture)
    identity = Identity(
        patient_id="FAKE",
        patient_name="INVENTED^PATIENT",
        accession_number="FAKE",
        study_instance_uid=generate_uid(),
        series_instance_uid=generate_uid(),
        sop_instance_uid=generate_uid(),
        study_description="XR",
    )
    path = tmp_path / "x.dcm"
    wrap(picture, identity, taken_at=NOW, body_part_examined=body_part).save_as(
        path, enforce_file_format=True
    )

    assert errors(path) == []


@pytest.mark.peer("dicom3tools")
def test_the_tests_own_radiograph_is_valid(tmp_path):
    require("dciodvfy")
    path = tmp_path / "x.dcm"
    path.write_bytes(part10_bytes(chest_radiograph()))

    assert errors(path) == []


@pytest.mark.peer("dcmtk")
def test_dcmtk_sends_to_the_archive_and_the_file_is_there(tmp_path):
    require("storescu", "echoscu")
    image = chest_radiograph()
    sent = tmp_path / "sent.dcm"
    sent.write_bytes(part10_bytes(image))

    with Archive(tmp_path / "archive") as archive:
        where = ["127.0.0.1", str(archive.port)]
        subprocess.run(["echoscu", *where], check=True, timeout=30)
        subprocess.run(["storescu", *where, sent], check=True, timeout=30)
        [kept] = archive.files()

    assert kept.name == f"{image.SOPInstanceUID}.dcm"
    assert dcmread(kept) == image


def test_the_archive_takes_every_class_and_syntax_and_keeps_the_last_of_a_uid(tmp_path):
    first = chest_radiograph()
    again = chest_radiograph(SOPInstanceUID=first.SOPInstanceUID, StudyDescription="AGAIN")
    ae = AE()
    ae.add_requested_context(first.SOPClassUID)
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.88.34", JPEG2000Lossless)
    ae.add_requested_context(Verification)

    with Archive(tmp_path / "archive") as archive:
        association = ae.associate("127.0.0.1", archive.port)
        assert len(association.accepted_contexts) == 3
        statuses = [association.send_c_store(image).Status for image in (first, again, again)]
        echo = association.send_c_echo().Status
        association.release()
        [kept] = archive.files()
        receipts = archive.receipts

    assert statuses == [0, 0, 0]
    assert echo == 0
    assert [receipt.sop_instance_uid for receipt in receipts] == [first.SOPInstanceUID] * 3
    [one, other, same] = [receipt.sha256 for receipt in receipts]
    assert one != other
    assert other == same
    assert dcmread(kept).StudyDescription == "AGAIN"


def test_the_archive_does_not_make_a_path_of_a_hostile_uid(tmp_path):
    hostile = chest_radiograph(SOPInstanceUID="1.2.3")
    ae = AE()
    ae.add_requested_context(hostile.SOPClassUID)
    hostile.SOPInstanceUID = "../escaped"

    with Archive(tmp_path / "archive") as archive:
        association = ae.associate("127.0.0.1", archive.port)
        status = association.send_c_store(hostile).Status
        association.release()
        assert archive.files() == []

    assert status == 0xC000
    assert list(tmp_path.iterdir()) == [tmp_path / "archive"]


def test_a_full_disk_is_answered_as_out_of_resources(tmp_path, monkeypatch):
    def no_space(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    image = chest_radiograph()
    ae = AE()
    ae.add_requested_context(image.SOPClassUID)

    with Archive(tmp_path / "archive") as archive:
        monkeypatch.setattr(os, "fsync", no_space)
        association = ae.associate("127.0.0.1", archive.port)
        status = association.send_c_store(image).Status
        association.release()
        assert list(archive.folder.iterdir()) == []

    assert status == 0xA700
