"""Numbers about heat maps: where they peak, how they agree, and whether the network minds.

Deletion and insertion are those of Petsiuk et al. (RISE, BMVC 2018): the image is taken
away, or given back, in the order of the map.
"""

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch.nn import functional

Map = NDArray[np.float32]
Score = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""From weights (K, S, S), 1 where the image is kept and 0 where it is replaced, to the
probability of the label in each of the K images."""

_AGREEMENT_GRID = 14
_CELL_SHARE = 1 / 28
STEPS = 16
"""Equal shares in which an image is taken away or given back."""


def resized(values: Map, side: int) -> Map:
    """Return a map on a grid of `side` x `side`: averaged when it shrinks, else interpolated."""
    tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
    if min(values.shape) > side:
        small: Map = functional.adaptive_avg_pool2d(tensor, side)[0, 0].numpy()
        return small
    large: Map = functional.interpolate(tensor, size=(side, side), mode="bilinear")[0, 0].numpy()
    return large


def peak(values: Map, content: tuple[int, int, int, int], size: int) -> dict[str, Any]:
    """Return where a map over the square is highest.

    Returns
    -------
    dict
        ``peak``: (x, y) as fractions of the image, from its upper left corner, below 0 or
        above 1 in the margin of the letterbox; the middle of the highest cells where several
        are equal, None for an empty map. ``in_margin``: share of the map's sum that lies
        outside the image.
    """
    total = float(values.sum())
    if total <= 0:
        return {"peak": None, "in_margin": None}
    top, left, bottom, right = content
    row, column = np.argwhere(values == values.max()).mean(axis=0) + 0.5
    y = (float(row) / values.shape[0] * size - top) / (bottom - top)
    x = (float(column) / values.shape[1] * size - left) / (right - left)
    fine = resized(values, size)
    inside = float(fine[top:bottom, left:right].sum()) / max(float(fine.sum()), 1e-12)
    return {"peak": [round(x, 4), round(y, 4)], "in_margin": round(max(0.0, 1.0 - inside), 4)}


def agreement(maps: Mapping[str, Map], content: tuple[int, int, int, int], size: int) -> list[
    dict[str, Any]
]:  # fmt: skip
    """Return Spearman's rank correlation of every two maps, on 14 x 14 cells of the image.

    1: they rank the cells alike; 0: no relation. None where a map is the same everywhere.
    """
    top, left, bottom, right = content
    cells = {
        name: resized(resized(values, size)[top:bottom, left:right], _AGREEMENT_GRID).ravel()
        for name, values in maps.items()
    }
    return [
        {"methods": [one, other], "rank_correlation": _correlation(cells[one], cells[other])}
        for one, other in combinations(cells, 2)
    ]


def _correlation(first: Map, second: Map) -> float | None:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return round(float(spearmanr(first, second).statistic), 4)


def importance_curves(
    values: Map, content: tuple[int, int, int, int], size: int, score: Score
) -> dict[str, Any]:
    """Return what becomes of the probability when the image goes and comes by the map's order.

    Returns
    -------
    dict
        ``deletion`` and ``insertion``: probability after each of `STEPS` equal shares, first
        and last included; ``deletion_auc`` and ``insertion_auc``: their areas, 0 to 1. A map
        that found what the network looks at has a low deletion and a high insertion.
    """
    order = _cell_order(values, content, size)
    kept = (order[np.newaxis] >= np.linspace(0.0, 1.0, STEPS + 1)[:, None, None]).astype(np.float32)
    deletion, insertion = score(kept), score(1.0 - kept)
    return {
        "deletion": np.round(deletion, 4).tolist(),
        "insertion": np.round(insertion, 4).tolist(),
        "deletion_auc": round(float(np.trapezoid(deletion, dx=1 / STEPS)), 4),
        "insertion_auc": round(float(np.trapezoid(insertion, dx=1 / STEPS)), 4),
    }


def _cell_order(values: Map, content: tuple[int, int, int, int], size: int) -> NDArray[np.float64]:
    """Return when each pixel goes, by cells: from 0 to below 1; the margin stays, at 2."""
    top, left, bottom, right = content
    cell = max(1, round(size * _CELL_SHARE))
    fine = resized(values, size)[top:bottom, left:right]
    rows, columns = (np.arange(extent) // cell for extent in fine.shape)
    cells = rows[:, None] * (columns[-1] + 1) + columns[None, :]
    heat = np.bincount(cells.ravel(), fine.ravel()) / np.bincount(cells.ravel())
    place = np.empty(len(heat))
    place[np.argsort(-heat, kind="stable")] = np.arange(len(heat)) / len(heat)
    order = np.full((size, size), 2.0)
    order[top:bottom, left:right] = place[cells]
    return order
