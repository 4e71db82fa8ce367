"""OHIF, in a real browser, shows what the node wrote into the PACS."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from dicom_node.demo.sr_text import sr_text
from dicom_node.report import codes
from tests.browser.hospital import Hospital, hospital, require_ohif
from tests.browser.reading import CRASH, Reader, reader

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peer("OHIF"),
    pytest.mark.peer("Orthanc"),
    pytest.mark.xdist_group("node"),
]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    require_ohif()
    with hospital(tmp_path_factory.mktemp("hospital")) as running:
        yield running


@pytest.fixture(scope="module")
def person(phantoms: Hospital) -> Iterator[Reader]:
    with reader(require_ohif(), phantoms.orthanc.dicomweb_url) as sitting:
        yield sitting


@pytest.mark.parametrize(("ordered", "said"), [("KNEE", "MISMATCH"), ("CHEST", "PRESENT")])
def test_a_report_opens_as_text_with_its_summary_before_the_rest(
    phantoms: Hospital, person: Reader, ordered: str, said: str
) -> None:
    report = phantoms.report(ordered)
    lines = [line.strip() for line in sr_text(report).splitlines()]
    summary = [line for line in lines if line.startswith("Summary: ")]

    shown = person.open_text(report)

    assert CRASH not in shown
    assert str(report.PatientID) in shown, "the page says whose study it is: a phantom's"
    head, rest = shown.split("Image Library", maxsplit=1)
    assert "Not for diagnosis" in head
    assert said in head
    assert summary
    assert all(line in head for line in summary)
    assert all(line in rest for line in lines if line.startswith("Tracking Identifier: "))


def test_a_heat_map_is_shown_as_it_was_stored(phantoms: Hospital, person: Reader) -> None:
    heat_map = phantoms.heat_map()

    person.open_picture(heat_map)

    shown = person.text()
    assert CRASH not in shown
    assert str(heat_map.SeriesDescription) in shown
    assert "not for diagnosis" in heat_map.SeriesDescription


def test_the_standard_title_is_what_this_viewer_cannot_open(
    phantoms: Hospital, person: Reader, tmp_path: Path
) -> None:
    """Why the title is ours by default; also shows that these tests see an error page."""
    report = deepcopy(phantoms.report("CHEST"))
    report.ConceptNameCodeSequence = [codes.IMAGING_MEASUREMENT_REPORT]
    report.SeriesInstanceUID = generate_uid()
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    phantoms.hold(report, tmp_path)

    assert CRASH in person.open_text(report)
