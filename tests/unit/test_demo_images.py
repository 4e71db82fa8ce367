"""Phantoms and wrapped pictures are complete, seeded, and say what they are."""

from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from dicom_node.demo.anatomy import LONG_SIDE, PHANTOMS, render
from dicom_node.demo.phantoms import COMMENT, DEMO_PLANS, StudyPlan, demo_studies, phantom_study
from dicom_node.demo.radiograph import Identity
from dicom_node.demo.wrap import wrap
from inference.regions import load_regions
from inference.verify import expectation

NOW = datetime(2026, 1, 2, 10, 15, tzinfo=UTC)
HAND = PHANTOMS["HAND"]
IDENTITY = Identity(
    patient_id="FAKE-7",
    patient_name="INVENTED^PATIENT",
    accession_number="FAKE-ACC-7",
    study_instance_uid="2.25.71",
    series_instance_uid="2.25.72",
    sop_instance_uid="2.25.73",
    study_description="XR HAND",
)


def test_equal_seeds_draw_equal_pixels_and_other_seeds_do_not():
    first, again, other = render(HAND, seed=1), render(HAND, seed=1), render(HAND, seed=2)

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_phantom_uses_its_12_bits_and_leaves_the_air_dark():
    pixels = render(HAND, seed=1)

    assert pixels.dtype == np.uint16
    assert max(pixels.shape) == LONG_SIDE
    assert pixels.max() == 4095
    assert np.median(pixels[:20, :20]) < 200
    assert pixels[LONG_SIDE // 2, int(0.38 * LONG_SIDE)] > 1000


@pytest.fixture(scope="module")
def studies():
    return demo_studies(seed=5, taken_at=NOW)


def test_every_phantom_says_that_no_patient_stands_behind_it(studies):
    for image in (image for study in studies for image in study):
        assert image.ImageComments == COMMENT
        assert str(image.PatientName).startswith("PHANTOM")
        assert image.PatientID.startswith("PHANTOM")


def test_the_demo_files_some_images_under_the_wrong_order(studies):
    table = load_regions()
    right = []
    for plan, study in zip(DEMO_PLANS, studies, strict=True):
        for region, image in zip(plan.regions, study, strict=True):
            ordered = expectation(image, table)
            right.append(any(region in table.showing(r) for r in ordered.regions))

    assert right == [True, True, False, True, False]


def test_the_studies_of_a_run_do_not_share_identifiers(studies):
    images = [image for study in studies for image in study]

    assert len({image.SOPInstanceUID for image in images}) == len(images)
    assert len({image.SeriesInstanceUID for image in images}) == len(images)
    assert len({image.StudyInstanceUID for image in images}) == len(studies)
    assert len({image.AccessionNumber for image in images}) == len(studies)


def test_the_same_run_makes_the_same_identifiers(studies):
    [again] = phantom_study(DEMO_PLANS[0], number=1, seed=5, taken_at=NOW)
    [other] = phantom_study(DEMO_PLANS[0], number=1, seed=6, taken_at=NOW)

    assert again.SOPInstanceUID == studies[0][0].SOPInstanceUID != other.SOPInstanceUID


def test_a_region_that_cannot_be_drawn_is_refused():
    with pytest.raises(KeyError):
        phantom_study(
            StudyPlan(study_description="x", regions=("SKULL",)), number=1, seed=1, taken_at=NOW
        )


@pytest.mark.parametrize(("suffix", "lossy"), [("png", False), ("jpg", True)])
def test_a_wrapped_picture_keeps_its_pixels_and_says_whether_they_were_lossy(
    tmp_path, suffix, lossy
):
    picture = tmp_path / f"hand.{suffix}"
    Image.fromarray(np.tile(np.arange(51, dtype=np.uint8) * 5, (31, 1))).save(picture)

    wrapped = wrap(picture, IDENTITY, taken_at=NOW)

    with Image.open(picture) as opened:
        assert np.array_equal(wrapped.pixel_array, np.asarray(opened))
    assert wrapped.PhotometricInterpretation == "MONOCHROME2"
    assert ("LossyImageCompression" in wrapped) is lossy
    assert wrapped.AccessionNumber == "FAKE-ACC-7"
    assert wrapped.StudyDescription == "XR HAND"
    assert wrapped.file_meta.MediaStorageSOPInstanceUID == "2.25.73"
    assert wrapped.BodyPartExamined == ""


def test_a_wrapped_colour_picture_becomes_grey(tmp_path):
    picture = tmp_path / "colour.png"
    Image.new("RGB", (8, 6), (200, 200, 200)).save(picture)

    wrapped = wrap(picture, IDENTITY, taken_at=NOW, body_part_examined="CHEST")

    assert wrapped.pixel_array.shape == (6, 8)
    assert set(wrapped.pixel_array.ravel()) == {200}
    assert "Laterality" not in wrapped


def test_what_is_no_picture_is_refused(tmp_path):
    text = tmp_path / "x.jpg"
    text.write_text("not a picture", encoding="utf-8")

    with pytest.raises(OSError, match="cannot identify"):
        wrap(text, IDENTITY, taken_at=NOW)
