"""``dicom-node models``: which networks are installed, and importing those of others."""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
from rich.table import Table

from audit.clock import SystemClock
from audit.errors import InvalidConfiguration, Rejected
from dicom_node.cli.parsing import Commands, add_json_flag, print_json_lines
from dicom_node.config.load import load
from dicom_node.config.settings import NodeSettings
from inference.importing import fetch
from inference.importing.checkpoint import read_checkpoint
from inference.importing.folder import (
    FIRST_VERSION,
    UNKNOWN_LICENCE,
    Provenance,
    Wishes,
    write_folder,
)
from inference.importing.layouts import LAYOUTS, recognise
from inference.registry import LoadedModel, Registry


def register(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    group = commands.add_parser("models", help="list the installed models, import others")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", parents=[common], help="list models, weights checked")
    add_json_flag(listing)
    listing.set_defaults(run=run_list)
    importing = actions.add_parser(
        "import",
        parents=[common],
        help="make a model folder of a DenseNet-121 checkpoint (torchxrayvision, CheXNet)",
        description="Make a model folder of a checkpoint; see docs/models/importing.md. Nothing "
        "that is in the file is run, and nothing is opened before its sha256 is right.",
    )
    _add_import_arguments(importing)
    importing.set_defaults(run=run_import)


def _add_import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="FILE|URL", help="the checkpoint; https:// to download")
    parser.add_argument("--sha256", required=True, type=_sha256, help="of the whole file")
    parser.add_argument("--layout", choices=("auto", *LAYOUTS), default="auto")
    parser.add_argument("--name", help="of the model (default: its layout)")
    parser.add_argument("--version", dest="model_version", default=FIRST_VERSION)
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
    parser.add_argument("--maximum-mb", type=int, default=1000, help="larger files are refused")
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
    Console().print(table)
    return 0


def run_import(arguments: argparse.Namespace) -> int:
    """Bring the checkpoint, check it, write its model folder, and say what to do next."""
    settings = load(arguments.config)
    root = _root(arguments.out, settings)
    try:
        with _shown() as progress:
            content = fetch.fetch(
                arguments.source,
                sha256=arguments.sha256,
                maximum_bytes=arguments.maximum_mb * 1_000_000,
                insecure_http=arguments.insecure_http,
                progress=progress,
            )
        if arguments.dry_run:
            with tempfile.TemporaryDirectory(prefix="dicom-node-") as folder:
                model = _imported(content, arguments, settings, Path(folder))
        else:
            model = _imported(content, arguments, settings, root)
    except Rejected as error:
        print(f"error: {error} [{error.code}]", file=sys.stderr)
        return 1
    _tell(model, root, arguments, settings)
    return 0


def _imported(
    content: bytes, arguments: argparse.Namespace, settings: NodeSettings, root: Path
) -> LoadedModel:
    imported = recognise(read_checkpoint(content), arguments.layout)
    wishes = Wishes(
        name=arguments.name or imported.layout,
        version=arguments.model_version,
        licence=arguments.licence,
        report=arguments.report,
    )
    if wishes.name in Registry.load(settings.inference.model_dirs).names:
        raise Rejected("a model of that name is installed; name another with --name")
    provenance = Provenance(
        file_name=fetch.file_name(arguments.source),
        sha256=arguments.sha256,
        imported_on=SystemClock().now().date(),
    )
    return write_folder(imported, wishes, provenance, root=root)


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
        print(f"next: add {root} to inference.model_dirs")
    print(f"next: name {manifest.name} in the models of a route")


@contextmanager
def _shown() -> Iterator[fetch.Progress]:
    """Show a bar on standard error once bytes come."""
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("download", visible=False)
        yield lambda have, whole: bar.update(task, completed=have, total=whole, visible=True)


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("a sha256 is 64 hexadecimal digits")
    return text.lower()


def _labels(text: str) -> dict[str, float | None]:
    """Return ``Effusion,Mass=0.3`` as labels and their operating points."""
    wished: dict[str, float | None] = {}
    for part in filter(None, text.split(",")):
        key, _, threshold = part.partition("=")
        try:
            wished[key.strip()] = float(threshold) if threshold else None
        except ValueError as error:
            raise argparse.ArgumentTypeError("an operating point is a number") from error
    return wished
