"""The command ``dicom-node``.

Exit codes: 0 done, 1 a check failed or something was not found, 2 usage,
3 bad configuration, 4 the node's own parts are unavailable (database, disk, port).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from audit.errors import InvalidConfiguration, NodeError
from audit.logging import configure_logging
from dicom_node.cli import (
    accession,
    audit,
    check,
    db,
    demo,
    evaluate,
    explain,
    explore,
    jobs,
    models,
    serve,
    studies,
    train,
)
from storage.resources import resource

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_BAD_CONFIGURATION, EXIT_UNAVAILABLE = range(5)

_COMMANDS = (
    serve,
    check,
    demo,
    studies,
    accession,
    jobs,
    audit,
    models,
    train,
    evaluate,
    explore,
    explain,
    db,
)


def default_config() -> Path:
    """Return the configuration used when none is named.

    ``DICOM_NODE_CONFIG``, else ``config.yaml`` in this folder, else the one that came
    with the package.
    """
    named = os.environ.get("DICOM_NODE_CONFIG")
    if named:
        return Path(named)
    here = Path("config.yaml")
    return here if here.exists() else resource("config.yaml")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="dicom-node",
        description="A DICOM node that checks body parts against orders, predicts findings, "
        "and reports back to the PACS. Not a medical device.",
        epilog="exit codes: 0 done, 1 check failed, 2 usage, 3 bad configuration, 4 unavailable",
    )
    parser.add_argument("--version", action="version", version=version("dicom-node"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config",
        type=Path,
        default=None,
        help="configuration file (default: $DICOM_NODE_CONFIG, ./config.yaml, the shipped one)",
    )
    for module in _COMMANDS:
        module.register(commands, common)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = build_parser().parse_args(argv)
    if arguments.config is None:
        arguments.config = default_config()
    configure_logging("warning", "console", sys.stderr)
    try:
        return int(arguments.run(arguments))
    except InvalidConfiguration as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return EXIT_BAD_CONFIGURATION
    except NodeError as error:
        print(f"error: {error} [{error.code}]", file=sys.stderr)
        return EXIT_UNAVAILABLE
    except KeyboardInterrupt:
        return EXIT_FAILED
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
