"""From stored pixel values to a picture: the grey-scale pipeline of DICOM (pure).

Stored values pass the Modality LUT, the VOI LUT and the presentation, in that order
(PS3.3 Sections C.11.1, C.11.2, C.11.6; PS3.4 Annex N.2), and end as float32 in [0, 1],
bright where the beam was stopped (the MONOCHROME2 sense).

Why not `pydicom.pixels.apply_*`: its window returns the reversed picture for a negative
Rescale Slope, its inversion depends on the largest value present, and it works on the
whole image in float64. Here the chain runs over the at most 65,536 values that a stored
pixel can have, and the image is one look-up in the result. The tests compare both where
pydicom is right.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Stored = NDArray[np.number]
Values = NDArray[np.float64]

_LOW_PERCENTILE, _HIGH_PERCENTILE = 0.1, 99.9
"""What counts as the full range when no usable VOI transformation is given: a few dead
or burnt-in pixels must not decide the contrast of the picture."""

_SAMPLE_SIDE = 1024
_FLAT = 0.02
"""A VOI transformation that leaves less than this of the output range shows nothing."""

_LUMINANCE = np.array([0.2990, 0.5870, 0.1140])
"""Y of YBR_FULL (PS3.3 Section C.7.6.3.1.2)."""


class VoiFunction(StrEnum):
    """VOI LUT Function (0028,1056)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


@dataclass(frozen=True, slots=True, eq=False)
class Lut:
    """A look-up table as a Modality or VOI LUT Sequence item gives it."""

    first: int
    """The input value that the first entry stands for."""

    entries: NDArray[np.uint16]
    bits: int
    """Bits of an entry, as the LUT Descriptor declares them."""


@dataclass(frozen=True, slots=True)
class Rescale:
    """Rescale Slope and Intercept."""

    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """Window Center and Width with their VOI LUT Function."""

    center: float
    width: float
    function: VoiFunction = VoiFunction.LINEAR

    @property
    def usable(self) -> bool:
        """Whether the width is one that PS3.3 Section C.11.2.1 allows."""
        least = 1.0 if self.function is VoiFunction.LINEAR else np.finfo(np.float64).tiny
        return bool(np.isfinite(self.center) and np.isfinite(self.width) and self.width >= least)


@dataclass(frozen=True, slots=True, eq=False)
class GreyTransform:
    """Everything that turns stored values into the picture the sender meant."""

    modality: Lut | Rescale = Rescale()
    voi: Lut | Window | None = None
    inverted: bool = False
    """Low values are white: MONOCHROME1 or Presentation LUT Shape INVERSE."""

    padding: tuple[float, float] | None = None
    """Stored values, both ends included, that are no part of the picture
    (PS3.3 Section C.7.5.1.1.2): left out of any range, and shown black."""


@dataclass(frozen=True, slots=True, eq=False)
class GreyPicture:
    """A picture, and whether its own VOI transformation could be used."""

    display: NDArray[np.float32]
    voi_unusable: bool


def look_up(values: Values, lut: Lut) -> Values:
    """Return the LUT's entries for `values`; outside its range its end entries hold.

    PS3.3 Sections C.11.1.1.1 and C.11.2.1.1. Values between integers are rounded.
    """
    index = np.clip(np.rint(values - lut.first), 0, len(lut.entries) - 1)
    return lut.entries[index.astype(np.intp)].astype(np.float64)


def modality_values(stored: Stored, modality: Lut | Rescale) -> Values:
    """Return the output of the Modality LUT (PS3.3 Section C.11.1)."""
    values = stored.astype(np.float64)
    if isinstance(modality, Lut):
        return look_up(values, modality)
    return values * modality.slope + modality.intercept


def windowed(values: Values, window: Window) -> Values:
    """Return `values` through `window`, in [0, 1] (PS3.3 Section C.11.2.1.2 and .3)."""
    if window.function is VoiFunction.SIGMOID:
        exponent = np.clip(-4.0 * (values - window.center) / window.width, -700.0, 700.0)
        return 1.0 / (1.0 + np.exp(exponent))
    center, width = window.center, window.width
    if window.function is VoiFunction.LINEAR:
        center, width = center - 0.5, width - 1.0
    if width <= 0.0:
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0.0, 1.0)


def voi_values(values: Values, voi: Lut | Window) -> Values:
    """Return `values` through a VOI LUT or a window, in [0, 1].

    A LUT is scaled by the bits its entries really use: some equipment declares 16 bits
    and fills 12, and taken literally its pictures would be almost black.
    """
    if isinstance(voi, Window):
        return windowed(values, voi)
    used = int(voi.entries.max(initial=0)).bit_length()
    return look_up(values, voi) / float(2 ** max(1, min(used, voi.bits)) - 1)


def grey_picture(stored: Stored, transform: GreyTransform) -> GreyPicture:
    """Return the picture of one grey frame.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns)
        Decoded stored values, of an integer or floating type.
    transform : GreyTransform
        The chain to apply. Where its VOI part is absent, not allowed, or would leave
        the picture flat, the range of the values that are present takes its place.

    Returns
    -------
    GreyPicture
        `display` float32 in [0, 1], shape (rows, columns).
    """
    sample = _sample(stored, transform.padding)
    voi, unusable = _usable_voi(sample, transform)
    narrow = stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2
    if not narrow:
        return GreyPicture(_shown(stored, transform, voi), unusable)
    codes = stored.view(np.dtype(f"u{stored.dtype.itemsize}"))
    every_code = np.arange(2 ** (8 * stored.dtype.itemsize), dtype=codes.dtype)
    table = _shown(every_code.view(stored.dtype), transform, voi)
    return GreyPicture(table.take(codes), unusable)


def luminance_picture(colour: NDArray[np.unsignedinteger], *, bits: int) -> NDArray[np.float32]:
    """Return the luminance of an RGB frame, shape (rows, columns, 3), in [0, 1]."""
    grey = colour.astype(np.float32) @ _LUMINANCE.astype(np.float32)
    picture: NDArray[np.float32] = np.clip(grey / np.float32(2**bits - 1), 0.0, 1.0)
    return picture


def _shown(
    stored: Stored, transform: GreyTransform, voi: Lut | Window | tuple[float, float]
) -> NDArray[np.float32]:
    values = np.nan_to_num(modality_values(stored, transform.modality))
    shown = _stretched(values, voi) if isinstance(voi, tuple) else voi_values(values, voi)
    if transform.inverted:
        shown = 1.0 - shown
    if transform.padding is not None:
        low, high = transform.padding
        shown = np.where((stored >= low) & (stored <= high), 0.0, shown)
    return np.clip(shown, 0.0, 1.0).astype(np.float32)


def _stretched(values: Values, limits: tuple[float, float]) -> Values:
    low, high = limits
    if high <= low:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def _usable_voi(
    sample: Stored, transform: GreyTransform
) -> tuple[Lut | Window | tuple[float, float], bool]:
    """Return the VOI transformation to use, and whether the given one was put aside."""
    values = np.nan_to_num(modality_values(sample, transform.modality))
    low, high = (float(v) for v in np.percentile(values, (_LOW_PERCENTILE, _HIGH_PERCENTILE)))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    voi = transform.voi
    if voi is None:
        return (low, high), False
    if isinstance(voi, Window) and not voi.usable:
        return (low, high), True
    if high > low and float(np.ptp(voi_values(values, voi))) < _FLAT:
        return (low, high), True
    return voi, False


def _sample(stored: Stored, padding: tuple[float, float] | None) -> Stored:
    """Return an even sample of the pixels that belong to the picture, as one row."""
    rows, columns = stored.shape
    step_down, step_right = max(1, rows // _SAMPLE_SIDE), max(1, columns // _SAMPLE_SIDE)
    sample = stored[::step_down, ::step_right].ravel()
    if padding is None:
        return sample
    inside = sample[(sample < padding[0]) | (sample > padding[1])]
    return inside if inside.size else sample
