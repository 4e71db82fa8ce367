"""The grey-scale pipeline, against worked examples of the standard."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pydicom import Dataset

from inference.attributes import (
    ASPECT_IMPLAUSIBLE,
    FOR_PROCESSING,
    PHOTOMETRIC_DOUBTFUL,
    RESCALE_UNUSABLE,
    grey_transform,
    pixel_aspect,
)
from inference.pixels import (
    GreyTransform,
    Lut,
    Rescale,
    VoiFunction,
    Window,
    grey_picture,
    luminance_picture,
    voi_values,
    windowed,
)

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def shown(stored, **transform):
    return grey_picture(stored, GreyTransform(**transform)).display


def test_linear_window_follows_the_worked_example_of_the_standard():
    # PS3.3 Section C.11.2.1.2.1, note: c=2048, w=4096 maps x <= 0 to ymin, x > 4095 to ymax,
    # else ((x - 2047.5) / 4095 + 0.5) * (ymax - ymin) + ymin.
    values = np.array([-5.0, 0.0, 1.0, 2047.5, 4095.0, 5000.0])

    out = windowed(values, Window(2048, 4096))

    assert_allclose(out, [0, 0, 1 / 4095, 0.5, 1, 1], atol=1e-12)


def test_linear_window_of_width_one_is_a_threshold():
    # Same clause: c=0, w=1 maps x <= -0.5 to ymin and x > -0.5 to ymax.
    assert_allclose(windowed(np.array([-1.0, -0.5, -0.4, 3.0]), Window(0, 1)), [0, 0, 1, 1])


def test_linear_exact_window_uses_center_and_width_as_they_are():
    # PS3.3 Section C.11.2.1.3.2: c=0, w=100 maps x <= -50 to ymin and x > 50 to ymax.
    window = Window(0, 100, VoiFunction.LINEAR_EXACT)

    assert_allclose(windowed(np.array([-50.0, -25.0, 0.0, 50.0]), window), [0, 0.25, 0.5, 1])


def test_sigmoid_window_is_the_formula_of_the_standard_and_does_not_overflow():
    window = Window(2000, 400, VoiFunction.SIGMOID)

    out = windowed(np.array([-1e9, 1900.0, 2000.0, 1e9]), window)

    assert_allclose(out, [0, 1 / (1 + np.exp(1.0)), 0.5, 1], atol=1e-12)


def test_values_outside_a_lut_take_its_end_entries():
    lut = Lut(first=10, entries=np.array([0, 100, 200, 255], dtype=np.uint16), bits=8)

    out = voi_values(np.array([0.0, 10.0, 11.0, 13.0, 99.0]), lut)

    assert_allclose(out * 255, [0, 0, 100, 255, 255])


def test_a_lut_that_declares_sixteen_bits_and_fills_ten_is_not_shown_black():
    lut = Lut(first=0, entries=np.arange(1024, dtype=np.uint16), bits=16)

    assert voi_values(np.array([1023.0]), lut)[0] == 1.0


def test_modality_lut_comes_before_the_window():
    modality = Lut(first=0, entries=np.arange(4095, -1, -1, dtype=np.uint16), bits=12)

    out = shown(RAMP, modality=modality, voi=Window(2048, 4096))

    assert out[0, 0] == 1.0
    assert out[-1, -1] == 0.0


def test_a_negative_slope_turns_the_values_not_the_meaning_of_the_window():
    out = shown(RAMP, modality=Rescale(-1.0, 4095.0), voi=Window(2048, 4096))

    assert out[0, 0] == 1.0
    assert out[-1, -1] == 0.0


def test_inversion_mirrors_the_picture_whatever_values_are_present():
    dim = (RAMP // 4).astype(np.uint16)

    plain = shown(dim, voi=Window(2048, 4096))
    inverted = shown(dim, voi=Window(2048, 4096), inverted=True)

    assert_allclose(plain + inverted, 1.0, atol=1e-6)


def test_signed_values_reach_the_window_as_signed():
    stored = np.array([[-1000, 0], [500, 1000]], dtype=np.int16)

    out = shown(stored, voi=Window(0, 2000, VoiFunction.LINEAR_EXACT))

    assert_allclose(out, [[0, 0.5], [0.75, 1.0]], atol=1e-6)


def test_padding_is_black_and_does_not_stretch_the_range():
    stored = np.full((20, 20), 100, dtype=np.int16)
    stored[5:15, 5:15] = np.arange(100).reshape(10, 10) + 50
    stored[0] = -2000

    out = shown(stored, padding=(-2000, -1900))

    assert (out[0] == 0).all()
    assert out[5:15, 5:15].max() == pytest.approx(1.0, abs=0.01)
    assert out[10, 10] == pytest.approx((stored[10, 10] - 50) / 99, abs=0.02)


def test_padding_is_black_also_in_an_inverted_picture():
    stored = RAMP.copy()
    stored[0] = 4095

    assert (shown(stored, padding=(4095, 4095), inverted=True)[0] == 0).all()
    assert (shown(stored, padding=(0, 0), inverted=True)[1] > 0.9).all()


def test_a_picture_that_is_all_padding_is_black():
    assert (shown(np.zeros((4, 4), dtype=np.uint16), padding=(0, 0)) == 0).all()


@pytest.mark.parametrize(
    "voi",
    [
        Window(2048, 0),
        Window(2048, -5, VoiFunction.SIGMOID),
        Window(0.5, 0.5),
        Window(float("nan"), 100),
        Window(60000, 10),
        Window(-60000, 10),
        Lut(first=0, entries=np.zeros(4096, dtype=np.uint16), bits=12),
    ],
)
def test_a_voi_that_shows_nothing_gives_way_to_the_range_of_the_values(voi):
    picture = grey_picture(RAMP, GreyTransform(voi=voi))

    assert picture.voi_unusable
    assert_allclose(picture.display, RAMP / 4095, atol=0.002)


def test_dead_pixels_do_not_decide_the_contrast():
    stored = (np.arange(10_000, dtype=np.uint16) % 1000).reshape(100, 100)
    stored[50, 50] = 65535

    assert np.percentile(shown(stored), 90) == pytest.approx(0.9, abs=0.02)


def test_a_flat_image_is_black_not_an_error():
    assert (shown(np.full((8, 8), 7, dtype=np.uint8)) == 0).all()


def test_float_pixels_with_holes_are_shown_without_them():
    stored = np.array([[0.0, 1.0], [np.nan, np.inf]], dtype=np.float32)

    out = shown(stored, voi=Window(0.5, 1.0, VoiFunction.LINEAR_EXACT))

    assert np.isfinite(out).all()
    assert_allclose(out[0], [0.0, 1.0])


def test_wide_integers_take_the_same_path_as_narrow_ones():
    transform = GreyTransform(
        modality=Rescale(0.5, -100), voi=Window(900, 1500), inverted=True, padding=(0, 3)
    )

    narrow = grey_picture(RAMP, transform).display
    wide = grey_picture(RAMP.astype(np.int32), transform).display

    assert_allclose(narrow, wide)


def test_luminance_weighs_the_channels_as_ybr_full_does():
    primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)

    assert_allclose(luminance_picture(primaries, bits=8), [[0.299, 0.587, 0.114, 1]], atol=1e-6)


def attributes(**values):
    ds = Dataset()
    ds.PhotometricInterpretation = "MONOCHROME2"
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def lut_item(descriptor, data, vr="US"):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    item.add_new("LUTData", vr, data)
    return item


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted", "doubtful"),
    [
        ("MONOCHROME2", None, False, False),
        ("MONOCHROME1", None, True, False),
        ("MONOCHROME2", "IDENTITY", False, False),
        ("MONOCHROME1", "INVERSE", True, False),
        ("MONOCHROME1", "IDENTITY", True, True),
        ("MONOCHROME2", "INVERSE", True, True),
    ],
)
def test_inversion_is_said_once_and_contradictions_are_noted(
    photometric, shape, inverted, doubtful
):
    ds = attributes(PhotometricInterpretation=photometric)
    if shape:
        ds.PresentationLUTShape = shape

    transform, notes = grey_transform(ds, 0)

    assert transform.inverted is inverted
    assert (PHOTOMETRIC_DOUBTFUL in notes) is doubtful


def test_the_first_of_several_windows_holds():
    transform, _ = grey_transform(attributes(WindowCenter=[40, 450], WindowWidth=[350, 1500]), 0)

    assert transform.voi == Window(40, 350)


def test_a_voi_lut_comes_before_a_window():
    ds = attributes(WindowCenter=40, WindowWidth=350)
    ds.VOILUTSequence = [lut_item([4, 0, 8], [0, 1, 2, 255])]

    transform, _ = grey_transform(ds, 0)

    assert isinstance(transform.voi, Lut)
    assert transform.voi.entries.tolist() == [0, 1, 2, 255]


def test_a_modality_lut_comes_before_the_rescale_beside_it():
    ds = attributes(RescaleSlope=1, RescaleIntercept=0)
    ds.ModalityLUTSequence = [lut_item([3, 7, 16], [5, 6, 7])]

    transform, _ = grey_transform(ds, 0)

    assert isinstance(transform.modality, Lut)
    assert transform.modality.first == 7


def test_a_voi_lut_over_negative_values_starts_below_zero_whatever_its_vr():
    ds = attributes(RescaleSlope=1, RescaleIntercept=-1024)
    ds.VOILUTSequence = [lut_item([4, 65536 - 1024, 8], [0, 1, 2, 255])]

    transform, _ = grey_transform(ds, 0)

    assert transform.voi.first == -1024


def test_zero_entries_stand_for_all_of_them_and_words_may_be_bytes():
    ds = attributes()
    ds.VOILUTSequence = [lut_item([0, 0, 16], np.arange(65536, dtype="<u2").tobytes(), "OW")]

    transform, _ = grey_transform(ds, 0)

    assert len(transform.voi.entries) == 65536
    assert transform.voi.entries[-1] == 65535


def test_bytes_may_hold_one_entry_each():
    ds = attributes()
    ds.VOILUTSequence = [lut_item([4, 0, 8], bytes([0, 10, 20, 255]), "OW")]

    transform, _ = grey_transform(ds, 0)

    assert transform.voi.entries.tolist() == [0, 10, 20, 255]


@pytest.mark.parametrize("descriptor", [[], [4, 0], [4, 0, 0], [4, 0, 33]])
def test_a_lut_without_a_sound_descriptor_is_left_out(descriptor):
    ds = attributes(WindowCenter=40, WindowWidth=350)
    ds.VOILUTSequence = [lut_item(descriptor, [0, 1, 2, 255])]

    transform, _ = grey_transform(ds, 0)

    assert transform.voi == Window(40, 350)


@pytest.mark.parametrize("slope", ["0", ""])
def test_a_rescale_that_erases_the_image_is_not_applied(slope):
    transform, notes = grey_transform(attributes(RescaleSlope=slope, RescaleIntercept="5"), 0)

    assert transform.modality == Rescale()
    assert RESCALE_UNUSABLE in notes


def test_the_frame_of_an_enhanced_object_has_its_own_window():
    frames = []
    for center in (10, 20):
        window = Dataset()
        window.WindowCenter, window.WindowWidth = center, 100
        groups = Dataset()
        groups.FrameVOILUTSequence = [window]
        frames.append(groups)
    ds = attributes(WindowCenter=1, WindowWidth=2)
    ds.PerFrameFunctionalGroupsSequence = frames

    transform, _ = grey_transform(ds, 1)

    assert transform.voi == Window(20, 100)


def test_an_image_for_processing_is_noted():
    _, notes = grey_transform(attributes(PresentationIntentType="FOR PROCESSING"), 0)

    assert FOR_PROCESSING in notes


def test_padding_may_be_a_range_in_either_order():
    ds = attributes()
    ds.add_new("PixelPaddingValue", "US", 4095)
    ds.add_new("PixelPaddingRangeLimit", "US", 4000)

    assert grey_transform(ds, 0)[0].padding == (4000, 4095)


@pytest.mark.parametrize(
    ("representation", "vr", "written", "meant"),
    [
        (1, "US", 32768, -32768),
        (1, "US", 63536, -2000),
        (0, "SS", -2000, 63536),
        (1, "SS", -2000, -2000),
        (0, "US", 63536, 63536),
    ],
)
def test_padding_has_the_sign_of_the_pixels_whatever_vr_was_written(
    representation, vr, written, meant
):
    ds = attributes()
    ds.BitsAllocated, ds.PixelRepresentation = 16, representation
    ds.add_new("PixelPaddingValue", vr, written)

    assert grey_transform(ds, 0)[0].padding == (meant, meant)


@pytest.mark.parametrize(
    ("values", "aspect"),
    [
        ({}, 1.0),
        ({"PixelSpacing": [0.2, 0.1]}, 2.0),
        ({"PixelSpacing": [0.2, 0.1], "PixelAspectRatio": [1, 1]}, 2.0),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, 0.5),
        ({"PixelSpacing": [0, 0], "PixelAspectRatio": [4, 3]}, 4 / 3),
        ({"PixelAspectRatio": [1]}, 1.0),
        ({"PixelSpacing": [1.2, 1.2012]}, 1.0),
    ],
)
def test_pixel_shape_is_read_from_spacing_before_aspect_ratio(values, aspect):
    assert pixel_aspect(attributes(**values)) == (pytest.approx(aspect), ())


def test_an_implausible_pixel_shape_is_noted_and_not_believed():
    assert pixel_aspect(attributes(PixelAspectRatio=[1, 1000])) == (1.0, (ASPECT_IMPLAUSIBLE,))
