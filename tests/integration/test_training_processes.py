"""Fits made in processes of their own are those of one process, and are made once.

Boxes teach the first member of a model and no other; each member has a seed of its own.
"""

import inspect
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from inference.architectures import build
from inference.training.augment import Augmentation
from inference.training.backbones import BACKBONES
from inference.training.samples import Sample
from inference.training.shipped import baselines, run
from inference.training.shipped.crossval import Recipe
from inference.training.shipped.loop import Schedule
from inference.training.shipped.options import Options, members_of
from inference.training.shipped.run import Material, Plan, Trained, cross_validate, train
from inference.training.shipped.sources_bodypart import disguised_targets
from inference.training.shipped.synthetic import synthetic_squares

IMAGES, FOLDS = 12, 3


KILLED = """
import os, time
from inference.training.shipped.run import fitting_processes

def fit():
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    with fitting_processes(1) as pool:
        pool.submit(fit).result()
"""


def plan(threads: int) -> Plan:
    nowhere = Path("nowhere")
    return Plan(
        material=Material(
            samples=[
                Sample(path=Path(f"drawn/{i}"), targets={}, group=str(i), source="drawn")
                for i in range(IMAGES)
            ],
            squares=synthetic_squares(IMAGES, size=32, seed=4),
            targets=(np.arange(IMAGES)[:, None] % 2).astype(np.float32),
            folds=np.arange(IMAGES) % FOLDS,
            held_out=[],
        ),
        keys=("odd",),
        options=Options(
            data=nowhere, out=nowhere, card=nowhere, size=32, epochs=1, variants=1,
            members=members_of("small_cnn:0"), seed=3, threads=threads, device="cpu",
            version="0",
        ),
        recipe=Recipe(schedule=Schedule(epochs=1, head_epochs=0, batch=4)),
        augmentation=Augmentation(),
    )  # fmt: skip


def trained_in(folder: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> Trained:
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    return train(plan(threads))


@pytest.mark.slow
def test_two_processes_make_what_one_makes_and_only_what_is_missing(tmp_path, monkeypatch):
    one = trained_in(tmp_path / "one", 1, monkeypatch)
    two = trained_in(tmp_path / "two", 2, monkeypatch)

    np.testing.assert_allclose(two.logits, one.logits, atol=1e-5)
    torch.testing.assert_close(
        two.network.state_dict(), one.network.state_dict(), atol=1e-5, rtol=0
    )
    (folder,) = (tmp_path / "two/.work/training-runs").iterdir()
    fits = sorted([*folder.glob("fold*.npy"), folder / "final.safetensors"])
    assert len(fits) == FOLDS + 1

    (folder / "fold1.npy").unlink()
    kept = {file: file.stat().st_mtime_ns for file in fits if file.exists()}
    again = trained_in(tmp_path / "two", 2, monkeypatch)

    np.testing.assert_allclose(again.logits, two.logits, atol=1e-5)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


def kept_in(asked: Plan) -> Path:
    ((_, fits),) = run._each_member(asked)
    return fits.kept


def test_fits_of_other_images_or_folds_are_not_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = plan(1)
    squares = first.material.squares
    other = replace(squares, pixels=squares.pixels[::-1].copy())
    assert kept_in(plan(2)) == kept_in(first)
    for change in ({"squares": other}, {"folds": np.roll(first.material.folds, 1)}):
        assert kept_in(replace(first, material=replace(first.material, **change))) != kept_in(first)


def test_members_learn_with_a_seed_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = plan(1)
    twins = replace(asked.options, members=members_of("small_cnn:0,small_cnn:0"))
    (one, first), (other, second) = run._each_member(replace(asked, options=twins))
    assert first.recipe.seed != second.recipe.seed
    assert not torch.equal(one.head.weight, other.head.weight)
    assert first.kept != second.kept
    assert not torch.equal(
        *(fits.bank().train(np.arange(IMAGES), np.random.default_rng(1)).maps
          for fits in (first, second))
    )  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        "inference.architectures",
        "inference.efficientnet_lite",
        "inference.mobilenet_v3",
        "inference.preprocess",
        "inference.small_cnn",
        "inference.training.augment",
        "inference.training.backbones",
        "inference.training.losses",
        "inference.training.norms",
        "inference.training.shipped.loop",
        "inference.training.shipped.sources_bodypart",
    ],
)
def test_fits_of_other_code_are_not_taken(changed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = replace(plan(1), wanted=disguised_targets)
    before, source = kept_in(asked), inspect.getsource

    def getsource(module: ModuleType) -> str:
        return f"{source(module)}#" if module.__name__ == changed else source(module)

    monkeypatch.setattr(inspect, "getsource", getsource)
    assert kept_in(asked) != before


def test_fits_from_other_weights_are_not_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "pretrained", lambda name, outputs, _: build(name, outputs))
    file = Path("weights") / BACKBONES["mobilenet_v3_small"].file
    file.parent.mkdir()
    members = members_of("mobilenet_v3_small:4")
    asked = replace(plan(1), options=replace(plan(1).options, data=Path(), members=members))

    kept = []
    for content in (b"one", b"one", b"other"):
        file.write_bytes(content)
        kept.append(kept_in(asked))

    assert kept[0] == kept[1] != kept[2]


@pytest.mark.slow
def test_cross_validation_alone_fits_no_network_on_every_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    logits = cross_validate(plan(2))

    assert np.isfinite(logits).all()
    (folder,) = (tmp_path / ".work/training-runs").iterdir()
    assert len(list(folder.glob("fold*.npy"))) == FOLDS
    assert not (folder / "final.safetensors").exists()


@pytest.mark.slow
def test_boxes_teach_the_first_member_alone(tmp_path, monkeypatch):
    def logits(name: str, pointing: float) -> list[np.ndarray]:
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with_boxes = plan(1)
        with_boxes = replace(
            with_boxes,
            material=replace(
                with_boxes.material, boxes={i: [(0, (0.0, 0.0, 0.5, 0.5))] for i in range(IMAGES)}
            ),
            options=replace(with_boxes.options, members=members_of("small_cnn:0,small_cnn:0")),
            recipe=Recipe(
                schedule=Schedule(epochs=2, head_epochs=0, batch=4, rate=1e-2, pointing=pointing)
            ),
        )
        return [member.logits for member in train(with_boxes).members]

    first, second = logits("held", 1.0)
    first_left_alone, second_left_alone = logits("left alone", 0.0)

    assert np.abs(first - first_left_alone).max() > 1e-3
    np.testing.assert_allclose(second, second_left_alone, atol=1e-5)


@pytest.mark.slow
def test_a_fit_does_not_outlive_a_training_that_was_killed(tmp_path):
    """The pipe of the output closes when the last process that writes to it has ended."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED, encoding="utf-8")
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as training:
        assert training.stdout is not None
        assert int(training.stdout.readline()) != training.pid
        training.send_signal(signal.SIGKILL)
        assert training.communicate(timeout=60)[0] == b""


def test_a_simpler_method_answers_each_fold_without_it():
    asked = plan(1)
    folds = asked.material.folds
    of_fold = (folds[:, None] == np.arange(FOLDS)).astype(np.float32)
    told = replace(asked, material=replace(asked.material, targets=of_fold))

    logits = baselines.svm_out_of_fold(told)

    assert np.isfinite(logits).all()
    for fold in range(FOLDS):  # who never saw it present can only say that it is absent
        assert (logits[folds == fold, fold] == -1).all()
        assert len(np.unique(logits[folds == fold])) > FOLDS
    seen = baselines.svm_of_others(told, told.material.squares)
    assert (seen.argmax(axis=1) == folds).mean() > 0.9


@pytest.mark.slow
def test_a_small_network_learns_from_chance_by_the_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = plan(1)
    boxed = replace(asked.recipe, schedule=replace(asked.recipe.schedule, head_epochs=1))
    told = baselines.from_chance(replace(asked, recipe=boxed))
    assert told.recipe.schedule.head_epochs == 0

    logits = baselines.network_out_of_fold(told)
    others = baselines.network_of_others(told, told.material.squares)

    assert logits.shape == others.shape == told.material.targets.shape
    assert np.isfinite(logits).all()
