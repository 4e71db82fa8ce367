"""Explanations: each method finds what a network looks at, and the numbers judge the maps."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("captum", reason="of the extra `train`")

from inference.architectures import PooledClassifier
from inference.evaluation.explaining.explain import (
    UnknownName,
    explain,
    label_columns,
    method_names,
)
from inference.evaluation.explaining.files import Request, study
from inference.evaluation.explaining.measures import agreement, importance_curves, peak
from inference.evaluation.explaining.methods import METHODS, Effort, scene
from inference.manifest import InputSpec
from inference.preprocess import letterbox, network_input
from inference.registry import load_model
from tests.models import label, model_folder

SIDE = 32
WHOLE = (0, 0, SIDE, SIDE)
SPEC = InputSpec(size=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), preprocessing="px-1")
EFFORT = Effort(steps=8, segments=16, samples=120)


class UpperLeft(nn.Module):
    """Feature maps that are dark everywhere but in the upper left quarter of the image."""

    def forward(self, images):
        window = torch.zeros_like(images)
        window[..., : SIDE // 2, : SIDE // 2] = 1.0
        return torch.relu(images) * window


def looking_upper_left():
    network = PooledClassifier(nn.Sequential(UpperLeft()), channels=3, outputs=2).eval()
    with torch.no_grad():
        network.head.weight.copy_(torch.tensor([[5.0] * 3, [-5.0] * 3]))
        network.head.bias.zero_()
    return network


def bright_spots():
    """A dark picture with a bright spot in each quarter."""
    picture = np.full((SIDE, SIDE), 0.1, dtype=np.float32)
    for top in (4, 20):
        for left in (4, 20):
            picture[top : top + 8, left : left + 8] = 0.9
    return picture


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_part_that_the_network_looks_at(method):
    seen = scene(bright_spots(), SPEC, EFFORT)

    found = METHODS[method](looking_upper_left(), seen, 0, EFFORT)

    assert found.min() >= 0
    assert found[: SIDE // 2, : SIDE // 2].sum() > 0.75 * found.sum() > 0


@pytest.mark.parametrize("method", METHODS)
def test_what_speaks_against_a_label_is_not_drawn(method):
    network = looking_upper_left()
    picture = np.full((SIDE, SIDE), 0.1, dtype=np.float32)
    picture[4:12, 4:12] = 0.9
    seen = scene(picture, SPEC, EFFORT)

    found, against = (METHODS[method](network, seen, column, EFFORT) for column in (0, 1))

    # cells that are brighter than the grey that replaces them speak for label 0 alone
    assert found[6:10, 6:10].min() > 0
    assert against[6:10, 6:10].max() == 0


def test_the_network_is_fed_what_the_running_node_would_feed_it():
    wide = np.linspace(0, 1, 40 * 80, dtype=np.float32).reshape(40, 80)
    spec = InputSpec(size=SIDE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), preprocessing="px-1")

    seen = scene(wide, spec, EFFORT)

    expected = network_input(letterbox(wide, size=SIDE), mean=spec.mean, std=spec.std)
    np.testing.assert_array_equal(seen.image[0].numpy(), expected)
    assert seen.content == (8, 0, 24, 32)


def test_the_margin_of_the_letterbox_is_replaced_by_itself_and_is_one_piece():
    seen = scene(bright_spots()[:16], SPEC, EFFORT)

    np.testing.assert_array_equal(seen.image[..., :8, :], seen.baseline[..., :8, :])
    assert len(np.unique(seen.segments[:8])) == 1
    assert sorted(np.unique(seen.segments)) == list(range(seen.segments.max() + 1))


@pytest.mark.parametrize("method", ["lime", "kernel-shap"])
def test_equal_seeds_draw_the_same_map_and_leave_the_world_s_draws_alone(method):
    network, seen = looking_upper_left(), scene(bright_spots(), SPEC, EFFORT)
    few = Effort(segments=16, samples=12, seed=7)
    torch.manual_seed(1)
    untouched = torch.rand(1)

    torch.manual_seed(1)
    first = METHODS[method](network, seen, 0, few)
    after = torch.rand(1)
    again = METHODS[method](network, seen, 0, few)

    np.testing.assert_array_equal(first, again)
    assert after == untouched


def test_a_peak_is_told_in_fractions_of_the_image_and_the_margin_is_counted():
    cam = np.zeros((4, 4), dtype=np.float32)
    cam[2, 3] = 1.0

    found = peak(cam, (8, 0, 24, 32), SIDE)

    assert found["peak"] == [0.875, 0.75]
    assert found["in_margin"] == pytest.approx(0.0, abs=0.3)
    cam[0, 0] = 3.0
    assert peak(cam, (8, 0, 24, 32), SIDE)["peak"][1] < 0
    assert peak(cam, (8, 0, 24, 32), SIDE)["in_margin"] > 0.5


def test_several_equal_peaks_are_told_by_their_middle_and_an_empty_map_has_none():
    cam = np.zeros((SIDE, SIDE), dtype=np.float32)
    assert peak(cam, WHOLE, SIDE) == {"peak": None, "in_margin": None}

    cam[10:20, 4:8] = 1.0

    assert peak(cam, WHOLE, SIDE)["peak"] == pytest.approx([6 / SIDE, 15 / SIDE], abs=1e-4)


def test_equal_maps_agree_reversed_ones_disagree_and_a_flat_one_says_nothing():
    ramp = np.arange(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    maps = {"a": ramp, "b": 2 * ramp, "c": ramp.max() - ramp, "d": np.ones_like(ramp)}

    found = {tuple(p["methods"]): p["rank_correlation"] for p in agreement(maps, WHOLE, SIDE)}

    assert found["a", "b"] == 1.0
    assert found["a", "c"] == -1.0
    assert found["a", "d"] is None


def test_a_map_of_what_matters_is_deleted_sooner_and_inserted_sooner_than_its_opposite():
    def score(kept):  # the network sees the upper left quarter alone
        return kept[:, : SIDE // 2, : SIDE // 2].mean(axis=(1, 2)).astype(np.float64)

    matters = np.zeros((SIDE, SIDE), dtype=np.float32)
    matters[: SIDE // 2, : SIDE // 2] = 1.0

    right = importance_curves(matters, WHOLE, SIDE, score)
    wrong = importance_curves(1 - matters, WHOLE, SIDE, score)

    assert right["deletion"][0] == right["insertion"][-1] == 1.0
    assert right["deletion"][-1] == right["insertion"][0] == 0.0
    assert max(right["deletion_auc"], wrong["insertion_auc"]) < 0.2
    assert min(wrong["deletion_auc"], right["insertion_auc"]) > 0.8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Random weights that say mass, with the odd key of a label that somebody else wrote."""
    labels = [label("a/b"), label("a<b>")]
    folder = model_folder(tmp_path_factory.mktemp("models"), labels=labels, head_bias=[-3.0, 3.0])
    return load_model(folder)


def test_unknown_names_are_refused_with_the_list_of_known_ones(model):
    with pytest.raises(UnknownName, match="a/b, a<b>"):
        label_columns(model, ["a/b", "no such"])
    with pytest.raises(UnknownName, match="grad-cam, integrated-gradients, occlusion"):
        method_names(["saliency"])


def test_names_keep_their_order_and_repetitions_fall_away(model):
    assert label_columns(model, ["a<b>", "a/b", "a<b>"]) == [1, 0]
    assert method_names(["lime", "grad-cam", "lime"]) == ["lime", "grad-cam"]
    assert method_names([]) == list(METHODS)


def test_without_a_label_the_most_probable_one_is_explained(model):
    [found] = explain(model, bright_spots(), methods=["grad-cam"])

    assert found.label == "a<b>"
    assert found.output.probability > 0.9
    assert np.max(found.maps[0].heat.values) == 1.0


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    """A study of two labels, whose keys differ in odd characters, on hostile file names."""
    tmp_path = tmp_path_factory.mktemp("study")
    image, text = tmp_path / "<img src=x>.png", tmp_path / "notes.png"
    Image.fromarray(np.rint(255 * bright_spots()).astype(np.uint8)).save(image)
    text.write_text("no image", encoding="utf-8")
    out = tmp_path / "out"
    counted = []
    request = Request(
        out=out, columns=[0, 1], methods=["grad-cam", "occlusion"], effort=EFFORT, html=True
    )
    found = study(model, [text, image], request, after_map=lambda: counted.append(1))
    return out, found, len(counted)


def test_an_unreadable_file_is_reported_and_the_others_are_explained(written):
    out, (refused, explained), counted = written

    assert "notes.png" in refused["error"]
    assert [row["label"] for row in explained["labels"]] == ["a/b", "a<b>"]
    assert counted == 4
    assert json.loads((out / "explain.json").read_text(encoding="utf-8"))["images"][1] == explained


def test_every_map_has_a_picture_of_its_own_with_a_line_of_text_below(written):
    out, (_, explained), _ = written

    names = [name for row in explained["labels"] for name in row["files"].values()]
    assert len(set(names)) == 4
    for name in names:
        with Image.open(out / name) as picture:
            assert picture.height > picture.width
    with Image.open(out / explained["contact_sheet"]) as sheet:
        assert sheet.width > 3 * 300


def test_the_page_asks_for_nothing_outside_and_escapes_names(written):
    out, _, _ = written

    text = (out / "explain.html").read_text(encoding="utf-8")

    assert "<img src=x>" not in text
    assert "&lt;img src=x&gt;.png" in text
    assert "a&lt;b&gt;" in text
    assert "://" not in text
    assert text.count('src="data:image/jpeg;base64,') == 6
    assert "Not for diagnosis" in text
    assert "notes.png" in text


def test_the_page_explains_only_the_methods_that_were_used(written):
    text = (written[0] / "explain.html").read_text(encoding="utf-8")

    assert "<dt>Occlusion</dt>" in text
    assert "<dt>LIME</dt>" not in text
