"""Overlays, the whole build, and the check before sending."""

from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread
from structlog.testing import capture_logs

from dicom_node.config.settings import ReportProfile
from dicom_node.report.build import build_report
from dicom_node.report.content import BuiltObject
from dicom_node.report.selfcheck import UnfitReport, check
from tests.builders import chest_radiograph, part10_bytes
from tests.report_requests import chest_image, other_image, request_for


def _stored(tmp_path, number=1, **overrides):
    image = chest_radiograph(**overrides)
    path = tmp_path / f"{number}.dcm"
    path.write_bytes(part10_bytes(image))
    return chest_image(dcmread(path, stop_before_pixels=True), path, number)


@pytest.fixture
def request_(tmp_path):
    return request_for(_stored(tmp_path), other_image(chest_radiograph(), 2))


def test_a_present_finding_has_one_overlay_that_the_report_refers_to(request_):
    overlay, report = build_report(request_, ReportProfile.VIEWER)

    assert (overlay.role, overlay.image_number, overlay.finding) == ("SC", 1, "Pneumothorax")
    assert report.role == "SR"
    illustrations = [
        item.value[0].ReferencedSOPInstanceUID
        for item in report.dataset.iterall()
        if item.keyword == "ReferencedSOPSequence"
        and item.value[0].ReferencedSOPInstanceUID == overlay.dataset.SOPInstanceUID
    ]
    assert illustrations


def test_the_overlays_are_the_same_in_every_profile(request_):
    viewer = build_report(request_, ReportProfile.VIEWER)
    air = build_report(request_, ReportProfile.IHE_AIR)

    assert viewer[0].dataset == air[0].dataset
    assert viewer[1].dataset.SOPInstanceUID != air[1].dataset.SOPInstanceUID


def test_the_text_is_below_the_picture_and_heat_is_where_the_map_is(request_):
    overlay = build_report(request_, ReportProfile.VIEWER)[0].dataset

    pixels = overlay.pixel_array
    assert pixels.shape[1:] == (64, 3)
    assert pixels.shape[0] > 64
    spread = np.ptp(pixels[:64].astype(int), axis=2)
    assert spread[29, 48] > 20  # row 4.5 and column 7.5 of a map of 10 by 10
    assert spread[2, 2] == 0


def test_an_overlay_says_what_it_is_and_where_it_came_from(request_):
    overlay = build_report(request_, ReportProfile.VIEWER)[0].dataset

    assert (overlay.Modality, overlay.ConversionType) == ("OT", "WSD")
    assert overlay.BurnedInAnnotation == "YES"
    assert overlay.ImageComments == "AI result, not for primary diagnosis"
    assert "p=0.913" in overlay.DerivationDescription
    [source] = overlay.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == request_.images[0].header.SOPInstanceUID
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert overlay.BodyPartExamined == "CHEST"
    assert "Laterality" not in overlay


def test_spacing_is_scaled_with_the_picture(tmp_path):
    image = _stored(tmp_path, PixelSpacing=[0.2, 0.2])
    request = request_for(image, sc_long_side_pixels=32)

    overlay = build_report(request, ReportProfile.VIEWER)[0].dataset

    assert overlay.Columns == 32
    assert list(overlay.PixelSpacing) == [0.4, 0.4]


def test_once_lossy_always_lossy(tmp_path):
    image = _stored(
        tmp_path,
        LossyImageCompression="01",
        LossyImageCompressionRatio="12.5",
        LossyImageCompressionMethod="ISO_10918_1",
    )

    overlay = build_report(request_for(image), ReportProfile.VIEWER)[0].dataset

    assert overlay.LossyImageCompression == "01"
    assert overlay.LossyImageCompressionRatio == 12.5
    assert overlay.LossyImageCompressionMethod == "ISO_10918_1"


def test_series_attributes_are_written_only_where_the_images_agree(tmp_path):
    hand = {"BodyPartExamined": "HAND"}
    same = [_stored(tmp_path, n, Laterality="L", **hand) for n in (1, 2)]
    mixed = [same[0], _stored(tmp_path, 3, Laterality="R", **hand)]

    of_same = build_report(request_for(*same), ReportProfile.VIEWER)[:2]
    of_mixed = build_report(request_for(*mixed), ReportProfile.VIEWER)[:2]

    assert [b.dataset.Laterality for b in of_same] == ["L", "L"]
    assert [b.dataset.InstanceNumber for b in of_same] == [1, 2]
    assert [b.dataset.Laterality for b in of_mixed] == ["", ""]
    assert [b.dataset.BodyPartExamined for b in of_mixed] == ["HAND", "HAND"]


def test_a_file_that_cannot_be_read_costs_the_overlay_not_the_report(tmp_path):
    image = _stored(tmp_path)
    image.path.write_bytes(part10_bytes(chest_radiograph(PixelData=None)))

    with capture_logs() as events:
        built = build_report(request_for(image), ReportProfile.VIEWER)

    assert [b.role for b in built] == ["SR"]
    [skipped] = [event for event in events if event["event"] == "report.overlay.skipped"]
    assert skipped["image_number"] == 1
    assert skipped["error_code"] == "inference.pixels.undecodable"


def _broken(request, spoil):
    built = build_report(request, ReportProfile.VIEWER)
    spoil(built)
    with pytest.raises(UnfitReport) as failure:
        check(built, request)
    return failure.value.rules


@pytest.mark.parametrize(
    ("keyword", "value", "rule"),
    [
        ("SOPInstanceUID", "1.2.x", "SC: UIDs are well formed (PS3.5 Section 9.1)"),
        ("StudyInstanceUID", "1.2.3", "SC: the study is the one reported on"),
        ("SeriesDescription", "", "SC: SeriesDescription has a value"),
        ("BurnedInAnnotation", "NO", "SC: BurnedInAnnotation is YES"),
        ("ContentQualification", "PRODUCT", "SC: ContentQualification is RESEARCH"),
    ],
)
def test_a_broken_overlay_is_not_sent(request_, keyword, value, rule):
    def spoil(built):
        built[0].dataset.pop(keyword)
        built[0].dataset.add_new(keyword, "LO" if keyword.endswith("Description") else "UI", value)

    assert rule in _broken(request_, spoil)


def test_a_missing_attribute_of_the_patient_is_found(request_):
    assert "SR: PatientSex is present" in _broken(
        request_, lambda built: built[1].dataset.pop("PatientSex")
    )


def test_private_elements_are_never_sent(request_):
    def spoil(built):
        block = built[1].dataset.private_block(0x0011, "SOMEBODY", create=True)
        block.add_new(1, "LO", "text")

    assert "SR: no private elements" in _broken(request_, spoil)


def test_our_own_text_must_fit_its_vr(request_):
    def spoil(built):
        built[1].dataset.SeriesDescription = "x" * 65

    assert "SR: SeriesDescription is not longer than its VR allows" in _broken(request_, spoil)


def test_every_reference_must_be_in_the_evidence_once(request_):
    def drop(built):
        study = built[1].dataset.CurrentRequestedProcedureEvidenceSequence[0]
        study.ReferencedSeriesSequence.pop()

    def double(built):
        study = built[1].dataset.CurrentRequestedProcedureEvidenceSequence[0]
        study.ReferencedSeriesSequence.append(study.ReferencedSeriesSequence[0])

    assert "SR: every reference is in the evidence" in _broken(request_, drop)
    assert "SR: evidence lists an instance once" in _broken(request_, double)


def test_a_report_speaks_only_of_the_images_it_was_asked_about(request_):
    built = build_report(request_, ReportProfile.VIEWER)

    with pytest.raises(UnfitReport, match="evidence is of this report"):
        check(built, replace(request_, images=request_.images[:1]))


def test_two_objects_never_share_a_uid(request_):
    built = build_report(request_, ReportProfile.VIEWER)
    again = BuiltObject(role="SC", dataset=built[0].dataset)

    with pytest.raises(UnfitReport, match="SOP Instance UIDs are unique"):
        check((*built, again), request_)


def test_a_report_without_its_warning_is_not_sent(request_):
    def spoil(built):
        for item in built[1].dataset.iterall():
            if item.keyword == "TextValue":
                item.value = "fine"

    assert "SR: the warning is in the text" in _broken(request_, spoil)
