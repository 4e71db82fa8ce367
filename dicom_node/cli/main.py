"""The command ``dicom-node``.

Exit codes: 0 done, 1 a check failed or something was not found, 2 usage,
3 bad configuration, 4 the node's own parts are unavailable (database, disk, port).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from audit.errors import InvalidConfiguration, NodeError
from audit.logging import configure_logging
from storage.resources import resource

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_BAD_CONFIGURATION, EXIT_UNAVAILABLE = range(5)

_COMMANDS = {
    "serve": "run the node until it is told to stop",
    "check": "check configuration, database, disk, ports, models, worklist and destinations",
    "demo": "run sample studies through a whole node and show what came back",
    "studies": "list studies and their results (holds patient data)",
    "accession": "is each image under the right order?",
    "jobs": "list, re-drive or discard work",
    "audit": "find, show and prove predictions",
    "models": "list the installed models, import others",
    "train": "train a network on labelled images (workbench)",
    "evaluate": "report how good a trained network is (workbench)",
    "explore": "report what a data set holds and what would mislead (workbench)",
    "explain": "study which part of an image speaks for a model's labels",
    "db": "show or upgrade the database schema",
}
"""Each the name of a module beside this one, and what it is for."""


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


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of a command line.

    Only the module of the command that `words` name is imported: one that lists records does
    not wait for networks and servers that it never needs.
    """
    parser = argparse.ArgumentParser(
        prog="dicom-node",
        description="A DICOM node that checks body parts against orders, predicts findings, "
        "and reports back to the PACS. Not a medical device.",
        epilog="exit codes: 0 done, 1 check failed, 2 usage, 3 bad configuration, 4 unavailable",
    )
    parser.add_argument("--version", action="version", version=version("dicom-node"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = next((word for word in words if not word.startswith("-")), None)
    for name, purpose in _COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        if name == named:
            import_module(f"dicom_node.cli.{name}").register(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = build_parser(words).parse_args(words)
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
