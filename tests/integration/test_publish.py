"""A model that is made again takes the old one's place only when all of it is measured."""

import hashlib
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference.architectures import build
from inference.evaluation.loaded import load_model
from inference.evaluation.shipped import comparison, disturbed, heldout, localisation
from inference.evaluation.shipped.card import _data, render_card
from inference.manifest import read_manifest
from inference.registry import SHIPPED
from inference.training.samples import Sample, Squares
from inference.training.shipped import baselines, bodypart, chest
from inference.training.shipped.chest_labels import gates_of
from inference.training.shipped.labels import FINDING_KEYS
from inference.training.shipped.options import Options, members_of
from inference.training.shipped.outoffold import OUT_OF_FOLD, OUT_OF_FOLD_CHEST, load
from inference.training.shipped.run import Plan, Trained, together
from tests.data import data_dir

pytestmark = [pytest.mark.data, pytest.mark.slow]

MODELS = Path(__file__).parents[2] / "inference" / "models"
MEASURED_LATER = {"baselines", "disturbed"}
"""Sections of the metrics that commands of their own write."""


def sha256_of(file: str) -> str:
    return hashlib.sha256((data_dir() / file).read_bytes()).hexdigest()


def drawn(data: Path, samples: list[Sample], *, size: int) -> Squares:
    """Squares of noise in place of the images: what is told of them does not matter here."""
    count = len(samples)
    pixels = np.random.default_rng(count).integers(0, 255, (count, size, size), dtype=np.uint8)
    return Squares(pixels=pixels, boxes=np.tile(np.array([0, 0, size, size]), (count, 1)))


@pytest.fixture
def undecoded(tmp_path, monkeypatch):
    """No image is decoded, and what is kept under ``.work`` lies elsewhere."""
    for module in (baselines, bodypart, chest, comparison, heldout, localisation):
        monkeypatch.setattr(module, "load_squares", drawn)
    monkeypatch.chdir(tmp_path)


def options_of(out: Path, members: str) -> Options:
    return Options(
        data=data_dir(), out=out, card=out.with_suffix(".md"), size=32, epochs=1, variants=1,
        members=members_of(members), seed=0, threads=1, device="cpu", version="9.9.9",
    )  # fmt: skip


def chest_plan_of(options: Options) -> Plan:
    return Plan(
        material=chest.gather(options, chest.Mix(public=False)), keys=FINDING_KEYS,
        options=options, recipe=chest.chest_recipe(options), augmentation=chest.AUGMENTATION,
    )  # fmt: skip


def chance(plan: Plan) -> Trained:
    """A network of each member that learned nothing, and drawn answers."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    shape = plan.material.targets.shape
    return together(
        [
            Trained(
                network=build(member.backbone, len(plan.keys)).eval(),
                logits=random.normal(size=shape).astype(np.float32),
                disguised=random.normal(size=shape).astype(np.float32),
                commits=("none",),
            )
            for member in plan.options.members
        ]
    )


def test_a_chest_model_takes_the_gates_of_the_body_part_model_beside_it(tmp_path):
    elsewhere = tmp_path / "chest-findings"
    assert chest.bodypart_beside(elsewhere) == SHIPPED / "bodypart"
    shutil.copytree(MODELS / "bodypart", tmp_path / "bodypart")
    assert chest.bodypart_beside(elsewhere) == tmp_path / "bodypart"


@pytest.mark.usefixtures("undecoded")
def test_an_interrupted_publication_leaves_the_model_that_was_there(tmp_path, monkeypatch):
    """Until the held-out images are scored, no finding is known to be good enough to report."""
    out = tmp_path / "chest-findings"
    shutil.copytree(MODELS / "chest-findings", out)
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    plan = chest_plan_of(options_of(out, "mobilenet_v3_small:4"))
    trained = chance(plan)

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
    assert kept.paths == tuple(str(s.path) for s in plan.material.samples if s.source == "nih")
    assert np.array_equal(kept.logits, trained.logits[: len(kept.paths)])
    assert f"| chest/nih14/boxes.csv | `{sha256_of('chest/nih14/boxes.csv')}` |" in _data(made.data)


@pytest.mark.usefixtures("undecoded")
def test_a_chest_model_of_chance_is_published_and_reports_nothing(tmp_path):
    options = options_of(tmp_path / "chest-findings", "mobilenet_v2:4,mobilenet_v2:4")
    plan = chest_plan_of(options)

    chest.publish(plan, chance(plan), gates_of(MODELS / "bodypart"))

    made, shipped = load_model(options.out).manifest, read_manifest(MODELS / "chest-findings")
    assert (made.version, made.architecture) == ("9.9.9", "mobilenet_v2+mobilenet_v2")
    assert set(made.metrics) == set(shipped.metrics) - MEASURED_LATER
    assert not any(label.reported for label in made.labels)
    assert all("below 0.65" in label.not_reported_because for label in made.labels)
    assert len(made.metrics["members"]) == len(made.training["members"]) == 2
    assert [m["recipe"]["schedule"]["pointing"] for m in made.training["members"]] == [0.05, 0.0]
    assert made.metrics["held_out"]["unseen"]["mean_auc"] == pytest.approx(0.5, abs=0.1)
    assert options.card.read_text() == render_card(options.out)
    assert not (options.out / ".new").exists()


@pytest.mark.usefixtures("undecoded")
def test_a_body_part_model_of_chance_is_published(tmp_path):
    options = options_of(tmp_path / "bodypart", "small_cnn:0,small_cnn:0")
    plan = bodypart.bodypart_plan(options)

    bodypart.publish(plan, chance(plan))

    made, shipped = load_model(options.out).manifest, read_manifest(MODELS / "bodypart")
    assert set(made.metrics) == set(shipped.metrics) - MEASURED_LATER
    assert [label.key for label in made.labels] == [label.key for label in shipped.labels]
    assert made.metrics["cross_validation"]["unifesp"]["macro_f1_of_top1"] < 0.1
    assert len(made.metrics["members"]) == 2
    assert load(OUT_OF_FOLD).weights_sha256 == made.weights_sha256
    assert options.card.read_text() == render_card(options.out)


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("name", ["bodypart", "chest-findings"])
def test_a_simpler_method_takes_the_place_of_its_earlier_score_alone(name, tmp_path, monkeypatch):
    model, card = tmp_path / name, tmp_path / "card.md"
    shutil.copytree(MODELS / name, model)
    before = read_manifest(model).metrics
    monkeypatch.setattr(chest, "taught", lambda targets, *_, **__: targets)
    random = np.random.default_rng(0)
    method = replace(
        baselines.METHODS[1],
        out_of_fold=lambda plan: random.normal(size=plan.material.targets.shape),
        of_others=lambda plan, squares: random.normal(size=(len(squares), len(plan.keys))),
    )
    monkeypatch.setattr(baselines, "METHODS", (method,))
    argv = ["baselines", "--data", str(data_dir()), "--model", str(model), "--card", str(card)]
    monkeypatch.setattr("sys.argv", argv)

    baselines.main()

    made = read_manifest(model)
    (cnn, svm), (kept, new) = before["baselines"], made.metrics["baselines"]
    assert kept == cnn
    assert new["name"] == svm["name"]
    assert new.keys() == svm.keys()
    assert new != svm
    assert without(made.metrics, "baselines") == without(before, "baselines")
    assert card.read_text() == render_card(model)


@pytest.mark.parametrize("name", ["bodypart", "chest-findings"])
def test_changed_images_score_as_the_manifest_says(name, tmp_path, monkeypatch):
    model, card = tmp_path / name, tmp_path / "card.md"
    shutil.copytree(MODELS / name, model)
    before = read_manifest(model).metrics
    stated = {row["way"]: row for row in before["disturbed"]}
    assert list(stated) == list(disturbed.WAYS)
    some = {
        way: disturbed.WAYS[way] for way in ("darker, gamma 2", "white border, 8 % on every side")
    }
    measures = {task: partial(how, ways=some) for task, how in disturbed.MEASURES.items()}
    monkeypatch.setattr(disturbed, "MEASURES", measures)
    argv = ["disturbed", "--data", str(data_dir()), "--model", str(model), "--card", str(card)]
    monkeypatch.setattr("sys.argv", argv)

    disturbed.main()

    made = read_manifest(model).metrics
    assert [row["way"] for row in made["disturbed"]] == list(some)
    for row in made["disturbed"]:
        assert row == pytest.approx(stated[row["way"]], abs=0.01)
    assert without(made, "disturbed") == without(before, "disturbed")
    assert card.read_text() == render_card(model)


def without(metrics: dict[str, Any], section: str) -> dict[str, Any]:
    return {key: value for key, value in metrics.items() if key != section}
