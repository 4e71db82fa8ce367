"""``dicom-node models``: which networks are installed, and importing those of others."""

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
from rich.table import Table

from audit.clock import SystemClock
from audit.errors import InvalidConfiguration, Rejected
from dicom_node.cli.parsing import add_config_flag, add_json_flag, print_json_lines, print_table
from dicom_node.config.load import load
from dicom_node.config.settings import NodeSettings
from inference.importing import fetch
from inference.importing.checkpoint import read_checkpoint
from inference.importing.folder import (
    FIRST_VERSION,
    UNKNOWN_LICENCE,
    Provenance,
    Wishes,
    check_name,
    workplace,
    write_folder,
)
from inference.importing.layouts import LAYOUTS, recognise
from inference.manifest import NAME, VERSION
from inference.registry import SHIPPED, LoadedModel, Registry

_UNAVAILABLE = 4


def register(parser: argparse.ArgumentParser) -> None:
    """Describe the commands and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list models, weights checked")
    add_config_flag(listing)
    add_json_flag(listing)
    listing.set_defaults(run=run_list)
    importing = actions.add_parser(
        "import",
        help="make a model folder of a DenseNet-121 checkpoint (torchxrayvision, CheXNet)",
        description="Make a model folder of a checkpoint; see docs/models/importing.md. Nothing "
        "that is in the file is run, and nothing is opened before its sha256 is right.",
    )
    add_config_flag(importing)
    _add_import_arguments(importing)
    importing.set_defaults(run=run_import)


def _add_import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="FILE|URL", help="the checkpoint; https:// to download")
    parser.add_argument(
        "--sha256",
        required=True,
        type=_like("^[0-9a-fA-F]{64}$", "a sha256 is 64 hexadecimal digits"),
        help="of the whole file",
    )
    parser.add_argument(
        "--layout",
        choices=("auto", *LAYOUTS),
        default="auto",
        help="which network it is (default: auto, told by its first and last layer)",
    )
    parser.add_argument(
        "--name",
        type=_like(NAME, "a name is of lower-case letters, digits and hyphens, a letter first"),
        help="of the model (default: its layout)",
    )
    parser.add_argument(
        "--version",
        dest="model_version",
        type=_like(VERSION, "a version is three numbers, such as 1.0.1"),
        default=FIRST_VERSION,
        help=f"of the model, for the records (default: {FIRST_VERSION})",
    )
    parser.add_argument("--licence", default=UNKNOWN_LICENCE, help="of the weights, in words")
    parser.add_argument(
        "--report",
        type=_labels,
        default={},
        metavar="LABELS",
        help="labels to report, such as Effusion,Mass=0.3 (present at 0.3); others are only kept",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where the model folder goes (default: the first of inference.model_dirs)",
    )
    parser.add_argument(
        "--replace", action="store_true", help="replace the imported model of that name"
    )
    parser.add_argument(
        "--maximum-mb", type=int, default=1000, help="larger files are refused (default: 1000)"
    )
    parser.add_argument(
        "--insecure-http", action="store_true", help="allow http:// from another machine"
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, keep nothing")
    add_json_flag(parser)


def run_list(arguments: argparse.Namespace) -> int:
    """Load every model folder, weights checked against their sha256, and list them."""
    settings = load(arguments.config)
    manifests = [model.manifest for model in Registry.load(settings.inference.model_dirs)]
    if arguments.json:
        print_json_lines(manifest.model_dump(mode="json") for manifest in manifests)
        return 0
    table = Table("model", "version", "task", "labels", "weights", "licence", box=None)
    for manifest in manifests:
        reported = sum(label.reported for label in manifest.labels)
        table.add_row(
            manifest.name,
            manifest.version,
            manifest.task.value,
            f"{reported} of {len(manifest.labels)} reported",
            manifest.weights_sha256[:12],
            manifest.licence.split("\n")[0][:60],
        )
    print_table(table)
    return 0


def run_import(arguments: argparse.Namespace) -> int:
    """Bring the checkpoint, check it, write its model folder, and say what to do next."""
    settings = load(arguments.config)
    root = _root(arguments.out, settings)
    try:
        with workplace(root) as place:
            model = _imported(arguments, settings, root, place)
    except Rejected as error:
        print(f"error: {error} [{error.code}]", file=sys.stderr)
        return 1
    except OSError as error:
        where = error.filename or root
        print(f"error: {where} cannot be written: {error.strerror}", file=sys.stderr)
        return _UNAVAILABLE
    _tell(model, root, arguments, settings)
    return 0


def _imported(
    arguments: argparse.Namespace, settings: NodeSettings, root: Path, place: Path
) -> LoadedModel:
    """Return the model once it is written: in `root`, after a dry run only in `place`.

    Its name is checked before the download where the arguments tell it.
    """
    check = partial(
        check_name,
        root=root,
        model_dirs=(SHIPPED, *settings.inference.model_dirs),
        replace=arguments.replace,
    )
    if arguments.name or arguments.layout in LAYOUTS:
        check(arguments.name or arguments.layout)
    with _shown() as progress:
        content = fetch.fetch(
            arguments.source,
            sha256=arguments.sha256,
            maximum_bytes=arguments.maximum_mb * 1_000_000,
            place=place,
            insecure_http=arguments.insecure_http,
            progress=progress,
        )
    imported = recognise(read_checkpoint(content), arguments.layout)
    wishes = Wishes(
        name=arguments.name or imported.layout,
        version=arguments.model_version,
        licence=arguments.licence,
        report=arguments.report,
    )
    check(wishes.name)
    provenance = Provenance(
        file_name=fetch.file_name(arguments.source),
        sha256=arguments.sha256.lower(),
        imported_on=SystemClock().now().date(),
    )
    if arguments.dry_run:
        return write_folder(imported, wishes, provenance, root=place)
    return write_folder(imported, wishes, provenance, root=root, replace=arguments.replace)


def _root(out: Path | None, settings: NodeSettings) -> Path:
    if out is not None:
        return out
    if not settings.inference.model_dirs:
        raise InvalidConfiguration(
            ["inference.model_dirs names no folder: add one to the configuration, or give --out"]
        )
    return settings.inference.model_dirs[0]


def _tell(
    model: LoadedModel, root: Path, arguments: argparse.Namespace, settings: NodeSettings
) -> None:
    manifest = model.manifest
    if arguments.json:
        print_json_lines(
            [{"folder": str(root / manifest.name), **manifest.model_dump(mode="json")}]
        )
        return
    reported = [label.key for label in manifest.labels if label.reported]
    done = "can be imported" if arguments.dry_run else "imported"
    print(f"{done}: {manifest.name} {manifest.version}, {len(manifest.labels)} labels")
    print(f"reported: {', '.join(reported) or 'none; the audit keeps all (see --report)'}")
    if arguments.dry_run:
        return
    print(f"folder: {root / manifest.name}")
    if root.resolve() not in {each.resolve() for each in settings.inference.model_dirs}:
        print(f"next: add {root.resolve()} to inference.model_dirs")
    if not any(manifest.name in route.models for route in settings.routes):
        print(f"next: name {manifest.name} in the models of a route, beside bodypart")
    print("next: start the node again")


@contextmanager
def _shown() -> Iterator[fetch.Progress]:
    """Show a bar on standard error once bytes come."""
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("download", visible=False)
        yield lambda have, whole: bar.update(task, completed=have, total=whole, visible=True)


def _like(pattern: str, rule: str) -> Callable[[str], str]:
    """Return a reader of arguments that must match `pattern`."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(rule)
        return text

    return read


def _labels(text: str) -> dict[str, float | None]:
    """Return ``Effusion,Mass=0.3`` as labels and their operating points."""
    wished: dict[str, float | None] = {}
    for part in filter(None, text.split(",")):
        key, _, threshold = part.partition("=")
        try:
            point = float(threshold) if threshold else None
        except ValueError:
            point = math.nan
        if point is not None and not 0.0 <= point <= 1.0:
            raise argparse.ArgumentTypeError("an operating point is a probability from 0 to 1")
        wished[key.strip()] = point
    return wished
