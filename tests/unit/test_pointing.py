"""Boxes that move with a copy, and the loss that holds a network to them."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from inference.training.augment import Augmentation, augment
from inference.training.samples import Sample, Squares
from inference.training.shipped.pointing import covered, missed
from inference.training.shipped.sources_chest import training_boxes

STILL = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32)
MIRRORED = np.array([[-1, 0, 0], [0, 1, 0]], dtype=np.float32)
LEFT = (0.0, 0.0, 0.5, 1.0)


def test_a_box_covers_the_cells_that_it_lies_over():
    assert covered(LEFT, STILL, (2, 4)).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
    assert covered(LEFT, MIRRORED, (2, 4)).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
    assert covered((0.0, 0.0, 0.25, 0.25), STILL, (2, 2)).tolist() == [[0.25, 0], [0, 0]]


def test_a_box_goes_where_augmentation_moves_what_it_holds():
    box, size = (0.55, 0.2, 0.85, 0.4), 64
    square = np.zeros((1, size, size), dtype=np.uint8)
    left, top, right, bottom = (round(edge * size) for edge in box)
    square[0, top:bottom, left:right] = 255
    squares = Squares(pixels=square, boxes=np.array([[0, 0, size, size]]))
    lively = Augmentation(
        rotate_degrees=25, zoom=(0.7, 1.2), shift=0.1, shear_degrees=15, mirror=0.5,
        quarter_turns=0.5, contrast=0.0, noise=0.0,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(6)
    for _ in range(8):
        copies, moves = augment(squares, np.array([0]), lively, generator)
        shown = functional.avg_pool2d(torch.from_numpy(copies), 8)[0]
        grey = float(shown.max())
        # Greys wander a little, so shares are told by the brightest cell.
        torch.testing.assert_close(
            covered(box, moves[0], (8, 8)) * grey, shown, atol=0.2 * grey, rtol=0
        )


def test_evidence_inside_a_box_costs_little_and_outside_much():
    inside = torch.zeros((1, 2, 4, 4))
    inside[0, 1, :, :2] = 9.0
    outside = inside.flip(3)
    boxes, rows, moves = {7: [(1, LEFT)]}, np.array([7]), STILL[None]

    assert missed(inside, boxes, rows, moves).item() == pytest.approx(0.0, abs=1e-3)
    assert missed(outside, boxes, rows, moves).item() > 5
    assert missed(outside, boxes, rows, MIRRORED[None]).item() == pytest.approx(0.0, abs=1e-3)


def test_two_boxes_of_a_label_are_one_region():
    evidence = torch.zeros((1, 1, 4, 4))
    evidence[0, 0, 0, 0] = 12.0
    boxes = {0: [(0, LEFT), (0, (0.5, 0.0, 1.0, 1.0))]}

    assert missed(evidence, boxes, np.array([0]), STILL[None]).item() == pytest.approx(0, abs=1e-5)


def test_images_without_a_visible_box_cost_nothing():
    evidence = torch.randn((1, 1, 4, 4))
    away = np.array([[0.2, 0, 0.8], [0, 0.2, 0.8]], dtype=np.float32)

    assert missed(evidence, {}, np.array([0]), STILL[None]).item() == 0
    assert missed(evidence, {0: [(0, (0, 0, 0.1, 0.1))]}, np.array([0]), away[None]).item() == 0


def test_looking_in_the_box_pulls_no_logit_up_or_down():
    evidence = torch.randn((2, 3, 5, 5), requires_grad=True)
    missed(
        evidence, {0: [(2, LEFT)], 1: [(0, LEFT)]}, np.array([0, 1]), np.stack([STILL] * 2)
    ).backward()

    gradient = evidence.grad
    assert gradient is not None
    assert gradient.abs().max() > 0
    torch.testing.assert_close(gradient.sum(dim=(2, 3)), torch.zeros((2, 3)), atol=1e-6, rtol=0)


def test_boxes_are_read_for_the_images_at_hand_and_lie_in_their_squares(tmp_path):
    folder = tmp_path / "chest" / "nih14"
    folder.mkdir(parents=True)
    (folder / "boxes.csv").write_text(
        "file,finding,x,y,w,h\n"
        "a.jpg,Infiltrate,0,512,1024,512\n"
        "a.jpg,Foreign body,0,0,1,1\n"
        "other.jpg,Mass,0,0,8,8\n"
    )
    samples = [
        Sample(path=folder / name, targets={}, group="", source="") for name in ("b.jpg", "a.jpg")
    ]
    squares = Squares(
        pixels=np.zeros((2, 100, 100), np.uint8),
        boxes=np.array([[0, 0, 100, 100], [0, 20, 100, 80]]),
    )

    assert training_boxes(tmp_path, samples, squares) == {1: [(3, (0.2, 0.5, 0.8, 1.0))]}
