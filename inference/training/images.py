"""Image files as pictures: DICOM exactly as the running node reads it, others by Pillow."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin

from audit.errors import NodeError, UndecodablePixels
from inference.reader import read_display

MAXIMUM_PIXELS = 100_000_000
"""Largest rows x columns that is decoded, as the node's own default."""

_DICOM_SUFFIXES = {".dcm", ".dicom", ".dic"}
_MAGIC_AT = 128


class UnusableImage(UndecodablePixels):
    """An image file cannot be read; the message names the file and the rule."""

    code = "training.image.unusable"


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, by its name or by its Part 10 prefix (PS3.10 7.1)."""
    if path.suffix.lower() in _DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_AT + 4)[_MAGIC_AT:] == b"DICM"
    except OSError:
        return False


def read_picture(path: Path) -> NDArray[np.float32]:
    """Return an image file as the network's recipe wants it.

    Parameters
    ----------
    path : Path
        A DICOM file, or anything that Pillow opens.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        Values in [0, 1], bright where the beam was stopped. Colour becomes luminance;
        images of more than 8 bits are stretched over their own range.

    Raises
    ------
    UnusableImage
        When the file holds no picture that can be read. The message names the file alone,
        without its folder.
    """
    try:
        if is_dicom(path):
            return read_display(path, maximum_pixels=MAXIMUM_PIXELS).display
        with Image.open(path) as image:
            if image.width * image.height > MAXIMUM_PIXELS:
                raise UnusableImage(f"{path.name}: the image has too many pixels")
            return _grey(ImageOps.exif_transpose(image), white_is_zero=_white_is_zero(image))
    except UnusableImage:
        raise
    except NodeError as error:
        raise UnusableImage(f"{path.name}: {error}") from error
    except Exception as error:  # damaged files raise whatever Pillow did not foresee
        raise UnusableImage(f"{path.name}: no image that can be read") from error


def _white_is_zero(image: Image.Image) -> bool:
    """Return whether a TIFF counts from white down, which Pillow heeds up to 8 bits alone."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    return bool(tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0)


def _grey(image: Image.Image, *, white_is_zero: bool) -> NDArray[np.float32]:
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float32)
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise ValueError("a grey value is no finite number")
        bright = (values - low) / max(high - low, 1e-6)
        return 1.0 - bright if white_is_zero else bright
    return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255.0)
