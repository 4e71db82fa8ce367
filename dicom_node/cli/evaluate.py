"""``dicom-node evaluate``: how good a trained network is, and for whom.

The workbench is imported when the command runs: its help needs none of the extra packages.
"""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import InvalidConfiguration
from dicom_node.cli.parsing import add_config_flag
from dicom_node.cli.reports import (
    add_data_arguments,
    add_report_arguments,
    asked_images,
    needs_extra,
    print_rows,
)

if TYPE_CHECKING:
    from inference.evaluation.reports.evaluate import Evaluation

_OUT = "evaluation.html"


def register(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Write a self-contained HTML report of what `train` left in a run folder, or "
        "of a stored model on labelled images: curves, confusion, calibration, subgroups, "
        "baselines, worst errors. Scores have 95 % intervals."
    )
    add_config_flag(parser)
    parser.add_argument("run_folder", nargs="?", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--model", type=Path, metavar="DIR", help="instead: a folder of a model")
    parser.add_argument("--task", help="with --model: a task file or a shipped task")
    add_data_arguments(parser)
    parser.add_argument("--split", choices=("train", "val", "test", "all"), default="test")
    parser.add_argument("--rounds", type=int, default=1000, help="bootstrap rounds (1000)")
    add_report_arguments(parser, default=f"RUN/{_OUT}, or {_OUT} with --model")
    parser.set_defaults(run=run)


@needs_extra
def run(arguments: argparse.Namespace) -> int:
    """Measure and write the report."""
    from inference.evaluation.reports.documents import write_json  # noqa: PLC0415 - as said above
    from inference.evaluation.reports.evaluate_page import write_evaluation  # noqa: PLC0415
    from inference.evaluation.reports.measuring import measure_model, measure_run  # noqa: PLC0415
    from inference.training.workbench.progress import Reporter  # noqa: PLC0415

    if (arguments.run_folder is None) == (arguments.model is None):
        raise InvalidConfiguration(["name a run folder or give --model, one of the two"])
    if arguments.run_folder is not None:
        _refuse_images_of_a_model(arguments)
    if arguments.rounds < 1:
        raise InvalidConfiguration(["--rounds must be at least 1"])
    reporter = Reporter()
    asked = {"split": arguments.split, "rounds": arguments.rounds, "seed": arguments.seed}
    if arguments.run_folder is not None:
        reporter.line("measuring")
        found, root = measure_run(arguments.run_folder, arguments.data, **asked)
        out = arguments.out or arguments.run_folder / _OUT
    else:
        found, root = measure_model(
            arguments.model,
            arguments.data,
            **asked_images(arguments),
            reporter=reporter,
            **asked,
        )
        out = arguments.out or Path(_OUT)
    reporter.line("drawing the report")
    unseen = write_evaluation(found, out, root=root if arguments.images else None)
    if unseen:
        reporter.line(f"thumbnails missing: {unseen}, no such images under {root}; see --data")
    print(f"report: {out}", file=sys.stderr)
    if arguments.json is not None:
        write_json(found, arguments.json)
        return 0
    _show(found)
    return 0


def _refuse_images_of_a_model(arguments: argparse.Namespace) -> None:
    """Raise where a run is to be measured on other images than its own."""
    given = [n for n in ("task", "layout", "set", "limit") if getattr(arguments, n)]
    if given:
        names = ", ".join(f"--{name}" for name in given)
        raise InvalidConfiguration([f"{names}: for --model only; a run names its own images"])


def _show(found: "Evaluation") -> None:
    def told(name: str, value: float, low: float, high: float) -> tuple[str, str, str]:
        if math.isnan(value):
            return name, "", ""
        return name, f"{value:.3f}", f"{low:.3f} to {high:.3f}"

    print(f"{found.name}: {found.images} images of {found.patients} patients, {found.split}")
    rows = [told(name, m.value, m.low, m.high) for name, m in found.summary.items()]
    rows += [
        told(f"AUC, {row.label}", row.auc.value, row.auc.low, row.auc.high)
        for row in found.class_rows
    ]
    rows += [
        told(f"gain on {rival.name}, {name}", m.value, m.low, m.high)
        for rival in found.rivals
        for name, m in rival.gain.items()
    ]
    print_rows(("", "value", "95 %"), rows)
