"""Independent judges read our SR and SC: dciodvfy, dsrdump, PixelMed's DicomSRValidator.

Sources are real headers: incomplete, in many character sets, some without pixels.
"""

import re
import subprocess
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import generate_uid

from dicom_node.config.settings import ReportProfile
from dicom_node.report import codes
from dicom_node.report.build import build_overlays, overlay_reference
from dicom_node.report.content import ReportRequest
from dicom_node.report.evidence import text_of
from dicom_node.report.sr import FORMS, structured_report
from inference.types import Verdict
from tests.builders import chest_radiograph, part10_bytes
from tests.data import data_dir
from tests.peers import require
from tests.report_requests import (
    built_report,
    chest_image,
    damaged_image,
    other_image,
    request_for,
)

WITH_PIXELS = (
    "WG04_RG1_J2KI.dcm",  # JPEG 2000, MONOCHROME1, time zone, accession with a blank
    "WG04_RG3_JLSN.dcm",  # near-lossless JPEG-LS, EXTREMITY, right
    "WG04_RG2_JPLY.dcm",  # lossy JPEG, HIP with an empty laterality, no birth date
    "highdicom_dx_thorax.dcm",  # DX, a body part that no table has
    "siim_chest_PA.dcm",  # SC SOP class, no Study ID
    "ddh_pelvis_1.dcm",  # RGB, neither dates, sex nor accession
    "udacity_nih_test4.dcm",  # neither name, Study ID nor series number; RIBCAGE
    "gdcm-CR-MONO1-10-chest.dcm",  # no Patient ID
    "orthanc_RF_KarstenHilbert.dcm",  # RF, sex '?'
    "pydicom_CR_cspine_LAT_6154.dcm",  # 16 x 16 pixels
)
HEADERS_ONLY = (
    "charset_chrJapMulti.dcm",  # ISO 2022 IR 87, Study ID absent
    "charset_chrKoreanMulti.dcm",  # ISO 2022 IR 149
    "charset_chrRuss.dcm",  # ISO_IR 144
    "charset_chrX1.dcm",  # ISO_IR 192, ideographic group
    "orthanc_CR_pelvis_header_only.dcm",  # a body part with a damaged letter
)

KNOWN_WARNINGS = (
    r"Attribute is not present in standard DICOM IOD - \(0x0018,0x1002\) UI Device UID ",
    r"Dicom dataset contains attributes not present in standard DICOM IOD - this is a Standard "
    r"Extended SOP Class",
    r"Unrecognized defined term <99XRAYAI> for value 1 of attribute <Coding Scheme Designator>",
    # Copied from the source, as it is:
    r"Value dubious for this VR - \(0x0008,0x0090\) PN .* - Retired Person Name form",
    r"Value dubious for this VR - \(0x0010,0x0010\) PN .* - Retired Person Name form",
    r"Missing attribute or value that would be needed to build DICOMDIR - "
    r"(Study Date|Study Time|Study ID|Patient ID)",
    r"Unrecognized defined term <(THORAX|RIBCAGE)> for value 1 of attribute <Body Part Examined>",
    r"is only permitted to be empty when actually unknown; should be absent \(not empty\) if an "
    r"unpaired body part, and have a value if a paired body part - attribute <Laterality>",
)

PIXELMED_JAR = Path("/usr/share/java/pixelmed.jar")
PIXELMED = (
    "java",
    "-Djdk.xml.xpathExprGrpLimit=0",
    "-Djdk.xml.xpathExprOpLimit=0",
    "-Djdk.xml.xpathTotalOpLimit=0",
    "-cp",
    str(PIXELMED_JAR),
    str(Path(__file__).parents[1] / "judges" / "ValidateAll.java"),
)


def _request(name: str, tmp_path: Path) -> ReportRequest:
    """Return a request on three images that share the real header `name`."""
    source = data_dir() / "dicom" / "radiographs" / name
    header = dcmread(source, force=True)
    header.pop("PixelData", None)
    path = source
    if name in HEADERS_ONLY:
        path = tmp_path / "invented.dcm"
        path.write_bytes(part10_bytes(chest_radiograph()))
    return request_for(
        chest_image(header, path),
        other_image(_sibling(header), 2),
        damaged_image(_sibling(header), 3),
    )


def _sibling(header: Dataset) -> Dataset:
    other = deepcopy(header)
    other.SOPInstanceUID = generate_uid()
    return other


def _written(dataset: Dataset, path: Path) -> Path:
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


def _judged_by_dciodvfy(path: Path) -> list[str]:
    """Return dciodvfy's errors and the warnings that are not known."""
    done = subprocess.run(["dciodvfy", path], capture_output=True, check=False)
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    assert any(line in ("SCImage", "ComprehensiveSR", "Comprehensive3DSR") for line in lines)
    return [
        line
        for line in lines
        if line.startswith("Error")
        or (
            line.startswith("Warning - ")
            and not any(re.fullmatch(known, line[10:]) for known in KNOWN_WARNINGS)
        )
    ]


@pytest.mark.peer("dicom3tools")
@pytest.mark.peer("dcmtk")
@pytest.mark.data
@pytest.mark.parametrize("name", [*WITH_PIXELS, *HEADERS_ONLY])
def test_dciodvfy_and_dsrdump_accept_every_object(name, tmp_path):
    require("dciodvfy", "dsrdump")
    request = _request(name, tmp_path)

    for profile in ReportProfile:
        built = built_report(request, profile)
        assert [b.role for b in built] == ["SC", "SR"]
        for made in built:
            path = _written(made.dataset, tmp_path / f"{made.role}.{profile}.dcm")
            assert _judged_by_dciodvfy(path) == []
            read = dcmread(path)
            for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyID"):
                assert text_of(read, keyword) == text_of(request.images[0].header, keyword)
        dump = subprocess.run(["dsrdump", path], capture_output=True, check=False)
        assert dump.returncode == 0, dump.stderr.decode(errors="replace")


@pytest.mark.peer("pixelmed")
@pytest.mark.data
def test_pixelmed_accepts_the_standard_twin_of_every_report(tmp_path):
    require("java")
    if not PIXELMED_JAR.exists():
        require("pixelmed.jar")
    header = chest_radiograph(ImageLaterality="L", ImagerPixelSpacing=[0.1, 0.1])
    path = tmp_path / "source.dcm"
    path.write_bytes(part10_bytes(header))
    requests = {
        "everything": request_for(
            chest_image(header, path),
            other_image(_sibling(header), 2, Verdict.NOT_DECLARED),
            damaged_image(_sibling(header), 3),
        ),
        "nothing-readable": request_for(damaged_image(header, 1)),
        **{name: _request(name, tmp_path) for name in (*WITH_PIXELS, *HEADERS_ONLY)},
    }
    twins = [
        _written(_standard_twin(request), tmp_path / f"{name}.twin.dcm")
        for name, request in requests.items()
    ]

    done = subprocess.run(
        [*PIXELMED, *twins], capture_output=True, text=True, check=False, timeout=280
    )

    said = done.stdout + done.stderr
    assert said.count("Found Root Template TID_1500 (MeasurementReport)") == len(twins)
    assert said.count("Root Template Validation Complete") == len(twins)
    assert [line for line in said.splitlines() if line.startswith("Error")] == []


def _standard_twin(request: ReportRequest) -> Dataset:
    """Return the report under the standard title, by which PixelMed finds its template."""
    overlays = dict(map(overlay_reference, build_overlays(request)))
    form = replace(FORMS[ReportProfile.VIEWER], title=codes.IMAGING_MEASUREMENT_REPORT)
    return structured_report(request, form, overlays)
