"""Random changes to letterboxed squares that must not change the answer."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from inference.preprocess import network_input
from inference.training.samples import Squares

Share = Annotated[float, Field(ge=0, le=1)]
"""Bounds are checked where a task file is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How far an image may be changed; fractions are of the square's side or of images."""

    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 12.0
    zoom: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.9, 1.15)
    """Factor on the size of the anatomy; above 1 crops."""

    shift: Share = 0.06
    shear_degrees: Annotated[float, Field(ge=0, lt=90)] = 0.0
    """How far a square may lean to either side."""

    mirror: Share = 0.5
    quarter_turns: Share = 0.0
    """Share of images turned by 90, 180 or 270 degrees."""

    invert: Share = 0.0
    """Share of images with inverted greys: the photometric interpretation sometimes lies."""

    blur: Share = 0.0
    """Share of batches reduced and enlarged again, so that blur gives no source away."""

    contrast: Share = 0.25
    noise: Share = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Disguise:
    """What was done to images that a network may be asked to notice."""

    inverted: NDArray[np.bool_]
    """Shape (N,): greys inverted."""

    turns: NDArray[np.int64]
    """Shape (N,): quarter turns, 0 to 3."""


def disguise(count: int, options: Augmentation, generator: torch.Generator) -> Disguise:
    """Draw which of `count` images are inverted and which are turned how often."""
    inverted = _chance(count, options.invert, generator)
    turned = _chance(count, options.quarter_turns, generator)
    turns = torch.where(turned, torch.randint(1, 4, (count,), generator=generator), 0)
    return Disguise(inverted=inverted.numpy(), turns=turns.numpy())


def augment(
    squares: Squares,
    rows: NDArray[np.int64],
    options: Augmentation,
    generator: torch.Generator,
    changes: Disguise | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return changed copies (N, size, size) in [0, 1] of the rows of `squares`, and the moves.

    Which ones are inverted and turned is drawn unless `changes` says it. A move (2, 3) takes a
    place of the copy, (x, y, 1) with x and y from -1 to 1, to its place in the square.
    """
    changes = changes or disguise(len(rows), options, generator)
    pixels = torch.from_numpy(squares.pixels[rows]).float() / 255.0
    inside = _inside(squares.boxes[rows], pixels.shape[-1])
    pixels = _tone(pixels, inside, changes, options, generator)
    moves = _moves(changes, options, generator)
    moved = _moved(pixels[:, None], moves)
    if _chance(1, options.blur, generator).item():
        moved = _soften(moved, generator)
    noise = torch.randn(moved.shape, generator=generator)
    strength = options.noise * torch.rand((len(rows), 1, 1, 1), generator=generator)
    changed: NDArray[np.float32] = (moved + strength * noise).clamp(0.0, 1.0)[:, 0].numpy()
    return changed, moves.numpy()


def probe(squares: Squares) -> tuple[NDArray[np.uint8], Disguise]:
    """Return every image disguised in one plain way, by turns, for measuring.

    Even rows are inverted, every third row is turned (by 90, 180 and 270 degrees in turn).
    """
    rows = np.arange(len(squares))
    inverted, turns = rows % 2 == 0, np.where(rows % 3 == 0, 1 + (rows // 3) % 3, 0)
    pixels = squares.pixels.copy()
    for row in rows:
        top, left, bottom, right = squares.boxes[row]
        if inverted[row]:
            pixels[row, top:bottom, left:right] = 255 - pixels[row, top:bottom, left:right]
        pixels[row] = np.rot90(pixels[row], turns[row])
    return pixels, Disguise(inverted=inverted, turns=turns)


def to_network(
    squares: NDArray[np.float32], *, mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    """Return the network's input (N, 3, size, size), by the running node's function."""
    return torch.from_numpy(np.stack([network_input(s, mean=mean, std=std) for s in squares]))


def _chance(count: int, share: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) < share


def _inside(boxes: NDArray[np.int64], size: int) -> Tensor:
    """Return a mask (N, size, size) of the pixels that belong to the image."""
    line = torch.arange(size)
    box = torch.from_numpy(boxes)
    rows = (line >= box[:, 0:1]) & (line < box[:, 2:3])
    columns = (line >= box[:, 1:2]) & (line < box[:, 3:4])
    return rows[:, :, None] & columns[:, None, :]


def _tone(
    pixels: Tensor,
    inside: Tensor,
    changes: Disguise,
    options: Augmentation,
    generator: torch.Generator,
) -> Tensor:
    """Change gamma, gain and offset; invert some; leave the ground at zero."""
    count = len(pixels)

    def spread(scale: float) -> Tensor:
        return (torch.rand((count, 1, 1), generator=generator) * 2 - 1) * scale

    inverted = torch.from_numpy(changes.inverted)[:, None, None]
    pixels = torch.where(inverted, 1.0 - pixels, pixels)
    pixels = pixels.clamp_min(1e-6) ** torch.exp(spread(options.contrast))
    pixels = (pixels - 0.5) * torch.exp(spread(options.contrast)) + 0.5 + spread(0.08)
    return pixels.clamp(0.0, 1.0) * inside


def _moves(changes: Disguise, options: Augmentation, generator: torch.Generator) -> Tensor:
    """Draw how each image is turned, leant, mirrored, zoomed and shifted: (N, 2, 3)."""
    count = len(changes.turns)
    unit = torch.rand((4, count), generator=generator)
    angle = torch.deg2rad((unit[0] * 2 - 1) * options.rotate_degrees)
    angle = angle + torch.from_numpy(changes.turns) * (torch.pi / 2)
    low, high = options.zoom
    scale = 1.0 / (low + unit[1] * (high - low))
    mirror = torch.where(_chance(count, options.mirror, generator), -1.0, 1.0)
    shift = (unit[2:4] * 2 - 1) * options.shift * 2
    matrix = torch.zeros((count, 2, 3))
    matrix[:, 0, 0] = torch.cos(angle) * scale * mirror
    matrix[:, 0, 1] = -torch.sin(angle) * scale
    matrix[:, 1, 0] = torch.sin(angle) * scale * mirror
    matrix[:, 1, 1] = torch.cos(angle) * scale
    if options.shear_degrees:
        lean = (torch.rand(count, generator=generator) * 2 - 1) * options.shear_degrees
        matrix[:, :, 1] += torch.tan(torch.deg2rad(lean))[:, None] * matrix[:, :, 0]
    matrix[:, :, 2] = shift.T
    return matrix


def _moved(images: Tensor, moves: Tensor) -> Tensor:
    """Return images (N, 1, size, size) as the moves (N, 2, 3) show them."""
    grid = functional.affine_grid(moves, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", align_corners=False)


def _soften(images: Tensor, generator: torch.Generator) -> Tensor:
    size = images.shape[-1]
    small = int(torch.randint(64, max(65, size // 2), (1,), generator=generator).item())
    reduced = functional.interpolate(images, size=(small, small), mode="bilinear", antialias=True)
    return functional.interpolate(reduced, size=(size, size), mode="bilinear", align_corners=False)
