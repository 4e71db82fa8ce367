"""What the trained part of a network is fed: frozen-stem maps, drawn from a bank.

The first stages of the backbone stay frozen. Their maps for a number of changed
copies of every image are computed once and kept on disk as float16; every fold and epoch draws
from them, and processes that fit different folds at once share them in the page cache.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from inference.training.augment import (
    Augmentation,
    Disguise,
    augment,
    disguise,
    probe,
    to_network,
)
from inference.training.device import Device
from inference.training.samples import Squares
from inference.training.whole import whole

_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """What a network is fed for some images, and what was done to these."""

    maps: Tensor
    """Shape (N, C, h, w), float32."""

    changes: Disguise
    moves: NDArray[np.float32]
    """Shape (N, 2, 3), as `augment` returns them."""


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
    device : Device
        Where the maps are computed.
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
        device: Device,
        kept: Path,
    ) -> None:
        # Norms that never change are folded into convolutions.
        self._device, self._stem = device, device.place(fuse(stem.eval()))
        self._mean, self._std = mean, std
        (self.clean,) = _kept(kept, ("clean",), lambda: (self.maps(squares.pixels),))
        (self.disguised,) = _kept(kept, ("disguised",), lambda: (self.maps(probe(squares)[0]),))
        self._copies = []
        for variant in range(variants):
            generator = torch.Generator().manual_seed(1000 * seed + variant)
            changes = disguise(len(squares), options, generator)
            make = functools.partial(self._changed, squares, options, generator, changes)
            maps, moves = _kept(kept, (f"copy{variant}", f"moves{variant}"), make)
            self._copies.append(Copies(maps, changes, moves.numpy()))

    def train(self, rows: NDArray[np.int64], random: np.random.Generator) -> Copies:
        """Return a random changed copy of each row."""
        choice = random.integers(0, len(self._copies), len(rows))
        drawn = [(self._copies[c], row) for c, row in zip(choice, rows, strict=True)]
        return Copies(
            maps=torch.stack([copies.maps[row] for copies, row in drawn]).float(),
            changes=Disguise(
                inverted=np.array([copies.changes.inverted[row] for copies, row in drawn]),
                turns=np.array([copies.changes.turns[row] for copies, row in drawn]),
            ),
            moves=np.stack([copies.moves[row] for copies, row in drawn]),
        )

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
    ) -> tuple[Tensor, Tensor]:
        every = np.arange(len(squares))
        maps, moves = [], []
        for start in range(0, len(squares), _BATCH):
            rows = every[start : start + _BATCH]
            part = Disguise(inverted=changes.inverted[rows], turns=changes.turns[rows])
            changed, moved = augment(squares, rows, options, generator, part)
            maps.append(self._forward(changed))
            moves.append(torch.from_numpy(moved))
        return torch.cat(maps), torch.cat(moves)

    def _forward(self, pixels: NDArray[np.float32]) -> Tensor:
        inputs = to_network(pixels, mean=self._mean, std=self._std)
        with torch.inference_mode():
            maps: Tensor = self._stem(self._device.put(inputs)).half().cpu()
        return maps


def _kept(
    folder: Path, names: tuple[str, ...], make: Callable[[], tuple[Tensor, ...]]
) -> list[Tensor]:
    """Return tensors by name, made first where one is missing; mapped, not read."""
    files = [folder / f"{name}.npy" for name in names]
    if not all(file.exists() for file in files):
        started = time.monotonic()
        for file, made in zip(files, make(), strict=True):
            with whole(file) as stream:
                np.save(stream, made.contiguous().numpy())
        print(f"bank: {names[0]}, {time.monotonic() - started:.0f} s", flush=True)
    return [torch.from_numpy(np.load(file, mmap_mode="c")) for file in files]
