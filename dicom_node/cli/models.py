"""``dicom-node models``: which networks are installed, and what they say of themselves."""

import argparse

from rich.console import Console
from rich.table import Table

from dicom_node.cli.parsing import Commands, add_json_flag, print_json_lines
from dicom_node.config.load import load
from inference.registry import Registry


def register(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    group = commands.add_parser("models", help="list the installed models")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", parents=[common], help="list models, weights checked")
    add_json_flag(listing)
    listing.set_defaults(run=run_list)


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
