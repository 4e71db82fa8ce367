"""``dicom-node serve``: run the node until SIGTERM or SIGINT."""

import argparse
import signal
import sys
import threading
from types import FrameType

from audit.logging import configure_logging
from dicom_node.bootstrap import build_node
from dicom_node.cli.parsing import add_config_flag
from dicom_node.config.load import load


def register(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    add_config_flag(parser)
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
