"""Letterboxed images on disk: decoded once, mapped into memory, kept if a run stops."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from inference.preprocess import RECIPE, content_box, letterbox
from inference.training.dataset import DataSet
from inference.training.datasets.errors import UnusableData
from inference.training.images import UnusableImage, read_picture
from inference.training.samples import CACHE, Sample, Squares
from inference.training.whole import whole
from inference.training.workbench.progress import Reporter

Mapped = np.memmap[Any, np.dtype[Any]]
_KEEP_EVERY = 500


def squares_of(
    data: DataSet,
    samples: Sequence[Sample],
    *,
    size: int,
    reporter: Reporter,
    cache: Path = CACHE,
) -> Squares:
    """Return the samples as squares, in their order.

    Parameters
    ----------
    data : DataSet
        Whose `root` the paths are relative to.
    samples : sequence of Sample
    size : int
        Side of the square, in pixels.
    reporter : Reporter
    cache : Path
        Where decoded squares are kept. They are images of patients: the folder belongs on the
        same disk as the images, and in no repository.

    Raises
    ------
    UnusableData
        Naming every image that cannot be read.
    """
    if not samples:
        return Squares(pixels=np.zeros((0, size, size), np.uint8), boxes=np.zeros((0, 4), np.int64))
    folder = cache / _digest(data.root, samples, size)
    pixels_file, boxes_file, done_file = (
        folder / name for name in ("pixels.npy", "boxes.npy", "done.json")
    )
    done = json.loads(done_file.read_text()) if done_file.exists() else 0
    if done < len(samples):
        folder.mkdir(parents=True, exist_ok=True)
        mode = "r+" if pixels_file.exists() and boxes_file.exists() else "w+"
        pixels = open_memmap(pixels_file, mode, np.uint8, (len(samples), size, size))
        boxes = open_memmap(boxes_file, mode, np.int64, (len(samples), 4))
        _take_room(pixels_file)
        problems = []
        with reporter.work("decoding images", len(samples)) as advance:
            advance(done)
            for row in range(done, len(samples)):
                try:
                    picture = read_picture(data.root / samples[row].path)
                except UnusableImage as error:
                    problems.append(f"{samples[row].path.parent}/{error}")
                    continue
                pixels[row] = np.rint(letterbox(picture, size=size) * 255.0)
                boxes[row] = content_box(picture.shape[0], picture.shape[1], size)
                advance()
                if row % _KEEP_EVERY == _KEEP_EVERY - 1 and not problems:
                    _keep(pixels, boxes, done_file, row + 1)
        if problems:
            raise UnusableData(problems)
        _keep(pixels, boxes, done_file, len(samples))
    return Squares(pixels=open_memmap(pixels_file, "r"), boxes=np.load(boxes_file))


def _digest(root: Path, samples: Sequence[Sample], size: int) -> str:
    lines = []
    for sample in samples:
        told = (root / sample.path).stat()
        lines.append(f"{sample.path} {told.st_size} {told.st_mtime_ns}")
    text = "\n".join([f"{RECIPE} {size} {root.resolve()}", *lines])
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:24]


def _take_room(file: Path) -> None:
    """Raise where the disk is too full, which would else end the process at some later row."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)


def _keep(pixels: Mapped, boxes: Mapped, done_file: Path, done: int) -> None:
    """Write what is decoded to disk, then say so."""
    pixels.flush()
    boxes.flush()
    with whole(done_file) as stream:
        stream.write(json.dumps(done).encode())
