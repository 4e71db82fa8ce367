"""Resample a picture to square pixels.

SimpleITK, because this is a question of physical space, not of arrays: an image with a
spacing and an origin is resampled onto a grid with another spacing, with the outer edges
of the picture kept in place. `torch` and Pillow resize by counts alone.
"""

from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name its whole documentation uses
from numpy.typing import NDArray


def with_square_pixels(picture: NDArray[np.float32], *, aspect: float) -> NDArray[np.float32]:
    """Return `picture` on a grid as fine as its finer axis, in both axes.

    Parameters
    ----------
    picture : ndarray of float32, shape (rows, columns)
    aspect : float
        Height of a pixel divided by its width; the coarser axis is interpolated linearly,
        so nothing is lost and nothing aliases.

    Returns
    -------
    ndarray of float32
    """
    rows, columns = picture.shape
    pitch = min(1.0, aspect)
    size = (max(1, round(columns / pitch)), max(1, round(rows * aspect / pitch)))
    spacing = (columns / size[0], rows * aspect / size[1])
    image: Any = sitk.GetImageFromArray(picture)
    image.SetSpacing((1.0, aspect))
    image.SetOrigin((0.5, 0.5 * aspect))  # the picture's corner lies at (0, 0)
    grid: Any = sitk.GetImageFromArray(np.empty(size[::-1], dtype=np.float32))
    grid.SetSpacing(spacing)
    grid.SetOrigin((0.5 * spacing[0], 0.5 * spacing[1]))
    resampled = sitk.Resample(
        image, grid, interpolator=sitk.sitkLinear, useNearestNeighborExtrapolator=True
    )
    square: NDArray[np.float32] = sitk.GetArrayFromImage(resampled)
    return square
