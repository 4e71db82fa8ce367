"""Changed copies of images, and what becomes of their targets."""

import numpy as np
import pytest
import torch

from inference.preprocess import network_input
from inference.training.augment import Augmentation, Disguise, augment, probe, to_network
from inference.training.backbones import IMAGENET_MEAN, IMAGENET_STD
from inference.training.samples import Squares
from inference.training.shipped.labels import BODYPART_KEYS
from inference.training.shipped.sources_bodypart import disguised_targets
from inference.training.shipped.synthetic import synthetic_squares

NOT_DISGUISED = Disguise(inverted=np.zeros(2, dtype=bool), turns=np.zeros(2, dtype=np.int64))


def test_augmented_squares_stay_in_range_and_differ() -> None:
    squares = synthetic_squares(12, size=48, seed=2)
    options = Augmentation(quarter_turns=0.5, invert=0.5, blur=1.0)
    changed, _ = augment(squares, np.arange(12), options, torch.Generator().manual_seed(1))
    assert changed.shape == (12, 48, 48)
    assert changed.dtype == np.float32
    assert changed.min() >= 0.0
    assert changed.max() <= 1.0
    assert np.abs(changed - squares.pixels / 255.0).mean() > 0.01


def test_shear_leans_an_upright_line_and_keeps_a_level_one_level() -> None:
    lines = np.zeros((2, 65, 65), dtype=np.uint8)
    lines[0, :, 32] = 255
    lines[1, 32, :] = 255
    squares = Squares(pixels=lines, boxes=np.array([[0, 0, 65, 65]] * 2))
    leaning = Augmentation(
        rotate_degrees=0, zoom=(1, 1), shift=0, shear_degrees=30, mirror=0, contrast=0, noise=0
    )
    (upright, level), _ = augment(
        squares, np.arange(2), leaning, torch.Generator().manual_seed(2), NOT_DISGUISED
    )
    top, middle, bottom = (int(upright[row].argmax()) for row in (8, 32, 56))
    assert middle == 32
    assert abs(top - bottom) > 4
    assert top + bottom == pytest.approx(64, abs=1)
    assert set(level[:, 16:48].argmax(axis=0).tolist()) == {32}


def test_inverting_leaves_the_ground_black() -> None:
    pixels = np.zeros((1, 32, 32), dtype=np.uint8)
    pixels[:, :, 8:24] = 100
    squares = Squares(pixels=pixels, boxes=np.array([[0, 8, 32, 24]]))
    still = Augmentation(
        rotate_degrees=0, zoom=(1, 1), shift=0, mirror=0, invert=1.0, contrast=0, noise=0
    )
    changed, _ = augment(squares, np.array([0]), still, torch.Generator().manual_seed(1))
    assert changed[0, :, :7].max() == 0.0
    assert changed[0, :, 10:22].min() > 0.4


def test_probe_copies_are_what_they_are_said_to_be() -> None:
    pixels = np.zeros((6, 8, 8), dtype=np.uint8)
    pixels[:, 2:6, :] = 10
    pixels[:, 2, 0] = 200
    squares = Squares(pixels=pixels, boxes=np.tile(np.array([2, 0, 6, 8]), (6, 1)))
    copies, changes = probe(squares)
    assert changes.inverted.tolist() == [True, False] * 3
    assert changes.turns.tolist() == [1, 0, 0, 2, 0, 0]
    assert (copies[1] == pixels[1]).all()
    assert copies[2, 2, 0] == 55, "the corner of the image is inverted"
    assert copies[2, 0, 0] == 0, "the ground is not"
    assert copies[3, 5, 7] == 200, "half a turn brings the corner to the other end"


def test_augmentation_does_what_it_is_told_to() -> None:
    pixels = np.random.default_rng(5).integers(0, 60, (2, 32, 32)).astype(np.uint8)
    squares = Squares(pixels=pixels, boxes=np.tile(np.array([0, 0, 32, 32]), (2, 1)))
    still = Augmentation(
        rotate_degrees=0, zoom=(1, 1), shift=0, mirror=0, contrast=0, noise=0, invert=1.0
    )
    told = Disguise(inverted=np.array([True, False]), turns=np.array([0, 0]))
    generator = torch.Generator().manual_seed(1)
    changed, _ = augment(squares, np.arange(2), still, generator, told)
    before = squares.pixels.mean(axis=(1, 2)) / 255.0
    assert abs(changed[0].mean() - (1 - before[0])) < 0.12
    assert abs(changed[1].mean() - before[1]) < 0.12


def test_disguise_changes_known_targets_and_leaves_unknown_ones() -> None:
    targets = np.zeros((2, len(BODYPART_KEYS)), dtype=np.float32)
    inverted, turned = BODYPART_KEYS.index("Inverted"), BODYPART_KEYS.index("Turned")
    targets[1, turned] = np.nan
    changes = Disguise(inverted=np.array([True, False]), turns=np.array([0, 2]))
    found = disguised_targets(targets, changes)
    assert found[:, inverted].tolist() == [1.0, 0.0]
    assert found[0, turned] == 0.0
    assert np.isnan(found[1, turned])
    assert targets[0, inverted] == 0.0, "the given targets are left alone"


def test_training_input_is_the_nodes_own() -> None:
    square = np.random.default_rng(1).random((2, 16, 16), dtype=np.float32)
    batch = to_network(square, mean=IMAGENET_MEAN, std=IMAGENET_STD).numpy()
    single = network_input(square[1], mean=IMAGENET_MEAN, std=IMAGENET_STD)
    np.testing.assert_array_equal(batch[1], single)
