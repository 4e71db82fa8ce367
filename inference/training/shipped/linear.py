"""A head that is fitted to what the features say, before anything else learns."""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from inference.training.shipped.loop import Lesson, Tail, pooled

RIDGE = 1e-3
"""Weight of the squared weights of the head, for features of a typical spread of one."""

STEPS = 100


def with_fitted_head(tail: Tail, lesson: Lesson, rows: NDArray[np.int64]) -> Tail:
    """Return a copy of `tail` whose head is the best one for its stages as they are.

    It is a logistic regression on the pooled features of unchanged images, by the loss of the
    lesson. A network that goes on from there at small rates keeps more of what it knows than one
    whose stages follow a head from chance (Kumar et al., Fine-Tuning can Distort Pretrained
    Features and Underperform Out-of-Distribution, ICLR 2022).

    Parameters
    ----------
    tail : Tail
        Left as it is.
    lesson : Lesson
    rows : ndarray of int64
        The training rows.
    """
    headed = lesson.device.place(copy.deepcopy(tail)).eval()
    rows = rows[~np.isnan(lesson.targets[rows]).all(axis=1)]
    features = pooled(headed, lesson.bank.clean[torch.from_numpy(rows)])
    targets = torch.from_numpy(lesson.targets[rows]).to(features.device)
    middle, spread = features.mean(dim=0), features.std(dim=0).median()
    inputs = (features - middle) / spread
    weight = torch.zeros_like(headed.head.weight, requires_grad=True)
    bias = torch.zeros_like(headed.head.bias, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimiser.zero_grad()
        error = lesson.objective(functional.linear(inputs, weight, bias), targets)
        error = error + RIDGE * weight.square().sum()
        error.backward()  # type: ignore[no-untyped-call]
        return float(error.detach())

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        headed.head.weight.copy_(weight / spread)
        headed.head.bias.copy_(bias - weight @ (middle / spread))
    return headed
