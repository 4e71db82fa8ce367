"""The picture that goes back to the PACS."""

import numpy as np
import pytest

from inference.overlay import COLOURS, banner, heat_overlay
from inference.types import HeatMap

GREY = np.full((100, 200), 0.5, dtype=np.float32)


def heat(values, box=(0.0, 0.0, 1.0, 1.0)):
    rows = tuple(tuple(float(v) for v in row) for row in values)
    return HeatMap(key="effusion", method="test", values=rows, content_box=box)


def saturation(rgb):
    wide = rgb.astype(int)
    return wide.max(axis=2) - wide.min(axis=2)


def test_where_nothing_was_seen_the_image_is_untouched():
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[np.newaxis].repeat(4, axis=0)

    out = heat_overlay(ramp, heat(np.zeros((7, 7))), long_side=1000)

    assert (saturation(out) == 0).all()
    np.testing.assert_array_equal(out[0, :, 0], np.arange(256))


def test_the_anatomy_stays_readable_at_the_peak():
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[np.newaxis].repeat(4, axis=0)

    out = heat_overlay(ramp, heat(np.ones((7, 7))), long_side=1000).astype(int)

    luminance = out @ [0.299, 0.587, 0.114]
    assert (np.diff(luminance[0]) > 0).all()
    assert luminance[0, -1] - luminance[0, 0] > 100


def test_heat_lands_where_the_image_lay_in_the_square():
    values = np.zeros((8, 8))
    values[2:4, 4:8] = 1.0  # the upper right quarter of a wide image between 0.25 and 0.75
    out = heat_overlay(GREY, heat(values, (0.25, 0.0, 0.75, 1.0)), long_side=200)

    hot = saturation(out) > 20
    assert hot[5:40, 110:195].all()
    assert not hot[60:].any()
    assert not hot[:, :75].any()


def test_heat_outside_the_image_is_cut_off():
    values = np.zeros((8, 8))
    values[0] = 1.0

    out = heat_overlay(GREY, heat(values, (0.25, 0.0, 0.75, 1.0)), long_side=200)

    assert (saturation(out) == 0).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3000, 2000), (300, 200)), ((100, 50), (100, 50)), ((1, 4000), (1, 300))],
)
def test_the_long_side_is_capped_and_small_images_are_not_enlarged(shape, expected):
    out = heat_overlay(np.zeros(shape, np.float32), heat(np.zeros((7, 7))), long_side=300)

    assert out.shape == (*expected, 3)
    assert out.dtype == np.uint8


def test_colours_grow_lighter_with_the_heat():
    linear = np.where(COLOURS <= 0.04045, COLOURS / 12.92, ((COLOURS + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]

    assert (np.diff(luminance) > 0).all()


def test_the_band_is_added_below_and_leaves_the_picture_alone():
    picture = np.random.default_rng(0).integers(0, 256, (90, 400, 3), dtype=np.uint8)

    out = banner(picture, ["Effusion, probability 0.83", "Not for primary diagnosis"])

    np.testing.assert_array_equal(out[:90], picture)
    assert out.shape[0] > 90 + 40
    assert out[90:].max() > 200
    assert saturation(out[90:]).max() > 100  # the colour bar


def test_a_long_line_is_wrapped_not_cut():
    picture = np.zeros((50, 300, 3), dtype=np.uint8)
    words = "word " * 40

    short, long = banner(picture, ["word"]), banner(picture, [words])

    assert long.shape[0] >= short.shape[0] + 3 * 11
    assert (long[50:, -10:] == long[51, -1]).all()


def test_a_narrow_picture_still_gets_a_band():
    assert banner(np.zeros((20, 20, 3), dtype=np.uint8), ["A title"]).shape[1] == 20
