"""What the trained part of a network is fed: frozen-stem maps, drawn from a bank.

The first stages of the ImageNet backbone stay frozen. Their maps for a number of changed
copies of every image are computed once and kept in memory as float16; every fold and epoch
draws from them, so that cross-validation on two cores takes minutes.
"""

import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.training.augment import Augmentation, augment, to_network
from inference.training.samples import Squares

_BATCH = 64


class StemBank:
    """Maps of the frozen stem for `variants` changed copies and one clean copy per image.

    Parameters
    ----------
    stem : nn.Module
        Leading feature stages, kept in evaluation mode.
    squares : Squares
        The images.
    options : Augmentation
        How the changed copies are made.
    variants : int
        Changed copies per image.
    seed : int
        Seed of the changes.
    mean, std : tuple of float
        Normalisation of the network's input.
    """

    def __init__(
        self,
        stem: nn.Module,
        squares: Squares,
        options: Augmentation,
        *,
        variants: int,
        seed: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        self._stem = stem.eval()
        self._mean, self._std = mean, std
        generator = torch.Generator().manual_seed(seed)
        every = np.arange(len(squares))
        self.clean = self._maps(squares.pixels[every].astype(np.float32) / 255.0)
        copies = []
        started = time.monotonic()
        for variant in range(variants):
            copies.append(self._changed(squares, every, options, generator))
            print(f"bank: copy {variant + 1} of {variants}, {time.monotonic() - started:.0f} s")
        self._changed_copies = copies

    def train(self, rows: NDArray[np.int64], random: np.random.Generator) -> Tensor:
        """Return maps of a random changed copy of each row."""
        choice = random.integers(0, len(self._changed_copies), len(rows))
        drawn = [self._changed_copies[c][r] for c, r in zip(choice, rows, strict=True)]
        return torch.stack(drawn).float()

    def _changed(
        self,
        squares: Squares,
        every: NDArray[np.int64],
        options: Augmentation,
        generator: torch.Generator,
    ) -> Tensor:
        parts = [
            self._maps(augment(squares, every[start : start + _BATCH], options, generator))
            for start in range(0, len(every), _BATCH)
        ]
        return torch.cat(parts)

    def _maps(self, pixels: NDArray[np.float32]) -> Tensor:
        maps = []
        with torch.inference_mode():
            for start in range(0, len(pixels), _BATCH):
                inputs = to_network(pixels[start : start + _BATCH], mean=self._mean, std=self._std)
                channels_last = inputs.to(memory_format=torch.channels_last)
                maps.append(self._stem(channels_last).half())
        return torch.cat(maps)
