"""Drawn images that are no radiograph at all, for the ``NotOurs`` output."""

import numpy as np
from numpy.typing import NDArray

from inference.training.samples import Squares


def synthetic_squares(count: int, *, size: int, seed: int) -> Squares:
    """Return `count` blank, noisy, patterned or scenery-like squares.

    Parameters
    ----------
    count : int
        Number of images; the kinds take turns.
    size : int
        Side of the square, in pixels.
    seed : int
        Same seed, same images.
    """
    random = np.random.default_rng(seed)
    kinds = (_flat, _white_noise, _scenery, _shapes, _page, _ramp)
    pixels = np.stack([_bytes(kinds[i % len(kinds)](random, size)) for i in range(count)])
    boxes = np.tile(np.array([0, 0, size, size], dtype=np.int64), (count, 1))
    return Squares(pixels=pixels, boxes=boxes)


def _bytes(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def _flat(random: np.random.Generator, size: int) -> NDArray[np.float64]:
    return np.full((size, size), random.random()) + random.normal(0, 0.01, (size, size))


def _white_noise(random: np.random.Generator, size: int) -> NDArray[np.float64]:
    return random.normal(0.5, random.uniform(0.05, 0.4), (size, size))


def _scenery(random: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Noise with the 1/f spectrum of photographs."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    spectrum = np.fft.fft2(random.normal(size=(size, size)))
    image = np.fft.ifft2(spectrum / (frequency + 1 / size) ** random.uniform(0.8, 1.6)).real
    low, high = np.percentile(image, (0.5, 99.5))
    result: NDArray[np.float64] = (image - low) / (high - low)
    return result


def _shapes(random: np.random.Generator, size: int) -> NDArray[np.float64]:
    image = np.full((size, size), random.random())
    row, column = np.mgrid[0:size, 0:size]
    for _ in range(int(random.integers(3, 12))):
        y, x = float(random.uniform(0, size)), float(random.uniform(0, size))
        radius = float(random.uniform(5, size / 3))
        if random.random() < 0.5:
            mask = (row - y) ** 2 + (column - x) ** 2 < radius**2
        else:
            mask = (abs(row - y) < radius) & (abs(column - x) < radius * random.uniform(0.2, 1))
        image[mask] = random.random()
    return image


def _page(random: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Dark marks in lines on white, as a scanned form or a screenshot has them."""
    image = np.ones((size, size))
    step = int(random.integers(6, 16))
    for top in range(step, size - step, step):
        marks = random.random(size // 3 + 1).repeat(3)[:size] < random.uniform(0.3, 0.7)
        image[top : top + step // 2, marks] = random.uniform(0.0, 0.4)
    return image if random.random() < 0.5 else 1.0 - image


def _ramp(random: np.random.Generator, size: int) -> NDArray[np.float64]:
    row, column = np.mgrid[0:size, 0:size] / size
    angle = random.uniform(0, 2 * np.pi)
    wave = np.sin(random.uniform(0, 30) * (row * np.cos(angle) + column * np.sin(angle)))
    result: NDArray[np.float64] = 0.5 + 0.5 * wave
    return result
