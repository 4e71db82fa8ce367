"""The figures of an evaluation report."""

from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inference.evaluation.measures.curves import Curves
from inference.evaluation.measures.subgroups import MEAN
from inference.evaluation.reports.drawing import (
    BLUE,
    FAINT,
    SERIES,
    draw,
    forest,
    grid,
    grid_size,
    matrix,
    shortened,
)
from inference.evaluation.reports.evaluate import Evaluation, History

_ROW_IN = 0.26


def figures(found: Evaluation) -> dict[str, Markup]:
    """Return the figures that the evaluation has values for, by name."""
    made: dict[str, Markup] = {}
    if found.curves:
        made["auc"] = _auc(found)
        made["roc"] = _roc(found)
        made["precision_recall"] = _precision_recall(found)
        made["reliability"] = reliability_figure(found.curves)
    made["confusion"] = _confusion(found)
    gaps = [row for row in found.subgroups if row.label == MEAN and row.gap is not None]
    if gaps:
        made["gaps"] = _gaps(found)
    if found.history:
        made["learning"] = _learning(found.history)
    return made


def _auc(found: Evaluation) -> Markup:
    rows = [row for row in found.class_rows if not np.isnan(row.auc.value)]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        values = [(row.auc.value, row.auc.low, row.auc.high) for row in rows]
        forest(axes, [row.label for row in rows], values, at=0.5)
        axes.set_xlabel("AUC, with its 95 % interval; dashed: chance")

    alt = f"AUC of {len(rows)} classes with intervals; the table of classes has the numbers."
    return draw("auc", alt, (6.4, 0.9 + _ROW_IN * len(rows)), paint)


def _roc(found: Evaluation) -> Markup:
    aucs = {row.label: row.auc.value for row in found.class_rows}

    def one(axes: Axes, curves: Curves) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
        axes.plot(*np.array(curves.roc).T, color=BLUE)
        axes.set_title(f"{shortened(curves.label)} {aucs[curves.label]:.3f}")

    return _cells("roc", "ROC curve", found.curves, one, ("1 - specificity", "sensitivity"))


def _precision_recall(found: Evaluation) -> Markup:
    rows = {row.label: row for row in found.class_rows}

    def one(axes: Axes, curves: Curves) -> None:
        row = rows[curves.label]
        axes.axhline(row.present / row.images, color=FAINT, linewidth=1, linestyle="--")
        axes.step(*np.array(curves.precision_recall).T, where="pre", color=BLUE)
        axes.set_title(f"{shortened(curves.label)} {row.average_precision.value:.3f}")

    what = "Precision-recall curve"
    return _cells("precision-recall", what, found.curves, one, ("recall", "precision"))


def reliability_figure(curves: Sequence[Curves]) -> Markup:
    """Return the reliability diagrams of these classes, their calibration error above each."""

    def one(axes: Axes, each: Curves) -> None:
        bins = each.reliability
        predicted = np.array([b.predicted for b in bins])
        shown = np.array([b.found for b in bins])
        low, high = np.array([b.found_95 for b in bins]).T
        images = np.array([b.images for b in bins], dtype=float)
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
        axes.vlines(predicted, low, high, color=BLUE, alpha=0.5)
        axes.scatter(predicted, shown, s=8 + 60 * images / images.max(), color=BLUE)
        axes.set_title(f"{shortened(each.label)} {each.calibration_error:.3f}")

    axis_names = ("predicted probability", "share found")
    return _cells("reliability", "Reliability diagram", curves, one, axis_names)


def _cells(
    name: str,
    what: str,
    curves: Sequence[Curves],
    one: Callable[[Axes, Curves], None],
    axis_names: tuple[str, str],
) -> Markup:
    def paint(figure: Figure) -> None:
        for axes, each in zip(grid(figure, len(curves)), curves, strict=True):
            one(axes, each)
            axes.set_box_aspect(1)
            axes.set_xlim(-0.02, 1.02)
            axes.set_ylim(-0.02, 1.02)
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        figure.supxlabel(axis_names[0], fontsize=9)
        figure.supylabel(axis_names[1], fontsize=9)

    alt = f"{what} of {', '.join(each.label for each in curves)}."
    return draw(name, alt, grid_size(len(curves)), paint)


def _confusion(found: Evaluation) -> Markup:
    table = found.confusion
    counts = [[*row, silent] for row, silent in zip(table.counts, table.nothing, strict=True)]
    said = [*table.classes, "nothing"]
    if not any(table.nothing):
        counts, said = [row[:-1] for row in counts], said[:-1]
    shares = [
        [cell / max(total, 1) for cell in row]
        for row, total in zip(counts, table.totals, strict=True)
    ]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        matrix(axes, shares, counts, table.classes, said)
        axes.set_xlabel("said")
        axes.set_ylabel("shown")

    cells = len(table.classes)
    size = (2.0 + 0.42 * len(said), 1.5 + 0.34 * cells)
    alt = f"Confusion matrix of {cells} classes; rows are what images show, columns what was said."
    return draw("confusion", alt, size, paint)


def _gaps(found: Evaluation) -> Markup:
    rows = [r for r in found.subgroups if r.label == MEAN and r.gap is not None]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        values = [(r.gap or 0.0, *(r.gap_95 or (0.0, 0.0))) for r in rows]
        names = [f"{r.attribute} {r.value} ({r.images} images)" for r in rows]
        forest(axes, names, values, at=0.0)
        axes.set_xlabel("AUC here minus AUC of all others, with its 95 % interval")

    alt = "Gap of each subgroup's AUC to all other images; the table has the numbers."
    return draw("gaps", alt, (6.8, 0.9 + _ROW_IN * len(rows)), paint)


def _learning(history: History) -> Markup:
    losses = {key: value for key, value in history.items() if key.endswith("loss")}
    measures = {
        key: value
        for key, value in history.items()
        if key not in losses and key not in ("epoch", "rate", "seconds")
    }
    panels = [(title, p) for title, p in (("loss", losses), ("measures", measures)) if p]
    if "rate" in history:
        panels.append(("learning rate", {"rate": history["rate"]}))

    def paint(figure: Figure) -> None:
        for axes, (title, series) in zip(
            figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True
        ):
            for color, (name, values) in zip(SERIES * len(series), series.items(), strict=False):
                epochs = history.get("epoch", range(1, len(values) + 1))
                axes.plot(epochs, values, color=color, label=name.replace("_", " "), marker=".")
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.grid(color=FAINT, alpha=0.25)
            if len(series) > 1:
                axes.legend(fontsize=8)

    alt = f"Learning curves by epoch: {', '.join(title for title, _ in panels)}."
    return draw("learning", alt, (2.7 * len(panels), 2.5), paint)
