"""The private Orthanc of the demo, with the suite's rule for a peer that is not installed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicom_node.demo import orthanc
from dicom_node.demo.orthanc import Orthanc, free_port
from tests.peers import require

__all__ = ("Orthanc", "free_port", "running_orthanc")


@contextmanager
def running_orthanc(
    folder: Path, *, ae_title: str = "ORTHANC", options: Mapping[str, Any] | None = None
) -> Iterator[Orthanc]:
    """Run an Orthanc; skip the test, or fail it in CI, when there is none."""
    require("Orthanc")
    with orthanc.running_orthanc(folder, ae_title=ae_title, options=options) as running:
        yield running
