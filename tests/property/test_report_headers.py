"""Whatever a header says, a report is made, and it is filed under the same identity."""

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from dicom_node.config.settings import ReportProfile
from dicom_node.report.evidence import text_of
from dicom_node.report.sr import FORMS, structured_report
from tests.builders import chest_radiograph
from tests.report_requests import chest_image, request_for

IDENTITY = ("PatientName", "PatientID", "StudyID", "AccessionNumber", "StudyDescription")
DESCRIPTIVE = (
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "TimezoneOffsetFromUTC",
    "Laterality",
    "PatientOrientation",
    "ImagerPixelSpacing",
    "Modality",
)
PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=70)
DATES = st.sampled_from(["", "20260102", "2026.01.02", "20261340", "0", "?", "-0400", "+2500"])


def _as_read(keyword: str, text: str) -> RawDataElement:
    """Return an element as pydicom reads it from a file, not yet interpreted."""
    value = text.encode()
    tag = BaseTag(tag_for_keyword(keyword) or 0)
    return RawDataElement(tag, dictionary_VR(keyword), len(value), value, 0, False, True)


@pytest.mark.slow
@settings(max_examples=40)
@given(
    identity=st.fixed_dictionaries({}, optional=dict.fromkeys(IDENTITY, PRINTABLE)),
    descriptive=st.fixed_dictionaries({}, optional=dict.fromkeys(DESCRIPTIVE, PRINTABLE | DATES)),
)
def test_odd_headers_never_stop_a_report_nor_change_whose_it_is(identity, descriptive):
    removed = dict.fromkeys({*IDENTITY, *DESCRIPTIVE} - {*identity, *descriptive})
    header = chest_radiograph(**removed)
    for keyword, value in {**identity, **descriptive}.items():
        header[keyword] = _as_read(keyword, value)

    report = structured_report(
        request_for(chest_image(header)), FORMS[ReportProfile.VIEWER], overlays={}
    )

    written = BytesIO()
    dcmwrite(written, report, enforce_file_format=True)
    written.seek(0)
    read = dcmread(written)
    for keyword in IDENTITY:
        assert text_of(read, keyword) == text_of(header, keyword)
