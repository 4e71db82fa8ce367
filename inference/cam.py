"""From a raw Grad-CAM to the heat map that is stored and drawn (pure).

For a network that ends in global average pooling and one linear layer, Grad-CAM has a
closed form (`inference.architectures.PooledClassifier.cams`): it comes out of the forward pass,
for every label, at no cost. The map is normalised by its own maximum, so it says *where*,
never *how much*: the probability says that.
"""

import numpy as np
from numpy.typing import NDArray

from inference.preprocess import content_box
from inference.types import HeatMap

METHOD = "grad-cam, closed form"
_DECIMALS = 4


def heat_map(key: str, cam: NDArray[np.float32], *, rows: int, columns: int, size: int) -> HeatMap:
    """Return the heat map of one label.

    Parameters
    ----------
    key : str
        The label.
    cam : ndarray of float32, shape (h, w)
        Grad-CAM after its ReLU, over the letterboxed square.
    rows, columns : int
        Size of the display image that was letterboxed, in pixels.
    size : int
        Side of the square, in pixels.

    Returns
    -------
    HeatMap
        Values from 0 to 1, with 1 at the peak; all 0 where nothing speaks for the label.
    """
    peak = float(cam.max())
    scaled = cam.astype(np.float64) / peak if peak > 0 else np.zeros_like(cam, dtype=np.float64)
    values = tuple(tuple(float(v) for v in row) for row in np.round(scaled, _DECIMALS))
    top, left, bottom, right = (edge / size for edge in content_box(rows, columns, size))
    return HeatMap(key=key, method=METHOD, values=values, content_box=(top, left, bottom, right))
