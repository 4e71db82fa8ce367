"""Draw what `explain` found: one overlay a map, and all side by side."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from inference.evaluation.explaining.explain import Explanation, MethodMap
from inference.evaluation.explaining.methods import Map
from inference.manifest import ModelManifest
from inference.overlay import Rgb, banner, heat_overlay
from inference.types import HeatMap

NOTICE = "AI RESULT - NOT FOR DIAGNOSIS"
TITLES = {
    "grad-cam": "Grad-CAM",
    "integrated-gradients": "Integrated gradients",
    "occlusion": "Occlusion",
    "lime": "LIME",
    "kernel-shap": "Kernel SHAP",
}

_OVERLAY_SIDE = 1024
_TILE_SIDE = 300
_GAP = 8
_GROUND = (16, 18, 22)


def overlay(display: Map, found: MethodMap, of: Explanation, manifest: ModelManifest) -> Rgb:
    """Return a map over its image, with what it is and that it is not for diagnosis below.

    Parameters
    ----------
    display : ndarray of float32, shape (rows, columns)
    found : MethodMap
    of : Explanation
        The label that the map belongs to.
    manifest : ModelManifest
    """
    lines = [
        NOTICE,
        f"{of.label} {of.output.probability:.0%}, {TITLES[found.method]}",
        f"{manifest.name} {manifest.version}",
    ]
    drawn = heat_overlay(
        _enlarged(display, _OVERLAY_SIDE // 2), found.heat, long_side=_OVERLAY_SIDE
    )
    return banner(drawn, lines)


def tile(display: Map, found: MethodMap | None) -> Rgb:
    """Return a small overlay, marked as not for diagnosis; the plain image without a map."""
    if found is None:
        nothing = HeatMap(key="", method="", values=((0.0,),), content_box=(0.0, 0.0, 1.0, 1.0))
        return heat_overlay(_enlarged(display, _TILE_SIDE), nothing, long_side=_TILE_SIDE)
    drawn = heat_overlay(_enlarged(display, _TILE_SIDE), found.heat, long_side=_TILE_SIDE)
    return banner(drawn, [NOTICE, f"{TITLES[found.method]}, {found.heat.key}"])


def contact_sheet(
    display: Map, explanations: Sequence[Explanation], manifest: ModelManifest
) -> Rgb:
    """Return one image: a row for each label, the image and then its maps from left to right."""
    sheets = []
    for of in explanations:
        said = f"{manifest.name} {manifest.version}: {of.label} {of.output.probability:.0%}"
        row = [banner(tile(display, None), [said]), *(tile(display, found) for found in of.maps)]
        sheets.append(_joined(row, across=True))
    return _joined(sheets, across=False)


def _enlarged(display: Map, least: int) -> Map:
    """Return the image with a long side of `least` pixels or more."""
    rows, columns = display.shape
    scale = least / max(rows, columns)
    if scale <= 1:
        return display
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    return np.asarray(Image.fromarray(display).resize(size, Image.Resampling.BICUBIC))


def _joined(parts: Sequence[Rgb], *, across: bool) -> Rgb:
    """Put pictures side by side, or below each other, on a dark ground."""
    axis, other = (1, 0) if across else (0, 1)
    extent = max(part.shape[other] for part in parts)
    padded = []
    for part in parts:
        width = [(0, 0), (0, 0), (0, 0)]
        width[other] = (0, extent - part.shape[other])
        width[axis] = (0, _GAP)
        channels = [np.pad(part[..., c], width[:2], constant_values=_GROUND[c]) for c in range(3)]
        padded.append(np.stack(channels, axis=-1))
    return np.concatenate(padded, axis=axis)
