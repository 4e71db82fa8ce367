"""``dicom-node explore``: look at a data set before training on it.

The workbench is imported when the command runs: its help needs none of the extra packages.
"""

import argparse
import sys
from pathlib import Path

from dicom_node.cli.parsing import add_config_flag
from dicom_node.cli.reports import (
    add_data_arguments,
    add_report_arguments,
    asked_images,
    needs_extra,
    print_rows,
)


def register(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Write a self-contained HTML report of labelled images: samples, balance, "
        "grey values, sizes, classes that occur together, duplicates, leakage, subgroups."
    )
    add_config_flag(parser)
    parser.add_argument("task", nargs="?", metavar="TASK", help="a task file or a shipped task")
    add_data_arguments(parser)
    add_report_arguments(parser, default="exploration.html")
    parser.set_defaults(run=run)


@needs_extra
def run(arguments: argparse.Namespace) -> int:
    """Write the report."""
    from inference.evaluation.reports.asked import labelled_images  # noqa: PLC0415 - as said above
    from inference.evaluation.reports.documents import write_json  # noqa: PLC0415
    from inference.evaluation.reports.explore import explore  # noqa: PLC0415
    from inference.evaluation.reports.explore_page import write_exploration  # noqa: PLC0415
    from inference.evaluation.reports.inventory import inspect  # noqa: PLC0415
    from inference.training.workbench.progress import Reporter  # noqa: PLC0415

    reporter = Reporter()
    data = labelled_images(arguments.data, **asked_images(arguments))
    paths = [sample.path for sample in data.samples]
    with reporter.work("reading images", len(paths)) as advance:
        facts, unreadable = inspect(data.root, paths, advance)
    found = explore(data, facts, unreadable)
    out = arguments.out or Path("exploration.html")
    reporter.line("drawing the report")
    write_exploration(found, data, facts, out, images=arguments.images, seed=arguments.seed)
    print(f"report: {out}", file=sys.stderr)
    if arguments.json is not None:
        write_json(found, arguments.json)
        return 0
    print_rows(
        ("", "number"),
        [
            *((f"images, {split}", str(count)) for split, count in found.images.items()),
            *((f"images, {split}", "0") for split in found.empty_splits),
            ("classes", str(len(found.classes))),
            ("classes without training image", str(len(found.unlearnable))),
            ("missing files", str(len(found.missing))),
            ("files passed over", str(len(found.passed_over))),
            ("unreadable files", str(len(found.unreadable))),
            ("blank images", str(len(found.blank))),
            ("sets of equal or nearly equal images", str(len(found.twins))),
            ("such sets across splits", str(sum(len(t.splits) > 1 for t in found.twins))),
            ("patients across splits", str(len(found.shared_groups))),
        ],
    )
    return 0
