"""A model that is made again takes the old one's place only when all of it is measured."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from inference.architectures import build
from inference.evaluation.shipped.card import _data
from inference.manifest import read_manifest
from inference.registry import SHIPPED
from inference.training.samples import Sample, Squares
from inference.training.shipped import chest
from inference.training.shipped.chest_labels import gates_of
from inference.training.shipped.labels import FINDING_KEYS
from inference.training.shipped.options import Options, members_of
from inference.training.shipped.outoffold import OUT_OF_FOLD_CHEST, load
from inference.training.shipped.run import Plan, Trained
from tests.data import data_dir

pytestmark = [pytest.mark.data, pytest.mark.slow]

MODELS = Path(__file__).parents[2] / "inference" / "models"


def sha256_of(file: str) -> str:
    return hashlib.sha256((data_dir() / file).read_bytes()).hexdigest()


def undecoded(data: Path, samples: list[Sample], *, size: int) -> Squares:
    count = len(samples)
    return Squares(
        pixels=np.zeros((count, size, size), np.uint8), boxes=np.zeros((count, 4), np.int64)
    )


def test_a_chest_model_takes_the_gates_of_the_body_part_model_beside_it(tmp_path):
    elsewhere = tmp_path / "chest-findings"
    assert chest.bodypart_beside(elsewhere) == SHIPPED / "bodypart"
    shutil.copytree(MODELS / "bodypart", tmp_path / "bodypart")
    assert chest.bodypart_beside(elsewhere) == tmp_path / "bodypart"


def test_an_interrupted_publication_leaves_the_model_that_was_there(tmp_path, monkeypatch):
    """Until the held-out images are scored, no finding is known to be good enough to report."""
    out = tmp_path / "chest-findings"
    shutil.copytree(MODELS / "chest-findings", out)
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    options = Options(
        data=data_dir(), out=out, card=tmp_path / "card.md", size=32, epochs=1, variants=1,
        members=members_of("mobilenet_v3_small:4"), seed=0, threads=1, device="cpu",
        version="9.9.9",
    )  # fmt: skip
    monkeypatch.setattr(chest, "load_squares", undecoded)
    monkeypatch.chdir(tmp_path)
    material = chest.gather(options, chest.Mix())
    random = np.random.default_rng(0)
    logits = random.normal(size=material.targets.shape).astype(np.float32)
    plan = Plan(
        material=material, keys=FINDING_KEYS, options=options,
        recipe=chest.chest_recipe(options), augmentation=chest.AUGMENTATION,
    )  # fmt: skip
    trained = Trained(
        network=build("mobilenet_v3_small", len(FINDING_KEYS)),
        logits=logits,
        disguised=logits,
        commits=("none",),
    )

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(chest, "chest_held_out", stopped)
    with pytest.raises(KeyboardInterrupt):
        chest.publish(plan, trained, gates_of(MODELS / "bodypart"))

    assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == before
    assert read_manifest(out).version != "9.9.9"
    made = read_manifest(out / ".new")
    assert set(made.data["tables_sha256"]) == {str(table) for table in chest.TABLES}
    assert made.data["tables_sha256"]["chest/nih14/boxes.csv"] == sha256_of("chest/nih14/boxes.csv")
    (member,) = made.training["members"]
    assert member["start_sha256"] == sha256_of("weights/nih15_mobilenetv3s_dequant_fp32.onnx")
    assert member["recipe"]["seed"] == member["seed"] == 0
    kept = load(OUT_OF_FOLD_CHEST)
    assert kept.weights_sha256 == made.weights_sha256
    assert kept.paths == tuple(str(s.path) for s in material.samples if s.source == "nih")
    assert np.array_equal(kept.logits, logits[: len(kept.paths)])
    assert f"| chest/nih14/boxes.csv | `{sha256_of('chest/nih14/boxes.csv')}` |" in _data(made.data)
