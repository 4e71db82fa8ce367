"""Radiograph-like drawings of body parts: phantoms for trials, no patient behind them.

A phantom is a map of how much stands in the way of the beam: soft tissue and bones are
solids of revolution around lines, a hollow bone is a solid less its marrow. Lengths are
fractions of the image's height; x grows to the right, y downwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]
Point = tuple[float, float]

LONG_SIDE = 1024
"""Of every phantom, in pixels."""

_SOFT, _CORTEX, _MARROW = 1.0, 5.0, 2.6
"""What a unit of length takes from the beam."""


@dataclass(frozen=True, slots=True)
class Field:
    """What the collimator leaves of the drawing, in units of length."""

    top: float
    left: float
    bottom: float
    right: float

    @property
    def centre(self) -> Point:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


@dataclass(frozen=True)
class _Plane:
    """The image plane: coordinates of each pixel's centre."""

    x: Map
    y: Map
    centre: Point
    tilt: float
    scale: float
    """Pixels per unit of length."""

    @classmethod
    def of(cls, field: Field, tilt: float) -> "_Plane":
        """A plane over `field`, turned by `tilt` radians about its centre."""
        height, width = field.bottom - field.top, field.right - field.left
        scale = LONG_SIDE / max(height, width)
        rows, columns = round(height * scale), round(width * scale)
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float64)
        y, x = (y - rows / 2) / scale, (x - columns / 2) / scale
        cos, sin = np.cos(tilt), np.sin(tilt)
        centre = field.centre
        return cls(
            cos * x - sin * y + centre[0], sin * x + cos * y + centre[1], centre, tilt, scale
        )

    def _box(self, centre: Point, reach: float) -> tuple[slice, slice]:
        """The pixels that lie within `reach` of `centre`, and a few more."""
        rows, columns = self.x.shape
        x, y = centre[0] - self.centre[0], centre[1] - self.centre[1]
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        column = self.scale * (cos * x + sin * y) + columns / 2
        row = self.scale * (cos * y - sin * x) + rows / 2
        pixels = self.scale * reach + 1
        return (
            slice(max(0, int(row - pixels)), max(0, int(row + pixels) + 1)),
            slice(max(0, int(column - pixels)), max(0, int(column + pixels) + 1)),
        )

    def ellipsoid(self, centre: Point, radii: Point, depth: float) -> Map:
        """Path length through an ellipsoid whose largest path is `depth`."""
        u = (self.x - centre[0]) / radii[0]
        v = (self.y - centre[1]) / radii[1]
        return depth * np.sqrt(np.clip(1 - u**2 - v**2, 0, None))

    def tube(self, line: Sequence[Point], radii: Sequence[float]) -> Map:
        """Path length through a round tube along `line`, its radius given at each point."""
        longest = np.zeros_like(self.x)
        for (x0, y0), (x1, y1), r0, r1 in zip(
            line[:-1], line[1:], radii[:-1], radii[1:], strict=True
        ):
            dx, dy = x1 - x0, y1 - y0
            reach = float(np.hypot(dx, dy)) / 2 + max(r0, r1)
            box = self._box(((x0 + x1) / 2, (y0 + y1) / 2), reach)
            x, y, part = self.x[box] - x0, self.y[box] - y0, longest[box]
            along = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0, 1)
            away = (x - along * dx) ** 2 + (y - along * dy) ** 2
            radius = r0 + along * (r1 - r0)
            np.maximum(part, 2 * np.sqrt(np.clip(radius**2 - away, 0, None)), out=part)
        return longest

    def bone(self, line: Sequence[Point], radii: Sequence[float], cortex: float = 0.3) -> Map:
        """What a hollow bone takes from the beam; `cortex` is its wall per radius."""
        inner = self.tube(line, [radius * (1 - cortex) for radius in radii])
        return _CORTEX * (self.tube(line, radii) - inner) + _MARROW * inner

    def long_bone(self, start: Point, end: Point, shaft: float, ends: Point) -> Map:
        """A long bone: a narrow shaft between two wider ends (radii)."""
        along = np.array([0.0, 0.12, 0.3, 0.7, 0.88, 1.0])[:, None]
        line = np.array(start) + along * (np.array(end) - np.array(start))
        widths = (ends[0], ends[0] * 0.85, shaft, shaft, ends[1] * 0.85, ends[1])
        return self.bone([(float(x), float(y)) for x, y in line], widths)


def chest(plane: _Plane) -> Map:
    """A chest from the front (PA), the heart to the right of the image."""
    middle = 0.5
    body = _SOFT * plane.tube([(middle, 0.28), (middle, 1.1)], [0.37, 0.44])
    neck = plane.tube([(middle, -0.1), (middle, 0.2)], [0.1, 0.12])
    shoulders = plane.tube([(middle - 0.42, 0.26), (middle + 0.42, 0.26)], [0.12, 0.12])
    body = np.maximum(body, _SOFT * np.maximum(2 * neck, 1.6 * shoulders))
    for side in (-1, 1):
        lung = 0.62 * plane.ellipsoid((middle + side * 0.185, 0.47), (0.155, 0.36), 1.0)
        dome = plane.y > 0.73 + 0.02 * side + 1.6 * (plane.x - middle - side * 0.17) ** 2
        body -= np.where(dome, 0.0, lung)
        for vessel in range(7):
            tip = (middle + side * (0.13 + 0.02 * vessel), 0.3 + 0.06 * vessel)
            hilum = (middle + side * 0.06, 0.45)
            body += 2 * plane.tube([hilum, tip], [0.012, 0.002])
    body += 0.2 * plane.ellipsoid((middle + 0.05, 0.58), (0.11, 0.14), 1.0)
    body += 0.22 * plane.ellipsoid((middle + 0.1, 0.64), (0.12, 0.1), 1.0)
    body += 0.2 * plane.ellipsoid((middle + 0.015, 0.42), (0.06, 0.25), 1.0)
    body += 0.12 * plane.ellipsoid((middle + 0.045, 0.36), (0.035, 0.035), 1.0)
    body -= 2 * plane.tube([(middle, -0.1), (middle, 0.36)], [0.02, 0.017])
    return 0.75 * np.clip(body, 0, None) + 0.75 * _chest_bones(plane, middle)


def _chest_bones(plane: _Plane, middle: float) -> Map:
    bones = np.zeros_like(plane.x)
    for level in range(17):
        y = 0.04 + level * 0.06
        bones += 0.55 * plane.bone([(middle - 0.025, y), (middle + 0.025, y)], [0.026, 0.026])
    for side in (-1, 1):
        for rib in range(10):
            turn = np.linspace(0, np.pi * 0.62, 9)
            reach = 0.12 + 0.26 * np.sin(min((rib + 2) / 9, 1) * np.pi / 2)
            across = middle + side * (0.03 + reach * np.sin(turn))
            down = 0.12 + rib * 0.062 + (0.05 + 0.012 * rib) * (1 - np.cos(turn)) * 1.2
            line = [(float(a), float(b)) for a, b in zip(across, down, strict=True)]
            bones += plane.bone(line, [0.0105] * 9, cortex=0.5)
        collar = [(middle + side * 0.04, 0.17), (middle + side * 0.2, 0.14)]
        bones += plane.bone([*collar, (middle + side * 0.36, 0.1)], [0.017, 0.013, 0.015])
        shoulder = (middle + side * 0.43, 0.17)
        bones += plane.long_bone(shoulder, (middle + side * 0.5, 0.7), 0.026, (0.05, 0.04))
        blade = [(middle + side * 0.38, 0.14), (middle + side * 0.3, 0.4)]
        bones += 0.35 * plane.bone(blade, [0.05, 0.02])
    return bones


def hand(plane: _Plane) -> Map:
    """A hand from the back (PA), fingers up."""
    rays: list[tuple[Point, list[Point]]] = [
        ((0.30, 0.66), [(0.20, 0.56), (0.13, 0.47), (0.09, 0.41)]),
        ((0.345, 0.62), [(0.30, 0.42), (0.275, 0.27), (0.265, 0.19), (0.26, 0.135)]),
        ((0.385, 0.61), [(0.38, 0.4), (0.378, 0.235), (0.377, 0.14), (0.376, 0.08)]),
        ((0.425, 0.615), [(0.452, 0.42), (0.468, 0.27), (0.478, 0.18), (0.484, 0.12)]),
        ((0.46, 0.63), [(0.52, 0.46), (0.555, 0.35), (0.573, 0.285), (0.585, 0.235)]),
    ]
    image = _SOFT * 0.5 * plane.tube([(0.39, 0.62), (0.38, 0.5)], [0.13, 0.14])
    image += _SOFT * 0.7 * plane.tube([(0.39, 0.7), (0.4, 1.05)], [0.1, 0.12])
    for start, joints in rays:
        flesh = [start, *joints]
        image = np.maximum(image, _SOFT * 0.8 * plane.tube(flesh, [0.046] * len(flesh)))
        for bone, (near, far) in enumerate(pairwise(flesh)):
            width = 0.0145 - 0.0022 * bone
            ends = _gap(near, far, 0.009), _gap(far, near, 0.009)
            image += 1.2 * plane.long_bone(*ends, width, (width * 1.5, width * 1.4))
    for carpal in ((0.33, 0.69), (0.37, 0.665), (0.41, 0.66), (0.45, 0.675)):
        image += 2.4 * plane.ellipsoid(carpal, (0.023, 0.022), 0.05)
    for carpal in ((0.345, 0.735), (0.385, 0.71), (0.43, 0.72)):
        image += 2.4 * plane.ellipsoid(carpal, (0.024, 0.021), 0.05)
    image += 0.8 * plane.long_bone((0.365, 0.79), (0.37, 1.2), 0.028, (0.046, 0.04))
    return image + 1.1 * plane.long_bone((0.452, 0.78), (0.45, 1.2), 0.02, (0.025, 0.03))


def _gap(point: Point, towards: Point, length: float) -> Point:
    dx, dy = towards[0] - point[0], towards[1] - point[1]
    share = length / float(np.hypot(dx, dy))
    return point[0] + share * dx, point[1] + share * dy


def knee(plane: _Plane) -> Map:
    """A knee from the front (AP)."""
    flesh = [(0.39, -0.1), (0.39, 0.5), (0.4, 1.1)]
    image = 0.8 * _SOFT * plane.tube(flesh, [0.28, 0.22, 0.19])
    shaft = [(0.385, -0.1), (0.388, 0.16), (0.39, 0.3), (0.39, 0.37)]
    image += plane.bone(shaft, [0.06, 0.062, 0.085, 0.1], 0.22)
    for side in (-1, 1):
        condyle = [(0.39 + side * 0.07, 0.36), (0.39 + side * 0.075, 0.4)]
        image += 0.45 * plane.bone(condyle, [0.07, 0.062], 0.15)
    plateau = [(0.29, 0.515), (0.39, 0.505), (0.49, 0.515)]
    image += 0.8 * plane.bone(plateau, [0.036, 0.038, 0.036], 0.25)
    shaft = [(0.39, 0.56), (0.39, 0.66), (0.4, 0.8), (0.4, 1.1)]
    image += plane.bone(shaft, [0.105, 0.08, 0.06, 0.052], 0.22)
    image += 0.8 * plane.long_bone((0.535, 0.62), (0.515, 1.3), 0.02, (0.035, 0.03))
    return image + 0.8 * plane.ellipsoid((0.385, 0.32), (0.065, 0.07), 0.09)


def ankle(plane: _Plane) -> Map:
    """An ankle and foot from the side (lateral), toes to the right."""
    image = 0.7 * _SOFT * plane.tube([(0.3, -0.1), (0.3, 0.62)], [0.15, 0.12])
    image = np.maximum(
        image,
        0.7 * _SOFT * plane.tube([(0.22, 0.72), (0.5, 0.72), (0.8, 0.82)], [0.14, 0.12, 0.05]),
    )
    image += plane.bone([(0.31, -0.1), (0.32, 0.4), (0.325, 0.54)], [0.05, 0.05, 0.08], 0.28)
    image += 0.7 * plane.bone([(0.25, -0.1), (0.265, 0.4), (0.275, 0.61)], [0.02, 0.02, 0.03])
    image += plane.bone([(0.29, 0.65), (0.4, 0.67), (0.44, 0.68)], [0.052, 0.042, 0.045], 0.15)
    image += plane.bone([(0.17, 0.8), (0.27, 0.76), (0.43, 0.775)], [0.068, 0.06, 0.04], 0.14)
    for bone in ((0.505, 0.69), (0.565, 0.715), (0.52, 0.765)):
        image += 2.2 * plane.ellipsoid(bone, (0.035, 0.042), 0.1)
    for ray in range(4):
        near, far = (0.6, 0.725 + 0.022 * ray), (0.8, 0.81 + 0.018 * ray)
        image += 0.7 * plane.long_bone(near, far, 0.013, (0.024, 0.02))
        image += 0.6 * plane.long_bone(_gap(far, near, -0.02), (0.9, 0.86), 0.009, (0.015, 0.01))
    return image


def _blurred(image: Map, *, axis: int) -> Map:
    """The detector's blur along one axis; the borders are repeated."""
    kernel = np.array([1, 3, 5, 6, 5, 3, 1]) / 24
    reach = len(kernel) // 2
    padding = [(reach, reach) if a == axis else (0, 0) for a in range(2)]
    padded = np.pad(image, padding, mode="edge")
    window = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=axis)
    result: Map = window @ kernel
    return result


@dataclass(frozen=True, slots=True)
class Phantom:
    """A body part that can be drawn."""

    region: str
    """Body Part Examined term of PS3.16 Annex L."""

    view: str
    """View Position (PS3.3 Section C.8.7.1.1.1.1)."""

    name: str
    draw: Callable[[_Plane], Map]
    field: Field
    patient_orientation: tuple[str, str]


PHANTOMS = {
    phantom.region: phantom
    for phantom in (
        Phantom("CHEST", "PA", "Chest", chest, Field(0.08, 0.1, 0.85, 0.9), ("L", "F")),
        Phantom("HAND", "PA", "Hand", hand, Field(0.0, 0.0, 1.0, 0.8), ("L", "F")),
        Phantom("KNEE", "AP", "Knee", knee, Field(0.0, -0.1, 0.8, 1.1), ("L", "F")),
        Phantom("ANKLE", "LL", "Ankle", ankle, Field(0.1, 0.05, 0.95, 0.95), ("A", "F")),
    )
}


def render(phantom: Phantom, *, seed: int) -> NDArray[np.uint16]:
    """Return a phantom as a detector would store it.

    Parameters
    ----------
    phantom : Phantom
        One of `PHANTOMS`.
    seed : int
        Sets the grain and a slight tilt; equal seeds give equal pixels.

    Returns
    -------
    ndarray of uint16, shape (rows, columns)
        12-bit values, bright where the beam was stopped (MONOCHROME2).
    """
    random = np.random.default_rng(seed)
    plane = _Plane.of(phantom.field, float(random.uniform(-0.03, 0.03)))
    stopped = phantom.draw(plane)
    smooth = _blurred(_blurred(stopped, axis=0), axis=1)
    photons = 3e4 * np.exp(-2.2 * smooth) + 60
    counted = random.normal(photons, np.sqrt(photons))
    dark = -np.log(np.clip(counted, 1, None) / 3e4)
    low, high = np.percentile(dark, (0.5, 99.8))
    scaled: NDArray[np.uint16] = (np.clip((dark - low) / (high - low), 0, 1) * 4095).astype("u2")
    return scaled
