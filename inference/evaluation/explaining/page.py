"""The page of a study: one HTML file that asks nothing of the network."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from inference.evaluation.explaining.explain import CONTROL, Explanation
from inference.evaluation.explaining.methods import Effort, Map
from inference.evaluation.explaining.pictures import TITLES, tile
from inference.evaluation.reports.page import write_page
from inference.manifest import ModelManifest
from inference.overlay import COLOURS, Rgb


@dataclass(frozen=True, slots=True, kw_only=True)
class Studied:
    """One image of the page."""

    name: str
    """Name of its file."""

    tiles: list[list[str]]
    """For each explanation, the pictures of the image and of its maps, as data URIs."""

    explanations: Sequence[Explanation]


def studied(name: str, display: Map, explanations: Sequence[Explanation]) -> Studied:
    """Return an image for the page, with its pictures; the display image can then go."""
    tiles = [[_data_uri(tile(display, found)) for found in (None, *of.maps)] for of in explanations]
    return Studied(name=name, tiles=tiles, explanations=explanations)


def write_study(
    file: Path,
    manifest: ModelManifest,
    images: Sequence[Studied],
    unread: Sequence[str],
    effort: Effort,
) -> None:
    """Write the page.

    Parameters
    ----------
    file : Path
    manifest : ModelManifest
        Of the model that was studied.
    images : sequence of Studied
    unread : sequence of str
        Names of the files that hold no image.
    effort : Effort
        What was spent on a map.
    """
    write_page(
        file,
        "explain.html",
        title=f"What {manifest.name} looks at",
        version=version("dicom-node"),
        thumbnails=True,
        names_files=True,
        contents=[
            ("reading", "How to read the maps"),
            *((f"image-{n}", image.name) for n, image in enumerate(images, start=1)),
        ],
        manifest=manifest,
        images=images,
        unread=unread,
        effort=effort,
        titles=TITLES,
        methods={
            found.method for image in images for of in image.explanations for found in of.maps
        },
        control=CONTROL,
        polyline=_polyline,
        correlations=_correlations,
        ramp=", ".join(f"rgb({_rgb(place)})" for place in range(25, 256, 23)),
    )


def _rgb(place: int) -> str:
    return ",".join(str(round(255 * float(part))) for part in COLOURS[place])


def _polyline(values: Sequence[float]) -> str:
    """Return a curve of probabilities as points of an SVG of 100 by 60."""
    last = max(len(values) - 1, 1)
    return " ".join(f"{100 * n / last:.1f},{60 - 60 * v:.1f}" for n, v in enumerate(values))


def _correlations(of: Explanation) -> list[list[Any]]:
    """Return the agreement of every two methods as a square, one row a method."""
    names = [found.method for found in of.maps]
    pairs = {frozenset(pair["methods"]): pair["rank_correlation"] for pair in of.agreement}
    return [
        [1.0 if one == other else pairs[frozenset((one, other))] for other in names]
        for one in names
    ]


def _data_uri(rgb: Rgb) -> str:
    stream = BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
