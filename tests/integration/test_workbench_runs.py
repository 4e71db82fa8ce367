"""A run from images to a run folder, as ``dicom-node train`` makes it."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.special import expit

from audit.clock import SystemClock
from audit.errors import InvalidConfiguration
from audit.metrics import NullMetrics
from dicom_node.cli.main import main
from inference.evaluation.loaded import load_model
from inference.registry import Registry
from inference.runtime.torch_runtime import torch_runtimes
from inference.service import InferenceOptions, InferenceService
from inference.training.backbones import BACKBONES
from inference.training.dataset import TaskKind
from inference.training.samples import decode
from inference.training.whole import whole
from inference.training.workbench import baselines, runs, starting
from inference.training.workbench.progress import Reporter
from inference.training.workbench.runs import Run, RunOptions
from inference.training.workbench.task import read_task
from inference.training.workbench.trainer import Diverged
from tests.builders import chest_radiograph, part10_bytes
from tests.data import data_dir

pytestmark = pytest.mark.slow

QUIET = Reporter(quiet=True)
SMALL = {"network": "small_cnn", "pretrained": False, "size": 32, "epochs": 2, "batch": 8}
SMALL |= {"head_epochs": 0, "frozen_stages": 0, "precision": "float32"}
SMALL |= {"optimiser": {"rate": 0.01, "head_rate": 0.01}, "average": 0.5}


def draw(path: Path, bright: bool, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 60, (40, 36)).astype(np.uint8)
    if bright:
        pixels[10:30, 8:28] += 180
    Image.fromarray(pixels).save(path)


def pneumonia_folder(root: Path) -> Path:
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        for index in range(count):
            name = "PNEUMONIA" if index % 2 else "NORMAL"
            kind = f"person{index}_virus" if index % 2 else f"IM-{index:04d}"
            draw(
                root / split / name / f"{kind}_{split}.png",
                bool(index % 2),
                100 * len(split) + index,
            )
    for split in ("val", "test"):  # patients of their own
        for path in sorted((root / split).rglob("*.png")):
            path.rename(
                path.with_name(
                    path.name.replace("person", f"person{len(split)}00").replace(
                        "IM-", f"IM-{len(split)}"
                    )
                )
            )
    return root


def options(tmp_path: Path, data: Path, **more: object) -> RunOptions:
    given = {"out": tmp_path / "run", "device": "cpu", "cache": tmp_path / "cache", **more}
    return RunOptions(data=data, **given)


@pytest.fixture(scope="module")
def pneumonia(tmp_path_factory):
    """A finished run of the pneumonia task with both baselines."""
    tmp_path = tmp_path_factory.mktemp("pneumonia")
    data = pneumonia_folder(tmp_path / "data")
    given = options(tmp_path, data, command="dicom-node train pneumonia")
    result = Run(read_task("pneumonia", SMALL), given, QUIET).finish()
    return given, result


def test_a_run_folder_holds_task_history_predictions_and_model(pneumonia):
    given, result = pneumonia
    folder = given.out

    assert yaml.safe_load((folder / "task.yaml").read_text())["classes"] == ["NORMAL", "PNEUMONIA"]
    for name in ("history.csv", "history-small-cnn.csv"):
        with (folder / name).open() as file:
            assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    assert set(result["baselines"]) == {"hog-svm", "small-cnn"}
    assert result["baselines"]["hog-svm"]["test"]["auc"] == 1.0
    assert any((folder / "tensorboard").iterdir())


def test_a_run_that_cannot_start_does_not_hold_the_folder_against_the_next(tmp_path):
    data = pneumonia_folder(tmp_path / "data")
    wrong = options(tmp_path, data, weights=tmp_path / "nowhere", baselines=())
    with pytest.raises(InvalidConfiguration, match="--weights"):
        Run(read_task("pneumonia", SMALL | {"pretrained": True}), wrong, QUIET).finish()
    too_many = read_task("pneumonia", SMALL | {"frozen_stages": 99})
    with pytest.raises(InvalidConfiguration, match="small_cnn has no more than"):
        Run(too_many, options(tmp_path, data, baselines=()), QUIET).finish()

    result = Run(
        read_task("pneumonia", SMALL), options(tmp_path, data, baselines=()), QUIET
    ).finish()

    assert result["task"] == "pneumonia"


@pytest.mark.parametrize("name", ["", "-hog-svm", "-small-cnn"])
def test_predictions_hold_validation_and_test_with_their_patients(pneumonia, name):
    given, _ = pneumonia

    with np.load(given.out / f"predictions{name}.npz", allow_pickle=False) as kept:
        assert kept["logits"].shape == kept["targets"].shape == (12, 2)
        assert kept["classes"].tolist() == ["NORMAL", "PNEUMONIA"]
        assert str(kept["kind"]) == "binary"
        assert sorted(set(kept["split"].tolist())) == ["test", "val"]
        assert (given.data / kept["paths"][0]).is_file()
        assert len(set(kept["groups"].tolist())) == 12
        assert not any("person" in group for group in kept["groups"])
        assert json.loads(str(kept["attributes"][0])) == {}
        assert (kept["logits"][:, 0] == 0).all()


def test_the_model_says_how_it_was_made_and_answers_as_its_predictions_say(pneumonia):
    given, _ = pneumonia
    model = load_model(given.out / "model")

    manifest = model.manifest
    assert manifest.task == "other"
    assert [label.key for label in manifest.labels] == ["PNEUMONIA"]
    assert manifest.training["command"] == "dicom-node train pneumonia"
    assert manifest.data["images"] == {"train": 12, "val": 6, "test": 6}
    assert len(manifest.data["training_list_sha256"]) == 64
    assert not any(label.reported for label in manifest.labels)
    with np.load(given.out / "predictions.npz") as kept:
        pixels = np.stack([decode(given.data / path, size=32)[0] for path in kept["paths"]])
        said = expit(kept["logits"][:, 1])
    probabilities = model.probabilities(model.logits(pixels))
    np.testing.assert_allclose(probabilities[:, 0], said, atol=1e-4)


def test_the_node_leaves_a_workbench_model_alone(pneumonia, tmp_path):
    given, _ = pneumonia
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model").symlink_to(given.out / "model")
    service = InferenceService(
        Registry.load([tmp_path / "models"], shipped=None),
        runtime_for=torch_runtimes(device="cpu"),
        options=InferenceOptions(),
        clock=SystemClock(),
        metrics=NullMetrics(),
    )
    try:
        assert service.identities() == ()
        with pytest.raises(InvalidConfiguration, match="'pneumonia' is of the workbench"):
            service.check_models(["pneumonia"])
    finally:
        service.close()


def test_a_run_folder_of_another_task_is_refused_unless_fresh(pneumonia):
    given, _ = pneumonia
    other = read_task("pneumonia", {**SMALL, "epochs": 1})

    with pytest.raises(InvalidConfiguration, match="holds a run of another task"):
        Run(other, given, QUIET).finish()


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_that_holds_files_of_no_run_is_left_as_it_is(pneumonia, tmp_path, fresh):
    given, _ = pneumonia
    (tmp_path / "model").mkdir()
    for name in ("model/mine.txt", "task.yaml", "backbone.safetensors"):
        (tmp_path / name).write_text("mine")

    with pytest.raises(InvalidConfiguration, match=r"holds model, task\.yaml but no run\.json"):
        Run(
            read_task("pneumonia", SMALL), replace(given, out=tmp_path, fresh=fresh), QUIET
        ).finish()
    assert names(tmp_path) == {"model/mine.txt", "task.yaml", "backbone.safetensors"}
    assert (tmp_path / "task.yaml").read_text() == "mine"


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("held", ["", "[]", '{"identity": "a"}'])
def test_a_folder_whose_run_cannot_be_told_is_left_as_it_is(pneumonia, tmp_path, fresh, held):
    given, _ = pneumonia
    for name, text in (("run.json", held), ("task.yaml", "theirs")):
        (tmp_path / name).write_text(text)

    with pytest.raises(InvalidConfiguration, match=r"run\.json is cut off, or not what"):
        Run(
            read_task("pneumonia", SMALL), replace(given, out=tmp_path, fresh=fresh), QUIET
        ).finish()
    assert (tmp_path / "task.yaml").read_text() == "theirs"


def test_a_fresh_run_removes_what_the_run_before_wrote_and_nothing_else(pneumonia, tmp_path):
    given, _ = pneumonia
    again = replace(given, out=tmp_path / "run", fresh=True)
    shutil.copytree(given.out, again.out)
    for name in ("model/mine.txt", "backbone.safetensors"):
        (again.out / name).write_text("mine")
    (again.out / "checkpoint.safetensors.partial").write_text("of a start that was killed")
    task = read_task("pneumonia", {**SMALL, "epochs": 1})

    Run(task, replace(again, baselines=()), QUIET).finish()

    kept = {name for name in names(again.out) if not name.startswith("tensorboard/")}
    assert kept == {
        *("run.json", "task.yaml", "history.csv", "checkpoint.safetensors", "best.safetensors"),
        *("predictions.npz", "model/model.yaml", "model/weights.safetensors"),
        *("model/mine.txt", "backbone.safetensors"),
    }
    assert yaml.safe_load((again.out / "task.yaml").read_text())["epochs"] == 1


def test_a_baseline_that_diverges_is_left_out_and_costs_no_model(pneumonia, tmp_path, monkeypatch):
    given, _ = pneumonia

    def diverged(*_: object) -> None:
        raise Diverged

    monkeypatch.setattr(Run, "_small_cnn", diverged)
    told = replace(given, out=tmp_path / "run", baselines=("hog-svm", "small-cnn"))

    result = Run(read_task("pneumonia", SMALL), told, QUIET).finish()

    assert list(result["baselines"]) == ["hog-svm"]
    assert load_model(tmp_path / "run" / "model").manifest.name == "pneumonia"


def test_a_kill_while_the_folder_is_made_ready_is_no_end(pneumonia, tmp_path, monkeypatch):
    given, _ = pneumonia
    run = Run(read_task("pneumonia", SMALL), replace(given, out=tmp_path / "run"), QUIET)

    for cut in ("run.json", "task.yaml"):

        @contextmanager
        def killed(file: Path, cut: str = cut) -> Iterator[BinaryIO]:
            with whole(file) as stream:
                yield stream
                if file.name == cut:
                    raise KeyboardInterrupt

        monkeypatch.setattr(runs, "whole", killed)
        with pytest.raises(KeyboardInterrupt):
            run.finish()
        assert not (tmp_path / "run" / cut).exists()
    monkeypatch.undo()

    assert run.finish()["best_epoch"]
    assert read_task(str(tmp_path / "run" / "task.yaml")).epochs == 2


def test_dicom_files_train_several_classes(tmp_path):
    for index in range(24):
        name = ("bone", "brain", "heart", "lungs")[index % 4]
        ds = chest_radiograph(PatientID=f"FAKE-{index}", PatientAge=f"{index:03d}Y")
        stored = np.random.default_rng(index).integers(0, 500, (64, 64)).astype("<u2")
        stored[16 * (index % 4) : 16 * (index % 4) + 16] += 3000
        ds.PixelData = stored.tobytes()
        path = tmp_path / "data" / name / f"{index}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part10_bytes(ds))
    given = options(tmp_path, tmp_path / "data", baselines=("hog-svm",))

    result = Run(read_task("organs", {**SMALL, "data.val_share": 0.3}), given, QUIET).finish()

    with np.load(given.out / "predictions.npz", allow_pickle=False) as kept:
        assert kept["logits"].shape[1] == 4
        assert json.loads(str(kept["attributes"][0]))["view"] == "PA"
    assert result["baselines"]["hog-svm"]["val"]["accuracy"] > 0.5


def test_an_unreadable_image_is_named_by_its_place_in_the_data_folder(tmp_path):
    data = pneumonia_folder(tmp_path / "data")
    (data / "train" / "NORMAL" / "torn.png").write_bytes(b"torn")

    with pytest.raises(InvalidConfiguration, match=r"train/NORMAL/torn\.png: no image"):
        Run(read_task("pneumonia", SMALL), options(tmp_path, data), QUIET)


def test_a_set_of_test_images_alone_is_not_trained_on(tmp_path):
    data = pneumonia_folder(tmp_path / "data")
    for split in ("train", "val"):
        shutil.rmtree(data / split)

    with pytest.raises(InvalidConfiguration, match="the train split has no images"):
        Run(read_task("pneumonia", SMALL), options(tmp_path, data), QUIET)


def test_validation_images_of_one_class_cannot_steer_by_auc(tmp_path):
    data = pneumonia_folder(tmp_path / "data")
    for path in (data / "val" / "PNEUMONIA").iterdir():
        path.unlink()

    with pytest.raises(InvalidConfiguration, match="cannot be auc"):
        Run(read_task("pneumonia", SMALL), options(tmp_path, data), QUIET)


def command(tmp_path: Path, data: Path, out: str, task: str = "pneumonia") -> list[str]:
    settings = [f"--set={key}={json.dumps(value)}" for key, value in SMALL.items()]
    told = ["train", task, "--data", str(data), "--out", str(tmp_path / out)]
    return [*told, "--device", "cpu", "--baseline", "none", "--threads", "1", "--json", *settings]


@pytest.mark.timeout(900)
def test_a_killed_command_goes_on_and_ends_as_if_nothing_had_been(tmp_path, monkeypatch, capsys):
    data = pneumonia_folder(tmp_path / "data")
    long = ["--epochs", "6"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-m", "dicom_node.cli.main", *command(tmp_path, data, "killed"), *long],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    history = tmp_path / "killed" / "history.csv"
    try:
        while not (history.exists() and len(history.read_text().splitlines()) > 2):
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    monkeypatch.chdir(tmp_path)

    assert main([*command(tmp_path, data, "killed"), *long]) == 0
    assert "goes on after epoch" in capsys.readouterr().err
    assert main([*command(tmp_path, data, "whole"), *long]) == 0

    results = [tmp_path / out / "predictions.npz" for out in ("killed", "whole")]
    with np.load(results[0]) as killed, np.load(results[1]) as whole:
        np.testing.assert_allclose(killed["logits"], whole["logits"], atol=1e-5)


def test_a_class_that_a_trial_leaves_without_images_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        for index in range(8):
            name = ("bone", "brain", "heart", "lungs")[index // 2]
            draw(Path("data", split, name, f"{split}{index}.png"), bool(index % 2), index)
    told = command(tmp_path, Path("data"), "run", "organs")

    assert main([*told, "--limit", "2"]) == 0
    assert "learned from no training image: brain, heart\n" in capsys.readouterr().err
    assert main([*told, "--fresh"]) == 0
    assert "learned from no training image" not in capsys.readouterr().err


def test_a_class_of_which_only_doubts_are_left_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = ["file,patient_id,split,Mass,Nodule"]
    for split, marks in (("train", ("1,0", "1,1", "0,1", "1,")), ("val", ("1,0", "0,1"))):
        for index, mark in enumerate(marks):
            draw(Path("data", f"{split}{index}.png"), bool(index % 2), index)
            lines.append(f"{split}{index}.png,{split}{index},{split},{mark}")
    Path("data", "labels.csv").write_text("\n".join(lines))
    told = command(tmp_path, Path("data"), "run", "chest-findings")

    given = ["--set=classes=[Mass, Nodule]", "--set=data.test_share=0.0"]
    code = main([*told, *given, "--limit", "2"])

    assert code == 0
    assert "learned from no training image: Nodule\n" in capsys.readouterr().err


def test_the_command_prints_scores_and_lists_its_tasks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = pneumonia_folder(tmp_path / "data")

    assert main(command(tmp_path, data, "run")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["task"] == "pneumonia"
    assert set(printed["test"]) == {"auc", "accuracy"}

    assert main(["train"]) == 0
    assert "chest-findings" in capsys.readouterr().out
    assert main(["train", "pneumonia", "--data", str(tmp_path / "none")]) == 3
    assert "there is no data folder of that name" in capsys.readouterr().err
    assert main(["train", "pneumonia", "--set", "epochs"]) == 3
    capsys.readouterr()
    assert main(command(tmp_path, data, "run/task.yaml/below")) == 4
    assert "run/task.yaml/below: Not a directory" in capsys.readouterr().err


def test_a_run_that_diverges_says_what_to_lower_each_time(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = pneumonia_folder(tmp_path / "data")
    rates = ["--set=optimiser.rate=1e30", "--set=optimiser.head_rate=1e30"]

    for _ in range(2):
        assert main([*command(tmp_path, data, "run"), *rates]) == 3
        assert "lower `optimiser.rate`" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_images_that_changed_are_another_run(tmp_path):
    data = pneumonia_folder(tmp_path / "data")
    task, given = read_task("pneumonia", SMALL), options(tmp_path, data, baselines=())
    image = next(data.rglob("train/NORMAL/*.png"))
    for grey in (10, 200):  # as BMP under any name: the size of the file stays
        Image.new("L", (40, 30), grey).save(image, format="BMP")
        if grey == 10:
            Run(task, given, QUIET).finish()

    with pytest.raises(InvalidConfiguration, match="another task, data set"):
        Run(task, given, QUIET).finish()


def test_a_start_that_is_there_only_now_is_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XRAY_DATA", raising=False)
    data = pneumonia_folder(tmp_path / "data")
    given = options(tmp_path, data, baselines=())
    task = read_task("pneumonia", {**SMALL, "network": "mobilenet_v3_small", "pretrained": True})
    Run(task, given, QUIET).finish()

    monkeypatch.setattr(
        starting, "pretrained", lambda name, outputs, _: starting.build(name, outputs)
    )
    (data / "weights").mkdir()
    (data / "weights" / BACKBONES["mobilenet_v3_small"].file).write_bytes(b"weights")

    with pytest.raises(InvalidConfiguration, match="precision or start"):
        Run(task, given, QUIET).finish()


@pytest.mark.parametrize("missing", ["skimage", "sklearn"])
def test_what_the_svm_needs_is_asked_for_before_the_training(tmp_path, monkeypatch, missing):
    data = pneumonia_folder(tmp_path / "data")
    monkeypatch.setattr(baselines, "find_spec", lambda name: None if name == missing else True)
    task = read_task("pneumonia", SMALL)

    with pytest.raises(InvalidConfiguration, match=rf"needs {missing}: pip install"):
        Run(task, options(tmp_path, data), QUIET)
    Run(task, options(tmp_path, data, baselines=("small-cnn",)), QUIET)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "folder", "classes"),
    [("body-parts", "bodypart/unifesp", 22), ("chest-findings", "chest/nih14", 14)],
)
def test_the_real_tables_train_as_they_lie(tmp_path, name, folder, classes):
    data = data_dir() / folder
    given = options(tmp_path, data, limit=40, baselines=("hog-svm",))

    Run(read_task(name, {**SMALL, "epochs": 1}), given, QUIET).finish()

    with np.load(given.out / "predictions.npz", allow_pickle=False) as kept:
        assert kept["logits"].shape == (80, classes)
        assert str(kept["kind"]) == TaskKind.MULTI_LABEL
