"""``dicom-node explain``: what in an image speaks for a model's labels, by several methods.

The workbench is imported when the command runs: its help needs none of the extra packages.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from audit.errors import InvalidConfiguration
from dicom_node.cli.parsing import (
    add_config_flag,
    add_json_flag,
    count,
    positive,
    print_json_lines,
    print_table,
)
from dicom_node.cli.reports import add_data_arguments, asked_images, needs_extra
from dicom_node.config.load import load
from inference.registry import LoadedModel, Registry, load_model

_DONE, _FAILED, _USAGE, _UNAVAILABLE = 0, 1, 2, 4
_METHODS = "grad-cam, integrated-gradients, occlusion, lime, kernel-shap"


def register(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Draw heat maps of a model by several methods, side by side, and measure "
        "them. Needs the extra `train`. Nothing is sent or stored elsewhere."
    )
    add_config_flag(parser)
    parser.add_argument("model", help="folder with model.yaml, or the name of an installed model")
    parser.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGE", help="DICOM, PNG, JPEG, BMP or TIFF file"
    )
    parser.add_argument("--task", help="instead: the images of a task file or a shipped task")
    add_data_arguments(parser)
    parser.add_argument("--split", choices=("train", "val", "test", "all"), default="test")
    parser.add_argument(
        "--method", action="append", default=[], help=f"one or more, by commas: {_METHODS} (all)"
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="KEY",
        help="label of the model; may be repeated (default: each image's most probable)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for pictures and numbers")
    parser.add_argument("--html", action="store_true", help="also write explain.html, one file")
    parser.add_argument(
        "--samples", type=positive, default=400, help="of LIME and kernel SHAP (400)"
    )
    parser.add_argument("--seed", type=count, default=0, help="of LIME and kernel SHAP (0)")
    parser.add_argument("--threads", type=count, default=0, help="compute threads (one per core)")
    add_json_flag(parser)
    parser.set_defaults(run=run)


@needs_extra
def run(arguments: argparse.Namespace) -> int:
    """Explain the images; 1 when one of them could not be read."""
    from inference.evaluation.explaining import explain, files, methods  # noqa: PLC0415 - as said above

    model = _model(arguments)
    try:
        chosen = explain.method_names(_by_commas(arguments.method))
        columns = explain.label_columns(model, arguments.label)
    except explain.UnknownName as error:
        print(f"error: {error}", file=sys.stderr)
        return _USAGE
    request = files.Request(
        out=arguments.out,
        columns=columns,
        methods=chosen,
        effort=methods.Effort(samples=arguments.samples, seed=arguments.seed),
        html=arguments.html,
        threads=arguments.threads,
    )
    images = _images(arguments)
    total = len(images) * max(len(columns), 1) * len(chosen)
    console = Console(stderr=True)
    with Progress(
        TextColumn("maps"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("maps", total=total)
        try:
            found = files.study(model, images, request, after_map=lambda: progress.advance(task))
        except OSError as error:
            print(f"error: {arguments.out} cannot be written: {error.strerror}", file=sys.stderr)
            return _UNAVAILABLE
    _show(found, arguments)
    return _FAILED if any("error" in image for image in found) else _DONE


def _images(arguments: argparse.Namespace) -> list[Path]:
    """Return the files that are named, or those of labelled images."""
    from inference.evaluation.reports.asked import labelled_images  # noqa: PLC0415 - as said above

    labelled = arguments.task is not None or arguments.layout is not None
    if labelled == bool(arguments.images):
        raise InvalidConfiguration(["name image files, or give --task or --layout"])
    if not labelled:
        if given := [f"--{name}" for name in ("set", "limit") if getattr(arguments, name)]:
            raise InvalidConfiguration([f"{', '.join(given)}: with --task or --layout only"])
        return list(arguments.images)
    data = labelled_images(arguments.data, **asked_images(arguments))
    images = [data.root / s.path for s in data.samples if arguments.split in ("all", s.split)]
    if not images:
        raise InvalidConfiguration([f"the data set has no {arguments.split} images; see --split"])
    return images


def _model(arguments: argparse.Namespace) -> LoadedModel:
    """Return the model of a folder, or the installed one of that name."""
    folder = Path(arguments.model)
    if folder.is_dir():
        return load_model(folder)
    installed = {
        model.manifest.name: model
        for model in Registry.load(load(arguments.config).inference.model_dirs)
    }
    if arguments.model not in installed:
        names = ", ".join(sorted(installed))
        raise InvalidConfiguration([f"no folder and no installed model of that name: {names}"])
    return installed[arguments.model]


def _by_commas(given: Sequence[str]) -> list[str]:
    return [name.strip() for part in given for name in part.split(",") if name.strip()]


def _show(found: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    for image in found:
        if "error" in image:
            print(f"error: {image['error']}", file=sys.stderr)
    rows = [
        {"image": image["image"], **label} for image in found for label in image.get("labels", ())
    ]
    if arguments.json:
        print_json_lines(rows)
        return
    for row in rows:
        print_table(_table(row))
        print()
    wrote = ["pictures"] if rows else []
    wrote += ["explain.html"] if arguments.html else []
    print(f"in {arguments.out}: {', '.join([*wrote, 'explain.json'])}")


def _table(row: dict[str, Any]) -> Table:
    """Return the numbers of one label of one image."""
    name = Path(row["image"]).name
    table = Table("method", "seconds", "peak x, y", "deletion", "insertion", box=None,
                  title=f"{name}: {row['label']} {row['probability']:.0%}")  # fmt: skip
    table.title_justify = "left"
    for method, numbers in row["methods"].items():
        at = numbers["peak"]
        table.add_row(
            method,
            f"{numbers['seconds']:.1f}",
            f"{at[0]:.0%}, {at[1]:.0%}" if at else "empty map",
            f"{numbers['deletion_auc']:.3f}",
            f"{numbers['insertion_auc']:.3f}",
        )
    areas = (f"{row['control'][key]:.3f}" for key in ("deletion_auc", "insertion_auc"))
    table.add_row("random order", "", "", *areas)
    return table
