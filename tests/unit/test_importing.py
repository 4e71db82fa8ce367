"""Checkpoints of other projects become model folders; nothing in them is run."""

import copy
import hashlib
import json
import math
import os
import pickle
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from audit.errors import BrokenModel
from inference.importing import fetch
from inference.importing.checkpoint import UnusableCheckpoint, read_checkpoint
from inference.importing.folder import Provenance, Wishes, write_folder
from inference.importing.layouts import CHEXNET, TORCHXRAYVISION, recognise
from inference.preprocess import network_input
from inference.registry import SHIPPED, load_model
from inference.types import Task
from tests.checkpoints import chexnet, densenet, saved, torchxrayvision
from tests.models import model_folder

pytestmark = pytest.mark.slow
PROVENANCE = Provenance(file_name="weights.pt", sha256="0" * 64, imported_on=date(2026, 1, 2))


def imported(content, root, *, replace=False, **wishes):
    wishes = Wishes(**{"name": "imported", **wishes})
    network = recognise(read_checkpoint(content))
    return write_folder(network, wishes, PROVENANCE, root=root, replace=replace)


def said_by(model, square):
    """What our network says of a grey square, through our own preprocessing."""
    spec = model.manifest.input
    tensor = network_input(square, mean=spec.mean, std=spec.std)
    with torch.no_grad():
        return model.network(torch.from_numpy(tensor[None]))[0]


@pytest.fixture(scope="module")
def squares():
    return np.random.default_rng(3).uniform(size=(3, 64, 64)).astype(np.float32)


def test_an_imported_torchxrayvision_network_says_what_the_original_says(tmp_path, squares):
    model = imported(saved(torchxrayvision()), tmp_path)

    for square in squares:
        with torch.no_grad():
            original = densenet(channels=1, outputs=18)(
                torch.from_numpy(2048.0 * square[None, None] - 1024.0)
            )
        torch.testing.assert_close(said_by(model, square), original, rtol=1e-4, atol=1e-4)
        assert original.std() > 0.1


def test_an_imported_chexnet_says_what_the_original_says(tmp_path, squares):
    model = imported(saved(chexnet()), tmp_path)

    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    for square in squares:
        with torch.no_grad():
            normalised = (torch.from_numpy(square)[None].repeat(3, 1, 1) - mean) / std
            original = densenet(channels=3, outputs=14)(normalised[None])
        torch.testing.assert_close(said_by(model, square), original, rtol=1e-4, atol=1e-4)


def test_torchxrayvision_itself_agrees(tmp_path, squares):
    models = pytest.importorskip("torchxrayvision.models")
    original = models.DenseNet(weights=None).eval()
    original.load_state_dict(densenet(channels=1, outputs=18).state_dict())

    model = imported(saved(original.state_dict()), tmp_path)

    assert [label.key.replace("_", " ") for label in model.manifest.labels] == [
        target.replace("_", " ") for target in models.DenseNet.targets
    ]
    for square in squares:
        with torch.no_grad():
            features = original.features(torch.from_numpy(2048.0 * square[None, None] - 1024.0))
            said = original.classifier(torch.relu(features).mean((2, 3)))
        torch.testing.assert_close(said_by(model, square), said, rtol=1e-4, atol=1e-4)


def test_a_whole_saved_network_is_read_without_its_classes(tmp_path, squares):
    network = copy.deepcopy(densenet(channels=1, outputs=18))
    network.pathologies = ["Atelectasis", "Consolidation"] + [""] * 15
    network.pathologies += ["Enlarged Cardiomediastinum"]

    model = imported(saved(nn.DataParallel(network)), tmp_path)

    labels = {label.key: label for label in model.manifest.labels}
    assert "never trained" in labels["Hernia"].not_reported_because
    assert "not yet measured" in labels["Atelectasis"].not_reported_because
    expected = imported(saved(torchxrayvision()), tmp_path / "again")
    torch.testing.assert_close(said_by(model, squares[0]), said_by(expected, squares[0]))


def test_the_format_before_torch_1_6_is_read_where_it_holds_tensors_alone(tmp_path):
    old = {"_use_new_zipfile_serialization": False}

    assert len(imported(saved(chexnet(), **old), tmp_path).manifest.labels) == 14
    with pytest.raises(UnusableCheckpoint, match="save its tensors alone"):
        read_checkpoint(saved(nn.Sequential(nn.Conv2d(1, 1, 1)), **old))


def test_safetensors_are_read_too(tmp_path):
    assert len(imported(save(torchxrayvision()), tmp_path).manifest.labels) == 18


def test_nothing_is_reported_until_a_person_says_so(tmp_path):
    manifest = imported(saved(chexnet()), tmp_path).manifest

    assert not any(label.reported for label in manifest.labels)
    assert {label.not_reported_because for label in manifest.labels} == {
        "imported, and not yet measured on this site's own images"
    }


def test_the_manifest_says_where_the_network_came_from_and_what_it_may_see(tmp_path):
    manifest = imported(saved(chexnet()), tmp_path, version="2.1.0", licence="BSD-3").manifest
    shipped = load_model(SHIPPED / "chest-findings").manifest

    assert (manifest.task, manifest.input.size) == (Task.CHEST_FINDINGS, 224)
    assert manifest.gates == shipped.gates
    assert manifest.gates
    assert {label.key: label.code for label in manifest.labels} == {
        label.key: label.code for label in shipped.labels
    }
    assert (manifest.version, manifest.licence) == ("2.1.0", "BSD-3")
    assert manifest.training == {
        "imported_from": "weights.pt",
        "imported_sha256": "0" * 64,
        "imported_on": "2026-01-02",
        "layout": CHEXNET,
    }


def test_operating_points_of_the_checkpoint_are_kept(tmp_path):
    points = torch.linspace(0.1, 0.9, 18)
    points[1] = torch.nan

    manifest = imported(
        saved(torchxrayvision(op_threshs=points)), tmp_path, report={"Atelectasis": None}
    ).manifest

    first, second, *_ = manifest.labels
    assert first.reported
    assert first.operating_point.present_at == pytest.approx(0.1)
    assert second.operating_point is None
    assert "never trained" in second.not_reported_because


def test_a_label_is_reported_at_the_operating_point_that_is_given(tmp_path):
    manifest = imported(saved(chexnet()), tmp_path, report={"Mass": 0.3}).manifest

    [mass] = [label for label in manifest.labels if label.reported]
    assert (mass.key, mass.operating_point.present_at) == ("Mass", 0.3)


@pytest.mark.parametrize(
    ("report", "rule"),
    [
        ({"Mass": None}, "no operating point"),
        ({"Cough": 0.5}, "no label Cough; its labels are Atelectasis, Cardio"),
        ({"Mass": 1.5}, "present_at|not a value"),
    ],
)
def test_what_cannot_be_reported_is_refused_and_leaves_nothing(tmp_path, report, rule):
    with pytest.raises(UnusableCheckpoint, match=rule):
        imported(saved(chexnet()), tmp_path, report=report)
    assert list(tmp_path.iterdir()) == []


class Malicious:
    """Runs a command when it is unpickled by anybody careless."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("wrap", [saved, pickle.dumps, lambda x: saved({"state_dict": x})])
def test_a_pickle_that_would_run_something_is_refused_and_nothing_runs(tmp_path, wrap):
    proof = tmp_path / "ran"
    content = wrap(Malicious(proof))

    with pytest.raises(UnusableCheckpoint, match=r"pickle|damaged"):
        read_checkpoint(content)

    assert not proof.exists()
    pickle.loads(pickle.dumps(Malicious(proof)))
    assert proof.exists()  # so it would have


def test_a_class_that_a_network_may_name_is_not_called(monkeypatch):
    def refuse(*_):
        raise AssertionError("a class of the checkpoint was used")

    content = saved(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()))
    for cls in (nn.Sequential, nn.Conv2d, nn.ReLU):
        monkeypatch.setattr(cls, "__setstate__", refuse, raising=False)

    assert set(read_checkpoint(content).tensors) == {"0.weight", "0.bias"}


def safetensors_of(kind):
    """Return a file of one byte whose header says that it is a number of that kind."""
    header = {"a": {"dtype": kind, "shape": [2 if kind == "F4" else 1], "data_offsets": [0, 1]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"\0"


def test_safetensors_whose_header_is_as_long_as_a_pickles_first_byte_are_read():
    tensors = {"a": torch.ones(2)}
    files = (save(tensors, metadata={"n": "n" * more}) for more in range(0x100))
    content = next(each for each in files if each[:1] == b"\x80")
    assert read_checkpoint(content).tensors["a"].tolist() == [1.0, 1.0]


def test_operating_points_may_be_a_list_of_the_network(tmp_path):
    network = densenet(channels=1, outputs=18)
    points = [0.1 * (index % 9 + 1) for index in range(18)]
    points[2] = math.nan
    network.op_threshs = points
    try:
        content = saved(network)
    finally:
        del network.op_threshs
    outputs = recognise(read_checkpoint(content)).outputs
    assert outputs[0].threshold == pytest.approx(0.1)
    assert [output.trained for output in outputs[:4]] == [True, True, False, True]


def test_fourteen_outputs_that_nothing_names_are_not_taken_for_chestxray14():
    content = saved(densenet(channels=3, outputs=14).state_dict())
    with pytest.raises(UnusableCheckpoint, match=r"--layout chexnet where .* Atelectasis, Cardio"):
        recognise(read_checkpoint(content))
    assert recognise(read_checkpoint(content), "chexnet").layout == "chexnet"


def own_parent():
    parent = {}
    parent["state_dict"] = parent
    return parent


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>Not found</html>",
        saved(chexnet())[:-1000],
        saved({"epoch": 1}),
        saved([1, 2, 3]),
        saved(own_parent()),
        safetensors_of("F8_E8M0"),
        safetensors_of("F4"),
    ],
    ids=["empty", "web page", "cut off", "no network", "list", "holds itself", "F8_E8M0", "F4"],
)
def test_what_is_no_checkpoint_is_refused(content):
    with pytest.raises(UnusableCheckpoint):
        read_checkpoint(content)


def changed(**tensors):
    return saved({**torchxrayvision(), **tensors})


@pytest.mark.parametrize(
    "content",
    [
        lambda: saved({"features.conv0.weight": torch.zeros(64, 1, 7, 7)}),
        lambda: changed(**{"classifier.weight": torch.zeros(5, 1024)}),
        lambda: changed(**{"features.norm5.weight": torch.zeros(7)}),
        lambda: changed(**{"features.norm5.weight": torch.full((1024,), torch.nan)}),
        lambda: changed(**{"features.norm6.weight": torch.zeros(7)}),
        lambda: changed(**{"module.features.norm5.weight": torch.zeros(1024)}),
        lambda: changed(op_threshs=torch.zeros(3)),
    ],
    ids=["part", "5 outputs", "shape", "nan", "other layer", "two networks", "points"],
)
def test_another_network_is_refused_and_leaves_nothing(tmp_path, content):
    with pytest.raises(UnusableCheckpoint):
        imported(content(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_layout_that_is_not_the_one_asked_for_is_refused():
    checkpoint = read_checkpoint(saved(chexnet()))

    assert recognise(checkpoint, CHEXNET).layout == CHEXNET
    with pytest.raises(UnusableCheckpoint, match="looks like the layout chexnet"):
        recognise(checkpoint, TORCHXRAYVISION)


def test_a_folder_that_exists_is_left_alone(tmp_path):
    first = imported(saved(chexnet()), tmp_path)

    with pytest.raises(UnusableCheckpoint, match="exists"):
        imported(saved(torchxrayvision()), tmp_path)

    again = load_model(tmp_path / "imported")
    assert again.manifest == first.manifest
    stored = (tmp_path / "imported" / "weights.safetensors").read_bytes()
    assert hashlib.sha256(stored).hexdigest() == first.manifest.weights_sha256


def test_an_imported_model_is_replaced_where_the_person_says_so(tmp_path):
    imported(saved(chexnet()), tmp_path)

    second = imported(saved(chexnet()), tmp_path, replace=True, report={"Mass": 0.3})

    assert load_model(tmp_path / "imported").manifest == second.manifest
    assert [entry.name for entry in tmp_path.iterdir()] == ["imported"]


def test_what_cannot_be_replaced_whole_stays(tmp_path, monkeypatch):
    first = imported(saved(chexnet()), tmp_path)
    rename = Path.rename

    def fail(path, target):
        if path.name == "imported" and path.parent != tmp_path:
            raise OSError("no")
        return rename(path, target)

    with pytest.raises(UnusableCheckpoint, match="no label"):
        imported(saved(chexnet()), tmp_path, replace=True, report={"Cough": 0.3})
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no"):
        imported(saved(chexnet()), tmp_path, replace=True, report={"Mass": 0.3})

    assert load_model(tmp_path / "imported").manifest == first.manifest
    assert [entry.name for entry in tmp_path.iterdir()] == ["imported"]


def test_a_folder_that_was_not_imported_is_never_replaced(tmp_path):
    trained = model_folder(tmp_path, name="trained")
    (tmp_path / "letters").mkdir()

    with pytest.raises(UnusableCheckpoint, match="only an imported"):
        imported(saved(chexnet()), tmp_path, name="trained", replace=True)
    with pytest.raises(BrokenModel, match="letters"):
        imported(saved(chexnet()), tmp_path, name="letters", replace=True)
    assert (load_model(trained).manifest.name, (tmp_path / "letters").is_dir()) == ("trained", True)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.1", True),
        ("2130706433", True),
        ("0.0.0.0", True),
        ("::ffff:127.0.0.1", True),
        ("::1", True),
        ("192.0.2.1", False),
        ("no-such-host.invalid", False),
    ],
)
def test_this_machine_is_known_however_it_is_spelt(host, here):
    assert fetch._is_here(host) is here
