"""Training on drawn images."""

import copy
import hashlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from inference.architectures import build
from inference.evaluation.measures.metrics import (
    auc,
)
from inference.training.augment import to_network
from inference.training.backbones import IMAGENET_MEAN, IMAGENET_STD
from inference.training.device import Device
from inference.training.export import plain, write_weights
from inference.training.folds import group_folds
from inference.training.shipped.bank import StemBank
from inference.training.shipped.crossval import Fits, Recipe, objective_of
from inference.training.shipped.labels import BODYPART_KEYS, NEIGHBOURS
from inference.training.shipped.loop import Lesson, Schedule, Tail, fit, predict
from inference.training.shipped.pointing import Boxes, missed
from inference.training.shipped.sources_bodypart import region_targets
from tests.lessons import FLOAT32, bank_and_tail, bank_of, bright_and_dark, lesson_of


def fitted(
    tail: Tail,
    bank: StemBank,
    targets: np.ndarray,
    schedule: Schedule,
    *,
    boxes: Boxes | None = None,
) -> Tail:
    lesson = lesson_of(bank, targets, schedule, boxes)
    everything = np.arange(len(targets))
    return fit(tail, lesson, everything, weights=np.ones(len(targets)), seed=1, label="test")


def test_the_bank_keeps_what_the_stem_says(tmp_path: Path) -> None:
    torch.manual_seed(1)
    stem = build("mobilenet_v2", 1).features[:4].train()
    stem(3 * torch.rand(8, 3, 32, 32) + 1)  # its norms have seen something
    squares, _ = bright_and_dark(4)
    inputs = to_network(squares.pixels / np.float32(255), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    with torch.inference_mode():
        said = copy.deepcopy(stem).eval()(inputs)
    bank = bank_of(stem, squares, tmp_path)
    torch.testing.assert_close(bank.clean.float(), said, rtol=2e-3, atol=2e-3)


def test_a_few_steps_learn_bright_from_dark(tmp_path: Path) -> None:
    squares, targets = bright_and_dark(32)
    bank, tail = bank_and_tail(squares, tmp_path)
    schedule = Schedule(epochs=10, head_epochs=0, batch=8, rate=2e-2, head_rate=2e-2, average=0.5)
    trained = fitted(tail, bank, targets, schedule)
    scores = predict(trained, bank.clean)[:, 0].astype(np.float64)
    assert auc(scores, targets[:, 0] > 0.5) > 0.9


def test_norms_follow_the_images_until_they_are_folded(tmp_path: Path) -> None:
    squares, targets = bright_and_dark(32)
    bank, tail = bank_and_tail(squares, tmp_path)
    stages = torch.nn.Sequential(torch.nn.Conv2d(24, 8, 1), torch.nn.BatchNorm2d(8))
    tail = Tail(stages, tail.head)
    trained = fitted(
        tail,
        bank,
        targets,
        Schedule(epochs=12, head_epochs=2, batch=8, rate=2e-2, head_rate=2e-2, fold_norms=True),
    )
    assert trained.state_dict().keys() == tail.state_dict().keys()
    assert not torch.equal(trained.state_dict()["stages.0.weight"], stages[0].weight)
    scores = predict(trained, bank.clean)[:, 0].astype(np.float64)
    assert auc(scores, targets[:, 0] > 0.5) > 0.9


def test_norms_stay_where_the_head_alone_learns(tmp_path: Path) -> None:
    squares, targets = bright_and_dark(8)
    bank, tail = bank_and_tail(squares, tmp_path)
    stages = torch.nn.Sequential(torch.nn.Conv2d(24, 8, 1), torch.nn.BatchNorm2d(8))
    tail = Tail(stages, tail.head)
    trained = fitted(
        tail, bank, targets, Schedule(epochs=1, head_epochs=1, batch=8, fold_norms=True)
    )
    assert torch.equal(trained.state_dict()["stages.0.weight"], stages[0].weight)
    assert not torch.equal(trained.state_dict()["stages.1.running_mean"], stages[1].running_mean)


def test_boxes_draw_the_evidence_into_them(tmp_path: Path) -> None:
    squares, targets = bright_and_dark(32)
    bank, tail = bank_and_tail(squares, tmp_path)
    rows = np.arange(32)
    boxes = {row: [(0, (0.25, 0.25, 0.75, 0.75))] for row in range(0, 32, 2)}

    def outside(pointing: float) -> float:
        trained = fitted(
            tail,
            bank,
            targets,
            Schedule(
                epochs=60,
                head_epochs=0,
                batch=8,
                rate=5e-2,
                head_rate=5e-2,
                average=0.5,
                pointing=pointing,
            ),
            boxes=boxes,
        )
        copies = bank.train(rows, np.random.default_rng(2))
        with torch.inference_mode():
            evidence = trained.evidence(trained.stages(copies.maps))
            return float(missed(evidence, boxes, rows, copies.moves))

    held, left_alone = outside(1.0), outside(0.0)
    assert held < left_alone / 2


class Elsewhere(Device):
    """A processor that keeps no numbers, but whose tensors do not go with those of the CPU."""

    def __init__(self) -> None:
        super().__init__("meta", torch.float32)

    def autocast(self) -> AbstractContextManager[object]:
        return nullcontext()


def test_a_training_whose_loss_is_no_number_leaves_nothing(tmp_path: Path) -> None:
    squares, targets = bright_and_dark(8)
    bank, tail = bank_and_tail(squares, tmp_path)
    with pytest.raises(FloatingPointError, match="diverged"):
        fitted(tail, bank, targets, Schedule(epochs=1, batch=4, head_rate=float("inf")))


def test_everything_of_a_step_is_where_it_is_computed(tmp_path: Path) -> None:
    device = Elsewhere()
    squares, targets = bright_and_dark(8)
    bank, tail = bank_and_tail(squares, tmp_path)
    targets[7] = np.nan
    boxes = {row: [(0, (0.25, 0.25, 0.75, 0.75))] for row in range(8)}
    recipe = Recipe(schedule=Schedule(epochs=1, pointing=1.0, consistency=1.0), exclusive=1)
    lesson = Lesson(
        bank=bank,
        targets=targets,
        objective=objective_of(recipe, targets, device),
        schedule=recipe.schedule,
        device=device,
        boxes=boxes,
    )
    learner = tail.to(device.name)
    loss = lesson.loss(learner, np.arange(7), np.array([7]), np.random.default_rng(1))
    loss.backward()
    assert {each.grad.device.type for each in learner.parameters()} == {device.name}


def test_a_stopped_cross_validation_goes_on_from_what_it_kept(tmp_path: Path) -> None:
    squares, targets = bright_and_dark(12)
    bank, tail = bank_and_tail(squares, tmp_path)
    recipe = Recipe(schedule=Schedule(epochs=1, batch=4))
    folds = np.arange(12) % 3
    fits = Fits(
        name="test",
        tail=tail,
        bank=lambda: bank,
        targets=targets,
        folds=folds,
        recipe=recipe,
        kept=tmp_path,
        device=FLOAT32,
    )
    first = fits.out_of_fold()
    assert not np.isnan(first).any()
    np.save(tmp_path / "fold0.npy", np.full((2, 4, 1), 7.0, dtype=np.float32))
    again = fits.out_of_fold()
    assert (again[:, folds == 0] == 7.0).all()
    np.testing.assert_array_equal(again[:, folds != 0], first[:, folds != 0])


def test_same_seed_gives_same_weights(tmp_path: Path) -> None:
    squares, targets = bright_and_dark(8)
    bank, tail = bank_and_tail(squares, tmp_path)
    kept = [fitted(tail, bank, targets, Schedule(epochs=2, batch=4)) for _ in range(2)]
    torch.testing.assert_close(kept[0].head.weight, kept[1].head.weight, rtol=0, atol=1e-6)


def test_folds_keep_groups_together() -> None:
    groups = [f"g{i // 3}" for i in range(60)]
    folds = group_folds(groups, folds=5, seed=1)
    assert set(folds.tolist()) == set(range(5))
    assert all(len({folds[i] for i in range(k, k + 3)}) == 1 for k in range(0, 60, 3))


def test_targets_of_an_unlabelled_view_stay_unknown() -> None:
    assert "FrontalChest" not in region_targets({"Chest"})
    assert region_targets({"Hand"})["FrontalChest"] == 0.0
    assert set(NEIGHBOURS) <= set(BODYPART_KEYS)


def test_exported_numbers_are_plain() -> None:
    document = plain({"a": np.float64(0.123456), "b": (np.int64(3), "x")})
    assert document == {"a": 0.1235, "b": [3, "x"]}


def test_half_precision_weights_load_as_float32(tmp_path: Path) -> None:
    network = build("mobilenet_v2", 3)
    digest = write_weights(tmp_path, network)
    stored = tmp_path / "weights.safetensors"
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == digest
    assert stored.stat().st_size < 6_000_000
    loaded = build("mobilenet_v2", 3)
    loaded.load_state_dict(load_file(stored))
    for name, exact in network.state_dict().items():
        again = loaded.state_dict()[name]
        assert again.dtype == exact.dtype
        torch.testing.assert_close(again, exact, rtol=1e-3, atol=1e-7)
