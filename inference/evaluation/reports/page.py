"""Self-contained HTML pages: no script, no request, every name escaped."""

import base64
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from inference.evaluation.measures.scores import Measure
from inference.preprocess import letterbox
from inference.training.images import UnusableImage, read_picture

THUMBNAIL = 160
"""Side of a thumbnail, in pixels."""

_UNSAID = "\N{EN DASH}"


def write_page(file: Path, template: str, **values: Any) -> None:
    """Write a page.

    Parameters
    ----------
    file : Path
        Its folder is made when it is not there.
    template : str
        Name of a template in ``pages/``.
    values : object
        What the template names. Text is escaped; only `markupsafe.Markup` is taken as HTML.
    """
    environment = Environment(
        loader=PackageLoader("inference.evaluation.reports", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, percent=percent, measure=measure, signed=signed, span=span
    )
    text = environment.get_template(template).render(values)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", errors="backslashreplace")


def thumbnails(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return small copies of images as ``data:`` addresses; unreadable ones are left out.

    Parameters
    ----------
    root : Path
        The folder that `paths` are relative to.
    paths : iterable of str
        Image files.
    """
    made = {}
    for path in paths:
        try:
            picture = read_picture(root / path)
        except UnusableImage:
            continue
        square = np.rint(letterbox(picture, size=THUMBNAIL) * 255.0).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(square).save(file, "JPEG", quality=75)
        text = base64.b64encode(file.getvalue()).decode("ascii")
        made[path] = f"data:image/jpeg;base64,{text}"
    return made


def number(value: float | None, digits: int = 3) -> str:
    """Return a number, or a dash where there is none."""
    return _UNSAID if value is None or math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """Return a number with its sign, or a dash where there is none."""
    return _UNSAID if value is None or math.isnan(value) else f"{value:+.{digits}f}"


def percent(value: float | None) -> str:
    """Return a share as a percentage, or a dash where there is none."""
    return _UNSAID if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def span(pair: tuple[float, float] | None, digits: int = 3) -> str:
    """Return an interval, or nothing where there is none."""
    if pair is None or math.isnan(pair[0]):
        return ""
    return f"({pair[0]:.{digits}f} to {pair[1]:.{digits}f})"


def measure(value: Measure, digits: int = 3) -> str:
    """Return a measure with its interval."""
    return f"{number(value.value, digits)} {span((value.low, value.high), digits)}".strip()
