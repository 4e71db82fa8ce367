"""A training learns, stops in time, keeps its best, and survives being killed."""

import csv
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from audit.errors import InvalidConfiguration
from inference.architectures import build
from inference.training.dataset import TaskKind
from inference.training.device import Device, choose_device
from inference.training.samples import Squares
from inference.training.workbench.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from inference.training.workbench.history import History
from inference.training.workbench.progress import Reporter
from inference.training.workbench.scores import epoch_scores
from inference.training.workbench.task import TrainingTask
from inference.training.workbench.trainer import Diverged, Part, Trainer, logits_of

CPU = Device("cpu", torch.float32)
QUIET = Reporter(quiet=True)


def task(**more: object) -> TrainingTask:
    document = {
        "name": "bright",
        "description": "Bright or dark.",
        "kind": "binary",
        "data": {"form": "folder"},
        "network": "small_cnn",
        "size": 32,
        "epochs": 4,
        "batch": 8,
        "average": 0.5,
        "optimiser": {"rate": 0.01, "head_rate": 0.01},
        "balance": {"drawn_most": 2.0},
        "precision": "float32",
    }
    return TrainingTask.model_validate({**document, **more})


def bright_and_dark(count: int, seed: int) -> Part:
    random = np.random.default_rng(seed)
    bright = np.arange(count) % 2 == 0
    pixels = random.integers(0, 60, (count, 32, 32)).astype(np.uint8)
    pixels[bright, 8:24, 8:24] += 180
    boxes = np.tile(np.array([0, 0, 32, 32]), (count, 1))
    return Part(Squares(pixels=pixels, boxes=boxes), bright.astype(np.float32)[:, None])


TRAIN, VAL = bright_and_dark(24, 1), bright_and_dark(12, 2)


def trainer(
    folder: Path, told: TrainingTask, *, identity: str = "a", outputs: int = 1, **more: object
) -> Trainer:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(told.seed)
    given = {"pretrained": False, "train": TRAIN, "val": VAL, "device": CPU, **more}
    return Trainer(
        told,
        build(told.network, outputs),
        folder=folder,
        identity=identity,
        reporter=QUIET,
        history=History(folder / "history.csv", QUIET),
        **given,
    )


def weights(made: Trainer) -> dict[str, torch.Tensor]:
    return made._network.state_dict()


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_a_few_epochs_learn_bright_from_dark(tmp_path):
    made = trainer(tmp_path, task(epochs=5))

    best = made.run()

    logits = logits_of(made._network, VAL.squares, CPU)
    assert epoch_scores(logits, VAL.targets, TaskKind.BINARY)["auc"] == 1.0
    rows = rows_of(tmp_path)
    assert 1 <= best <= 5
    assert list(rows[0]) == ["epoch", "train_loss", "val_loss", "val_auc", "val_accuracy", "rate"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])


class Killed(Exception):
    pass


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_run_killed_in_an_epoch_ends_where_an_unbroken_one_ends(tmp_path, optimiser):
    told = task(epochs=3, optimiser={"name": optimiser, "rate": 0.01, "head_rate": 0.01})
    whole = trainer(tmp_path / "whole", told)
    best = whole.run()

    broken = trainer(tmp_path / "broken", told)
    step, count = broken._step, itertools.count()

    def fatal(*batch: torch.Tensor) -> float:
        if next(count) == 7:  # the second of three batches in the third epoch
            raise Killed
        return step(*batch)

    broken._step = fatal
    with pytest.raises(Killed):
        broken.run()
    assert len(rows_of(tmp_path / "broken")) == 2
    torch.rand(17)  # another process has another state of chance

    again = trainer(tmp_path / "broken", told)
    assert again.run() == best
    assert rows_of(tmp_path / "broken") == rows_of(tmp_path / "whole")
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(again)[name], value, rtol=0, atol=1e-6)


def test_a_finished_run_trains_nothing_more(tmp_path):
    told = task()
    first = trainer(tmp_path, told)
    best = first.run()

    again = trainer(tmp_path, told)
    again._step = None

    assert again.run() == best
    torch.testing.assert_close(weights(again), weights(first))


def test_a_checkpoint_of_another_run_is_not_gone_on_with(tmp_path):
    trainer(tmp_path, task(epochs=2)).run()

    trainer(tmp_path, task(epochs=1), identity="b").run()

    assert len(rows_of(tmp_path)) == 1


def test_training_stops_when_no_epoch_is_better_and_keeps_the_best_weights(tmp_path):
    told = task(epochs=9, stopping={"monitor": "accuracy", "patience": 2})
    made = trainer(tmp_path, told)
    scores = iter([0.6, 0.9, 0.7, 0.9])
    seen = []

    def measured() -> dict[str, float]:
        seen.append(made._average.module.head.weight.clone())
        return {"val_loss": 1.0, "val_auc": 0.5, "val_accuracy": next(scores)}

    made._measured = measured

    assert made.run() == 2
    assert len(rows_of(tmp_path)) == 4
    torch.testing.assert_close(made._network.head.weight, seen[1])


def test_of_equal_epochs_the_one_of_less_loss_is_kept(tmp_path):
    made = trainer(tmp_path, task(epochs=4, stopping={"monitor": "auc", "patience": 4}))
    found = iter([(1.0, 0.7), (1.0, 0.5), (1.0, 0.6), (0.9, 0.1)])

    def measured() -> dict[str, float]:
        auc, loss = next(found)
        return {"val_loss": loss, "val_auc": auc, "val_accuracy": 0.5}

    made._measured = measured

    assert made.run() == 2


def test_a_checkpoint_without_its_best_weights_is_told(tmp_path):
    trainer(tmp_path, task(epochs=1)).run()
    (tmp_path / "best.safetensors").unlink()

    with pytest.raises(InvalidConfiguration, match=r"no best\.safetensors"):
        trainer(tmp_path, task(epochs=1)).run()


def test_a_smaller_loss_is_a_better_one(tmp_path):
    made = trainer(tmp_path, task(epochs=3, stopping={"monitor": "loss"}))
    losses = iter([0.5, 0.4, 0.6])
    made._measured = lambda: {"val_loss": next(losses), "val_auc": 1.0, "val_accuracy": 1.0}

    assert made.run() == 2


@pytest.mark.parametrize("where", ["learning", "measuring"])
def test_an_epoch_without_finite_numbers_ends_the_run_and_keeps_the_earlier_ones(tmp_path, where):
    told = task(epochs=3, stopping={"monitor": "loss"})
    kept: list[bytes] = []

    def diverging() -> Trainer:
        made = trainer(tmp_path, told)
        begin = made._epoch

        def epoch(number: int) -> float:
            if number == 0:
                return begin(number)
            kept.append(states())
            if where == "learning":
                torch.nn.init.constant_(made._network.head.bias, torch.nan)
                return begin(number)
            torch.nn.init.constant_(made._average.module.head.bias, torch.inf)
            return 0.5

        made._epoch = epoch
        return made

    def states() -> bytes:
        return b"".join(file.read_bytes() for file in sorted(tmp_path.glob("*.safetensors")))

    for _ in range(2):
        with pytest.raises(Diverged, match=r"lower `optimiser\.rate`"):
            diverging().run()
    assert kept == [states()] * 2
    assert len(rows_of(tmp_path)) == 1


def test_the_head_learns_alone_first_and_frozen_stages_never(tmp_path):
    told = task(epochs=2, head_epochs=1, frozen_stages=2)
    made = trainer(tmp_path, told, pretrained=True)
    before = {name: value.clone() for name, value in weights(made).items()}
    after: list[dict[str, torch.Tensor]] = []
    measured = made._measured

    def watched() -> dict[str, float]:
        after.append({name: value.clone() for name, value in weights(made).items()})
        return measured()

    made._measured = watched
    made.run()

    def changed(epoch: int) -> set[str]:
        return {
            name for name, value in after[epoch].items() if not torch.equal(value, before[name])
        }

    assert changed(0) == {"head.weight", "head.bias"}
    stages = {name.split(".")[1] for name in changed(1) if name.startswith("features")}
    assert stages == {"2", "3", "4", "5", "6"}


def test_no_stage_from_chance_stays_as_it_is(tmp_path):
    made = trainer(tmp_path, task(epochs=1, head_epochs=1, frozen_stages=2), pretrained=False)
    before = {name: value.clone() for name, value in weights(made).items()}

    made.run()

    changed = {
        name for name, value in weights(made).items() if not torch.equal(value, before[name])
    }
    stages = {name.split(".")[1] for name in changed if name.startswith("features")}
    assert stages == {"0", "1", "2", "3", "4", "5", "6"}


def test_half_precision_learns_too(tmp_path):
    made = trainer(tmp_path, task(epochs=5), device=Device("cpu", torch.bfloat16))

    made.run()

    logits = logits_of(made._network, VAL.squares, CPU)
    assert logits.dtype == np.float32
    assert epoch_scores(logits, VAL.targets, TaskKind.BINARY)["auc"] == 1.0


def test_unknown_targets_are_learned_around(tmp_path):
    targets = np.concatenate([TRAIN.targets, TRAIN.targets], axis=1)
    targets[::3, 1] = np.nan
    val = replace(VAL, targets=np.concatenate([VAL.targets, VAL.targets], axis=1))
    told = task(kind="multi_label", data={"form": "csv"}, epochs=2)

    made = trainer(tmp_path, told, outputs=2, train=replace(TRAIN, targets=targets), val=val)
    made.run()

    assert np.isfinite(logits_of(made._network, VAL.squares, CPU)).all()
    assert float(rows_of(tmp_path)[-1]["train_loss"]) > 0


@pytest.mark.parametrize("rare", [0.0, 1.0])
def test_the_rarer_of_two_classes_is_drawn_more_often_whichever_it_is(tmp_path, rare):
    targets = np.full((400, 1), 1 - rare, dtype=np.float32)
    targets[::10] = rare
    boxes, pixels = np.tile([0, 0, 32, 32], (400, 1)), np.zeros((400, 32, 32), dtype=np.uint8)
    told = task(balance={"drawn_most": 3.0})
    made = trainer(tmp_path, told, train=Part(Squares(pixels=pixels, boxes=boxes), targets))

    drawn = torch.cat([answers for _, answers in made._batches(0)])

    assert float((drawn == rare).float().mean()) == pytest.approx(0.25, abs=0.05)


def test_a_torn_checkpoint_counts_as_none(tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    write_checkpoint(file, Checkpoint({"a": torch.arange(3.0)}, {"epoch": 2}))
    whole = read_checkpoint(file)
    assert whole is not None
    assert (whole.state, whole.tensors["a"].tolist()) == ({"epoch": 2}, [0.0, 1.0, 2.0])

    file.write_bytes(file.read_bytes()[:-4])
    assert read_checkpoint(file) is None
    assert read_checkpoint(tmp_path / "none") is None


def test_multi_class_scores_look_at_the_first_class():
    targets = np.eye(3, dtype=np.float32)[[0, 1, 2, 2]]
    logits = np.array([[3, 0, 0], [0, 3, 0], [0, 0, 3], [3, 2, -2]], dtype=np.float32)

    scores = epoch_scores(logits, targets, TaskKind.MULTI_CLASS)

    assert scores["accuracy"] == 0.75
    assert scores["auc"] == pytest.approx((1 + 1 + 0.5) / 3)


def test_scores_of_many_labels_leave_out_the_unknown_and_the_one_sided():
    targets = np.array([[1, 0, np.nan], [0, 0, 1], [1, 0, 0]], dtype=np.float32)
    logits = np.array([[2, -1, 9], [-2, -1, -1], [1, 1, -2]], dtype=np.float32)

    scores = epoch_scores(logits, targets, TaskKind.MULTI_LABEL)

    assert scores == {"auc": 1.0, "accuracy": pytest.approx(6 / 8)}


def test_float16_is_refused_on_a_processor_without_it():
    with pytest.raises(InvalidConfiguration, match="float16 is for CUDA"):
        choose_device("cpu", "float16")
    assert choose_device("cpu", "float32").precision is torch.float32
    assert choose_device("cpu", "auto").precision_name in {"float32", "bfloat16"}


@pytest.mark.parametrize(
    ("can", "taken"),
    [
        ({}, "float32"),
        ({"avx512_bf16": True, "amx_bf16": False}, "float32"),
        ({"avx512_bf16": True, "amx_bf16": True}, "bfloat16"),
    ],
)
def test_a_cpu_trains_in_bfloat16_only_where_it_is_fast_in_it(can, taken, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    assert choose_device("cpu", "auto").precision_name == taken
