"""How long a radiologist waits: from the answer for the last image to the SR in the PACS.

Run as ``python -m tests.bench.bench_report [--studies N]``. One chest phantom of 2,048 pixels
a side per study, one study after another; the PACS is our own small archive.
"""

import argparse
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from audit.errors import NodeError
from dicom_node.demo.archive import Archive
from dicom_node.demo.phantoms import DEMO_PLANS, phantom_study
from tests.bench.bench_receive import free_port
from tests.nodes import NodeProcess, dimse_pacs, node_settings, send, wait_for

_READY_S = 120.0


def study(number: int) -> list[Dataset]:
    """Return a study of one chest phantom with UIDs of its own."""
    [ds] = phantom_study(DEMO_PLANS[0], number=number, seed=1, taken_at=datetime.now(UTC))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(ds, keyword, generate_uid())
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return [ds]


def measure(folder: Path, *, studies: int, settle_s: float) -> list[float]:
    """Return the seconds for each study."""
    port = free_port()
    with Archive(folder / "archive") as archive:
        settings = node_settings(
            folder,
            pacs=[dimse_pacs(archive.port)],
            dimse={"port": port},
            settle={"settle_s": settle_s},
            inference={"runtime": "auto"},
            log={"level": "error"},
        )
        configuration = folder / "config.json"
        configuration.write_text(settings.model_dump_json())
        node = NodeProcess(configuration, folder / "node.log")
        node.start()
        try:
            wait_for(lambda: _stored(port, study(0), folder), _READY_S)
            wait_for(lambda: _reports(archive) == 1)  # this one pays for what loads late
            return [
                _seconds(port, archive, study(number), folder) for number in range(1, studies + 1)
            ]
        finally:
            node.stop()


def _seconds(port: int, archive: Archive, images: list[Dataset], folder: Path) -> float:
    before = _reports(archive)
    assert _stored(port, images, folder)
    began = time.perf_counter()
    wait_for(lambda: _reports(archive) > before)
    return time.perf_counter() - began


def _stored(port: int, images: list[Dataset], folder: Path) -> bool:
    try:
        return send(port, images, folder / "sent") == ["0000H"] * len(images)
    except NodeError:
        return False  # not listening yet


def _reports(archive: Archive) -> int:
    return sum(
        dcmread(path, specific_tags=["Modality"]).Modality == "SR" for path in archive.files()
    )


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=15)
    studies = parser.parse_args().studies
    print("| last image answered to SR in the PACS | median s | longest s | beyond settle_s |")
    print("|---|---|---|---|")
    for settle_s in (5.0, 0.0):
        with tempfile.TemporaryDirectory() as folder:
            seconds = measure(Path(folder), studies=studies, settle_s=settle_s)
        median = statistics.median(seconds)
        print(
            f"| settle_s = {settle_s:g} | {median:.2f} | {max(seconds):.2f} "
            f"| {median - settle_s:.2f} |"
        )


if __name__ == "__main__":
    main()
