"""How well a network does after an epoch: two numbers to steer by."""

import numpy as np
from scipy.special import expit, softmax

from inference.evaluation.measures.metrics import auc
from inference.training.dataset import TaskKind
from inference.training.samples import FloatArray


def epoch_scores(logits: FloatArray, targets: FloatArray, kind: TaskKind) -> dict[str, float]:
    """Return ``auc`` and ``accuracy``.

    Parameters
    ----------
    logits, targets : ndarray of float32, shape (N, L)
        Targets are NaN where unknown.
    kind : TaskKind

    Returns
    -------
    dict
        ``auc`` is the mean over the outputs that have both classes, NaN without one.
        ``accuracy`` is the share of images whose first class is right (multi-class), else
        the share of known targets on the right side of one half.
    """
    single = kind is TaskKind.MULTI_CLASS
    scores = (softmax(logits, axis=1) if single else expit(logits)).astype(np.float64)
    values = []
    for column in range(targets.shape[1]):
        known = ~np.isnan(targets[:, column])
        truth = targets[known, column] >= 0.5
        if truth.any() and not truth.all():
            values.append(auc(scores[known, column], truth))
    if single:
        right = np.take_along_axis(targets, scores.argmax(axis=1)[:, None], axis=1) >= 0.5
    else:
        known_all = ~np.isnan(targets)
        right = (scores >= 0.5)[known_all] == (targets >= 0.5)[known_all]
    accuracy = float(right.mean()) if right.size else float("nan")
    return {"auc": float(np.mean(values)) if values else float("nan"), "accuracy": accuracy}
