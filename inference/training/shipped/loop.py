"""Train the last stages and the head of a network; predict with them."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from inference.training.augment import Disguise
from inference.training.device import Device
from inference.training.losses import Objective
from inference.training.norms import fold, unfold
from inference.training.samples import FloatArray
from inference.training.shipped.bank import StemBank
from inference.training.shipped.pointing import Boxes, missed


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast; rates are AdamW's."""

    epochs: int
    head_epochs: int = 1
    """First epochs, in which the head alone learns."""

    batch: int = 48
    head_rate: float = 2e-3
    rate: float = 5e-4
    weight_decay: float = 1e-2
    average: float = 0.98
    """Decay of the running average of the weights, which is what comes out."""

    fold_norms: bool = False
    """Whether batch norms, once they have seen our images in the head's epochs, stay as they are
    and are folded into the convolutions: an epoch takes less time."""

    consistency: float = 0.0
    """Weight of the agreement of two copies of an image without any label."""

    pointing: float = 0.0
    """Weight of looking where a radiologist drew a box."""


Wanted = Callable[[FloatArray, Disguise], FloatArray]


def as_given(targets: FloatArray, _: Disguise) -> FloatArray:
    """Return the targets as they are: a disguise changes no label."""
    return targets


class Tail(nn.Module):
    """The trained part: the feature stages after the stem, pooling and the head."""

    def __init__(self, stages: nn.Module, head: nn.Linear, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.stages = stages
        self.dropout = nn.Dropout(dropout)
        self.head = head

    def forward(self, maps: Tensor) -> Tensor:
        return self.answer(self.stages(maps))

    def answer(self, features: Tensor) -> Tensor:
        """Return logits (N, L) of the last stage's features (N, C, h, w)."""
        logits: Tensor = self.head(self.dropout(features.mean(dim=(2, 3))))
        return logits

    def evidence(self, features: Tensor) -> Tensor:
        """Return what each cell says for each label, (N, L, h, w): the logit is mean and bias."""
        return torch.einsum("lc,nchw->nlhw", self.head.weight, features)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """What is learned from, and what counts as an error."""

    bank: StemBank
    """Where the inputs come from."""

    targets: FloatArray
    """Shape (N, L), NaN where unknown."""

    objective: Objective
    """The loss of logits (N, L) against targets (N, L)."""

    schedule: Schedule
    device: Device
    wanted: Wanted = as_given
    """What the targets of images become by the way they were disguised."""

    boxes: Boxes | None = None
    """Where a radiologist saw a label."""

    def loss(
        self,
        learner: Tail,
        drawn: NDArray[np.int64],
        unlabelled: NDArray[np.int64],
        random: np.random.Generator,
    ) -> Tensor:
        """Return the loss of copies of the rows `drawn`, and of some `unlabelled` ones."""
        schedule = self.schedule
        copies = self.bank.train(drawn, random)
        with self.device.autocast():
            features = learner.stages(self.device.put(copies.maps))
            logits = learner.answer(features)
        aims = torch.from_numpy(self.wanted(self.targets[drawn], copies.changes))
        loss = self.objective(logits.float(), aims.to(self.device.name))
        if schedule.pointing and self.boxes:
            evidence = learner.evidence(features.float())
            loss = loss + schedule.pointing * missed(evidence, self.boxes, drawn, copies.moves)
        if schedule.consistency and len(unlabelled):
            some = random.choice(unlabelled, schedule.batch // 4)
            loss = loss + schedule.consistency * disagreement(
                learner, self.bank, some, random, self.device
            )
        return loss


def fit(
    tail: Tail,
    lesson: Lesson,
    rows: NDArray[np.int64],
    *,
    weights: NDArray[np.float64],
    seed: int,
    label: str,
) -> Tail:
    """Train a copy of `tail` on `rows` of the bank and return its averaged weights.

    Parameters
    ----------
    tail : Tail
        Starting weights; left as it is.
    lesson : Lesson
    rows : ndarray of int64
        The training rows; those without a single known target serve consistency alone.
    weights : ndarray of float64, shape (N,)
        How often each image is drawn, relative to the others.
    seed : int
        Seed of drawing and dropout.
    label : str
        Printed before the progress.

    Raises
    ------
    FloatingPointError
        When the loss is no finite number: such weights are not worth keeping.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    schedule = lesson.schedule
    known = ~np.isnan(lesson.targets[rows]).all(axis=1)
    rows, unlabelled = rows[known], rows[~known]
    pupil = _Pupil(tail, schedule, lesson.device)
    batches = math.ceil(len(rows) / schedule.batch)
    share = weights[rows] / weights[rows].sum()
    started = time.monotonic()
    for epoch in range(schedule.epochs):
        total = 0.0
        pupil.begin(epoch)
        for step in range(batches):
            drawn = random.choice(rows, schedule.batch, p=share)
            loss = lesson.loss(pupil.learner, drawn, unlabelled, random)
            pupil.learn(loss, epoch + step / batches)
            total += float(loss.detach())
        if not math.isfinite(total):
            raise FloatingPointError(f"{label}: the training diverged, its loss is no number")
        seconds = time.monotonic() - started
        print(
            f"{label}: epoch {epoch + 1}/{schedule.epochs} loss {total / batches:.4f} "
            f"{seconds:.0f} s",
            flush=True,
        )
    return pupil.result()


class _Pupil:
    """A copy of a tail that learns, and the running average of its weights."""

    def __init__(self, tail: Tail, schedule: Schedule, device: Device) -> None:
        self._tail, self._schedule, self._device = tail, schedule, device
        self.learner = device.place(copy.deepcopy(tail))
        self._averaged = copy.deepcopy(self.learner).eval()
        self._optimiser = _optimiser(self.learner, schedule)
        self._scaler = device.scaler()
        self._begun = self._steps = 0
        self._folded = False

    def begin(self, epoch: int) -> None:
        """Freeze, free or fold what `epoch` asks for."""
        if self._schedule.fold_norms and epoch == self._schedule.head_epochs:
            for network in (self.learner, self._averaged):
                fold(network)
                self._device.place(network)
            self._optimiser, self._begun = _optimiser(self.learner, self._schedule), epoch
            self._folded = True
        self.learner.train()
        for parameter in self.learner.stages.parameters():
            parameter.requires_grad_(epoch >= self._schedule.head_epochs)

    def learn(self, loss: Tensor, epoch: float) -> None:
        """Take one step down the `loss`."""
        _set_rates(self._optimiser, self._schedule, epoch, self._begun)
        self._optimiser.zero_grad()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimiser)
        self._scaler.update()
        decay = min(self._schedule.average, (1 + self._steps) / (10 + self._steps))
        _average(self._averaged, self.learner, decay)
        self._steps += 1

    def result(self) -> Tail:
        """Return the averaged weights, in the form of the tail."""
        if not self._folded:
            return self._averaged
        learned = self._device.place(copy.deepcopy(self._tail)).eval()
        unfold(self._averaged, learned)
        return learned


def disagreement(
    learner: Tail,
    bank: StemBank,
    rows: NDArray[np.int64],
    random: np.random.Generator,
    device: Device,
) -> Tensor:
    """Return the mean squared difference of the probabilities of two copies of each row.

    The second copy's are what the first is held to (Sajjadi et al., 2016; Laine and Aila,
    2017).
    """
    one, other = (device.put(bank.train(rows, random).maps) for _ in range(2))
    with device.autocast():
        found = learner(one)
        with torch.no_grad():
            aim = learner(other)
    return functional.mse_loss(torch.sigmoid(found.float()), torch.sigmoid(aim.float()))


def predict(tail: Tail, maps: Tensor, *, batch: int = 128) -> FloatArray:
    """Return logits (N, L) of stem maps (N, C, h, w), computed where the tail is."""
    tail.eval()
    with torch.inference_mode():
        logits: FloatArray = tail.head(pooled(tail, maps, batch=batch)).cpu().numpy()
    return logits


def pooled(tail: Tail, maps: Tensor, *, batch: int = 128) -> Tensor:
    """Return the last stage's pooled features (N, C) of stem maps (N, c, h, w), without gradients.

    They lie where the tail is, which should be in evaluation mode.
    """
    device = Device(tail.head.weight.device.type, torch.float32)
    with torch.no_grad():
        parts = [
            tail.stages(device.put(maps[start : start + batch].float())).mean(dim=(2, 3))
            for start in range(0, len(maps), batch)
        ]
    return torch.cat(parts)


def _optimiser(learner: Tail, schedule: Schedule) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [
            {"params": list(learner.stages.parameters()), "peak": schedule.rate},
            {"params": list(learner.head.parameters()), "peak": schedule.head_rate},
        ],
        weight_decay=schedule.weight_decay,
    )


def _set_rates(
    optimiser: torch.optim.Optimizer, schedule: Schedule, epoch: float, begun: int
) -> None:
    """Cosine from each group's peak to a hundredth of it; warmed up from the epoch it `begun`."""
    cosine = 0.5 * (1 + math.cos(math.pi * epoch / schedule.epochs))
    warm = min(1.0, (epoch - begun + 0.05) / 0.5)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * warm * (0.01 + 0.99 * cosine)


@torch.no_grad()
def _average(averaged: nn.Module, learner: nn.Module, decay: float) -> None:
    new = learner.state_dict()
    for name, value in averaged.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(new[name], 1 - decay)
        else:
            value.copy_(new[name])
