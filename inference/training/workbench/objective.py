"""What a task file asks for: the loss, and the course of the learning rate."""

import math

import numpy as np
import torch
from torch import Tensor

from inference.training.dataset import TaskKind
from inference.training.losses import Objective, positive_weights, sigmoid_loss, softmax_loss
from inference.training.samples import FloatArray
from inference.training.workbench.task import RateSchedule, TrainingTask

_FLOOR = 0.01
"""Rates never fall below this share of their peak."""


def objective_of(task: TrainingTask, targets: FloatArray, device: str) -> Objective:
    """Return the loss that a task describes.

    Parameters
    ----------
    task : TrainingTask
    targets : ndarray of float32, shape (N, L)
        Of the training images: what the weights of rare classes are taken from.
    device : str
        Where logits and targets will be.
    """
    gamma = task.loss.gamma if task.loss.name == "focal" else 0.0
    smoothing, most = task.loss.smoothing, task.balance.weight_most
    if task.kind is TaskKind.MULTI_CLASS and task.loss.name != "bce":
        counts = np.maximum(targets.sum(axis=0), 1.0)
        rarity = np.clip(np.sqrt(counts.max() / counts), 1.0, most)
        weight = torch.from_numpy(rarity.astype(np.float32)).to(device)
        return lambda logits, wanted: softmax_loss(
            logits, wanted, class_weight=weight, gamma=gamma, smoothing=smoothing
        )
    weight = positive_weights(targets, most=most).to(device)
    other: Tensor | float = 1.0
    if task.kind is TaskKind.BINARY:
        other = positive_weights(1.0 - targets, most=most).to(device)
    return lambda logits, wanted: sigmoid_loss(
        logits,
        wanted,
        positive_weight=weight,
        negative_weight=other,
        gamma=gamma,
        smoothing=smoothing,
    )


def rate_factor(schedule: RateSchedule, *, epoch: float, epochs: int) -> float:
    """Return the share of the peak rate that holds at a (fractional) epoch.

    Parameters
    ----------
    schedule : RateSchedule
        ``cosine`` falls along a half cosine; ``one_cycle`` rises along one for 30 % of the
        time and falls along another; ``step`` falls by a factor every few epochs. A linear
        warm-up comes before ``cosine`` and ``step``.
    epoch : float
        From 0 to `epochs`.
    epochs : int
        Length of the training.
    """
    done = min(epoch / epochs, 1.0)
    if schedule.name == "one_cycle":
        rise = 0.3
        share = done / rise if done < rise else 1.0 - (done - rise) / (1.0 - rise)
        return _FLOOR + (1.0 - _FLOOR) * 0.5 * (1.0 - math.cos(math.pi * share))
    warmth = min(1.0, (epoch + 0.05) / schedule.warmup_epochs) if schedule.warmup_epochs else 1.0
    if schedule.name == "step":
        steps = int(epoch // schedule.step_epochs)
        return float(warmth * max(schedule.step_factor**steps, _FLOOR))
    return warmth * (_FLOOR + (1.0 - _FLOOR) * 0.5 * (1.0 + math.cos(math.pi * done)))
