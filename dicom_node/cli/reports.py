"""What the workbench commands share: which images, and where the results go."""

import argparse
import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from audit.errors import InvalidConfiguration
from dicom_node.cli.parsing import count, print_table
from inference.datafolder import data_folder

_EXTRA = {"captum", "jinja2", "matplotlib", "onnx", "onnxruntime", "skimage", "sklearn"}
_UNAVAILABLE = 4
Command = Callable[[argparse.Namespace], int]


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `inference.evaluation.reports.asked.labelled_images` needs."""
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of the images")
    parser.add_argument(
        "--layout",
        help="instead of a task: folder, csv, unifesp, or a mapping: '{form: csv, path: nih}'",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the task or the layout, as in `--set data.path=nih`",
    )
    parser.add_argument("--limit", type=count, default=0, help="images of each split, for a trial")


def asked_images(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return which labelled images a command asks for, as `labelled_images` takes it."""
    return {
        "task": arguments.task,
        "layout": arguments.layout,
        "changes": changes_of(arguments),
        "limit": arguments.limit,
    }


def add_report_arguments(parser: argparse.ArgumentParser, *, default: str) -> None:
    """Add where the report goes and what it may hold."""
    parser.add_argument("--out", type=Path, help=f"the HTML file (default: {default})")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write every number; - for standard output"
    )
    parser.add_argument(
        "--no-images", dest="images", action="store_false", help="leave thumbnails out"
    )
    parser.add_argument("--seed", type=count, default=0, help="of draws and samples (0)")


def changes_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what ``--set`` changes.

    Raises
    ------
    InvalidConfiguration
        When a change is not of the form KEY=VALUE, or the value is no YAML.
    """
    changes: dict[str, Any] = {}
    for text in arguments.set:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise InvalidConfiguration(["--set takes KEY=VALUE"])
        try:
            changes[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
            raise InvalidConfiguration([f"--set {key}: the value is no YAML"]) from error
    return changes


def needs_extra(command: Command) -> Command:
    """Say which packages to install where they are missing, and which file cannot be used."""

    @functools.wraps(command)
    def guarded(arguments: argparse.Namespace) -> int:
        try:
            return command(arguments)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] not in _EXTRA:
                raise
            problem = "this command needs more packages: pip install '.[train]' in the checkout"
        except OSError as error:
            problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"error: {problem}", file=sys.stderr)
        return _UNAVAILABLE

    return guarded


def print_rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of plain text, numbers to the right."""
    table = Table(head[0], box=None)
    for name in head[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    print_table(table)
