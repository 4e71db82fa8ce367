"""The head that is fitted first: the best one for features that stay as they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from inference.evaluation.measures.metrics import auc
from inference.training.augment import Augmentation
from inference.training.samples import Squares
from inference.training.shipped.chest import gently
from inference.training.shipped.crossval import Fits, Recipe
from inference.training.shipped.linear import with_fitted_head
from inference.training.shipped.loop import Schedule, predict
from inference.training.shipped.options import Options, members_of
from inference.training.shipped.run import Material, Plan
from tests.lessons import FLOAT32, bank_and_tail, bright_and_dark, lesson_of

RESTING = Schedule(epochs=1, head_epochs=0, batch=8, rate=0.0, head_rate=0.0)


def test_a_fitted_head_tells_what_the_stages_tell_apart(tmp_path: Path) -> None:
    squares, targets = bright_and_dark(32)
    bank, tail = bank_and_tail(squares, tmp_path)
    with torch.no_grad():
        tail.stages.weight[0] = 0.0  # one feature that is always the same
    targets[0] = np.nan
    before = tail.head.weight.clone()
    lesson = lesson_of(bank, targets, RESTING)
    headed = with_fitted_head(tail, lesson, np.arange(16))
    scores = predict(headed, bank.clean)[:, 0].astype(np.float64)
    assert auc(scores[16:], targets[16:, 0] > 0.5) > 0.9, "images that it was not fitted to"
    assert np.abs(scores).max() < 100
    assert headed.head.weight[0, 0].abs() < 1e-3, "nothing is read into what never changes"
    torch.testing.assert_close(tail.head.weight, before)
    torch.testing.assert_close(headed.stages.weight, tail.stages.weight)


def test_a_recipe_says_whether_the_head_comes_first(tmp_path: Path) -> None:
    squares, targets = bright_and_dark(24)
    bank, tail = bank_and_tail(squares, tmp_path / "bank")

    def out_of_fold(*, head_first: bool) -> float:
        fits = Fits(
            name="test",
            tail=tail,
            bank=lambda: bank,
            targets=targets,
            folds=np.arange(24) // 8,
            recipe=Recipe(schedule=RESTING, head_first=head_first),
            kept=tmp_path / str(head_first),
            device=FLOAT32,
        )
        fits.kept.mkdir()
        scores = fits.out_of_fold()[0][:, 0].astype(np.float64)
        return float(np.mean((scores > 0) == (targets[:, 0] > 0.5)))

    assert out_of_fold(head_first=True) > 0.9
    assert out_of_fold(head_first=False) < 0.9


def plan_of_three(recipe: Recipe) -> Plan:
    nothing = Squares(pixels=np.zeros((0, 32, 32), np.uint8), boxes=np.zeros((0, 4), np.int64))
    nowhere = Path("nowhere")
    return Plan(
        material=Material(
            samples=[],
            squares=nothing,
            targets=np.zeros((0, 1), np.float32),
            folds=np.zeros(0, np.int64),
            held_out=[],
        ),
        keys=("odd",),
        options=Options(
            data=nowhere, out=nowhere, card=nowhere, size=32, epochs=1, variants=1,
            members=members_of("mobilenet_v2:4,mobilenet_v3_small:4,mobilenet_v2:4"),
            seed=3, threads=1, device="cpu", version="0",
        ),
        recipe=recipe,
        augmentation=Augmentation(),
        gentle=gently(recipe),
    )  # fmt: skip


def test_a_start_that_knows_radiographs_is_trained_gently() -> None:
    recipe = Recipe(schedule=RESTING)
    plan = plan_of_three(recipe)
    assert plan.recipe_of(0) == replace(recipe, seed=3)
    assert plan.recipe_of(1).head_first
    assert not plan.recipe_of(2).head_first
    assert [plan.recipe_of(place).seed for place in range(3)] == [3, 4, 5]
    assert not replace(plan, gentle=None).recipe_of(1).head_first


def test_only_the_first_member_is_held_to_boxes() -> None:
    plan = plan_of_three(Recipe(schedule=replace(RESTING, pointing=0.1)))
    assert [plan.recipe_of(place).schedule.pointing for place in range(3)] == [0.1, 0.0, 0.0]
