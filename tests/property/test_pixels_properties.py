"""What holds for every image and every window; pydicom is the oracle where it is right."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

from inference.pixels import (
    GreyTransform,
    Lut,
    Rescale,
    VoiFunction,
    Window,
    grey_picture,
    look_up,
    modality_values,
    windowed,
)

STORED = arrays(
    st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]),
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
)
FUNCTIONS = st.sampled_from(list(VoiFunction))
CENTERS = st.floats(-5000, 70000)
WIDTHS = st.floats(1, 70000)
WINDOWS = st.builds(Window, CENTERS, WIDTHS, FUNCTIONS)
SLOPES = st.floats(0.01, 8) | st.floats(-8, -0.01)
RESCALES = st.builds(Rescale, SLOPES, st.floats(-3000, 3000))


@given(stored=STORED, modality=RESCALES, voi=st.none() | WINDOWS, inverted=st.booleans())
def test_a_picture_is_bounded_and_keeps_its_shape(stored, modality, voi, inverted):
    out = grey_picture(stored, GreyTransform(modality=modality, voi=voi, inverted=inverted))

    assert out.display.shape == stored.shape
    assert out.display.dtype == np.float32
    assert out.display.min() >= 0
    assert out.display.max() <= 1


@given(stored=STORED, modality=RESCALES, voi=st.none() | WINDOWS, inverted=st.booleans())
def test_brightness_follows_the_stored_values_in_the_declared_sense(
    stored, modality, voi, inverted
):
    out = grey_picture(stored, GreyTransform(modality=modality, voi=voi, inverted=inverted))

    rising = (modality.slope > 0) != inverted
    steps = np.diff(out.display.ravel()[np.argsort(stored, axis=None, kind="stable")])
    assert (steps >= 0).all() if rising else (steps <= 0).all()


@given(values=arrays(np.float64, 30, elements=st.floats(-1e5, 1e5)), window=WINDOWS)
def test_windows_equal_those_of_pydicom(values, window):
    ds = Dataset()
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsStored, ds.PixelRepresentation = 16, 0
    ds.VOILUTFunction = window.function.value
    ds.WindowCenter, ds.WindowWidth = f"{window.center:.9g}", f"{window.width:.9g}"
    rounded = Window(float(ds.WindowCenter), float(ds.WindowWidth), window.function)
    if not rounded.usable:
        return

    theirs = apply_windowing(values, ds) / (2**16 - 1)

    np.testing.assert_allclose(windowed(values, rounded), theirs, atol=1e-9)


@given(
    stored=arrays(np.uint16, 30),
    first=st.integers(0, 40000),
    entries=st.lists(st.integers(0, 65535), min_size=2, max_size=300),
)
def test_look_up_tables_equal_those_of_pydicom(stored, first, entries):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, 16])
    item.add_new("LUTData", "US", entries)
    ds = Dataset()
    ds.VOILUTSequence = ds.ModalityLUTSequence = [item]
    lut = Lut(first, np.array(entries, dtype=np.uint16), 16)

    ours = look_up(stored.astype(np.float64), lut)

    np.testing.assert_array_equal(ours, apply_voi(stored, ds))
    np.testing.assert_array_equal(ours, apply_modality_lut(stored, ds))


@given(stored=STORED, rescale=RESCALES)
def test_rescale_equals_that_of_pydicom(stored, rescale):
    ds = Dataset()
    ds.RescaleSlope, ds.RescaleIntercept = f"{rescale.slope:.9g}", f"{rescale.intercept:.9g}"

    ours = modality_values(stored, Rescale(float(ds.RescaleSlope), float(ds.RescaleIntercept)))

    np.testing.assert_allclose(ours, apply_modality_lut(stored, ds))
