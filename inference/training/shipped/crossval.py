"""Out-of-fold logits, one fold at a time, each kept so that a stopped run goes on."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from inference.training.device import Device
from inference.training.folds import balance
from inference.training.losses import Objective, one_of, positive_weights, sigmoid_loss
from inference.training.provenance import code_commit
from inference.training.samples import FloatArray
from inference.training.shipped.bank import StemBank
from inference.training.shipped.linear import with_fitted_head
from inference.training.shipped.loop import (
    Lesson,
    Schedule,
    Tail,
    Wanted,
    as_given,
    fit,
    predict,
)
from inference.training.shipped.pointing import Boxes
from inference.training.whole import whole

RUNS = Path(".work/training-runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what a fit makes of its rows."""

    schedule: Schedule
    balance_most: float = 4.0
    positive_most: float = 3.0
    exclusive: int = 0
    """Leading labels of which an image mostly shows one; 0 for none."""

    one_of: float = 0.5
    """Weight of their softmax cross-entropy beside the mean of the binary ones."""

    smoothing: float = 0.05
    focal: float = 0.0
    """Gamma of the focal loss of the binary outputs."""

    label_smoothing: float = 0.0
    """Of the binary outputs."""

    head_first: bool = False
    """Whether the head is fitted to the features as they are before anything else learns."""

    seed: int = 20261120


def run_folder(options: Mapping[str, Any]) -> Path:
    """Return the folder of a run: the same options find what an earlier run left.

    The commit of the code that began the run stays with it.
    """
    text = json.dumps(options, sort_keys=True, default=str)
    folder = RUNS / hashlib.sha256(text.encode()).hexdigest()[:16]
    for name, value in (("options.json", text + "\n"), ("commit", code_commit())):
        if not (folder / name).exists():
            with whole(folder / name) as stream:
                stream.write(value.encode())
    return folder


def objective_of(recipe: Recipe, targets: FloatArray, device: Device) -> Objective:
    """Return the loss that a recipe describes for these training targets."""
    weight = positive_weights(targets, most=recipe.positive_most).to(device.name)
    first = slice(0, recipe.exclusive)

    def objective(logits: Tensor, wanted: Tensor) -> Tensor:
        loss = sigmoid_loss(
            logits,
            wanted,
            positive_weight=weight,
            gamma=recipe.focal,
            smoothing=recipe.label_smoothing,
        )
        if recipe.exclusive:
            single = one_of(logits[:, first], wanted[:, first], smoothing=recipe.smoothing)
            loss = loss + recipe.one_of * single
        return loss

    return objective


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fits:
    """The fits of one recipe, each kept under `kept`, so that a stopped run goes on."""

    name: str
    """Printed before the progress."""

    tail: Tail
    """Starting weights."""

    bank: Callable[[], StemBank]
    """Called only when a fit is missing."""

    targets: FloatArray
    """Shape (N, L), NaN where unknown."""

    folds: NDArray[np.int64]
    """Shape (N,); rows of `NO_FOLD` are learned from in every fold and scored in none."""

    recipe: Recipe
    kept: Path
    device: Device
    wanted: Wanted = as_given
    boxes: Boxes | None = None

    @property
    def count(self) -> int:
        """The number of folds."""
        return int(self.folds.max()) + 1

    def out_of_fold(self) -> FloatArray:
        """Return logits (2, N, L) of networks that did not see the row or its group.

        The first are of the images as they are, the second of their disguised copies (`probe`).
        """
        logits = np.full((2, *self.targets.shape), np.nan, dtype=np.float32)
        for number in range(self.count):
            logits[:, self.folds == number] = self.fold(number)
        return logits

    def missing(self, *, and_everything: bool) -> list[int | None]:
        """Return the folds that are not kept yet; None, and first, the fit on every row."""
        folds = [number for number in range(self.count) if not self._of_fold(number).exists()]
        whole = and_everything and not self._of_everything.exists()
        return [*([None] if whole else []), *folds]

    def fold(self, number: int) -> FloatArray:
        """Return the logits (2, n, L) of one fold's rows."""
        file = self._of_fold(number)
        if not file.exists():
            trained = self._fit(np.flatnonzero(self.folds != number), f"fold {number}")
            views, test = (self.bank().clean, self.bank().disguised), self.folds == number
            with whole(file) as stream:
                np.save(stream, np.stack([predict(trained, view[test]) for view in views]))
        logits: FloatArray = np.load(file)
        return logits

    def everything(self) -> Tail:
        """Return the tail that was fitted to every row."""
        file = self._of_everything
        if file.exists():
            self.tail.load_state_dict(load_file(file))
            return self.tail.eval()
        trained = self._fit(np.arange(len(self.targets)), "all rows")
        with whole(file) as stream:
            stream.write(save({k: v.contiguous() for k, v in trained.state_dict().items()}))
        return trained

    def _of_fold(self, number: int) -> Path:
        return self.kept / f"fold{number}.npy"

    @property
    def _of_everything(self) -> Path:
        return self.kept / "final.safetensors"

    def _fit(self, rows: NDArray[np.int64], label: str) -> Tail:
        """Return the tail trained on `rows`, with weights taken from these rows alone."""
        weights = np.ones(len(self.targets))
        weights[rows] = balance(self.targets[rows], most=self.recipe.balance_most)
        lesson = Lesson(
            bank=self.bank(),
            targets=self.targets,
            objective=objective_of(self.recipe, self.targets[rows], self.device),
            schedule=self.recipe.schedule,
            device=self.device,
            wanted=self.wanted,
            boxes=self.boxes,
        )
        start = self.tail
        if self.recipe.head_first:
            start = with_fitted_head(start, lesson, rows)
        return fit(
            start,
            lesson,
            rows,
            weights=weights,
            seed=self.recipe.seed,
            label=f"{self.name}, {label}",
        )
