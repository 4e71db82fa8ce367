"""A shipped model, loaded for measuring it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference import registry
from inference.architectures import PooledClassifier
from inference.manifest import ModelManifest
from inference.preprocess import network_input
from inference.runtime.memory import keep_freed_memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A network with its manifest."""

    manifest: ModelManifest
    network: PooledClassifier

    def logits(self, pixels: NDArray[np.uint8], *, batch: int = 32) -> NDArray[np.float32]:
        """Return logits (N, L) of letterboxed squares (N, size, size)."""
        return np.concatenate([logits.numpy() for logits, _ in self._forward(pixels, batch)])

    def cams(self, pixels: NDArray[np.uint8], *, batch: int = 32) -> NDArray[np.float32]:
        """Return Grad-CAM maps (N, L, h, w) of letterboxed squares (N, size, size)."""
        parts = [
            self.network.cams(maps).detach().numpy() for _, maps in self._forward(pixels, batch)
        ]
        return np.concatenate(parts)

    def _forward(self, pixels: NDArray[np.uint8], batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        spec = self.manifest.input
        for start in range(0, len(pixels), batch):
            squares = pixels[start : start + batch].astype(np.float32) / 255.0
            inputs = np.stack([network_input(s, mean=spec.mean, std=spec.std) for s in squares])
            tensor = torch.from_numpy(inputs).to(memory_format=torch.channels_last)
            with torch.no_grad():
                yield self.network(tensor)

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the calibrated probabilities of logits (N, L)."""
        labels = self.manifest.labels
        temperature = np.array([label.temperature for label in labels])
        bias = np.array([label.bias for label in labels])
        scaled = logits.astype(np.float64) / temperature + bias
        result: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-scaled))
        return result

    def columns(self, role: str) -> list[int]:
        """Return the columns of the labels of one role."""
        return [i for i, label in enumerate(self.manifest.labels) if label.role == role]


def load_model(folder: Path) -> Loaded:
    """Return the model of a folder, checked as the registry checks it.

    Raises
    ------
    BrokenModel
        When anything in the folder does not fit.
    """
    found = registry.load_model(folder)
    keep_freed_memory()
    found.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Loaded(manifest=found.manifest, network=found.network)
