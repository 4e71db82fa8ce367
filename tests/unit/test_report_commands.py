"""`dicom-node explore` and `dicom-node evaluate`, from the command line to the file."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from audit.errors import InvalidConfiguration
from dicom_node.cli.main import main
from inference.evaluation.loaded import load_model
from inference.evaluation.reports.asked import labelled_images
from inference.evaluation.reports.runs import ask, read_run, stated_thresholds
from inference.training.dataset import DataSet, TaskKind
from inference.training.samples import Sample, Squares
from inference.training.workbench.kept import KeptPredictions, keep_predictions
from inference.training.workbench.task import read_task
from tests.models import SIZE, model_folder
from tests.predictions import drawn_predictions

pytestmark = pytest.mark.slow


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A finished run of the shipped task `pneumonia`, with one baseline."""
    for name, file in (("small_cnn", "predictions.npz"), ("hog-svm", "predictions-hog-svm.npz")):
        drawn = drawn_predictions(TaskKind.BINARY, classes=("NORMAL", "PNEUMONIA"))
        samples = tuple(
            Sample(path=Path(p), targets={}, group=g, source="drawn", split=s, attributes=a)  # type: ignore[arg-type]
            for p, g, s, a in zip(
                drawn.paths, drawn.groups, drawn.splits, drawn.attributes, strict=True
            )
        )
        kept = KeptPredictions(
            name=name,
            kind=drawn.kind,
            classes=drawn.classes,
            logits=np.log(drawn.probabilities).astype(np.float32),
            targets=drawn.targets.astype(np.float32),
            samples=samples,
        )
        keep_predictions(tmp_path / file, kept)
    (tmp_path / "history.csv").write_text("epoch,train_loss,val_auc\n1,0.7,\n2,0.5,0.9\n")
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(read_task("pneumonia").document()))
    return tmp_path


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("dark", "bright"):
            folder = tmp_path / "set" / split / name
            folder.mkdir(parents=True)
            for index in range(3):
                pixels = random.integers(0, 255, (20, 24)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path


def test_what_training_kept_is_what_evaluation_reads(run_folder: Path) -> None:
    drawn = drawn_predictions(TaskKind.BINARY)
    run = read_run(run_folder)
    assert np.allclose(run.network.probabilities, drawn.probabilities, atol=1e-6)
    assert (run.network.paths, run.network.splits) == (drawn.paths, drawn.splits)
    assert run.network.attributes == drawn.attributes
    assert [baseline.name for baseline in run.baselines] == ["hog-svm"]
    assert run.history["train_loss"] == [0.7, 0.5]
    assert np.isnan(run.history["val_auc"][0])


def test_a_run_is_reported_as_page_and_as_json(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["evaluate", str(run_folder), "--rounds", "10", "--json", "-"]
    code = main([*told, "--data", str(run_folder / "elsewhere")])
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert code == 0
    assert re.search(r"thumbnails missing: \d+, .*elsewhere; see --data", printed.err)
    assert main([*told, "--no-images"]) == 0
    assert "--data" not in capsys.readouterr().err
    assert (found["split"], found["images"], found["classes"][1]) == ("test", 120, "PNEUMONIA")
    assert found["rivals"][0]["gain"]["mean_auc"]["value"] == 0
    assert "PNEUMONIA" in (run_folder / "evaluation.html").read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "no_such_network"},
        {"architecture": "resnet18"},
        {"weights_sha256": hashlib.sha256(b"no tensors").hexdigest()},
    ],
)
def test_a_broken_model_is_an_error_and_no_traceback(
    changes: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model_folder(tmp_path, **changes)
    if "weights_sha256" in changes:
        (folder / "weights.safetensors").write_bytes(b"no tensors")
    told = ["evaluate", "--model", str(folder), "--layout", "csv", "--data", str(tmp_path)]
    assert main(told) == 4
    assert "[inference.model.broken]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "name a run folder or give --model"),
        (["evaluate", "{}/nowhere"], "holds no predictions.npz"),
        (["evaluate", "{}", "--rounds", "0"], "--rounds must be at least 1"),
        (
            ["evaluate", "{}", "--layout", "csv", "--limit", "3"],
            "--layout, --limit: for --model",
        ),
        (["evaluate", "{}", "--split", "train"], "no image of the train split"),
        (["explore"], "name a task or give --layout"),
        (["explore", "--layout", "[1]"], "--layout takes a form"),
        (["explore", "--layout", "csv", "--data", "{}", "--set", "x"], "--set takes KEY=VALUE"),
        (["explore", "organs", "--set", "data.path=[a"], "--set data.path: the value is no YAML"),
        (["train", "organs", "--set", "data.path=[a"], "--set data.path: the value is no YAML"),
        (["train", "organs", "--set", "seed=2026-13-13"], "--set seed: the value is no YAML"),
        (["explore", "--layout", "csv", "--data", "{}"], "no table that can be read"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(
    arguments: list[str], message: str, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.format(run_folder) for argument in arguments]) == 3
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("left", [slice(0), slice(-40), slice(4, None), slice(100)])
def test_a_file_that_is_no_predictions_is_refused(run_folder: Path, left: slice) -> None:
    file = run_folder / "predictions.npz"
    file.write_bytes(file.read_bytes()[left])
    with pytest.raises(InvalidConfiguration, match="not the predictions"):
        read_run(run_folder)


def test_a_folder_of_classes_is_explored_with_and_without_images(
    class_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, numbers = class_folders / "deep" / "report.html", class_folders / "numbers.json"
    told = ["--layout", "{form: folder, path: set}", "--data", str(class_folders)]
    code = main(["explore", *told, "--out", str(out), "--json", str(numbers), "--no-images"])
    assert code == 0
    assert json.loads(numbers.read_text())["images"] == {"train": 6, "test": 6}
    assert "data:image" not in out.read_text()
    assert main(["explore", *told, "--out", str(out), "--limit", "2"]) == 0
    assert "data:image" in out.read_text()
    assert "images, test" in capsys.readouterr().out


def test_a_table_is_explored_in_spite_of_missing_images_but_not_measured_on(
    class_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "file,labels\ntest/dark/0.png,mass\ngone.png,effusion\n"
    (class_folders / "set" / "labels.csv").write_text(lines)
    told = ["--layout", "csv", "--data", str(class_folders / "set")]
    told += ["--out", str(class_folders / "out.html")]
    assert main(["explore", *told, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["missing"]) == ({"train": 1}, ["labels.csv, line 3"])

    model = str(model_folder(class_folders / "model"))
    assert main(["evaluate", "--model", model, *told, "--split", "all"]) == 3
    assert "labels.csv, line 3: no such image file" in capsys.readouterr().err

    (class_folders / "set" / "labels.csv").write_text("file,labels\ngone.png,mass\n")
    assert main(["explore", *told]) == 3
    assert "labels.csv, line 2: no such image file" in capsys.readouterr().err


def test_a_set_of_test_images_alone_is_explored_and_measured_on(
    class_folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(class_folders)
    shutil.rmtree("set/train")
    Path("set/test/bright").rename("set/test/mass")
    model = str(model_folder(Path("models")))
    told = ["--layout", "folder", "--data", "set", "--set", "classes=[dark, mass]"]
    assert main(["evaluate", "--model", model, *told, "--rounds", "5", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 6
    assert main(["explore", *told]) == 0
    assert "images, train" in capsys.readouterr().out


def test_classes_that_the_model_has_no_output_for_are_told(
    class_folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(class_folders)
    images = sorted(Path("set/test").rglob("*.png"))[:4]
    lines = [
        f"{p.relative_to('set')},{k}" for p, k in zip(images, 2 * ("mass", "nail"), strict=True)
    ]
    Path("set/labels.csv").write_text("\n".join(["file,labels", *lines]) + "\n")
    told = ["--model", str(model_folder(Path("models"))), "--layout", "csv", "--data", "set"]
    told += ["--split", "all", "--rounds", "5", "--out", "page.html", "--json", "found.json"]
    assert main(["evaluate", *told]) == 0
    assert "left out, for test-findings has no output for them: nail" in capsys.readouterr().err
    assert json.loads(Path("found.json").read_text())["left_out"] == ["nail"]
    assert "Left out, for the model has no output for them: nail." in Path("page.html").read_text()


def test_a_folder_of_classes_without_images_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert main(["explore", "--layout", "folder", "--data", str(tmp_path)]) == 3
    assert "the data set holds no image" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_an_error_and_no_traceback(
    class_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (class_folders / "file").write_text("")
    told = ["--layout", "{form: folder, path: set}", "--data", str(class_folders)]
    assert main(["explore", *told, "--out", str(class_folders / "file" / "x.html")]) == 4
    assert "error:" in capsys.readouterr().err


def test_images_of_a_layout_alone_are_not_shared_out(class_folders: Path) -> None:
    layout = "{form: folder, path: set/train}"
    found = labelled_images(class_folders, task=None, layout=layout, changes={})
    assert {sample.split for sample in found.samples} == {"train"}


def blank_squares(samples: tuple[Sample, ...]) -> Squares:
    pixels = np.zeros((len(samples), SIZE, SIZE), dtype=np.uint8)
    return Squares(pixels=pixels, boxes=np.zeros((len(samples), 4), dtype=np.int64))


def asked_set(kind: TaskKind, *classes: str) -> DataSet:
    targets = dict.fromkeys(classes[:1], 1.0)
    sample = Sample(path=Path("a.png"), targets=targets, group="g", source="s", split="test")
    return DataSet(name="d", kind=kind, classes=classes, samples=(sample,), root=Path())


def test_a_stored_model_is_asked_by_the_names_of_its_labels(tmp_path: Path) -> None:
    model = load_model(model_folder(tmp_path, head_bias=[3.0, -3.0]))
    data = asked_set(TaskKind.MULTI_LABEL, "mass", "hernia", "effusion")
    said = ask(model, data, data.samples, blank_squares)
    assert said.classes == ("mass", "effusion")
    assert said.probabilities[0, 0] < 0.5 < said.probabilities[0, 1]
    assert np.array_equal(said.targets, [[1.0, np.nan]], equal_nan=True)
    assert stated_thresholds(model, said) == pytest.approx([0.5, 0.5])


def test_a_class_is_found_by_the_region_that_it_and_an_output_name(tmp_path: Path) -> None:
    labels = [
        {"key": key, "role": "region", "operating_point": {"present_at": at, "absent_below": 0.1}}
        for key, at in (("Foot", 0.5), ("CervicalSpine", 0.25))
    ]
    model = load_model(model_folder(tmp_path, labels=labels, head_bias=[3.0, -3.0]))
    data = asked_set(TaskKind.MULTI_LABEL, "Cervical Spine", "Feet", "Knee and Feet")
    said = ask(model, data, data.samples, blank_squares)
    assert said.classes == ("Cervical Spine", "Feet")
    assert said.probabilities[0, 0] < 0.5 < said.probabilities[0, 1]
    assert stated_thresholds(model, said) == pytest.approx([0.25, 0.5])


def test_a_binary_set_asks_for_its_positive_class_only(tmp_path: Path) -> None:
    model = load_model(model_folder(tmp_path, head_bias=[3.0, -3.0]))
    data = asked_set(TaskKind.BINARY, "healthy", "effusion")
    said = ask(model, data, data.samples, blank_squares)
    assert said.probabilities.sum() == pytest.approx(1)
    assert said.probabilities[0, 1] > 0.5


def test_a_model_without_the_classes_of_the_set_is_refused(tmp_path: Path) -> None:
    model = load_model(model_folder(tmp_path))
    for kind, classes in (
        (TaskKind.MULTI_LABEL, ("hernia",)),
        (TaskKind.MULTI_CLASS, ("mass", "hernia")),
        (TaskKind.BINARY, ("mass", "hernia")),
    ):
        data = asked_set(kind, *classes)
        with pytest.raises(InvalidConfiguration, match="no output for the classes"):
            ask(model, data, data.samples, blank_squares)


def test_a_model_that_states_no_threshold_leaves_them_to_the_images(tmp_path: Path) -> None:
    labels = [{"key": "effusion", "role": "finding"}, {"key": "mass", "role": "finding"}]
    model = load_model(model_folder(tmp_path, labels=labels))
    data = asked_set(TaskKind.MULTI_LABEL, "mass", "effusion")
    said = ask(model, data, data.samples, blank_squares)
    assert stated_thresholds(model, said) is None
    assert stated_thresholds(model, replace(said, classes=("mass", "other"))) is None
