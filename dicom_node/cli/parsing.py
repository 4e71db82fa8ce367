"""What the command modules share: arguments that many have, and output as JSON or a table."""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def count(text: str) -> int:
    """Return a whole number from 0, for `type=` of an argument.

    Raises
    ------
    ValueError
        When it is none, or more than 32 bits hold.
    """
    value = int(text)
    if not 0 <= value < 2**31:
        raise ValueError
    return value


def positive(text: str) -> int:
    """Return a whole number from 1, as `count` does."""
    value = count(text)
    if not value:
        raise ValueError
    return value


def add_config_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``."""
    parser.add_argument(
        "--config",
        type=Path,
        default=None,
        help="configuration file (default: $DICOM_NODE_CONFIG, ./config.yaml, the shipped one)",
    )


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def user() -> str:
    """Return who runs the command, for the audit: a login name, or ``uid:`` and the number of
    an account that has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13
        return f"uid:{os.getuid()}"


def print_json_lines(documents: Iterable[dict[str, Any]]) -> None:
    """Print each document on a line of its own."""
    for document in documents:
        json.dump(document, sys.stdout, ensure_ascii=False, sort_keys=True, default=str)
        sys.stdout.write("\n")


def print_table(table: Table) -> None:
    """Print a table whose words are what they are: brackets and colons in the text of a
    stranger are neither markup nor emoji."""
    Console(markup=False, emoji=False).print(table)
