"""Does a runtime say what the reference says? (a fixed probe, and how far is too far)"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from inference.runtime.port import Runtime

Precision = Literal["float32", "bfloat16"]

_CHANNELS = 3
_MEAN, _STD = 0.45, 0.225


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a runtime may be from the reference on `probe`."""

    logits: float
    """Largest difference of a logit. A quarter of it bounds the difference of an
    uncalibrated probability."""

    cams: float
    """Largest difference of a map's value, as a fraction of the image's highest peak."""


TOLERANCES: dict[Precision, Tolerance] = {
    "float32": Tolerance(logits=3e-4, cams=1e-3),
    "bfloat16": Tolerance(logits=0.05, cams=0.2),
}
"""A network that exceeds these is run by torch instead."""


def probe(size: int) -> NDArray[np.float32]:
    """Return the fixed batch on which runtimes are compared, shape (4, 3, size, size).

    Soft and rough shapes between black borders, normalised as a radiograph is; always the
    same for one `size`.
    """
    generator = np.random.default_rng(20)
    grey = np.zeros((4, 1, size, size), dtype=np.float32)
    border = size // 8
    for image, grid in zip(grey, (3, 6, 12, 24), strict=True):
        coarse = torch.from_numpy(generator.uniform(size=(1, 1, grid, grid)).astype(np.float32))
        shapes = functional.interpolate(coarse, size=(size, size - 2 * border), mode="bilinear")
        image[..., border : size - border] = shapes[0].numpy()
    return np.repeat((grey - _MEAN) / _STD, _CHANNELS, axis=1)


def difference(runtime: Runtime, reference: Runtime, batch: NDArray[np.float32]) -> Tolerance:
    """Return the largest differences of `runtime` from `reference` on `batch`.

    Not a number anywhere counts as infinitely far.
    """
    found, expected = runtime.run(batch), reference.run(batch)
    peak = np.maximum(expected.cams.max(axis=(1, 2, 3), keepdims=True), 1e-6)
    logits = np.abs(found.logits - expected.logits).max()
    cams = (np.abs(found.cams - expected.cams) / peak).max()
    return Tolerance(*(float(np.nan_to_num(each, nan=np.inf)) for each in (logits, cams)))


def within(found: Tolerance, allowed: Tolerance) -> bool:
    """Tell whether both differences are allowed."""
    return found.logits <= allowed.logits and found.cams <= allowed.cams
