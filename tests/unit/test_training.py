"""Training on drawn images, the measures, and the models that are shipped."""

import copy
import functools
import hashlib
import math
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from inference.architectures import build
from inference.evaluation.loaded import load_model
from inference.evaluation.measures.metrics import (
    auc,
    auc_interval,
    share_interval,
    weighted_auc,
)
from inference.evaluation.measures.verdict import (
    MOST_FALSE,
    Thresholds,
    Trials,
    choose_thresholds,
    matches,
    mismatches,
)
from inference.evaluation.shipped.card import render_card
from inference.evaluation.shipped.check import as_stated, differences, recompute
from inference.manifest import OperatingPoint, read_manifest
from inference.preprocess import network_input
from inference.training.augment import Augmentation, Disguise, augment, probe, to_network
from inference.training.backbones import IMAGENET_MEAN, IMAGENET_STD
from inference.training.device import Device
from inference.training.export import plain, write_weights
from inference.training.folds import balance, group_folds
from inference.training.losses import one_of, positive_weights, sigmoid_loss
from inference.training.samples import Sample, Squares
from inference.training.shipped.bank import StemBank
from inference.training.shipped.bodypart_scores import not_ours_section
from inference.training.shipped.crossval import Fits, Recipe, objective_of
from inference.training.shipped.labels import BODYPART_KEYS, FINDING_KEYS, NEIGHBOURS
from inference.training.shipped.loop import Lesson, Schedule, Tail, fit, predict
from inference.training.shipped.pointing import Boxes, missed
from inference.training.shipped.sources_bodypart import disguised_targets, region_targets
from inference.training.shipped.synthetic import synthetic_squares

ROOT = Path(__file__).parents[2]
MODELS = [ROOT / "inference/models/bodypart", ROOT / "inference/models/chest-findings"]
DATA = Path(os.environ.get("XRAY_DATA", ROOT.parent / "shared" / "data"))


FLOAT32 = Device("cpu", torch.float32)
NOT_DISGUISED = Disguise(inverted=np.zeros(2, dtype=bool), turns=np.zeros(2, dtype=np.int64))


def bright_and_dark(count: int, size: int = 32) -> tuple[Squares, np.ndarray]:
    random = np.random.default_rng(5)
    bright = np.arange(count) % 2 == 0
    pixels = random.integers(0, 60, (count, size, size)).astype(np.uint8)
    pixels[bright, 8:24, 8:24] += 180
    boxes = np.tile(np.array([0, 0, size, size]), (count, 1))
    return Squares(pixels=pixels, boxes=boxes), bright.astype(np.float32)[:, None]


def bank_of(stem: torch.nn.Module, squares: Squares, kept: Path) -> StemBank:
    return StemBank(
        stem,
        squares,
        Augmentation(),
        variants=2,
        seed=1,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        device=FLOAT32,
        kept=kept,
    )


def bank_and_tail(squares: Squares, kept: Path) -> tuple[StemBank, Tail]:
    torch.manual_seed(1)
    bank = bank_of(build("mobilenet_v2", 1).features[:4], squares, kept)
    return bank, Tail(torch.nn.Conv2d(24, 8, 1), torch.nn.Linear(8, 1))


def fitted(
    tail: Tail,
    bank: StemBank,
    targets: np.ndarray,
    schedule: Schedule,
    *,
    boxes: Boxes | None = None,
) -> Tail:
    lesson = Lesson(
        bank=bank,
        targets=targets,
        objective=functools.partial(sigmoid_loss, positive_weight=torch.ones(1)),
        schedule=schedule,
        device=FLOAT32,
        boxes=boxes,
    )
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


def test_augmented_squares_stay_in_range_and_differ() -> None:
    squares = synthetic_squares(12, size=48, seed=2)
    options = Augmentation(quarter_turns=0.5, invert=0.5, blur=1.0)
    changed, _ = augment(squares, np.arange(12), options, torch.Generator().manual_seed(1))
    assert changed.shape == (12, 48, 48)
    assert changed.dtype == np.float32
    assert changed.min() >= 0.0
    assert changed.max() <= 1.0
    assert np.abs(changed - squares.pixels / 255.0).mean() > 0.01


def test_shear_leans_an_upright_line_and_keeps_a_level_one_level() -> None:
    lines = np.zeros((2, 65, 65), dtype=np.uint8)
    lines[0, :, 32] = 255
    lines[1, 32, :] = 255
    squares = Squares(pixels=lines, boxes=np.array([[0, 0, 65, 65]] * 2))
    leaning = Augmentation(
        rotate_degrees=0, zoom=(1, 1), shift=0, shear_degrees=30, mirror=0, contrast=0, noise=0
    )
    (upright, level), _ = augment(
        squares, np.arange(2), leaning, torch.Generator().manual_seed(2), NOT_DISGUISED
    )
    top, middle, bottom = (int(upright[row].argmax()) for row in (8, 32, 56))
    assert middle == 32
    assert abs(top - bottom) > 4
    assert top + bottom == pytest.approx(64, abs=1)
    assert set(level[:, 16:48].argmax(axis=0).tolist()) == {32}


def test_inverting_leaves_the_ground_black() -> None:
    pixels = np.zeros((1, 32, 32), dtype=np.uint8)
    pixels[:, :, 8:24] = 100
    squares = Squares(pixels=pixels, boxes=np.array([[0, 8, 32, 24]]))
    still = Augmentation(
        rotate_degrees=0, zoom=(1, 1), shift=0, mirror=0, invert=1.0, contrast=0, noise=0
    )
    changed, _ = augment(squares, np.array([0]), still, torch.Generator().manual_seed(1))
    assert changed[0, :, :7].max() == 0.0
    assert changed[0, :, 10:22].min() > 0.4


def test_probe_copies_are_what_they_are_said_to_be() -> None:
    pixels = np.zeros((6, 8, 8), dtype=np.uint8)
    pixels[:, 2:6, :] = 10
    pixels[:, 2, 0] = 200
    squares = Squares(pixels=pixels, boxes=np.tile(np.array([2, 0, 6, 8]), (6, 1)))
    copies, changes = probe(squares)
    assert changes.inverted.tolist() == [True, False] * 3
    assert changes.turns.tolist() == [1, 0, 0, 2, 0, 0]
    assert (copies[1] == pixels[1]).all()
    assert copies[2, 2, 0] == 55, "the corner of the image is inverted"
    assert copies[2, 0, 0] == 0, "the ground is not"
    assert copies[3, 5, 7] == 200, "half a turn brings the corner to the other end"


def test_augmentation_does_what_it_is_told_to() -> None:
    squares, _ = bright_and_dark(2)
    still = Augmentation(
        rotate_degrees=0, zoom=(1, 1), shift=0, mirror=0, contrast=0, noise=0, invert=1.0
    )
    told = Disguise(inverted=np.array([True, False]), turns=np.array([0, 0]))
    generator = torch.Generator().manual_seed(1)
    changed, _ = augment(squares, np.arange(2), still, generator, told)
    before = squares.pixels.mean(axis=(1, 2)) / 255.0
    assert abs(changed[0].mean() - (1 - before[0])) < 0.12
    assert abs(changed[1].mean() - before[1]) < 0.12


def test_disguise_changes_known_targets_and_leaves_unknown_ones() -> None:
    targets = np.zeros((2, len(BODYPART_KEYS)), dtype=np.float32)
    inverted, turned = BODYPART_KEYS.index("Inverted"), BODYPART_KEYS.index("Turned")
    targets[1, turned] = np.nan
    changes = Disguise(inverted=np.array([True, False]), turns=np.array([0, 2]))
    found = disguised_targets(targets, changes)
    assert found[:, inverted].tolist() == [1.0, 0.0]
    assert found[0, turned] == 0.0
    assert np.isnan(found[1, turned])
    assert targets[0, inverted] == 0.0, "the given targets are left alone"


def test_softmax_loss_is_the_hand_computed_one() -> None:
    logits = torch.tensor([[1.0, 2.0, 9.0], [5.0, 5.0, 5.0]])
    targets = torch.tensor([[0.0, 1.0, float("nan")], [0.0, 0.0, 0.0]])
    found = float(one_of(logits, targets, smoothing=0.1))
    share = math.exp(2) / (math.exp(1) + math.exp(2))
    assert found == pytest.approx(-(0.95 * math.log(share) + 0.05 * math.log(1 - share)), rel=1e-5)


def test_training_input_is_the_nodes_own() -> None:
    square = np.random.default_rng(1).random((2, 16, 16), dtype=np.float32)
    batch = to_network(square, mean=IMAGENET_MEAN, std=IMAGENET_STD).numpy()
    single = network_input(square[1], mean=IMAGENET_MEAN, std=IMAGENET_STD)
    np.testing.assert_array_equal(batch[1], single)


def test_unknown_targets_do_not_count() -> None:
    logits = torch.tensor([[2.0, -1.0]])
    known = sigmoid_loss(logits, torch.tensor([[1.0, float("nan")]]), positive_weight=torch.ones(2))
    alone = sigmoid_loss(logits[:, :1], torch.tensor([[1.0]]), positive_weight=torch.ones(1))
    torch.testing.assert_close(known, alone)


def test_rare_labels_weigh_more() -> None:
    targets = np.zeros((100, 2), dtype=np.float32)
    targets[:90, 0] = 1
    targets[95:, 1] = 1
    weights = balance(targets, most=4.0)
    assert weights[0] == 1.0
    assert 1.0 < weights[99] <= 4.0
    assert positive_weights(targets, most=3.0).tolist() == [1.0, 3.0]


def test_folds_keep_groups_together() -> None:
    groups = [f"g{i // 3}" for i in range(60)]
    folds = group_folds(groups, folds=5, seed=1)
    assert set(folds.tolist()) == set(range(5))
    assert all(len({folds[i] for i in range(k, k + 3)}) == 1 for k in range(0, 60, 3))


def test_auc_agrees_with_scikit_learn_also_with_ties_and_weights() -> None:
    random = np.random.default_rng(2)
    scores = random.integers(0, 20, 300).astype(np.float64)
    truth = random.random(300) < 0.3
    weights = random.integers(0, 4, 300).astype(np.float64)
    assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    assert weighted_auc(scores, truth, weights[None]) == pytest.approx(
        roc_auc_score(truth, scores, sample_weight=weights)
    )
    low, high = auc_interval(scores, truth, [str(i // 2) for i in range(300)], rounds=200)
    assert low < auc(scores, truth) < high


def test_share_interval_stays_inside_zero_and_one() -> None:
    assert share_interval(0, 10)[0] == 0.0
    assert share_interval(10, 10)[1] == pytest.approx(1.0)
    assert share_interval(0, 0) == (0.0, 1.0)


def test_verdict_rule_on_single_images() -> None:
    pair = Thresholds(present_at=0.5, absent_below=0.1)
    trials = Trials(
        probabilities=np.array(
            [
                [0.9, 0.0],
                [0.9, 0.05],
                [0.9, 0.3],
                [0.9, 0.05],
                [0.4, 0.05],
                [0.2, 0.0],
                [0.09, 0.0],
                [0.9, 0.0],
            ]
        ),
        not_ours=np.array([False, False, False, True, False, False, False, True]),
        expected=np.array([0, 1, 1, 1, 1, 0, 0, 0]),
    )
    assert np.flatnonzero(mismatches(trials, pair)).tolist() == [1]
    assert np.flatnonzero(matches(trials, pair)).tolist() == [0, 5]


def test_a_most_probable_region_that_is_absent_is_no_match() -> None:
    trials = Trials(
        probabilities=np.array([[0.15, 0.0], [0.25, 0.0]]),
        not_ours=np.zeros(2, dtype=bool),
        expected=np.zeros(2, dtype=int),
    )
    assert matches(trials, Thresholds(present_at=0.5, absent_below=0.2)).tolist() == [False, True]


def test_what_is_called_none_of_ours_is_counted_by_source() -> None:
    samples = [
        Sample(path=Path(f"{i}.png"), targets={}, group=str(i), source=source)
        for i, source in enumerate(("dental", "limbs", "limbs", "unifesp"))
    ]
    column = BODYPART_KEYS.index("NotOurs")
    probabilities, targets = np.zeros((2, 4, len(BODYPART_KEYS)))
    probabilities[:, column] = 0.2, 0.1, 0.3, 0.0
    targets[:2, column] = 1.0
    points = {"NotOurs": OperatingPoint(present_at=0.2, absent_below=0.1)}

    found = not_ours_section(probabilities, targets.astype(np.float32), samples, points)

    assert found == {
        "present_at": 0.2,
        "not_ours": {
            "dental": {"images": 1, "called": 1},
            "limbs": {"images": 1, "called": 0},
        },
        "ours": {"limbs": {"images": 1, "called": 1}, "unifesp": {"images": 1, "called": 0}},
    }


def test_chosen_thresholds_keep_the_false_flags_below_the_limit() -> None:
    random = np.random.default_rng(9)
    truth = random.integers(0, 4, 400)
    probabilities = random.random((400, 4)) * 0.2
    probabilities[np.arange(400), truth] = random.random(400)
    none = np.zeros(400, dtype=bool)
    correct = Trials(probabilities=probabilities, not_ours=none, expected=truth)
    wrong = Trials(probabilities=probabilities, not_ours=none, expected=(truth + 1) % 4)
    pair = choose_thresholds(correct, wrong)
    assert mismatches(correct, pair).mean() <= MOST_FALSE
    assert mismatches(wrong, pair).mean() > 0.1


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
    stored = (tmp_path / "weights.safetensors").read_bytes()
    assert hashlib.sha256(stored).hexdigest() == digest
    assert len(stored) < 6_000_000


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_shipped_model_validates_and_its_weights_match(folder: Path) -> None:
    model = load_model(folder)
    keys = tuple(label.key for label in model.manifest.labels)
    assert keys in {BODYPART_KEYS, FINDING_KEYS}
    assert all(p.dtype is torch.float32 for p in model.network.parameters())
    assert (folder / "weights.safetensors").stat().st_size < 30_000_000


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_labels_that_are_not_reported_say_why(folder: Path) -> None:
    for label in read_manifest(folder).labels:
        assert label.reported == (label.not_reported_because is None)
        if label.role in {"region", "finding"}:
            assert label.code is not None
            assert label.operating_point is not None


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_model_card_is_what_the_manifest_prints(folder: Path) -> None:
    card = ROOT / "docs" / "models" / f"{folder.name}.md"
    assert card.read_text(encoding="utf-8") == render_card(folder)


@pytest.mark.data
@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_shipped_metrics_are_found_again(folder: Path) -> None:
    if not DATA.is_dir():
        pytest.skip("the images of ../shared/data are not here")
    model = load_model(folder)
    assert differences(as_stated(model), recompute(model, DATA)) == []


def test_differences_names_the_number_that_moved() -> None:
    lines = differences({"a": {"auc": 0.8}, "b": 1}, {"a": {"auc": 0.7}, "b": 1})
    assert lines == ["a.auc: stated 0.8, found 0.7"]
