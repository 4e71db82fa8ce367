"""The content tree and the document around it."""

from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from dicom_node.config.settings import ReportProfile
from dicom_node.report import codes
from dicom_node.report.content import Predecessor
from dicom_node.report.sr import FORMS, structured_report
from dicom_node.report.wording import summary_lines
from inference.types import Verdict
from tests.builders import chest_radiograph
from tests.report_requests import chest_image, damaged_image, other_image, request_for

VIEWER = FORMS[ReportProfile.VIEWER]


def _items(item: Dataset, name: str) -> list[Dataset]:
    """Return the children of `item` with the concept name `name`."""
    return [
        child
        for child in item.get("ContentSequence", ())
        if child.ConceptNameCodeSequence[0].CodeMeaning == name
    ]


def _groups(report: Dataset) -> dict[str, Dataset]:
    measurements = _items(report, "Imaging Measurements")
    groups = _items(measurements[0], "Measurement Group") if measurements else []
    return {_items(group, "Tracking Identifier")[0].TextValue: group for group in groups}


def _coded(group: Dataset, name: str) -> list[str]:
    return [item.ConceptCodeSequence[0].CodeMeaning for item in _items(group, name)]


@pytest.fixture
def request_():
    return request_for(
        chest_image(chest_radiograph()),
        other_image(chest_radiograph(), 2),
        damaged_image(chest_radiograph(), 3),
    )


def test_the_text_stands_first_and_every_container_is_separate(request_):
    report = structured_report(request_, VIEWER, {})

    [text] = _items(report, "Qualitative Evaluations")
    assert [item.TextValue for item in text.ContentSequence] == summary_lines(request_)
    contained = [i for i in report.ContentSequence if i.RelationshipType == "CONTAINS"]
    assert contained[0] is text
    continuity = {e.value for e in report.iterall() if e.keyword == "ContinuityOfContent"}
    assert continuity == {"SEPARATE"}


def test_only_a_present_finding_is_named_as_a_finding(request_):
    groups = _groups(structured_report(request_, VIEWER, {}))

    named = {title: _coded(group, "Finding") for title, group in groups.items()}
    assert named["Pneumothorax (image 1)"] == ["Pneumothorax"]
    assert all(not found for title, found in named.items() if "Pneumothorax" not in title)
    assert _coded(groups["Pneumothorax (image 1)"], "Pneumothorax") == ["Present"]
    assert _coded(groups["Pleural effusion (image 1)"], "Pleural effusion") == ["Undetermined"]
    assert _coded(groups["Nodule (image 1)"], "Nodule") == ["Absent"]
    assert "Diaphragmatic hernia (image 1)" not in groups


def test_a_finding_tells_its_site_certainty_model_and_operating_point(request_):
    group = _groups(structured_report(request_, VIEWER, {}))["Pneumothorax (image 1)"]

    assert _coded(group, "Finding Site") == ["Pleura"]
    [certainty] = _items(group, "Certainty of Finding")
    assert certainty.MeasuredValueSequence[0].NumericValue == 91.3
    assert _items(group, "Algorithm Name")[0].TextValue == "chest-findings"
    parameters = [item.TextValue for item in _items(group, "Algorithm Parameters")]
    assert parameters[0] == "threshold=0.45"
    assert any(text.startswith("weights_sha256=") for text in parameters)


def test_a_mismatch_names_the_ordered_and_the_seen_region(request_):
    group = _groups(structured_report(request_, VIEWER, {}))["Body part check (image 2)"]

    assert _coded(group, "Target Region") == ["Chest"]
    assert _coded(group, "Predicted anatomic region") == ["Hand"]
    assert _coded(group, "Predicted region matches expected region") == ["No"]
    [source] = _items(group, "Source of Measurement")
    assert (
        source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        == request_.images[1].header.SOPInstanceUID
    )


def test_nothing_declared_leaves_the_target_out_and_the_match_undetermined():
    request = request_for(other_image(chest_radiograph(), 1, Verdict.NOT_DECLARED))

    group = _groups(structured_report(request, VIEWER, {}))["Body part check (image 1)"]

    assert _coded(group, "Target Region") == []
    assert _coded(group, "Predicted region matches expected region") == ["Undetermined"]


def test_a_study_without_one_readable_image_still_has_a_report():
    request = request_for(damaged_image(chest_radiograph(), 1))

    report = structured_report(request, VIEWER, {})

    assert _groups(report) == {}
    assert report.CompletionFlag == "PARTIAL"
    assert report.CompletionFlagDescription == "1 of 1 images not fully analysed"
    [text] = _items(report, "Qualitative Evaluations")
    assert "Could not be decoded" in text.ContentSequence[2].TextValue


def test_the_document_is_complete_preliminary_unverified_research():
    report = structured_report(request_for(chest_image(chest_radiograph())), VIEWER, {})

    assert report.CompletionFlag == "COMPLETE"
    assert report.PreliminaryFlag == "PRELIMINARY"
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.ContentQualification == "RESEARCH"
    assert report.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99XRAYAI"
    assert "PredecessorDocumentsSequence" not in report


def test_each_profile_has_its_class_title_and_uids_over_the_same_tree(request_):
    viewer = structured_report(request_, VIEWER, {})
    air = structured_report(request_, FORMS[ReportProfile.IHE_AIR], {})

    assert viewer.SOPClassUID == ComprehensiveSRStorage
    assert air.SOPClassUID == Comprehensive3DSRStorage
    assert viewer.ConceptNameCodeSequence[0].CodeValue == "AI-RESULT"
    assert air.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert viewer.SOPInstanceUID != air.SOPInstanceUID
    assert viewer.SeriesInstanceUID != air.SeriesInstanceUID
    assert viewer.ContentSequence == air.ContentSequence


def test_the_shipped_report_differs_from_its_standard_twin_in_the_root_code_only(request_):
    shipped = structured_report(request_, VIEWER, {})
    twin = structured_report(request_, replace(VIEWER, title=codes.IMAGING_MEASUREMENT_REPORT), {})

    assert shipped != twin
    twin.ConceptNameCodeSequence = shipped.ConceptNameCodeSequence
    assert shipped == twin


def test_equal_requests_give_equal_bytes(request_):
    def written() -> bytes:
        buffer = BytesIO()
        dcmwrite(buffer, structured_report(request_, VIEWER, {}), enforce_file_format=True)
        return buffer.getvalue()

    assert written() == written()


def test_a_new_revision_names_the_report_that_it_follows(request_):
    earlier = Predecessor(
        study_instance_uid="1.2",
        series_instance_uid="1.2.3",
        sop_instance_uid="1.2.3.4",
        sop_class_uid=ComprehensiveSRStorage,
    )

    report = structured_report(replace(request_, predecessor=earlier), VIEWER, {})

    [study] = report.PredecessorDocumentsSequence
    [series] = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "1.2.3"
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"


def test_every_model_is_named_with_a_device_uid_and_every_order_with_its_number():
    second = other_image(chest_radiograph(AccessionNumber="FAKE-ACC-2"), 2)
    request = request_for(chest_image(chest_radiograph()), second)

    report = structured_report(request, VIEWER, {})

    models = report.ContributingEquipmentSequence
    assert [item.ManufacturerModelName for item in models] == ["bodypart", "chest-findings"]
    assert len({item.DeviceUID for item in models}) == 2
    orders = [item.AccessionNumber for item in report.ReferencedRequestSequence]
    assert orders == ["FAKE-ACC-1", "FAKE-ACC-2"]


@pytest.mark.parametrize("declared", [None, "ISO_IR 100", "ISO_IR 144"])
def test_an_accession_number_of_another_character_set_is_written_whole(declared):
    first = chest_image(chest_radiograph(SpecificCharacterSet=declared))
    second = other_image(
        chest_radiograph(SpecificCharacterSet="ISO_IR 192", AccessionNumber="検査12"), 2
    )

    report = structured_report(request_for(first, second), VIEWER, {})

    written = BytesIO()
    dcmwrite(written, report, enforce_file_format=True)
    again = dcmread(BytesIO(written.getvalue()))
    numbers = [item.AccessionNumber for item in again.ReferencedRequestSequence]
    assert "検査12" in numbers
