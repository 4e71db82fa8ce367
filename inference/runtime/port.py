"""The port through which the node runs a network, whatever executes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.architectures import PooledClassifier


@dataclass(frozen=True, slots=True, eq=False)
class RawOutput:
    """What a network says, before calibration."""

    logits: NDArray[np.float32]
    """Shape (N, L): images by labels."""

    cams: NDArray[np.float32]
    """Shape (N, L, h, w): Grad-CAM of every label, after its ReLU, not scaled."""


class Runtime(Protocol):
    """One network, loaded and ready; calls may come from one thread at a time."""

    @property
    def name(self) -> str:
        """What executes the network, with its version: ``torch 2.13.0``."""
        ...

    @property
    def device(self) -> str:
        """Where: ``cpu`` or ``cuda``."""
        ...

    @property
    def precision(self) -> str:
        """Of the arithmetic: ``float32`` or ``bfloat16``."""
        ...

    def run(self, batch: NDArray[np.float32]) -> RawOutput:
        """Return the output for `batch`, shape (N, channels, size, size)."""
        ...


RuntimeFor = Callable[[PooledClassifier, int], Runtime]
"""Makes the runtime of a network whose input is a square of so many pixels a side."""
