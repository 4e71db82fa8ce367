"""Worklists to ask: DCMTK's wlmscpfs over files, and a scripted one that may lie."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt

from dicom_node.config.orders import WorklistSettings
from dicom_node.dimse.worklist import MODALITY_WORKLIST
from tests.archives import wait_for_port
from tests.orthanc import free_port
from tests.peers import require

TITLE = "RIS"


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return an item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def worklist_item(
    *,
    accession: str = "A1",
    patient: str = "P1",
    description: str = "XR KNEE LEFT",
    day: str = "20260102",
    modality: str = "CR",
    procedure_id: str = "RP1",
    step_id: str = "SPS1",
    issuer: str = "",
    charset: str = "ISO_IR 192",
    name: str = "Doe^Jane",
    status: str = "",
) -> Dataset:
    """Return an item with all that wlmscpfs insists on. Patients are invented."""
    item = Dataset()
    item.SpecificCharacterSet = charset
    item.AccessionNumber = accession
    if issuer:
        named = Dataset()
        named.LocalNamespaceEntityID = issuer
        item.IssuerOfAccessionNumberSequence = [named]
    item.PatientName, item.PatientID = name, patient
    item.PatientBirthDate, item.PatientSex = "19700101", "F"
    item.StudyInstanceUID = generate_uid()
    item.RequestingPhysician = ""
    item.RequestedProcedureID = procedure_id
    item.RequestedProcedureDescription = description
    item.RequestedProcedurePriority = "ROUTINE"
    step = Dataset()
    step.Modality, step.ScheduledStationAETitle = modality, "XR1"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = day, "080000"
    step.ScheduledPerformingPhysicianName = ""
    step.ScheduledProcedureStepDescription = "2 views"
    step.ScheduledProcedureStepID = step_id
    if status:
        step.ScheduledProcedureStepStatus = status
    item.ScheduledProcedureStepSequence = [step]
    return item


def worklist_settings(port: int, **overrides: Any) -> WorklistSettings:
    """Return the settings of a worklist on this machine."""
    return WorklistSettings.model_validate(
        {"host": "127.0.0.1", "port": port, "ae_title": TITLE, "timeout_s": 5, **overrides}
    )


def write_items(folder: Path, items: Sequence[Dataset]) -> None:
    """Write `items` as the files that wlmscpfs serves."""
    place = folder / TITLE
    place.mkdir(parents=True, exist_ok=True)
    (place / "lockfile").touch()
    for old in place.glob("*.wl"):
        old.unlink()
    for number, item in enumerate(items):
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.file_meta.MediaStorageSOPClassUID = MODALITY_WORKLIST
        item.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dcmwrite(place / f"{number}.wl", item, enforce_file_format=True)


@contextmanager
def running_wlmscpfs(folder: Path, items: Sequence[Dataset], *options: str) -> Iterator[int]:
    """Run DCMTK's worklist over `items`; yield its port."""
    require("wlmscpfs")
    write_items(folder, items)
    port = free_port()
    process = subprocess.Popen(
        ["wlmscpfs", "-q", "-dhl", "-csk", "-dfp", str(folder), *options, str(port)],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        yield port
    finally:
        process.kill()
        process.wait()


Answers = Callable[[evt.Event], Iterator[tuple[int, Dataset | None]]]


@contextmanager
def scripted_worklist(
    answers: Answers, *, ssl_context: Any = None, classes: Sequence[str] = (MODALITY_WORKLIST,)
) -> Iterator[int]:
    """Run a worklist that answers C-FIND as it is told; yield its port."""
    ae = AE(ae_title=TITLE)
    ae.add_supported_context("1.2.840.10008.1.1")
    for each in classes:
        ae.add_supported_context(each)
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_C_FIND, answers)],
        ssl_context=ssl_context,
    )
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
