"""What the trained part of a network is fed: frozen-stem maps, drawn from a bank.

The first stages of the backbone stay frozen. Their maps for a number of changed
copies of every image are computed once and kept on disk as float16; every fold and epoch draws
from them, and processes that fit different folds at once share them in the page cache.
"""

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.training.augment import (
    Augmentation,
    Disguise,
    augment,
    disguise,
    probe,
    to_network,
)
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
    kept : Path
        Folder of the maps; those that an earlier run left there are taken.
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
        kept: Path,
    ) -> None:
        self._stem = stem.eval()
        self._mean, self._std = mean, std
        self.clean = _kept(kept / "clean.npy", lambda: self.maps(squares.pixels))
        self.disguised = _kept(kept / "disguised.npy", lambda: self.maps(probe(squares)[0]))
        copies = []
        for variant in range(variants):
            generator = torch.Generator().manual_seed(1000 * seed + variant)
            changes = disguise(len(squares), options, generator)
            make = functools.partial(self._changed, squares, options, generator, changes)
            copies.append((_kept(kept / f"copy{variant}.npy", make), changes))
        self._changed_copies = copies

    def train(
        self, rows: NDArray[np.int64], random: np.random.Generator
    ) -> tuple[Tensor, Disguise]:
        """Return maps of a random changed copy of each row, and how it was disguised."""
        choice = random.integers(0, len(self._changed_copies), len(rows))
        drawn = [self._changed_copies[c] for c in choice]
        maps = torch.stack([copy[row] for (copy, _), row in zip(drawn, rows, strict=True)])
        told = [
            (changes.inverted[row], changes.turns[row])
            for (_, changes), row in zip(drawn, rows, strict=True)
        ]
        inverted, turns = (np.array(values) for values in zip(*told, strict=True))
        return maps.float(), Disguise(inverted=inverted, turns=turns)

    def maps(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return the stem's maps, float16, of letterboxed squares (N, size, size)."""
        return torch.cat(
            [
                self._forward(pixels[start : start + _BATCH].astype(np.float32) / 255.0)
                for start in range(0, len(pixels), _BATCH)
            ]
        )

    def _changed(
        self,
        squares: Squares,
        options: Augmentation,
        generator: torch.Generator,
        changes: Disguise,
    ) -> Tensor:
        every = np.arange(len(squares))
        parts = []
        for start in range(0, len(squares), _BATCH):
            rows = every[start : start + _BATCH]
            part = Disguise(inverted=changes.inverted[rows], turns=changes.turns[rows])
            parts.append(self._forward(augment(squares, rows, options, generator, part)))
        return torch.cat(parts)

    def _forward(self, pixels: NDArray[np.float32]) -> Tensor:
        inputs = to_network(pixels, mean=self._mean, std=self._std)
        with torch.inference_mode():
            maps: Tensor = self._stem(inputs.to(memory_format=torch.channels_last)).half()
        return maps


def _kept(file: Path, make: Callable[[], Tensor]) -> Tensor:
    """Return the maps of a file, made first where it is missing; mapped, not read."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.partial")
        started = time.monotonic()
        with partial.open("wb") as stream:
            np.save(stream, make().contiguous().numpy())
        partial.replace(file)
        print(f"bank: {file.stem}, {time.monotonic() - started:.0f} s", flush=True)
    return torch.from_numpy(np.load(file, mmap_mode="c"))
