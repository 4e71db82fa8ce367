"""Real radiographs: every syntax that is there, the right way up, and nothing hostile."""

import csv
import hashlib
import tracemalloc

import numpy as np
import pytest
from pydicom import dcmread

from inference.attributes import PHOTOMETRIC_DOUBTFUL
from inference.reader import (
    MADE_SQUARE,
    MIDDLE_FRAME,
    SYNTAX_IMPLIED,
    PixelProblem,
    UnreadableImage,
    read_display,
)
from tests.data import data_dir

pytestmark = [
    pytest.mark.data,
    pytest.mark.filterwarnings("ignore"),  # pydicom warns of what these files are here for
]
LIMIT = 20_000_000

WITHOUT_PIXELS = {
    "charset_chrJapMulti.dcm",
    "charset_chrJapMultiExplicitIR6.dcm",
    "charset_chrKoreanMulti.dcm",
    "orthanc_CR_pelvis_header_only.dcm",
    "orthanc_PR_for_pelvis.dcm",
}
SAME_PIXELS = [  # lossless forms of one image
    ("WG04_RG2_J2KR.dcm", "WG04_RG2_JPLL.dcm"),
    ("WG04_RG3_JLSL.dcm", "WG04_RG3_JPLL.dcm", "WG04_RG3_RLE.dcm"),
]
NEAR_PIXELS = [  # a lossy form, and a lossless one of the same image
    ("WG04_RG2_JPLY.dcm", "WG04_RG2_JPLL.dcm"),
    ("WG04_RG3_JPLY.dcm", "WG04_RG3_JPLL.dcm"),
    ("WG04_RG2_J2KI.dcm", "WG04_RG2_JPLL.dcm"),
    ("WG04_RG2_JLSN.dcm", "WG04_RG2_JPLL.dcm"),
    ("WG04_RG1_J2KI.dcm", "WG04_RG1_JLSN.dcm"),
]
GOLDEN = {  # mean of the picture and of its middle ninth; each was looked at: bones are bright
    "WG04_RG1_JLSN.dcm": (0.754, 0.781),
    "WG04_RG2_JPLL.dcm": (0.441, 0.485),
    "WG04_RG3_JPLL.dcm": (0.696, 0.35),
    "fodicom_CR-ModalitySequenceLUT.dcm": (0.303, 0.428),
    "gdcm-CR-MONO1-10-chest.dcm": (0.547, 0.588),
    "highdicom_dx_thorax.dcm": (0.35, 0.307),
    "siim_chest_PA.dcm": (0.658, 0.706),
    "udacity_nih_test1.dcm": (0.738, 0.769),
    "ddh_pelvis_1.dcm": (0.347, 0.338),
}


def radiograph(name):
    return read_display(data_dir() / "dicom" / "radiographs" / name, maximum_pixels=LIMIT)


def files(folder):
    return sorted((data_dir() / "dicom" / folder).iterdir())


def middle(display):
    rows, columns = display.shape
    return display[rows // 3 : 2 * rows // 3, columns // 3 : 2 * columns // 3]


def test_every_radiograph_with_pixels_is_read():
    for path in files("radiographs"):
        if path.name in WITHOUT_PIXELS:
            with pytest.raises(UnreadableImage) as refused:
                radiograph(path.name)
            assert refused.value.problem is PixelProblem.ABSENT, path.name
        else:
            image = radiograph(path.name)
            assert image.display.std() > 0.02, path.name
            assert 0 <= image.display.min() <= image.display.max() <= 1, path.name


def test_every_transfer_syntax_is_read():
    for path in files("transfer_syntax_matrix"):
        image = read_display(path, maximum_pixels=LIMIT)
        ds = dcmread(path, force=True, stop_before_pixels=True)
        assert (image.rows, image.columns) == (ds.Rows, ds.Columns), path.name
        assert np.ptp(image.display) > 0.3, path.name


def test_lossless_forms_of_one_image_have_one_hash():
    for names in SAME_PIXELS:
        assert len({radiograph(name).pixel_sha256 for name in names}) == 1, names


def test_lossy_forms_look_like_the_lossless_one():
    for lossy, lossless in NEAR_PIXELS:
        one, other = radiograph(lossy).display, radiograph(lossless).display
        assert np.abs(one - other).mean() < 0.01, lossy
        assert np.corrcoef(one.ravel()[::7], other.ravel()[::7])[0, 1] > 0.99, lossy


def test_pictures_have_the_brightness_and_the_sense_they_always_had():
    for name, (whole, centre) in GOLDEN.items():
        display = radiograph(name).display
        assert display.mean() == pytest.approx(whole, abs=0.002), name
        assert middle(display).mean() == pytest.approx(centre, abs=0.002), name


def test_a_photometric_interpretation_that_lies_is_read_as_it_is_written():
    honest, lying = radiograph("siim_chest_PA.dcm"), radiograph("siim_chest_PA_fakeMONO1.dcm")

    assert lying.pixel_sha256 == honest.pixel_sha256
    np.testing.assert_allclose(lying.display + honest.display, 1.0, atol=1e-6)
    assert PHOTOMETRIC_DOUBTFUL not in lying.notes


def test_monochrome1_with_an_inverse_lut_shape_is_inverted_once():
    path = data_dir() / "dicom" / "radiographs" / "highdicom_dx_thorax.dcm"
    stored = dcmread(path).pixel_array.astype(float)

    display = radiograph("highdicom_dx_thorax.dcm").display

    assert np.corrcoef(stored.ravel(), display.ravel())[0, 1] < -0.99


def test_a_file_without_meta_information_shows_what_its_twin_shows():
    bare = radiograph("fodicom_CR-MONO1-10-chest_noext")

    assert bare.notes == (SYNTAX_IMPLIED,)
    assert bare.pixel_sha256 == radiograph("gdcm-CR-MONO1-10-chest.dcm").pixel_sha256


def test_pixels_four_by_three_are_made_square():
    matrix = data_dir() / "dicom" / "transfer_syntax_matrix"
    image = read_display(matrix / "ts_1.2.840.10008.1.2.1.dcm", maximum_pixels=LIMIT)

    assert image.notes == (MADE_SQUARE,)
    assert image.display.shape == (160, 256)


def test_broken_files_are_read_or_refused_and_ask_for_little_memory():
    tracemalloc.start()
    try:
        problems = {path.name: problem(path) for path in files("broken")}
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 200_000_000
    assert problems["2026-05-26-oob-monochrome-46341.dcm"] is PixelProblem.TOO_LARGE
    assert problems["MR_truncated.dcm"] is PixelProblem.DAMAGED
    assert problems["nested_priv_SQ.dcm"] is PixelProblem.DAMAGED
    assert problems["html_page_named_test1.dcm"] is PixelProblem.ABSENT
    assert problems["LenaTwiceWithFragments.dcm"] == (MIDDLE_FRAME,)
    readable = [name for name, outcome in problems.items() if isinstance(outcome, tuple)]
    assert len(readable) == 15, readable


def problem(path):
    """Return the notes of a readable file, or why it is not."""
    try:
        return read_display(path, maximum_pixels=LIMIT).notes
    except UnreadableImage as refused:
        return refused.problem


def test_the_files_are_those_the_numbers_were_taken_from():
    with (data_dir() / "dicom" / "index.csv").open(encoding="utf-8") as index:
        listed = {row["file"]: row["sha256"] for row in csv.DictReader(index)}
    for name in GOLDEN:
        content = (data_dir() / "dicom" / "radiographs" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == listed[f"radiographs/{name}"], name
