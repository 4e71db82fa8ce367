"""dciodvfy reads correction packages made of real images in many transfer syntaxes."""

from pathlib import Path

import pytest

from dicom_node.correction.build import build
from dicom_node.correction.plan import Move
from dicom_node.report.evidence import text_of
from tests.corrections import judged, order, planned, source, stored
from tests.data import data_dir
from tests.peers import require

REAL = (
    "WG04_RG1_J2KI.dcm",  # JPEG 2000, MONOCHROME1, time zone
    "WG04_RG3_JLSN.dcm",  # near-lossless JPEG-LS
    "WG04_RG2_JPLY.dcm",  # lossy JPEG
    "WG04_RG3_RLE.dcm",
    "highdicom_dx_thorax.dcm",  # DX, pixels of an odd length
    "siim_chest_PA.dcm",  # no Study ID
    "ddh_pelvis_1.dcm",  # RGB, neither dates nor accession
    "orthanc_RF_KarstenHilbert.dcm",
    "charset_chrJapMulti.dcm",  # ISO 2022 IR 87
    "charset_chrRuss.dcm",  # ISO_IR 144
)


@pytest.mark.peer("dicom3tools")
def test_dciodvfy_finds_nothing_wrong_with_a_package(tmp_path: Path) -> None:
    require("dciodvfy")
    images = [
        source(tmp_path, PatientOrientation=["L", "F"], Laterality=None, KVP="70") for _ in range(2)
    ]

    plan = planned(*(Move(source=image, order=order()) for image in images))

    for number, each in enumerate(build(plan)):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(each.content)
        before = judged(images[number].path) if each.role == "COPY" else set()
        assert judged(path) - before == set()
        assert not [line for line in judged(path) if line.startswith("Error")]


@pytest.mark.peer("dicom3tools")
@pytest.mark.parametrize("declared", [None, "ISO_IR 6", ["ISO 2022 IR 6", "ISO 2022 IR 87"]])
def test_dciodvfy_reads_letters_beyond_ascii(
    tmp_path: Path, declared: str | list[str] | None
) -> None:
    require("dciodvfy")
    image = source(tmp_path, SpecificCharacterSet=declared, RequestingPhysician="Old^Doctor")
    copy, _ = build(planned(Move(source=image, order=order(description="Röntgen Knöchel"))))
    path = tmp_path / "copy.dcm"
    path.write_bytes(copy.content)
    assert judged(path) - judged(image.path) == set()


@pytest.mark.peer("dicom3tools")
@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_a_copy_has_no_fault_that_its_image_has_not(name: str, tmp_path: Path) -> None:
    require("dciodvfy")
    image = stored(data_dir() / "dicom" / "radiographs" / name)
    patient = text_of(image.header, "PatientID")

    copy, note = build(planned(Move(source=image, order=order(patient_id=patient))))

    for each, before in ((copy, judged(image.path)), (note, set())):
        path = tmp_path / f"{each.role}.dcm"
        path.write_bytes(each.content)
        assert judged(path) - before == set()
