"""The figures of an exploration report."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inference.evaluation.reports.drawing import (
    BLUE,
    FAINT,
    INK,
    SERIES,
    draw,
    grid,
    grid_size,
    matrix,
    shortened,
)
from inference.evaluation.reports.explore import Exploration, shows
from inference.evaluation.reports.inventory import BINS, Facts
from inference.training.dataset import DataSet

_ROW_IN = 0.26
_ALL = "all images"


def figures(found: Exploration, data: DataSet, facts: Sequence[Facts]) -> dict[str, Markup]:
    """Return the figures that the exploration has values for, by name."""
    made = {"balance": _balance(found)}
    if found.histograms:
        made["histograms"] = _histograms(found)
    if facts:
        made["sizes"] = _sizes(data, facts)
    if any(cell for row, cells in enumerate(found.together) for cell in cells[:row]):
        made["together"] = _together(found)
    return made


def _balance(found: Exploration) -> Markup:
    places = np.arange(len(found.balance))[::-1]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        left = np.zeros(len(places))
        for color, split in zip(SERIES, found.images, strict=False):
            counts = np.array([row.present[split] for row in found.balance], dtype=float)
            axes.barh(places, counts, left=left, color=color, label=split, height=0.7)
            left += counts
        for place, total in zip(places, left, strict=True):
            axes.annotate(
                f"{total:.0f}", (total, place), (3, 0), textcoords="offset points", va="center"
            )
        axes.set_yticks(places, [shortened(row.label) for row in found.balance])
        axes.set_xlabel("images that show the class")
        axes.margins(x=0.08)
        axes.grid(axis="x", color=FAINT, alpha=0.25)
        figure.legend(loc="outside upper right", ncols=len(found.images))

    alt = f"Images of each of {len(places)} classes by split; the table has the numbers."
    return draw("balance", alt, (6.8, 1.1 + _ROW_IN * len(places)), paint)


def _histograms(found: Exploration) -> Markup:
    edges = np.linspace(0, 1, BINS + 1)

    def paint(figure: Figure) -> None:
        for axes, (label, shares) in zip(
            grid(figure, len(found.histograms)), found.histograms.items(), strict=True
        ):
            axes.stairs(np.array(shares) * 100, edges, fill=True, color=BLUE, alpha=0.8)
            axes.set_title(shortened(label))
            axes.set_xticks([0, 0.5, 1], ["black", "", "white"])
        figure.supylabel("mean share of pixels, %", fontsize=9)

    alt = f"Histogram of grey values of {', '.join(found.histograms)}."
    return draw("histograms", alt, grid_size(len(found.histograms)), paint)


def _sizes(data: DataSet, facts: Sequence[Facts]) -> Markup:
    by_path = {fact.path: fact for fact in facts}
    members = {_ALL: list(facts)}
    for label in data.classes:
        inside = [by_path[s.path] for s in data.samples if shows(s, label) and s.path in by_path]
        if inside:
            members[label] = inside

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        _spread(left, {k: [f.columns for f in v] for k, v in members.items()}, "width, pixels")
        _spread(right, {k: [f.rows for f in v] for k, v in members.items()}, "height, pixels")

    alt = f"Width and height of the images of {', '.join(members)}, as box and violin plots."
    return draw("sizes", alt, (7.6, 1.0 + 0.34 * len(members)), paint)


def _spread(axes: Axes, sizes: dict[str, list[int]], name: str) -> None:
    """Draw a violin around a box for each group of sizes, one below the other."""
    for place, values in zip(range(len(sizes), 0, -1), sizes.values(), strict=True):
        if len(set(values)) > 1:  # the density of equal values does not exist
            parts: Any = axes.violinplot(
                values, [place], orientation="horizontal", widths=0.8, showextrema=False
            )
            for body in parts["bodies"]:
                body.set_facecolor(BLUE)
                body.set_alpha(0.35)
        axes.boxplot(
            values,
            positions=[place],
            orientation="horizontal",
            widths=0.25,
            manage_ticks=False,
            whis=(5, 95),
            sym="",
            boxprops={"color": INK},
            medianprops={"color": SERIES[1], "linewidth": 2},
            whiskerprops={"color": INK},
            capprops={"color": INK},
        )
    axes.set_yticks(range(len(sizes), 0, -1), [shortened(key) for key in sizes])
    axes.set_ylim(0.4, len(sizes) + 0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel(name)
    axes.grid(axis="x", color=FAINT, alpha=0.25)


def _together(found: Exploration) -> Markup:
    counts = found.together
    shares = [[cell / max(row[place], 1) for cell in row] for place, row in enumerate(counts)]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        matrix(axes, shares, counts, found.classes, found.classes)
        axes.set_xlabel("also show")
        axes.set_ylabel("images that show")

    cells = len(found.classes)
    alt = f"How often any two of {cells} classes are shown by one image."
    return draw("together", alt, (2.0 + 0.42 * cells, 1.5 + 0.34 * cells), paint)
