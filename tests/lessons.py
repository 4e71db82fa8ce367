"""Small drawn images that a few steps can learn from, and what learning needs."""

import functools
from pathlib import Path

import numpy as np
import torch

from inference.architectures import build
from inference.training.augment import Augmentation
from inference.training.backbones import IMAGENET_MEAN, IMAGENET_STD
from inference.training.device import Device
from inference.training.losses import sigmoid_loss
from inference.training.samples import Squares
from inference.training.shipped.bank import StemBank
from inference.training.shipped.loop import Lesson, Schedule, Tail
from inference.training.shipped.pointing import Boxes

FLOAT32 = Device("cpu", torch.float32)


def bright_and_dark(count: int, size: int = 32) -> tuple[Squares, np.ndarray]:
    random = np.random.default_rng(5)
    bright = np.arange(count) % 2 == 0
    pixels = random.integers(0, 60, (count, size, size)).astype(np.uint8)
    pixels[bright, 8:24, 8:24] += 180
    boxes = np.tile(np.array([0, 0, size, size]), (count, 1))
    return Squares(pixels=pixels, boxes=boxes), bright.astype(np.float32)[:, None]


def bank_of(stem: torch.nn.Module, squares: Squares, kept: Path) -> StemBank:
    return StemBank(
        stem,
        squares,
        Augmentation(),
        variants=2,
        seed=1,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        device=FLOAT32,
        kept=kept,
    )


def bank_and_tail(squares: Squares, kept: Path) -> tuple[StemBank, Tail]:
    torch.manual_seed(1)
    bank = bank_of(build("mobilenet_v2", 1).features[:4], squares, kept)
    return bank, Tail(torch.nn.Conv2d(24, 8, 1), torch.nn.Linear(8, 1))


def lesson_of(
    bank: StemBank, targets: np.ndarray, schedule: Schedule, boxes: Boxes | None = None
) -> Lesson:
    """Return what one yes-or-no output learns from."""
    return Lesson(
        bank=bank,
        targets=targets,
        objective=functools.partial(sigmoid_loss, positive_weight=torch.ones(1)),
        schedule=schedule,
        device=FLOAT32,
        boxes=boxes,
    )
