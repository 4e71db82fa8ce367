"""What a training run is put together from: starting weights, squares, baselines, progress."""

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import save_file

from audit.errors import InvalidConfiguration
from inference.architectures import build
from inference.manifest import read_manifest
from inference.training.calibrate import Calibration
from inference.training.dataset import DataSet, TaskKind
from inference.training.samples import Sample, Squares
from inference.training.workbench import squares as squares_module
from inference.training.workbench.baselines import hog_features, svm_logits
from inference.training.workbench.calibrated import Calibrated, calibrate
from inference.training.workbench.model import Facts, write_model
from inference.training.workbench.progress import Reporter
from inference.training.workbench.squares import squares_of
from inference.training.workbench.starting import start
from inference.training.workbench.task import TrainingTask

QUIET = Reporter(quiet=True)


def task(**more: object) -> TrainingTask:
    document = {"name": "some", "description": "", "kind": "binary", "data": {"form": "folder"}}
    return TrainingTask.model_validate({**document, "network": "small_cnn", **more})


def test_a_network_starts_from_a_models_features_with_a_fresh_head(tmp_path):
    file = tmp_path / "weights.safetensors"
    torch.manual_seed(3)
    stored = build("small_cnn", 5)
    save_file({k: v.half() if v.dim() > 1 else v for k, v in stored.state_dict().items()}, file)

    begun = start(task(), 2, file, [])

    assert begun.pretrained
    assert "sha256" in begun.told
    assert begun.network.head.weight.shape == (2, 128)
    given, taken = stored.features[0][0].weight, begun.network.features[0][0].weight
    torch.testing.assert_close(taken, given, atol=1e-3, rtol=0)


def test_features_of_another_network_are_refused(tmp_path):
    save_file({"features.0.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "none.safetensors").write_bytes(b"\x80\x04pickle")

    with pytest.raises(InvalidConfiguration, match="are not those of the task's network"):
        start(task(), 2, tmp_path / "other.safetensors", [])
    with pytest.raises(InvalidConfiguration, match="is no safetensors file"):
        start(task(), 2, tmp_path / "none.safetensors", [])
    with pytest.raises(InvalidConfiguration, match="no backbone of small_cnn is known"):
        start(task(), 2, tmp_path, [])


def test_a_start_from_chance_is_the_same_each_time_and_says_so():
    one, two = (start(task(), 2, None, []) for _ in range(2))

    assert not one.pretrained
    assert one.told.startswith("random")
    torch.testing.assert_close(one.network.state_dict(), two.network.state_dict())


def drawn(tmp_path, count: int) -> tuple[DataSet, tuple[Sample, ...]]:
    random = np.random.default_rng(1)
    for index in range(count):
        pixels = random.integers(0, 255, (20, 10)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    samples = tuple(
        Sample(path=(tmp_path / f"{i}.png").relative_to(tmp_path), targets={}, group="", source="")
        for i in range(count)
    )
    data = DataSet(
        name="d", kind=TaskKind.BINARY, classes=("a", "b"), samples=samples, root=tmp_path
    )
    return data, samples


def test_decoding_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    data, samples = drawn(tmp_path, 6)
    whole = squares_of(data, samples, size=32, reporter=QUIET, cache=tmp_path / "whole")
    monkeypatch.setattr(squares_module, "_KEEP_EVERY", 2)
    read, asked = squares_module.read_picture, []

    def until_five(path):
        asked.append(path.name)
        if path.name == "5.png" and len(asked) < 7:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(squares_module, "read_picture", until_five)
    with pytest.raises(KeyboardInterrupt):
        squares_of(data, samples, size=32, reporter=QUIET, cache=tmp_path / "cut")
    again = squares_of(data, samples, size=32, reporter=QUIET, cache=tmp_path / "cut")

    assert asked[6:] == ["4.png", "5.png"]
    np.testing.assert_array_equal(again.pixels, whole.pixels)
    assert again.boxes[0].tolist() == [0, 8, 32, 24]
    asked.clear()
    squares_of(data, samples, size=32, reporter=QUIET, cache=tmp_path / "cut")
    assert asked == []


def test_a_changed_image_is_decoded_again(tmp_path):
    data, samples = drawn(tmp_path, 2)
    before = squares_of(data, samples, size=32, reporter=QUIET, cache=tmp_path / "c").pixels[0]
    Image.new("L", (10, 21), 7).save(tmp_path / "0.png")

    after = squares_of(data, samples, size=32, reporter=QUIET, cache=tmp_path / "c").pixels[0]

    assert not np.array_equal(before, after)


def test_the_svm_tells_stripes_from_stripes_and_ignores_the_unknown():
    rows = np.indices((64, 64))[0] // 8 % 2 * 200
    pixels = np.stack([rows if i % 2 else rows.T for i in range(12)]).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 50, pixels.shape).astype(np.uint8)
    squares = Squares(pixels=pixels + noise, boxes=np.zeros((12, 4), dtype=np.int64))
    features = hog_features(squares, QUIET)
    stripes = np.arange(12) % 2
    targets = np.stack([stripes, stripes, np.ones(12)], axis=1).astype(np.float32)
    targets[::3, 1] = np.nan

    (logits,) = svm_logits(features[:8], targets[:8], [features[8:]], seed=1)

    assert features.shape == (12, 1764)
    assert ((logits[:, :2] > 0) == stripes[8:, None]).all()
    assert (logits[:, 2] == 1.0).all()


def test_calibrated_logits_are_as_sure_as_they_are_right():
    random = np.random.default_rng(2)
    truth = random.integers(0, 3, 600)
    told = np.where(random.random(600) < 0.7, truth, random.integers(0, 3, 600))
    logits = (8.0 * np.eye(3)[told]).astype(np.float32)

    found = calibrate(logits, np.eye(3, dtype=np.float32)[truth], TaskKind.MULTI_CLASS)

    shares = np.exp(found.logits(logits))
    sure = (shares.max(axis=1) / shares.sum(axis=1)).mean()
    assert sure == pytest.approx((told == truth).mean(), abs=0.02)


@pytest.mark.parametrize("shift", [-10.5, 0.45678])
def test_a_stored_operating_point_decides_as_the_chosen_one(tmp_path, shift):
    targets = np.array([[0.0], [0.0], [1.0], [1.0]], dtype=np.float32)
    logits = np.array([[-3.0], [-0.2], [0.0], [1.0]], dtype=np.float32) + np.float32(shift)
    one = Calibration(temperature=np.ones(1), bias=np.zeros(1))
    facts = Facts(
        command="",
        commit="",
        start="",
        precision="",
        device="",
        best_epoch=1,
        epochs=1,
        metrics={},
        calibrated=Calibrated(per_output=one, temperature=None),
        validation=(logits, targets),
    )
    data = DataSet(name="d", kind=TaskKind.BINARY, classes=("a", "b"), samples=(), root=tmp_path)

    write_model(tmp_path / "model", task(), data, build("small_cnn", 1), facts)

    [label] = read_manifest(tmp_path / "model").labels
    assert ((one(logits) >= label.operating_point.present_at) == (targets > 0)).all()


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr("inference.training.workbench.progress._QUIET_S", 0.0)
    reporter = Reporter(Console(stderr=True, highlight=False))

    with reporter.work("decoding images", 3) as advance:
        advance(2, note="loss [bold]1")

    assert capsys.readouterr().err == "decoding images: 2 of 3 loss [bold]1\n"
