"""Does the heat map point at what a radiologist boxed? Pointing game and overlap.

Wang et al. (ChestX-ray8, CVPR 2017) drew boxes around eight findings. A map scores a hit when
its highest cell has its centre inside a box of that finding (the pointing game); chance is
the share of the image that the boxes cover.

For the overlap a map is cut at a quantile: its highest share of the image is held against the
boxes of the finding, as intersection over union (IoU). The share is chosen per finding on
boxes of the train split alone; numbers are of held-out images. The shipped network learned
from the same train boxes where to look, so the share may be chosen too small. Chance is the
overlap of the same boxes with the maps of *other* images of the finding: what is gained by
knowing where such findings usually lie, without looking at the image.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from inference.evaluation.loaded import Loaded
from inference.evaluation.measures.bootstrap import interval, resample
from inference.evaluation.measures.metrics import share_interval
from inference.training.samples import Sample, load_squares
from inference.training.shipped.pointing import Box
from inference.training.shipped.sources_chest import chest_samples, placed, read_boxes

SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
"""Shares of the image that a cut map may cover."""

OVERLAPS = (0.1, 0.25)
"""The IoU from which a box counts as found: the two lowest of the paper's own table."""

_GRID = 128

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Boxed:
    """One finding that was boxed in one image."""

    held_out: bool
    group: str
    """The patient."""

    cam: NDArray[np.float32]
    """Shape (h, w), over the letterboxed square."""

    boxes: Sequence[Box]
    """Fractions of the square: (left, top, right, bottom)."""


def pointing_game(model: Loaded, data: Path) -> dict[str, Any]:
    """Return hits, overlap and chance per finding, over held-out images that have boxes.

    Parameters
    ----------
    model : Loaded
        A chest findings model.
    data : Path
        The data folder.

    Returns
    -------
    dict
        By finding that is boxed in both splits: ``images``, ``hits``, ``hits_95``, ``chance``,
        and ``overlap`` as `overlap` returns it.
    """
    found = _boxed(model, data)
    return {
        key: _summary(cases)
        for key, cases in sorted(found.items())
        if {case.held_out for case in cases} == {True, False}
    }


def overlap(cases: Sequence[Boxed]) -> dict[str, Any]:
    """Return how well the maps of one finding cover its boxes.

    Parameters
    ----------
    cases : sequence of Boxed
        Train cases choose the share at which maps are cut, held-out cases are counted.

    Returns
    -------
    dict
        ``share_of_image`` (where the maps are cut), ``chosen_on`` (train images), ``iou`` and
        ``iou_95`` (mean and 95 % interval, patients drawn with replacement), ``chance``, and
        ``at_least``: by IoU, the share of images that reach it and its 95 % interval.
    """
    train = [case for case in cases if not case.held_out]
    held = [case for case in cases if case.held_out]
    share = max(SHARES, key=lambda s: float(np.mean([_iou(*_masks(case, s)) for case in train])))
    pairs = [_masks(case, share) for case in held]
    scores = np.array([_iou(cut, boxes) for cut, boxes in pairs])
    drawn = resample(
        lambda weights: weights @ scores / weights.sum(axis=1), [case.group for case in held]
    )
    reached = {limit: int((scores >= limit).sum()) for limit in OVERLAPS}
    return {
        "share_of_image": share,
        "chosen_on": len(train),
        "iou": float(scores.mean()),
        "iou_95": list(interval(drawn)),
        "chance": _exchanged(pairs),
        "at_least": {
            str(limit): [count / len(held), *share_interval(count, len(held))]
            for limit, count in reached.items()
        },
    }


def _boxed(model: Loaded, data: Path) -> dict[str, list[Boxed]]:
    """Return the boxed findings of all images, train split too, by label key."""
    boxes = read_boxes(data)
    samples = [s for s in chest_samples(data) if s.path.name in boxes]
    size = model.manifest.input.size
    squares = load_squares(data, samples, size=size)
    maps = model.cams(squares.pixels)
    keys = [label.key for label in model.manifest.labels]
    found: dict[str, list[Boxed]] = defaultdict(list)
    for sample, cams, content in zip(samples, maps, squares.boxes, strict=True):
        for key, drawn in boxes[sample.path.name].items():
            if key in keys:
                cam = cams[keys.index(key)]
                found[key].append(_case(sample, cam, drawn, content / size))
    return found


def _case(
    sample: Sample, cam: NDArray[np.float32], drawn: Sequence[Box], content: NDArray[np.float64]
) -> Boxed:
    boxes = [placed(box, content) for box in drawn]
    return Boxed(held_out=sample.held_out, group=sample.group, cam=cam, boxes=boxes)


def highest(cam: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Return the centre (x, y) of the highest cell of a map, as fractions of its sides."""
    row, column = np.unravel_index(int(cam.argmax()), cam.shape)
    return (float(column) + 0.5) / cam.shape[1], (float(row) + 0.5) / cam.shape[0]


def _contains(box: Box, point: tuple[float, float]) -> bool:
    left, top, right, bottom = box
    return left <= point[0] <= right and top <= point[1] <= bottom


def _masks(case: Boxed, share: float) -> tuple[Mask, Mask]:
    """Return the cut map and the boxes on the grid; an empty map covers nothing."""
    cam = torch.from_numpy(np.ascontiguousarray(case.cam, dtype=np.float32))[None, None]
    fine = functional.interpolate(cam, size=(_GRID, _GRID), mode="bilinear")[0, 0].numpy()
    cut = (fine >= np.quantile(fine, 1 - share)) & (fine > 0)
    return cut, covered(case.boxes)


def covered(boxes: Sequence[Box]) -> Mask:
    """Return the cells of the grid whose centre lies in one of the boxes."""
    line = (np.arange(_GRID) + 0.5) / _GRID
    inside = np.zeros((_GRID, _GRID), dtype=bool)
    for left, top, right, bottom in boxes:
        rows, columns = (line >= top) & (line <= bottom), (line >= left) & (line <= right)
        inside |= rows[:, None] & columns[None, :]
    return inside


def _iou(first: Mask, second: Mask) -> float:
    return float((first & second).sum()) / max(int((first | second).sum()), 1)


def _exchanged(pairs: Sequence[tuple[Mask, Mask]]) -> float | None:
    """Return the mean IoU of every box with the maps of the other images."""
    others = [
        _iou(cut, boxes)
        for mine, (_, boxes) in enumerate(pairs)
        for other, (cut, _) in enumerate(pairs)
        if other != mine
    ]
    return float(np.mean(others)) if others else None


def _summary(cases: Sequence[Boxed]) -> dict[str, Any]:
    held = [case for case in cases if case.held_out]
    hits = sum(any(_contains(box, highest(case.cam)) for box in case.boxes) for case in held)
    return {
        "images": len(held),
        "hits": hits / len(held),
        "hits_95": list(share_interval(hits, len(held))),
        "chance": float(np.mean([covered(case.boxes).mean() for case in held])),
        "overlap": overlap(cases),
    }
