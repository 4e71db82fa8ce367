"""Overlays, the whole build, and the check before sending."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread
from structlog.testing import capture_logs

from dicom_node.config.settings import ReportProfile
from dicom_node.report.build import build_overlays, overlay_reference, overlays_among
from dicom_node.report.selfcheck import UnfitReport, check
from dicom_node.report.wording import summary_lines
from tests.builders import chest_radiograph, part10_bytes
from tests.report_requests import built_report, chest_image, other_image, request_for


def _stored(tmp_path, number=1, **overrides):
    image = chest_radiograph(**overrides)
    path = tmp_path / f"{number}.dcm"
    path.write_bytes(part10_bytes(image))
    return chest_image(dcmread(path, stop_before_pixels=True), path, number)


@pytest.fixture
def request_(tmp_path):
    return request_for(_stored(tmp_path), other_image(chest_radiograph(), 2))


def test_a_present_finding_has_one_overlay_that_the_report_refers_to(request_):
    overlay, report = built_report(request_, ReportProfile.VIEWER)

    assert (overlay.role, overlay.subject) == ("SC", (1, "chest-findings", "Pneumothorax"))
    assert report.role == "SR"
    illustrations = [
        item.value[0].ReferencedSOPInstanceUID
        for item in report.dataset.iterall()
        if item.keyword == "ReferencedSOPSequence"
        and item.value[0].ReferencedSOPInstanceUID == overlay.dataset.SOPInstanceUID
    ]
    assert illustrations


def test_the_overlays_are_the_same_in_every_profile(request_):
    viewer = built_report(request_, ReportProfile.VIEWER)
    air = built_report(request_, ReportProfile.IHE_AIR)

    assert viewer[0].dataset == air[0].dataset
    assert viewer[1].dataset.SOPInstanceUID != air[1].dataset.SOPInstanceUID


def test_the_text_is_below_the_picture_and_heat_is_where_the_map_is(request_):
    overlay = built_report(request_, ReportProfile.VIEWER)[0].dataset

    pixels = overlay.pixel_array
    assert pixels.shape[1:] == (64, 3)
    assert pixels.shape[0] > 64
    spread = np.ptp(pixels[:64].astype(int), axis=2)
    assert spread[29, 48] > 20  # row 4.5 and column 7.5 of a map of 10 by 10
    assert spread[2, 2] == 0


def test_an_overlay_says_what_it_is_and_where_it_came_from(request_):
    overlay = built_report(request_, ReportProfile.VIEWER)[0].dataset

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

    overlay = built_report(request, ReportProfile.VIEWER)[0].dataset

    assert overlay.Columns == 32
    assert list(overlay.PixelSpacing) == [0.4, 0.4]


def test_once_lossy_always_lossy(tmp_path):
    image = _stored(
        tmp_path,
        LossyImageCompression="01",
        LossyImageCompressionRatio="12.5",
        LossyImageCompressionMethod="ISO_10918_1",
    )

    overlay = built_report(request_for(image), ReportProfile.VIEWER)[0].dataset

    assert overlay.LossyImageCompression == "01"
    assert overlay.LossyImageCompressionRatio == 12.5
    assert overlay.LossyImageCompressionMethod == "ISO_10918_1"


def test_series_attributes_are_written_only_where_the_images_agree(tmp_path):
    hand = {"BodyPartExamined": "HAND"}
    same = [_stored(tmp_path, n, Laterality="L", **hand) for n in (1, 2)]
    mixed = [same[0], _stored(tmp_path, 3, Laterality="R", **hand)]

    of_same = built_report(request_for(*same), ReportProfile.VIEWER)[:2]
    of_mixed = built_report(request_for(*mixed), ReportProfile.VIEWER)[:2]

    assert [b.dataset.Laterality for b in of_same] == ["L", "L"]
    assert [b.dataset.InstanceNumber for b in of_same] == [1, 2]
    assert [b.dataset.Laterality for b in of_mixed] == ["", ""]
    assert [b.dataset.BodyPartExamined for b in of_mixed] == ["HAND", "HAND"]


def test_a_file_that_cannot_be_read_costs_the_overlay_not_the_report(tmp_path):
    image = _stored(tmp_path)
    image.path.write_bytes(part10_bytes(chest_radiograph(PixelData=None)))

    with capture_logs() as events:
        built = built_report(request_for(image), ReportProfile.VIEWER)

    assert [b.role for b in built] == ["SR"]
    [skipped] = [event for event in events if event["event"] == "report.overlay.skipped"]
    assert skipped["image_number"] == 1
    assert skipped["error_code"] == "inference.pixels.undecodable"


def _broken(request, spoil):
    *overlays, report = built_report(request, ReportProfile.VIEWER)
    spoil([*overlays, report])
    rules = []
    for each in (*overlays, report):
        try:
            check(each, request, [overlay.dataset for overlay in overlays])
        except UnfitReport as failure:
            rules += failure.rules
    return rules


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
    overlay, report = built_report(request_, ReportProfile.VIEWER)

    with pytest.raises(UnfitReport, match="evidence is of this report"):
        check(report, replace(request_, images=request_.images[:1]), [overlay.dataset])
    with pytest.raises(UnfitReport, match="evidence is of this report"):
        check(report, request_)


def test_two_objects_never_share_a_uid(request_):
    overlay, report = built_report(request_, ReportProfile.VIEWER)

    with pytest.raises(UnfitReport, match="SOP Instance UIDs are unique"):
        check(report, request_, [overlay.dataset, overlay.dataset])


def test_a_series_of_the_report_holds_nothing_else(request_):
    overlay, report = built_report(request_, ReportProfile.VIEWER)
    overlay.dataset.SeriesInstanceUID = report.dataset.SeriesInstanceUID

    with pytest.raises(UnfitReport, match="a series holds one SOP class"):
        check(report, request_, [overlay.dataset])


def test_a_report_without_its_warning_is_not_sent(request_):
    def spoil(built):
        for item in built[1].dataset.iterall():
            if item.keyword == "TextValue":
                item.value = "fine"

    assert "SR: the warning is in the text" in _broken(request_, spoil)


def test_heat_maps_written_before_are_referred_to_without_their_pixels(request_):
    overlays = list(build_overlays(request_))
    references = overlays_among(request_, {each.dataset.SOPInstanceUID for each in overlays})

    assert references == dict(map(overlay_reference, overlays))
    assert all("PixelData" not in reference for reference in references.values())
    assert overlays_among(request_, set()) == {}


def test_the_likeliest_findings_get_the_heat_maps_and_the_report_says_how_many_have_none(
    tmp_path,
):
    images = [
        _likely(_stored(tmp_path, number), probability)
        for number, probability in enumerate((0.6, 0.9, 0.7, 0.8), start=1)
    ]
    limited = request_for(*images, maximum_heat_maps=2)

    assert [each.subject[0] for each in build_overlays(limited)] == [2, 4]
    assert "Heat maps: only for the 2 likeliest of 4 findings; 2 left out." in summary_lines(
        limited
    )
    everything = replace(limited, maximum_heat_maps=4)
    assert [each.subject[0] for each in build_overlays(everything)] == [1, 2, 3, 4]
    assert not any("Heat maps" in line for line in summary_lines(everything))


def _likely(image, probability):
    chest = image.analysis.predictions[-1]
    labels = tuple(
        replace(label, probability=probability) if label.key == "Pneumothorax" else label
        for label in chest.labels
    )
    predictions = (*image.analysis.predictions[:-1], replace(chest, labels=labels))
    return replace(image, analysis=replace(image.analysis, predictions=predictions))


@pytest.mark.slow
def test_sixty_large_images_take_no_more_memory_than_a_few():
    done = subprocess.run(
        [sys.executable, "-m", "tests.report_memory"], capture_output=True, text=True, check=True
    )

    assert int(done.stdout) < 100, "MB of growth; sixty overlays held at once would be 300"
