"""Teach a network to look where a radiologist drew a box."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Box = tuple[float, float, float, float]
"""Left, top, right and bottom as fractions of the letterboxed square."""

Boxes = Mapping[int, Sequence[tuple[int, Box]]]
"""By row of the training images: the boxes and the label (column) of each."""

_FINE = 4
"""Places of a cell that are asked, per side."""

_LEAST = 1e-4
"""Taken for the share of a cell that no box covers, so that its logarithm is finite."""


def missed(
    evidence: Tensor, boxes: Boxes, rows: NDArray[np.int64], moves: NDArray[np.float32]
) -> Tensor:
    """Return how much of the evidence for a boxed label lies outside its boxes.

    A softmax over the cells says where the network sees the label; the loss is the negative
    logarithm of the share that the boxes cover, averaged over the boxed labels of the batch.
    It leaves the mean over the cells, which is the logit, to the other losses.

    Parameters
    ----------
    evidence : Tensor, shape (N, L, h, w)
    boxes : Boxes
    rows : ndarray of int64, shape (N,)
        The row of each copy.
    moves : ndarray of float32, shape (N, 2, 3)
        How each copy was moved, as `augment` returns it.
    """
    cells = (evidence.shape[2], evidence.shape[3])
    cover: dict[tuple[int, int], Tensor] = {}
    for place, row in enumerate(rows.tolist()):
        for label, box in boxes.get(row, ()):
            one = covered(box, moves[place], cells)
            key = (place, label)
            cover[key] = torch.maximum(cover[key], one) if key in cover else one
    visible = {key: mask for key, mask in cover.items() if mask.any()}
    if not visible:
        return evidence.new_zeros(())
    places, labels = (list(side) for side in zip(*visible, strict=True))
    where = functional.log_softmax(evidence[places, labels].flatten(1), dim=1)
    masks = torch.stack(list(visible.values())).flatten(1).clamp_min(_LEAST).to(evidence.device)
    return -torch.logsumexp(where + masks.log(), dim=1).mean()


def covered(box: Box, move: NDArray[np.float32], cells: tuple[int, int]) -> Tensor:
    """Return the share (h, w) of each cell of a moved copy that shows the inside of a box."""
    high, wide = (_FINE * side for side in cells)
    y, x = torch.meshgrid(_centres(high), _centres(wide), indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    source = (places @ torch.from_numpy(move).T + 1) / 2
    left, top, right, bottom = box
    low, most = torch.tensor([left, top]), torch.tensor([right, bottom])
    inside = ((source >= low) & (source <= most)).all(dim=-1).float()
    return functional.avg_pool2d(inside[None], _FINE)[0]


def _centres(count: int) -> Tensor:
    """Return the centres of `count` equal parts of the line from -1 to 1."""
    return (2 * torch.arange(count) + 1) / count - 1
