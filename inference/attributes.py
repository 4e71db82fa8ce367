"""Read the grey-scale transformation and the pixel shape out of a data set (pure).

Real headers hold empty values, words where numbers belong, and zero spacings: whatever
is not usable is left out, and a note says so.
"""

import math
from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

from inference.pixels import GreyTransform, Lut, Rescale, VoiFunction, Window

PHOTOMETRIC_DOUBTFUL = "pixels.photometric_doubtful"
RESCALE_UNUSABLE = "pixels.rescale_unusable"
FOR_PROCESSING = "pixels.for_processing"
ASPECT_IMPLAUSIBLE = "pixels.aspect_implausible"

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_LARGEST_ASPECT = 10.0
_SQUARE_ENOUGH = 0.01
"""Detectors state 0.1 mm pitches with rounding errors; below 1 % nobody sees it."""


def numbers(ds: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the finite numbers of an attribute; empty when absent or malformed."""
    try:
        value = ds.get(keyword)
        if value is None or isinstance(value, str | bytes):
            return ()
        items = value if isinstance(value, Sequence) else (value,)
        found = tuple(float(item) for item in items)
    except (ValueError, TypeError, ArithmeticError):
        return ()
    return found if all(math.isfinite(number) for number in found) else ()


def text(ds: Dataset, keyword: str) -> str:
    """Return an attribute as upper-case text; empty when absent or not text."""
    value = ds.get(keyword)
    return value.strip().upper() if isinstance(value, str) else ""


def grey_transform(ds: Dataset, frame: int) -> tuple[GreyTransform, tuple[str, ...]]:
    """Return how the grey values of a frame are to be shown, and notes on doubts.

    Where several windows or VOI LUTs are given, the first holds (PS3.3 Section C.11.2.1).
    """
    notes = []
    rescale_from = _functional_group(ds, frame, "PixelValueTransformationSequence")
    modality, usable = _modality(ds, rescale_from)
    if not usable:
        notes.append(RESCALE_UNUSABLE)
    if text(ds, "PresentationIntentType") == "FOR PROCESSING":
        notes.append(FOR_PROCESSING)
    inverted, doubtful = _inversion(ds)
    if doubtful:
        notes.append(PHOTOMETRIC_DOUBTFUL)
    transform = GreyTransform(
        modality=modality,
        voi=_voi(_functional_group(ds, frame, "FrameVOILUTSequence"), modality, _is_signed(ds)),
        inverted=inverted,
        padding=_padding(ds),
    )
    return transform, tuple(notes)


def pixel_aspect(ds: Dataset) -> tuple[float, tuple[str, ...]]:
    """Return height divided by width of a pixel, 1.0 for square, and notes.

    The physical spacings come first, then Pixel Aspect Ratio, which stands in only where
    they are absent (PS3.3 Sections 10.7.1.3 and C.7.6.3.1.7); all give the vertical first.
    """
    for keyword in (*_SPACINGS, "PixelAspectRatio"):
        pair = numbers(ds, keyword)
        if len(pair) == 2 and min(pair) > 0:
            aspect = pair[0] / pair[1]
            if not 1 / _LARGEST_ASPECT <= aspect <= _LARGEST_ASPECT:
                return 1.0, (ASPECT_IMPLAUSIBLE,)
            return (1.0 if abs(aspect - 1.0) < _SQUARE_ENOUGH else aspect), ()
    return 1.0, ()


def _is_signed(ds: Dataset) -> bool:
    return numbers(ds, "PixelRepresentation") == (1.0,)


def _functional_group(ds: Dataset, frame: int, keyword: str) -> Dataset:
    """Return the macro of an enhanced multi-frame object, or the data set itself.

    PS3.3 Section C.7.6.16: per-frame groups come before shared ones.
    """
    per_frame = _items(ds, "PerFrameFunctionalGroupsSequence")[frame : frame + 1]
    for groups in (*per_frame, *_items(ds, "SharedFunctionalGroupsSequence")[:1]):
        for item in _items(groups, keyword)[:1]:
            return item
    return ds


def _items(ds: Dataset, keyword: str) -> list[Dataset]:
    value = ds.get(keyword)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []


def _modality(ds: Dataset, rescale_from: Dataset) -> tuple[Lut | Rescale, bool]:
    """Return the Modality LUT or the rescale, and whether what was given is usable."""
    for item in _items(ds, "ModalityLUTSequence")[:1]:
        lut = _lut(item, signed=_is_signed(ds))
        if lut is not None:
            return lut, True
    given = [keyword for keyword in ("RescaleSlope", "RescaleIntercept") if keyword in rescale_from]
    if not given:
        return Rescale(), True
    slope = numbers(rescale_from, "RescaleSlope")
    intercept = numbers(rescale_from, "RescaleIntercept")
    if len(slope) != 1 or len(intercept) != 1 or slope[0] == 0:
        return Rescale(), False
    return Rescale(slope[0], intercept[0]), True


def _voi(ds: Dataset, modality: Lut | Rescale, signed: bool) -> Lut | Window | None:
    below_zero = isinstance(modality, Rescale) and (
        signed or modality.intercept < 0 or modality.slope < 0
    )
    for item in _items(ds, "VOILUTSequence")[:1]:
        lut = _lut(item, signed=below_zero)
        if lut is not None:
            return lut
    center, width = numbers(ds, "WindowCenter")[:1], numbers(ds, "WindowWidth")[:1]
    if not center or not width:
        return None
    function = text(ds, "VOILUTFunction")
    known = function if function in set(VoiFunction) else VoiFunction.LINEAR
    return Window(center[0], width[0], VoiFunction(known))


def _lut(item: Dataset, *, signed: bool) -> Lut | None:
    """Return a LUT item's table; None when it cannot be one.

    LUT Descriptor (PS3.3 Section C.11.1.1): 0 entries stand for 65,536, and the first
    value mapped is signed where the values it is compared with are, whatever VR was
    written.
    """
    descriptor = numbers(item, "LUTDescriptor")
    if len(descriptor) != 3:
        return None
    length = int(descriptor[0]) & 0xFFFF or 0x10000
    first = int(descriptor[1]) & 0xFFFF
    if signed and first >= 0x8000:
        first -= 0x10000
    data = item.get("LUTData")
    if isinstance(data, bytes):
        packed = len(data) < 2 * length
        word = ">u2" if item.original_encoding[1] is False else "<u2"
        entries = np.frombuffer(data[: len(data) // 2 * 2], dtype="u1" if packed else word)
    else:
        entries = np.array(numbers(item, "LUTData"), dtype=np.int64) & 0xFFFF
    if len(entries) < 2 or not 1 <= descriptor[2] <= 16:
        return None
    return Lut(first, entries[:length].astype(np.uint16), int(descriptor[2]))


def _inversion(ds: Dataset) -> tuple[bool, bool]:
    """Return (low values are white, the attributes contradict each other).

    MONOCHROME1 (PS3.3 Section C.7.6.3.1.2) and Presentation LUT Shape INVERSE (Section
    C.11.6.1.2) say the same thing once, not twice: PS3.3 Section C.8.11.3.1.2 demands
    them together.
    """
    low_is_white = text(ds, "PhotometricInterpretation") == "MONOCHROME1"
    shape = text(ds, "PresentationLUTShape")
    inverse = shape == "INVERSE"
    stated = shape in ("IDENTITY", "INVERSE")
    return low_is_white or inverse, stated and inverse != low_is_white


def _padding(ds: Dataset) -> tuple[float, float] | None:
    value = numbers(ds, "PixelPaddingValue")
    if len(value) != 1:
        return None
    limit = numbers(ds, "PixelPaddingRangeLimit")
    ends = [_as_stored(ds, end) for end in (value[0], limit[0] if len(limit) == 1 else value[0])]
    return min(ends), max(ends)


def _as_stored(ds: Dataset, value: float) -> float:
    """Return a value in the signedness of the pixels, whatever VR it was written with."""
    signed = (numbers(ds, "PixelRepresentation") or (0,))[0] == 1
    values = 2.0 ** (numbers(ds, "BitsAllocated") or (16,))[0]
    if signed and value >= values / 2:
        return value - values
    return value + values if not signed and value < 0 else value
