"""How many images a second each receiver takes from the same DCMTK sender, in one run.

Run as ``python -m tests.bench.bench_receive [--rounds N]``; receivers are
interleaved, and the table shows medians, so that a busy machine is unfair to all alike.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import numpy as np
from pydicom.uid import generate_uid

from tests.builders import chest_radiograph, part10_bytes
from tests.nodes import node_settings

Receiver = Callable[[Path], AbstractContextManager[int]]
"""Starts a receiver in a folder of its own and yields its port."""

SIZES = {"tiny": (224, 224, 200), "dx": (708, 708, 60), "cr": (2000, 2000, 20)}
"""Rows, columns and number of images a sender sends: 100 KB, 1 MB and 8 MB each."""

NO_NAGLE = {**os.environ, "TCP_NODELAY": "1"}
"""DCMTK, sender and receivers alike, waits 40 ms a message without it."""

_STARTED_WITHIN_S = 90.0
_SENT_WITHIN_S = 300


@contextmanager
def acceptor_process(folder: Path) -> Iterator[int]:
    """The acceptor in a process of its own over a folder: fsync, rename, no database."""
    code = (
        "import sys, pathlib\n"
        "from tests.acceptors import FolderReception, accepting\n"
        "import structlog, logging\n"
        "structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))\n"
        "with accepting(FolderReception(pathlib.Path(sys.argv[1])), port=int(sys.argv[2])):\n"
        "    sys.stdin.read()\n"
    )
    port = free_port()
    command = [sys.executable, "-c", code, str(folder), str(port)]
    with running(command, port, stdin=subprocess.PIPE):
        yield port


@contextmanager
def node(folder: Path, *, routes: list[dict[str, object]]) -> Iterator[int]:
    """The whole node: file fsynced and renamed, rows and work committed, then the answer."""
    settings = node_settings(
        folder,
        dimse={"port": free_port()},
        access={"accept_unknown_peers": True},
        routes=routes,
        inference={"runtime": "auto"},
        log={"level": "error"},
    )
    configuration = folder / "config.json"
    configuration.write_text(settings.model_dump_json())
    command = [sys.executable, "-m", "dicom_node.cli.main", "serve", "--config"]
    with running([*command, str(configuration)], settings.dimse.port):
        yield settings.dimse.port


def storing_node(folder: Path) -> AbstractContextManager[int]:
    """The node, storing only."""
    return node(folder, routes=[])


def analysing_node(folder: Path) -> AbstractContextManager[int]:
    """The node, which runs both networks on every image while it receives."""
    return node(folder, routes=[{"name": "all"}])


@contextmanager
def orthanc(folder: Path) -> Iterator[int]:
    """Orthanc with SQLite and fsync, its defaults."""
    port = free_port()
    configuration = {
        "DicomAet": "AI_NODE",
        "DicomPort": port,
        "HttpServerEnabled": False,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "ConcurrentJobs": 1,
        "Plugins": [],
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with running(["Orthanc", str(path)], port):
        yield port


@contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """DCMTK storescp, a process for each association: nothing durable, no index."""
    port = free_port()
    with running(["storescp", "--fork", "-od", str(folder), "-aet", "AI_NODE", str(port)], port):
        yield port


RECEIVERS: dict[str, tuple[str | None, Receiver]] = {
    "node, durable, storing": (None, storing_node),
    "node, durable, analysing meanwhile": (None, analysing_node),
    "its acceptor alone, files fsynced": (None, acceptor_process),
    "Orthanc, SQLite, fsync": ("Orthanc", orthanc),
    "DCMTK storescp --fork, not durable": ("storescp", storescp),
}
"""By name: the program it needs, and how to start it."""


def free_port() -> int:
    """Return a port that is free now, for programs that cannot choose one."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], port: int, **options: int) -> Iterator[None]:
    """Run a program until the block ends; begins when its port accepts connections."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
    process = subprocess.Popen(command, env=NO_NAGLE, **silent)
    try:
        deadline = time.monotonic() + _STARTED_WITHIN_S
        while not _accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} does not listen")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def make_images(folder: Path, size: str, senders: int) -> list[Path]:
    """Write each sender's images to a folder of its own; return the folders."""
    rows, columns, count = SIZES[size]
    pixels = np.random.default_rng(1).integers(0, 4096, (rows, columns), dtype="<u2").tobytes()
    folders = []
    for sender in range(senders):
        own = folder / f"{size}-{senders}-{sender}"
        own.mkdir(parents=True)
        study, series = generate_uid(), generate_uid()
        for index in range(count // senders):
            ds = chest_radiograph(StudyInstanceUID=study, SeriesInstanceUID=series)
            ds.Rows, ds.Columns, ds.PixelData = rows, columns, pixels
            (own / f"{index}.dcm").write_bytes(part10_bytes(ds))
        folders.append(own)
    return folders


def images_per_second(port: int, folders: list[Path]) -> float:
    """Send each folder by a dcmsend of its own, all at once."""
    began = time.perf_counter()
    senders = [
        subprocess.Popen(
            ["dcmsend", "-aec", "AI_NODE", "--scan-directories", "127.0.0.1", str(port), str(f)],
            env=NO_NAGLE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for f in folders
    ]
    failed = [sender for sender in senders if sender.wait(timeout=_SENT_WITHIN_S) != 0]
    took_s = time.perf_counter() - began
    if failed:
        raise SystemExit("a sender failed")
    return sum(len(list(folder.iterdir())) for folder in folders) / took_s


def measure(names: list[str], rounds: int, workplace: Path) -> dict[tuple[str, str], list[float]]:
    """Return images a second by (receiver, column), one for each round."""
    columns = [("tiny", 1), ("tiny", 4), ("dx", 4), ("cr", 4)]
    results: dict[tuple[str, str], list[float]] = {}
    for round_number in range(rounds):
        for size, senders in columns:
            images = workplace / f"images-{round_number}"
            folders = make_images(images, size, senders)
            for name in names:
                own = Path(tempfile.mkdtemp(dir=workplace))
                with ExitStack() as stack:
                    port = stack.enter_context(RECEIVERS[name][1](own))
                    rate = images_per_second(port, folders)
                results.setdefault((name, f"{size}, {senders}"), []).append(rate)
                shutil.rmtree(own)
            shutil.rmtree(images)
    return results


def table(results: dict[tuple[str, str], list[float]]) -> str:
    """Return the medians as a Markdown table."""
    names = list(dict.fromkeys(name for name, _ in results))
    columns = list(dict.fromkeys(column for _, column in results))
    lines = [
        "| images/s (size, associations) | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for name in names:
        medians = [f"{statistics.median(results[name, column]):.0f}" for column in columns]
        lines.append(f"| {name} | " + " | ".join(medians) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is installed, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    needed = {name: program for name, (program, _) in RECEIVERS.items()}
    names = [name for name, program in needed.items() if not program or shutil.which(program)]
    beside = Path(".work")  # not the system's folder, where an fsync may cost nothing
    beside.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside) as workplace:
        print(table(measure(names, rounds, Path(workplace).resolve())))


if __name__ == "__main__":
    main()
