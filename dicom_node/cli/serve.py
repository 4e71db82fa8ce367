"""``dicom-node serve``: run the node until SIGTERM or SIGINT."""

import argparse
import signal
import sys
import threading
from types import FrameType

from audit.logging import configure_logging
from dicom_node.bootstrap import build_node
from dicom_node.cli.parsing import Commands
from dicom_node.config.load import load


def register(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "serve", parents=[common], help="run the node until it is told to stop"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the node; return 0 after a graceful stop."""
    settings = load(arguments.config)
    configure_logging(settings.log.level, settings.log.format, sys.stderr)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    node = build_node(settings)
    try:
        node.start()
        while not stop.wait(1.0):
            pass
    finally:
        node.stop()
    return 0
