"""Figures as inline SVG: equal values give equal bytes, ink follows the page's own colour."""

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE = "#3a86c8", "#e08a1e", "#159a78", "#b56bab"
SERIES = (BLUE, ORANGE, GREEN, PURPLE)
INK = "#010203"
"""Stands for the page's text colour, in light and dark; replaced by ``currentColor``."""

FAINT = "#8a8f98"
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "dicom-node",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "savefig.transparent": True,
}
_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_CELL_IN = 1.75
_ACROSS = 4


def draw(name: str, alt: str, size: tuple[float, float], paint: Callable[[Figure], None]) -> Markup:
    """Return a figure as an ``<svg>`` element.

    Parameters
    ----------
    name : str
        Begins every id inside, so that several figures fit on one page.
    alt : str
        What a reader who cannot see the figure is told.
    size : tuple of float
        Width and height, in inches.
    paint : callable
        Draws on the empty figure. Class names are drawn as they are: no mathematics in them.
    """
    file = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has other fonts
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        figure.savefig(file, format="svg", metadata=_METADATA)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    label = f'<svg role="img" aria-label="{escape(alt)}" '
    return Markup(svg.replace("<svg ", label, 1))  # noqa: S704 - matplotlib escapes text


def grid(figure: Figure, count: int) -> list[Axes]:
    """Return `count` small axes that share their scales, four across."""
    across = min(_ACROSS, count)
    axes = figure.subplots(
        math.ceil(count / across), across, sharex=True, sharey=True, squeeze=False
    )
    cells: list[Axes] = list(axes.flat)
    for unused in cells[count:]:
        unused.set_axis_off()
    return cells[:count]


def grid_size(count: int) -> tuple[float, float]:
    """Return the size of a figure of `count` small axes, in inches."""
    if count == 1:
        return 3.6, 3.2
    return 2.0 * min(_ACROSS, count), 0.4 + _CELL_IN * math.ceil(count / _ACROSS)


def matrix(
    axes: Axes,
    shares: Sequence[Sequence[float]],
    counts: Sequence[Sequence[int]],
    down: Sequence[str],
    across: Sequence[str],
) -> None:
    """Draw a table of counts, each cell shaded by its share, 0 to 1."""
    values = np.array(shares, dtype=float)
    axes.pcolormesh(np.nan_to_num(values), cmap=_cells(), vmin=0, vmax=1, linewidth=0)
    axes.invert_yaxis()
    size = 8 if len(down) <= 14 else 7
    for row, column in np.ndindex(values.shape):
        if counts[row][column]:
            axes.text(
                column + 0.5,
                row + 0.5,
                str(counts[row][column]),
                ha="center",
                va="center",
                fontsize=size,
                color="#ffffff" if values[row, column] > 0.6 else INK,
            )
    axes.set_xticks(
        np.arange(len(across)) + 0.5, [shortened(name) for name in across], rotation=60, ha="right"
    )
    axes.set_yticks(np.arange(len(down)) + 0.5, [shortened(name) for name in down])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def forest(
    axes: Axes, names: Sequence[str], values: Sequence[tuple[float, float, float]], *, at: float
) -> None:
    """Draw values with their intervals, one below the other, beside a line at `at`."""
    places = np.arange(len(names))[::-1]
    for place, (value, low, high) in zip(places, values, strict=True):
        axes.plot([low, high], [place, place], color=BLUE, linewidth=2, solid_capstyle="butt")
        axes.plot([value], [place], "o", color=BLUE, markersize=5)
    axes.axvline(at, color=FAINT, linewidth=1, linestyle="--")
    axes.set_yticks(places, [shortened(name, 40) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="x", color=FAINT, alpha=0.25)


def shortened(name: str, most: int = 24) -> str:
    """Return a name that fits beside an axis."""
    clean = "".join(c if c.isprintable() else "?" for c in name)
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def _cells() -> mpl.colors.Colormap:
    """Return blue that grows out of nothing, so that it works on light and on dark pages."""
    red, green, blue = mpl.colors.to_rgb(BLUE)
    return mpl.colors.ListedColormap(
        [(red, green, blue, alpha) for alpha in np.linspace(0, 1, 64)], name="cells"
    )
