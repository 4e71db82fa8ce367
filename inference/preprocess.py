"""From a display image to the network's input: recipe ``px-1`` (pure).

The same function serves training and the running node, so a model can never be fed
pixels that its training did not see.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

RECIPE = "px-1"
"""Recorded with every prediction; change the arithmetic, change the name."""

_LOW_PERCENTILE, _HIGH_PERCENTILE = 0.5, 99.5


def content_box(rows: int, columns: int, size: int) -> tuple[int, int, int, int]:
    """Return where an image lands in the letterboxed square, in pixels of the square.

    Parameters
    ----------
    rows, columns : int
        Size of the display image, in pixels, both at least 1.
    size : int
        Side of the square input, in pixels.

    Returns
    -------
    tuple of int
        (top, left, bottom, right); bottom and right are exclusive.
    """
    scale = size / max(rows, columns)
    height = max(1, round(rows * scale))
    width = max(1, round(columns * scale))
    top, left = (size - height) // 2, (size - width) // 2
    return top, left, top + height, left + width


def letterbox(display: NDArray[np.float32], *, size: int) -> NDArray[np.float32]:
    """Shrink a display image into a square, keep its aspect, stretch its greys.

    Parameters
    ----------
    display : ndarray of float32, shape (rows, columns)
        Values in [0, 1], bright where the beam was stopped (the MONOCHROME2 sense).
    size : int
        Side of the square input, in pixels.

    Returns
    -------
    ndarray of float32, shape (size, size)
        The image resized with antialiasing so that its long side is `size`, its 0.5 and
        99.5 percentiles stretched to 0 and 1 and clipped, on a ground of zeros.
    """
    rows, columns = display.shape
    top, left, bottom, right = content_box(rows, columns, size)
    tensor = torch.from_numpy(np.ascontiguousarray(display, dtype=np.float32))[None, None]
    resized = functional.interpolate(
        tensor,
        size=(bottom - top, right - left),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )[0, 0].numpy()
    low, high = np.percentile(resized, (_LOW_PERCENTILE, _HIGH_PERCENTILE))
    span = max(float(high - low), 1e-6)
    square = np.zeros((size, size), dtype=np.float32)
    square[top:bottom, left:right] = np.clip((resized - low) / span, 0.0, 1.0)
    return square


def network_input(
    square: NDArray[np.float32], *, mean: tuple[float, ...], std: tuple[float, ...]
) -> NDArray[np.float32]:
    """Repeat a grey square over the network's channels and normalise each.

    Parameters
    ----------
    square : ndarray of float32, shape (size, size)
        Output of `letterbox`.
    mean, std : tuple of float
        One value per channel of the network, as in the model's ``input`` section.

    Returns
    -------
    ndarray of float32, shape (channels, size, size)
    """
    channels = [(square - m) / s for m, s in zip(mean, std, strict=True)]
    return np.stack(channels).astype(np.float32)
