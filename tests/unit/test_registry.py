"""Model folders are checked whole before anything runs."""

import pytest
import torch
import yaml
from structlog.testing import capture_logs

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


def test_a_folder_without_weights_is_refused(tmp_path):
    folder = model_folder(tmp_path / "a")
    (folder / "weights.safetensors").unlink()

    for root in (tmp_path / "a", tmp_path / "nowhere"):
        with pytest.raises(BrokenModel):
            Registry.load([root], shipped=None)


def test_a_folder_that_is_no_model_is_passed_over_and_told(tmp_path):
    model_folder(tmp_path)
    (tmp_path / "lost+found").mkdir()

    with capture_logs() as events:
        registry = Registry.load([tmp_path], shipped=None)

    assert registry.names == {"test-findings"}
    [skipped] = [e for e in events if e["event"] == "inference.model.folder_skipped"]
    assert skipped["model_name"] == "lost+found"


@pytest.mark.parametrize(
    "document",
    [
        b"name: B\xe4r\n",
        b"when: 2026-13-45\n",
        b"a: " + b"[" * 5000 + b"\n",
        *(f"input: {{size: 64, mean: [0, 0, 0], std: [1, 1, {std}]}}\n".encode()
          for std in (".nan", "0.0", ".inf")),
    ],
    ids=["latin-1", "no date", "deep", "nan", "zero", "inf"],
)  # fmt: skip
def test_a_manifest_that_cannot_be_read_is_a_broken_model(tmp_path, document):
    folder = model_folder(tmp_path)
    kept = yaml.safe_load((folder / "model.yaml").read_text())
    if document.startswith(b"input"):
        kept["input"] |= yaml.safe_load(document)["input"] | {"size": 64}
        document = yaml.safe_dump(kept).encode()
    (folder / "model.yaml").write_bytes(document)

    with pytest.raises(BrokenModel, match=r"test-findings/model\.yaml"):
        load_model(folder)


def test_the_shipped_models_load():
    registry = Registry.load()

    assert registry.names == {entry.name for entry in SHIPPED.iterdir() if entry.is_dir()}
