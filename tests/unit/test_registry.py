"""Model folders are checked whole before anything runs."""

import pytest
import torch
import yaml

from audit.errors import BrokenModel
from inference.registry import SHIPPED, Registry, load_model
from tests.models import label, model_folder


def edit(folder, **changes):
    manifest = folder / "model.yaml"
    manifest.write_text(yaml.safe_dump({**yaml.safe_load(manifest.read_text()), **changes}))


def test_a_model_is_loaded_with_its_own_weights(tmp_path):
    model = load_model(model_folder(tmp_path, head_bias=[1.5, -2.0]))

    assert model.manifest.name == "test-findings"
    assert model.network.head.bias.tolist() == [1.5, -2.0]
    assert not model.network.training


def test_a_registry_holds_every_folder_and_skips_hidden_ones(tmp_path):
    model_folder(tmp_path / "a", name="one")
    model_folder(tmp_path / "b", name="two")
    (tmp_path / "a" / ".cache").mkdir()
    (tmp_path / "a" / "__pycache__").mkdir()

    registry = Registry.load([tmp_path / "a", tmp_path / "b"], shipped=None)

    assert registry.names == {"one", "two"}
    assert [model.manifest.name for model in registry] == ["one", "two"]


def test_two_models_of_one_name_are_refused(tmp_path):
    model_folder(tmp_path / "a")
    model_folder(tmp_path / "b")

    with pytest.raises(BrokenModel, match="two model folders"):
        Registry.load([tmp_path / "a", tmp_path / "b"], shipped=None)


def test_changed_weights_are_refused(tmp_path):
    folder = model_folder(tmp_path)
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    with pytest.raises(BrokenModel, match="do not match weights_sha256"):
        load_model(folder)


def test_a_pickle_is_never_opened(tmp_path):
    import hashlib

    folder = model_folder(tmp_path)
    weights = folder / "weights.safetensors"
    torch.save({"head.weight": torch.zeros(1)}, weights)
    edit(folder, weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest())

    with pytest.raises(BrokenModel):
        load_model(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "no_such_network"},
        {"architecture": "resnet18"},
        {"labels": [label("only")]},
        {"input": {"size": 64, "mean": [0.5], "std": [0.2], "preprocessing": "px-1"}},
    ],
)
def test_a_manifest_that_does_not_fit_its_weights_is_refused(tmp_path, changes):
    folder = model_folder(tmp_path)
    edit(folder, **changes)

    with pytest.raises(BrokenModel, match="test-findings"):
        load_model(folder)


def test_a_folder_without_weights_or_manifest_is_refused(tmp_path):
    folder = model_folder(tmp_path / "a")
    (folder / "weights.safetensors").unlink()
    (tmp_path / "b" / "empty").mkdir(parents=True)

    for root in (tmp_path / "a", tmp_path / "b", tmp_path / "nowhere"):
        with pytest.raises(BrokenModel):
            Registry.load([root], shipped=None)


def test_the_shipped_models_load():
    registry = Registry.load()

    assert registry.names == {entry.name for entry in SHIPPED.iterdir() if entry.is_dir()}
