"""One training image and what is known of it; the decoded and letterboxed cache."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inference.preprocess import RECIPE, content_box, letterbox
from inference.training.images import read_picture
from inference.training.whole import whole

CACHE = Path(".work/training-cache")
FloatArray = NDArray[np.float32]
Split = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An image file and its targets."""

    path: Path
    """Relative to the data folder."""

    targets: dict[str, float]
    """1 present, 0 absent; a missing key is unknown."""

    group: str
    """Images of one group (a patient, or look-alikes) stay on one side of every split."""

    source: str
    split: Split = "train"
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What subgroups are made of, where the source says it: ``sex``, ``age``, ``view``,
    ``collection``."""

    @property
    def held_out(self) -> bool:
        """Whether training must not see it, be it to fit or to choose."""
        return self.split == "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Squares:
    """Letterboxed images, ready for augmentation."""

    pixels: NDArray[np.uint8]
    """Shape (N, size, size)."""

    boxes: NDArray[np.int64]
    """Shape (N, 4): where the image lies in the square, (top, left, bottom, right)."""

    def __len__(self) -> int:
        return len(self.pixels)


def target_matrix(samples: Sequence[Sample], keys: Sequence[str]) -> NDArray[np.float32]:
    """Return targets (N, L), NaN where unknown."""
    return np.array(
        [[sample.targets.get(key, np.nan) for key in keys] for sample in samples], dtype=np.float32
    )


def load_squares(data: Path, samples: Sequence[Sample], *, size: int) -> Squares:
    """Return the samples as squares, decoded once and kept under ``.work``.

    Parameters
    ----------
    data : Path
        The data folder.
    samples : sequence of Sample
        Images to load.
    size : int
        Side of the square, in pixels.
    """
    listed = "\n".join(_listed(data, sample) for sample in samples)
    digest = hashlib.sha256(f"{RECIPE} {size}\n{listed}".encode()).hexdigest()[:24]
    kept = CACHE / f"{digest}.npz"
    if kept.exists():
        with np.load(kept) as stored:
            return Squares(pixels=stored["pixels"], boxes=stored["boxes"])
    pixels = np.zeros((len(samples), size, size), dtype=np.uint8)
    boxes = np.zeros((len(samples), 4), dtype=np.int64)
    for row, sample in enumerate(samples):
        pixels[row], boxes[row] = decode(data / sample.path, size=size)
    with whole(kept) as stream:
        np.savez(stream, pixels=pixels, boxes=boxes)
    return Squares(pixels=pixels, boxes=boxes)


def decode(path: Path, *, size: int) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    """Return an image file letterboxed by the running node's own recipe, and its box."""
    grey = read_picture(path)
    square = letterbox(grey, size=size)
    box = content_box(grey.shape[0], grey.shape[1], size)
    return np.rint(square * 255.0).astype(np.uint8), box


def list_sha256(data: Path, samples: Sequence[Sample]) -> str:
    """Return the sha256 of the sorted list of ``<sha256>  <path>`` lines of the samples."""
    lines = sorted(_listed(data, sample) for sample in samples)
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()


def _listed(data: Path, sample: Sample) -> str:
    return f"{hashlib.sha256((data / sample.path).read_bytes()).hexdigest()}  {sample.path}"
