"""Does the heat map point at what a radiologist boxed? The pointing game, on held-out images.

Wang et al. (ChestX-ray8, CVPR 2017) drew boxes around eight findings. A map scores a hit when
its highest cell has its centre inside a box of that finding. Chance is the share of the
image that the boxes cover.
"""

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.loaded import Loaded
from inference.evaluation.metrics import share_interval
from inference.training.samples import load_squares
from inference.training.sources_chest import chest_samples

BOX_SIDE = 1024
"""The boxes are in pixels of the 1024 x 1024 originals, all of them square."""

KEY_OF_BOX = {"Infiltrate": "Infiltration"}

Box = tuple[float, float, float, float]


def pointing_game(model: Loaded, data: Path) -> dict[str, Any]:
    """Return hits and chance per finding, over held-out images that have boxes.

    Parameters
    ----------
    model : Loaded
        A chest findings model.
    data : Path
        The data folder.
    """
    boxes = _boxes(data / "chest" / "nih14" / "boxes.csv")
    samples = [s for s in chest_samples(data) if s.held_out and s.path.name in boxes]
    squares = load_squares(data, samples, size=model.manifest.input.size)
    maps = model.cams(squares.pixels)
    keys = [label.key for label in model.manifest.labels]
    hits: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for row, sample in enumerate(samples):
        for key, found in boxes[sample.path.name].items():
            point = _highest(maps[row, keys.index(key)])
            inside = any(_contains(box, point) for box in found)
            hits[key].append((inside, _covered(found)))
    return {key: _summary(pairs) for key, pairs in sorted(hits.items())}


def _boxes(path: Path) -> dict[str, dict[str, list[Box]]]:
    """Return boxes by file and finding, as fractions (left, top, right, bottom)."""
    found: dict[str, dict[str, list[Box]]] = defaultdict(lambda: defaultdict(list))
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            x, y, w, h = (float(row[k]) / BOX_SIDE for k in ("x", "y", "w", "h"))
            key = KEY_OF_BOX.get(row["finding"], row["finding"])
            found[row["file"]][key].append((x, y, x + w, y + h))
    return found


def _highest(cam: NDArray[np.float32]) -> tuple[float, float]:
    """Return the centre (x, y) of the highest cell, as fractions."""
    row, column = np.unravel_index(int(cam.argmax()), cam.shape)
    return (float(column) + 0.5) / cam.shape[1], (float(row) + 0.5) / cam.shape[0]


def _contains(box: Box, point: tuple[float, float]) -> bool:
    left, top, right, bottom = box
    return left <= point[0] <= right and top <= point[1] <= bottom


def _covered(boxes: list[Box]) -> float:
    line = (np.arange(256) + 0.5) / 256
    inside = np.zeros((256, 256), dtype=bool)
    for left, top, right, bottom in boxes:
        rows, columns = (line >= top) & (line <= bottom), (line >= left) & (line <= right)
        inside |= rows[:, None] & columns[None, :]
    return float(inside.mean())


def _summary(pairs: list[tuple[bool, float]]) -> dict[str, Any]:
    count = sum(hit for hit, _ in pairs)
    return {
        "images": len(pairs),
        "hits": count / len(pairs),
        "hits_95": list(share_interval(count, len(pairs))),
        "chance": float(np.mean([chance for _, chance in pairs])),
    }
