"""Out-of-fold logits, one fold at a time, each kept so that a stopped run goes on."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from inference.training.folds import balance
from inference.training.losses import Objective, one_of, positive_weights, sigmoid_loss
from inference.training.samples import FloatArray
from inference.training.shipped.bank import StemBank
from inference.training.shipped.loop import Schedule, Tail, Wanted, as_given, fit, predict

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

    seed: int = 20261120


def run_folder(options: Mapping[str, Any]) -> Path:
    """Return the folder of a run: the same options find what an earlier run left.

    The commit of the code that began the run stays with it.
    """
    text = json.dumps(options, sort_keys=True, default=str)
    folder = RUNS / hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "options.json").write_text(text + "\n", encoding="utf-8")
    if not (folder / "commit").exists():
        (folder / "commit").write_text(_code_commit(), encoding="utf-8")
    return folder


def _code_commit() -> str:
    result = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() or "unknown"


def objective_of(recipe: Recipe, targets: FloatArray) -> Objective:
    """Return the loss that a recipe describes for these training targets."""
    weight = positive_weights(targets, most=recipe.positive_most)
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


def fit_rows(
    tail: Tail,
    bank: StemBank,
    targets: FloatArray,
    rows: NDArray[np.int64],
    recipe: Recipe,
    *,
    label: str,
    wanted: Wanted = as_given,
    after_epoch: Callable[[int, Tail], None] | None = None,
) -> Tail:
    """Return `tail` trained on `rows`, with weights taken from these rows alone."""
    weights = np.ones(len(targets))
    weights[rows] = balance(targets[rows], most=recipe.balance_most)
    return fit(
        tail,
        bank,
        targets,
        rows,
        schedule=recipe.schedule,
        weights=weights,
        objective=objective_of(recipe, targets[rows]),
        wanted=wanted,
        seed=recipe.seed,
        label=label,
        after_epoch=after_epoch,
    )


def out_of_fold(
    tail: Tail,
    bank: Callable[[], StemBank],
    targets: FloatArray,
    folds: NDArray[np.int64],
    recipe: Recipe,
    *,
    kept: Path,
    wanted: Wanted = as_given,
) -> FloatArray:
    """Return logits (2, N, L) of networks that did not see the row or its group.

    The first are of the images as they are, the second of their disguised copies (`probe`).
    `bank` is called only when a fold is missing under `kept`.
    """
    logits = np.full((2, *targets.shape), np.nan, dtype=np.float32)
    for fold in range(int(folds.max()) + 1):
        logits[:, folds == fold] = fit_fold(
            fold, tail, bank, targets, folds, recipe, kept=kept, wanted=wanted
        )
    return logits


def fit_fold(  # noqa: PLR0917
    fold: int,
    tail: Tail,
    bank: Callable[[], StemBank],
    targets: FloatArray,
    folds: NDArray[np.int64],
    recipe: Recipe,
    *,
    kept: Path,
    wanted: Wanted = as_given,
) -> FloatArray:
    """Return the logits (2, n, L) of one fold's rows, kept under `kept`."""
    file = kept / f"fold{fold}.npy"
    if not file.exists():
        test, rows = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        label = f"fold {fold}"
        trained = fit_rows(tail, bank(), targets, rows, recipe, label=label, wanted=wanted)
        views = (bank().clean, bank().disguised)
        np.save(file, np.stack([predict(trained, view[test]) for view in views]))
    logits: FloatArray = np.load(file)
    return logits


def fit_once(
    tail: Tail,
    bank: Callable[[], StemBank],
    targets: FloatArray,
    rows: NDArray[np.int64],
    recipe: Recipe,
    *,
    kept: Path,
    wanted: Wanted = as_given,
) -> Tail:
    """Return the tail trained on every row of `rows`, kept under `kept`."""
    file = kept / "final.safetensors"
    if file.exists():
        tail.load_state_dict(load_file(file))
        return tail.eval()
    trained = fit_rows(tail, bank(), targets, rows, recipe, label="all rows", wanted=wanted)
    save_file({k: v.contiguous() for k, v in trained.state_dict().items()}, file)
    return trained
