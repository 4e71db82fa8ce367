"""Train a network on squares, an epoch at a time, so that a killed run goes on.

Everything random in an epoch follows from the seed and the epoch's number alone: a run that
was killed in an epoch repeats it and ends where an unbroken one ends.
"""

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from audit.errors import InvalidConfiguration
from inference.architectures import PooledClassifier
from inference.training.augment import augment, to_network
from inference.training.backbones import IMAGENET_MEAN, IMAGENET_STD
from inference.training.dataset import TaskKind
from inference.training.device import Device
from inference.training.folds import balance
from inference.training.samples import FloatArray, Squares
from inference.training.workbench.checkpoints import (
    Checkpoint,
    optimiser_tensors,
    prefixed,
    read_checkpoint,
    restore_optimiser,
    under,
    write_checkpoint,
)
from inference.training.workbench.history import History
from inference.training.workbench.objective import objective_of, rate_factor
from inference.training.workbench.progress import Reporter
from inference.training.workbench.scores import epoch_scores
from inference.training.workbench.task import TrainingTask

Tensors = tuple[Tensor, ...] | list[Tensor]
_MEASURE_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The images of one split and what is known of them."""

    squares: Squares
    targets: FloatArray
    """Shape (N, L), NaN where unknown; columns are the network's outputs."""


@dataclass(slots=True)
class _Progress:
    """What a run has reached."""

    epoch: int = 0
    """Next epoch to train."""

    best_epoch: int = -1
    best_score: tuple[float, float] = (-math.inf, -math.inf)
    """Of the best epoch: what is monitored, then the loss, which tells equals apart."""


class Diverged(InvalidConfiguration):
    """A loss or a logit is no finite number: the weights are not worth keeping."""

    def __init__(self) -> None:
        super().__init__(
            [
                "the training diverged, its loss or its logits are no finite numbers: lower "
                "`optimiser.rate` and `optimiser.head_rate`, and take --fresh or another --out"
            ]
        )


class Trainer:
    """One network's training in one folder.

    The folder holds ``checkpoint.safetensors`` (the last whole epoch), ``best.safetensors``
    (the averaged weights of the best) and ``history.csv``.

    Parameters
    ----------
    task : TrainingTask
    network : PooledClassifier
        Starting weights; trained in place.
    pretrained : bool
        Whether the features are worth keeping: while the head learns first, and in the stages
        that the task freezes. Features from chance all learn, and at once.
    train, val : Part
        What is learned from, and what decides when to stop.
    folder : Path
        Exists; what an earlier run with the same `identity` left there is gone on with.
    identity : str
        Names everything that decides the result, the code apart.
    device : Device
    reporter : Reporter
    history : History
    """

    def __init__(
        self,
        task: TrainingTask,
        network: PooledClassifier,
        *,
        pretrained: bool,
        train: Part,
        val: Part,
        folder: Path,
        identity: str,
        device: Device,
        reporter: Reporter,
        history: History,
    ) -> None:
        self._task, self._train, self._val, self._folder = task, train, val, folder
        self._identity, self._device, self._reporter = identity, device, reporter
        self._history = history
        self._head_epochs = task.head_epochs if pretrained else 0
        self._frozen = task.frozen_stages if pretrained else 0
        self._network = device.place(network)
        self._average: AveragedModel = AveragedModel(
            self._network, multi_avg_fn=self._averaged, use_buffers=True
        )
        self._optimiser = self._made_optimiser()
        self._scaler = device.scaler()
        self._objective = objective_of(task, train.targets, device.name)
        self._progress = _Progress()

    def run(self) -> int:
        """Train to the end, load the best epoch's weights into the network, return its number.

        Epochs count from 1 here, as in the history.

        Raises
        ------
        Diverged
            Before anything of the epoch is kept.
        """
        self._resume()
        task, reached = self._task, self._progress
        while reached.epoch < task.epochs and not self._over():
            began = time.monotonic()
            loss = self._epoch(reached.epoch)
            measured = self._measured()
            row = {"train_loss": loss, **measured, "rate": self._optimiser.param_groups[-1]["lr"]}
            self._history.add(reached.epoch + 1, row, seconds=time.monotonic() - began)
            self._settle(measured)
        best = read_checkpoint(self._folder / "best.safetensors")
        if best is None:
            raise InvalidConfiguration(
                ["the run folder has a checkpoint but no best.safetensors: take --fresh"]
            )
        self._network.load_state_dict(best.tensors)
        self._network.eval()
        self._history.close()
        return reached.best_epoch + 1

    def _over(self) -> bool:
        since = self._progress.epoch - 1 - self._progress.best_epoch
        over = self._progress.epoch > 0 and since >= self._task.stopping.patience
        if over:
            self._reporter.line(f"no better epoch for {since}: stopped early")
        return over

    def _epoch(self, epoch: int) -> float:
        """Train one epoch and return its mean loss."""
        self._open_stages(epoch)
        torch.manual_seed(_seed(self._task.seed, epoch, "dropout"))
        total, images = 0.0, 0
        batches = math.ceil(len(self._train.squares) / self._task.batch)
        label = f"epoch {epoch + 1} of {self._task.epochs}"
        with self._reporter.work(label, batches) as advance:
            for step, (inputs, targets) in enumerate(self._batches(epoch)):
                self._set_rates(epoch + step / batches)
                loss = self._step(inputs, targets)
                total, images = total + loss * len(inputs), images + len(inputs)
                advance(note=f"loss {total / images:.4f}")
        return total / images

    def _step(self, inputs: Tensor, targets: Tensor) -> float:
        inputs = self._device.put(inputs)
        with self._device.autocast():
            logits, _ = self._network(inputs)
        loss = self._objective(logits.float(), targets.to(self._device.name))
        value = _finite(loss)
        self._optimiser.zero_grad()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._average.update_parameters(self._network)
        return value

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield changed images and targets; the next batch is made while one is learned."""
        task, targets = self._task, self._train.targets
        random = np.random.default_rng([task.seed, epoch])
        generator = torch.Generator().manual_seed(_seed(task.seed, epoch, "changes"))
        rows = random.permutation(len(targets))
        if task.balance.drawn_most > 1:
            binary = task.kind is TaskKind.BINARY
            classes = np.concatenate([1.0 - targets, targets], axis=1) if binary else targets
            weights = balance(classes, most=task.balance.drawn_most)
            rows = random.choice(len(targets), len(targets), p=weights / weights.sum())
        parts = [rows[at : at + task.batch] for at in range(0, len(rows), task.batch)]
        parts = [part for part in parts if len(part) > 1]  # batch norm needs two

        def made(part: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
            changed, _ = augment(self._train.squares, part, task.augmentation, generator)
            inputs = to_network(changed, mean=IMAGENET_MEAN, std=IMAGENET_STD)
            return inputs, torch.from_numpy(targets[part])

        with ThreadPoolExecutor(1) as maker:
            coming = maker.submit(made, parts[0])
            for part in parts[1:]:
                ready, coming = coming, maker.submit(made, part)
                yield ready.result()
            yield coming.result()

    def _measured(self) -> dict[str, float]:
        logits = logits_of(self._average.module, self._val.squares, self._device)
        with torch.no_grad():
            wanted = torch.from_numpy(self._val.targets).to(self._device.name)
            loss = self._objective(torch.from_numpy(logits).to(self._device.name), wanted)
        scores = epoch_scores(logits, self._val.targets, self._task.kind)
        return {"val_loss": _finite(loss), **{f"val_{key}": v for key, v in scores.items()}}

    def _settle(self, measured: dict[str, float]) -> None:
        """Keep the best weights first, then the checkpoint that knows of them."""
        reached, monitor = self._progress, self._task.stopping.monitor
        value = measured[f"val_{monitor}"]
        score = (-value if monitor == "loss" else value, -measured["val_loss"])
        if score > reached.best_score or reached.best_epoch < 0:
            reached.best_epoch, reached.best_score = reached.epoch, score
            best = Checkpoint(self._average.module.state_dict(), {"epoch": reached.epoch})
            write_checkpoint(self._folder / "best.safetensors", best)
        reached.epoch += 1
        tensors = prefixed("network", self._network.state_dict())
        tensors |= prefixed("average", self._average.state_dict())
        tensors |= prefixed("optimiser", optimiser_tensors(self._optimiser))
        state: dict[str, Any] = {
            "identity": self._identity,
            "epoch": reached.epoch,
            "best_epoch": reached.best_epoch,
            "best_score": reached.best_score,
            "scaler": self._scaler.state_dict(),
            "history": self._history.rows,
        }
        write_checkpoint(self._folder / "checkpoint.safetensors", Checkpoint(tensors, state))

    def _resume(self) -> None:
        found = read_checkpoint(self._folder / "checkpoint.safetensors")
        if found is None or found.state["identity"] != self._identity:
            self._history.restore([])
            return
        self._network.load_state_dict(under("network", found.tensors))
        self._average.load_state_dict(under("average", found.tensors))
        restore_optimiser(self._optimiser, under("optimiser", found.tensors))
        self._scaler.load_state_dict(found.state["scaler"])
        reached = self._progress
        reached.epoch, reached.best_epoch = found.state["epoch"], found.state["best_epoch"]
        first, second = found.state["best_score"]
        reached.best_score = (first, second)
        self._history.restore(found.state["history"])
        self._reporter.line(f"goes on after epoch {reached.epoch} of {self._task.epochs}")

    def _made_optimiser(self) -> torch.optim.Optimizer:
        options = self._task.optimiser
        groups = [
            {
                "params": list(self._network.features[self._frozen :].parameters()),
                "peak": options.rate,
            },
            {"params": list(self._network.head.parameters()), "peak": options.head_rate},
        ]
        if options.name == "adamw":
            return torch.optim.AdamW(groups, weight_decay=options.weight_decay)
        return torch.optim.SGD(
            groups, lr=0.0, momentum=options.momentum, weight_decay=options.weight_decay
        )

    def _set_rates(self, epoch: float) -> None:
        factor = rate_factor(self._task.schedule, epoch=epoch, epochs=self._task.epochs)
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] * factor

    def _open_stages(self, epoch: int) -> None:
        """Let learn what may: first the head alone, then all but the frozen stages."""
        self._network.train()
        learns = epoch >= self._head_epochs
        for index, stage in enumerate(self._network.features):
            opened = learns and index >= self._frozen
            stage.train(opened).requires_grad_(opened)

    def _averaged(self, averaged: Tensors, new: Tensors, count: Tensor | int) -> None:
        """Follow the network, at first faster than by the task's decay."""
        decay = min(self._task.average, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(decay)(averaged, new, count)  # type: ignore[no-untyped-call]


def logits_of(network: nn.Module, squares: Squares, device: Device) -> FloatArray:
    """Return logits (N, L) of unchanged images, in float32.

    Raises
    ------
    Diverged
        When one is not finite.
    """
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(squares), _MEASURE_BATCH):
            pixels = squares.pixels[start : start + _MEASURE_BATCH].astype(np.float32) / 255.0
            inputs = to_network(pixels, mean=IMAGENET_MEAN, std=IMAGENET_STD)
            logits, _ = network(device.put(inputs))
            parts.append(logits.float().cpu().numpy())
    said = np.concatenate(parts)
    if not np.isfinite(said).all():
        raise Diverged
    return said


def _finite(loss: Tensor) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise Diverged
    return value


def _seed(seed: int, epoch: int, purpose: str) -> int:
    """Return a seed for one purpose in one epoch."""
    words = [seed, epoch, *purpose.encode()]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
