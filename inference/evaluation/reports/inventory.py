"""Read every image of a data set once and keep what an exploration needs of it."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from inference.training.images import UnusableImage, read_picture

PATCH = 32
"""Side of the small copy that images are compared by, in pixels."""

BINS = 32
_HASH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one readable image."""

    path: Path
    """Relative to the root of the data set."""

    sha256: str
    """Of the file."""

    rows: int
    columns: int
    histogram: NDArray[np.float32]
    """Share of the pixels in each of `BINS` bins from black (0) to white (1)."""

    patch: NDArray[np.float32]
    """Shape (PATCH, PATCH): the image squeezed into a square, mean 0 and length 1; zeros
    where all pixels are equal."""

    hash: int
    """64 bits of its low spatial frequencies: alike for images that look alike."""

    @property
    def blank(self) -> bool:
        """Whether all pixels are equal."""
        return not self.patch.any()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A file that holds no picture, and why."""

    path: str
    reason: str


def inspect(
    root: Path, paths: Sequence[Path], progress: Callable[[], object] = lambda: None
) -> tuple[list[Facts], list[Unreadable]]:
    """Return the facts of every readable image, in the order of `paths`, and the others.

    Parameters
    ----------
    root : Path
        The folder that `paths` are relative to.
    paths : sequence of Path
        Image files, DICOM or others.
    progress : callable
        Called after each image.
    """
    readable: list[Facts] = []
    unreadable: list[Unreadable] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for found in pool.map(partial(_inspect_one, root), paths):
            if isinstance(found, Facts):
                readable.append(found)
            else:
                unreadable.append(found)
            progress()
    return readable, unreadable


def perceptual_hash(patch: NDArray[np.float32]) -> int:
    """Return 64 bits: which of the 8 x 8 lowest DCT coefficients exceed their median.

    The pHash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions"
    (2010): scaling, compression and brightness change few bits.
    """
    low = dctn(patch, type=2, norm="ortho")[:_HASH, :_HASH]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def _inspect_one(root: Path, path: Path) -> Facts | Unreadable:
    try:
        content = (root / path).read_bytes()
        picture = read_picture(root / path)
    except UnusableImage as error:
        return Unreadable(path=path.as_posix(), reason=str(error).removeprefix(f"{path.name}: "))
    except OSError:
        return Unreadable(path=path.as_posix(), reason="the file cannot be read")
    patch = _patch(picture)
    counts, _ = np.histogram(picture, bins=BINS, range=(0.0, 1.0))
    return Facts(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        rows=picture.shape[0],
        columns=picture.shape[1],
        histogram=(counts / picture.size).astype(np.float32),
        patch=patch,
        hash=perceptual_hash(patch),
    )


def _patch(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    small = Image.fromarray(picture).resize((PATCH, PATCH), Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float32)
    centred = values - values.mean()
    length = float(np.linalg.norm(centred))
    flat = length < 1e-3
    return np.zeros_like(centred) if flat else centred / np.float32(length)
