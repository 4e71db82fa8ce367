"""Whole nodes for tests: in this process, or in one of their own that can be killed."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmwrite
from pydicom.uid import generate_uid

from dicom_node.bootstrap import build_node
from dicom_node.config.load import validate
from dicom_node.config.settings import DimseDestination, NodeSettings
from dicom_node.delivery.dimse_sender import DimseSender
from dicom_node.delivery.outcome import OutgoingObject
from dicom_node.demo.phantoms import StudyPlan, phantom_study
from dicom_node.node import Node
from storage.listing import StudyListing, study_listing
from storage.session import Database
from tests.builders import chest_radiograph

CALLING = "TEST_CR"
TODAY = datetime(2026, 1, 2, 10, 15, tzinfo=UTC)


def node_settings(folder: Path, *, pacs: Sequence[dict[str, Any]] = (), **sections: Any) -> Any:
    """Return a configuration of quick times and free ports, with `sections` laid over it.

    Networks are run by torch, which is ready at once; ``inference={"runtime": "auto"}`` asks for
    what a site has by default.
    """
    inference = {"runtime": "torch", **sections.pop("inference", {})}
    document: dict[str, Any] = {
        "storage": {"root": str(folder / "node"), "minimum_free_bytes": 0},
        "dimse": {"port": 0},
        "web": {"port": 0},
        "access": {"peers": [{"ae_title": CALLING, "addresses": ["127.0.0.1"]}]},
        "settle": {"settle_s": 0.5, "poll_s": 0.1},
        "pipeline": {
            "retry": {"first_delay_s": 0.2, "maximum_delay_s": 1, "attempts": 3},
            "reconcile_s": 2,
        },
        "destinations": list(pacs),
        "routes": [{"name": "all", "destinations": [each["name"] for each in pacs]}],
    }
    return validate({**document, "inference": inference, **sections})


def dimse_pacs(port: int, ae_title: str = "ARCHIVE", name: str = "pacs") -> dict[str, Any]:
    """Return the settings of a destination on this machine."""
    return {
        "kind": "dimse",
        "name": name,
        "host": "127.0.0.1",
        "port": port,
        "ae_title": ae_title,
        "timeout_s": 10,
    }


@contextmanager
def running(settings: NodeSettings) -> Iterator[Node]:
    """Run a node in this process."""
    node = build_node(settings)
    try:
        node.start()
        yield node
    finally:
        node.stop()


def send(
    port: int, images: Sequence[Dataset], folder: Path, *, calling: str = CALLING
) -> list[str]:
    """Send `images` over one association; return the status of each."""
    folder.mkdir(parents=True, exist_ok=True)
    objects = []
    for number, ds in enumerate(images):
        path = folder / f"{ds.SOPInstanceUID}-{number}-{time.monotonic_ns()}.dcm"
        dcmwrite(path, ds, enforce_file_format=True)
        objects.append(
            OutgoingObject(
                sop_instance_uid=ds.SOPInstanceUID,
                sop_class_uid=ds.SOPClassUID,
                transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
                path=path,
            )
        )
    node = DimseDestination(
        kind="dimse", name="node", host="127.0.0.1", port=port, ae_title="AI_NODE", timeout_s=30
    )
    return [answer.status for answer in DimseSender(node, calling).send(objects)]


def image(study: str | None = None, **overrides: Any) -> Dataset:
    """Return an image of a new study, or of `study`; each study has its own patient and order."""
    study = study or str(generate_uid())
    return chest_radiograph(
        **{
            "StudyInstanceUID": study,
            "SeriesInstanceUID": generate_uid(),
            "SOPInstanceUID": generate_uid(),
            "PatientID": f"FAKE-{study[-12:]}",
            "AccessionNumber": study[-12:],
            **overrides,
        }
    )


def filed(number: int, order: str, shown: tuple[str, ...], *, patient: str) -> list[Dataset]:
    """Return the images of one study of `patient`, ordered as `order`, showing `shown`."""
    plan = StudyPlan(study_description=order, regions=shown)
    images = phantom_study(plan, number=number, seed=3, taken_at=TODAY)
    for ds in images:
        ds.PatientID = patient
        ds.Laterality = None
    return images


def studies(settings: NodeSettings) -> list[StudyListing]:
    """Return what the node says of its studies, read beside it."""
    database = Database(settings.database_url, pool_size=4)
    try:
        with database.reading() as connection:
            return study_listing(connection, 1000)
    finally:
        database.close()


def wait_for(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Return as soon as `condition` holds; fail when it has not within `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


class NodeProcess:
    """A node in a process of its own, which a test may kill at any instant."""

    def __init__(self, configuration: Path, log: Path) -> None:
        self._configuration = configuration
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it is not ready yet when this returns."""
        command = [sys.executable, "-m", "dicom_node.cli.main", "serve"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--config", str(self._configuration)], stderr=log
            )

    def kill(self) -> None:
        """End it with SIGKILL, and wait for that."""
        assert self._process is not None
        assert self._process.poll() is None, "the node died by itself"
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it gracefully and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(60)
