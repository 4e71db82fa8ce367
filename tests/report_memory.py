"""How far the memory grows while a report on many large images is built and written.

Run as ``python -m tests.report_memory``; prints megabytes. A process of its own, because the
greatest memory that a process had is all that the system tells.
"""

import resource
import tempfile
from pathlib import Path

import numpy as np
from pydicom import dcmread

from audit.clock import SystemClock
from dicom_node.config.settings import ReportProfile
from dicom_node.pipeline.objects import keep_report
from dicom_node.report.content import ReportImage, ReportRequest
from storage.files import FileStore
from tests.builders import chest_radiograph, part10_bytes
from tests.report_requests import chest_image, request_for

IMAGES, SIDE = 60, 2000
PROFILES = len(ReportProfile)


def images(path: Path) -> tuple[ReportImage, ...]:
    """Return images of one study that share a file of `SIDE` pixels a side."""
    pixels = np.zeros((SIDE, SIDE), "<u2").tobytes()
    path.write_bytes(part10_bytes(chest_radiograph(Rows=SIDE, Columns=SIDE, PixelData=pixels)))
    made = []
    for number in range(1, IMAGES + 1):
        header = dcmread(path, stop_before_pixels=True)
        header.SOPInstanceUID = f"1.2.3.{number}"
        made.append(chest_image(header, path, number))
    return tuple(made)


def write(files: FileStore, request: ReportRequest) -> int:
    """Build and write every object as the step does; return how many there were."""
    return len(keep_report(files, dict.fromkeys(ReportProfile, request)))


def peak_kilobytes() -> int:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Print the growth from a report on two images to one on all."""
    with tempfile.TemporaryDirectory() as folder:
        every = images(Path(folder) / "image.dcm")
        files = FileStore(Path(folder) / "store", minimum_free_bytes=0, clock=SystemClock())
        assert write(files, request_for(*every[:2])) == 2 + PROFILES
        before = peak_kilobytes()
        assert write(files, request_for(*every, maximum_heat_maps=IMAGES)) == IMAGES + PROFILES
        print((peak_kilobytes() - before) // 1024)


if __name__ == "__main__":
    main()
