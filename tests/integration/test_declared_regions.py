"""What real headers declare, read by the shipped table."""

import csv
import warnings

import pytest
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from inference.regions import load_regions
from inference.verify import expectation
from tests.data import data_dir

pytestmark = pytest.mark.data

_DESCRIPTIONS = {
    "THORAX": ("CHEST",),
    "HIP JOINT": ("HIP",),
    "Non-ossifying fibroma of distal tibia": ("LOWERLEG", "ANKLE"),
    "No Finding": (),
    "MODALITYLUT - TEETH": ("JAW",),
    "Bäcken": ("PELVIS",),
    "Unbekannt": (),
    "XR C Spine Comp Min 4 Views": ("CSPINE",),
    "Chest": ("CHEST",),
}
_BODY_PARTS = {
    "CHEST": ("CHEST",),
    "HIP": ("HIP",),
    "EXTREMITY": ("EXTREMITY",),
    "RIBCAGE": ("RIB",),
    "THORAX": ("CHEST",),
    "B?cken": (),
    "CSPINE": ("CSPINE",),
}


@pytest.fixture(scope="module")
def radiographs() -> list[dict[str, str]]:
    with (data_dir() / "dicom" / "index.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["file"].startswith("radiographs/")]


@pytest.mark.parametrize(
    ("column", "wanted"), [("study_desc", _DESCRIPTIONS), ("body_part", _BODY_PARTS)]
)
def test_every_description_of_the_collection_is_read_as_a_person_would(radiographs, column, wanted):
    table = load_regions()
    found = {row[column]: table.regions_in_text(row[column]).regions for row in radiographs}
    found.pop("", None)

    assert found == wanted


def test_every_header_of_the_collection_is_read_without_complaint():
    table = load_regions()
    told = {}
    for path in sorted((data_dir() / "dicom").rglob("*")):
        if not path.is_file():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                header = dcmread(path, stop_before_pixels=True)
            except (InvalidDicomError, EOFError, OSError):
                continue
            told[path.name] = expectation(header, table)

    assert len(told) > 80
    for name, source, regions in (
        ("WG04_RG1_J2KI.dcm", "study_description", ("CHEST",)),
        ("orthanc_CR_pelvis_header_only.dcm", "study_description", ("PELVIS",)),
        ("highdicom_dx_thorax.dcm", "series_description", ("CHEST",)),
        ("udacity_nih_test4.dcm", "body_part_examined", ("RIB",)),
    ):
        assert (told[name].source.value, told[name].regions) == (source, regions), name
