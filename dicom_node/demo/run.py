"""The demonstration: a whole node as a user would run it, watched from the PACS's side."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import yaml
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite

from audit.errors import Fault, PeerUnreachable
from dicom_node.config.load import load
from dicom_node.config.settings import DimseDestination, NodeSettings
from dicom_node.delivery.dimse_sender import DimseSender
from dicom_node.delivery.outcome import OutgoingObject
from dicom_node.demo.orthanc import free_port
from dicom_node.demo.pacs import Pacs
from dicom_node.demo.sr_text import sr_text

CALLING_AE_TITLE = "DEMO_CR"
START_S = 120.0
STOP_S = 40.0
_POLL_S = 0.1


class DemoFailed(Fault):
    """The node did not do what the demonstration waits for; its log says why."""

    code = "demo.failed"


@dataclass
class SentStudy:
    """A study on its way: what was sent when, and what has come back."""

    study_instance_uid: str
    patient_id: str
    accession_number: str
    ordered: str
    sent_at: float
    reported_at: float | None = None
    reports: list[Path] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """From the answer for the last image to the SR in the PACS."""
        return None if self.reported_at is None else self.reported_at - self.sent_at


def write_configuration(folder: Path, pacs: Pacs) -> Path:
    """Write the node's configuration: the embedded default, free ports, the PACS."""
    document = {
        "storage": {"root": str(folder / "node")},
        "dimse": {"port": free_port()},
        "web": {"port": free_port()},
        "access": {"peers": [{"ae_title": CALLING_AE_TITLE, "addresses": ["127.0.0.1"]}]},
        "destinations": [
            {
                "name": "pacs",
                "kind": "dimse",
                "host": "127.0.0.1",
                "port": pacs.port,
                "ae_title": pacs.ae_title,
            }
        ],
        "routes": [{"name": "radiographs", "destinations": ["pacs"]}],
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


@contextmanager
def running_node(configuration: Path, log_file: Path) -> Iterator[NodeSettings]:
    """Run ``dicom-node serve`` in a process of its own and stop it gracefully.

    Raises
    ------
    DemoFailed
        When it does not come up.
    """
    settings = load(configuration)
    command = [sys.executable, "-m", "dicom_node.cli.main", "serve", "--config", str(configuration)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stderr=log)  # noqa: S603 - our own arguments
    try:
        _wait_until_it_answers(settings, process, log_file)
        yield settings
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def send(settings: NodeSettings, images: Sequence[Dataset], folder: Path) -> SentStudy:
    """Send one study over one association.

    Raises
    ------
    DemoFailed
        When the node did not store every image.
    """
    objects = []
    for ds in images:
        path = folder / f"{ds.SOPInstanceUID}.dcm"
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
        kind="dimse",
        name="node",
        host=settings.dimse.host,
        port=settings.dimse.port,
        ae_title=settings.dimse.ae_title,
    )
    answers = DimseSender(node, CALLING_AE_TITLE).send(objects)
    if any(answer.status != "0000H" for answer in answers):
        raise DemoFailed(f"the node answered {sorted({a.status for a in answers})}")
    first = images[0]
    return SentStudy(
        study_instance_uid=first.StudyInstanceUID,
        patient_id=first.PatientID,
        accession_number=first.AccessionNumber,
        ordered=first.StudyDescription,
        sent_at=time.monotonic(),
    )


def collect(
    pacs: Pacs,
    studies: Sequence[SentStudy],
    folder: Path,
    *,
    limit_s: float,
    on_report: Callable[[SentStudy], None],
) -> None:
    """Watch the PACS until every study has its SR; keep SRs as text, heat maps as PNG.

    Raises
    ------
    DemoFailed
        When `limit_s` seconds pass before.
    """
    by_uid = {study.study_instance_uid: study for study in studies}
    seen: set[str] = set()
    deadline = time.monotonic() + limit_s
    while any(study.reported_at is None for study in studies):
        if time.monotonic() > deadline:
            raise DemoFailed("not every report reached the PACS in time")
        arrived_at = time.monotonic()
        for uid in pacs.uids() - seen:
            seen.add(uid)
            ds = dcmread(BytesIO(pacs.file(uid)))
            study = by_uid.get(ds.StudyInstanceUID)
            if study is None:
                continue
            _keep(ds, study, folder)
            if ds.Modality == "SR" and study.reported_at is None:
                study.reported_at = arrived_at
                on_report(study)
        time.sleep(_POLL_S)


def _keep(ds: Dataset, study: SentStudy, folder: Path) -> None:
    place = folder / study.patient_id
    place.mkdir(exist_ok=True)
    if ds.Modality == "SR":
        path = place / f"report-{len(study.reports) + 1}.txt"
        path.write_text(sr_text(ds), encoding="utf-8")
        study.reports.append(path)
    elif "PixelData" in ds:
        path = place / f"heat-map-{len(study.pictures) + 1}.png"
        Image.fromarray(np.asarray(ds.pixel_array)).save(path)
        study.pictures.append(path)


def _wait_until_it_answers(
    settings: NodeSettings, process: "subprocess.Popen[bytes]", log_file: Path
) -> None:
    deadline = time.monotonic() + START_S
    address = f"http://{settings.web.host}:{settings.web.port}/healthz"
    destination = DimseDestination(
        kind="dimse",
        name="node",
        host=settings.dimse.host,
        port=settings.dimse.port,
        ae_title=settings.dimse.ae_title,
        timeout_s=5,
    )
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(address, timeout=2).raise_for_status()
            DimseSender(destination, CALLING_AE_TITLE).verify()
        except (httpx.HTTPError, PeerUnreachable):
            time.sleep(_POLL_S)
        else:
            return
    raise DemoFailed(f"the node did not start; see {log_file}")
