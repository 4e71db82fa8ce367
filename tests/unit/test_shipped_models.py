"""The models that are shipped, their manifests and cards."""

from pathlib import Path
from typing import Any

import pytest
import torch

from inference.evaluation.loaded import load_model
from inference.evaluation.shipped.card import render_card
from inference.evaluation.shipped.check import as_stated, differences, recompute
from inference.evaluation.shipped.localisation import pointing_game
from inference.manifest import read_manifest
from inference.registry import SHIPPED
from inference.training.shipped.chest_labels import gates_of
from inference.training.shipped.labels import BODYPART_KEYS, FINDING_KEYS
from tests.data import data_dir

ROOT = Path(__file__).parents[2]
MODELS = [ROOT / "inference/models/bodypart", ROOT / "inference/models/chest-findings"]


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_shipped_model_validates_and_its_weights_match(folder: Path) -> None:
    model = load_model(folder)
    keys = tuple(label.key for label in model.manifest.labels)
    assert keys in {BODYPART_KEYS, FINDING_KEYS}
    assert all(p.dtype is torch.float32 for p in model.network.parameters())
    assert (folder / "weights.safetensors").stat().st_size < 30_000_000


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_labels_that_are_not_reported_say_why(folder: Path) -> None:
    for label in read_manifest(folder).labels:
        assert label.reported == (label.not_reported_because is None)
        if label.role in {"region", "finding"}:
            assert label.code is not None
            assert label.operating_point is not None


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_model_card_is_what_the_manifest_prints(folder: Path) -> None:
    card = ROOT / "docs" / "models" / f"{folder.name}.md"
    assert card.read_text(encoding="utf-8") == render_card(folder)


@pytest.mark.data
@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_shipped_metrics_are_found_again(folder: Path) -> None:
    data, model = data_dir(), load_model(folder)
    assert differences(as_stated(model), recompute(model, data)) == []


@pytest.mark.data
@pytest.mark.slow
def test_heat_maps_hit_as_many_boxes_as_the_card_says() -> None:
    """But for two: a peak that two places of an image nearly share may move with the processor."""
    model = load_model(SHIPPED / "chest-findings")
    stated, found = model.manifest.metrics["heat_maps"], pointing_game(model, data_dir())

    def hits(told: dict[str, Any]) -> int:
        return sum(round(row["hits"] * row["images"]) for row in told.values())

    images = {finding: row["images"] for finding, row in stated.items()}
    assert {finding: row["images"] for finding, row in found.items()} == images
    assert abs(hits(found) - hits(stated)) <= 2


def test_differences_names_the_number_that_moved() -> None:
    lines = differences({"a": {"auc": 0.8}, "b": 1}, {"a": {"auc": 0.7}, "b": 1})
    assert lines == ["a.auc: stated 0.8, found 0.7"]
    assert differences({"a": 0.8}, {"a": float("nan")}) == ["a: stated 0.8, found nan"]
    assert differences({"a": 0.8}, {}) == ["a: stated 0.8, found None"]


def test_the_shipped_gates_are_those_of_the_shipped_body_part_model():
    assert tuple(read_manifest(SHIPPED / "chest-findings").gates) == gates_of(SHIPPED / "bodypart")
