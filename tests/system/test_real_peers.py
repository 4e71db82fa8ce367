"""DCMTK sends real radiographs, Orthanc is the PACS: what arrives there is read back."""

import csv
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid
from sqlalchemy import select

from dicom_node.bootstrap_data import open_database
from dicom_node.config.settings import NodeSettings
from dicom_node.demo.radiograph import Identity
from dicom_node.demo.sr_text import sr_text
from dicom_node.demo.wrap import wrap
from dicom_node.report.evidence import text_of
from storage.models import Instance
from tests.data import data_dir
from tests.databases import BOTH, PostgresServer
from tests.nodes import CALLING, dimse_pacs, node_settings, running, studies, wait_for
from tests.orthanc import Orthanc, running_orthanc
from tests.peers import require

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.peer("DCMTK"),
    pytest.mark.peer("Orthanc"),
    pytest.mark.xdist_group("node"),
]

PER_PART = 2
ORDERS = {"Knee": "KNEE LEFT", "Ankle": "ANKLE", "Hand": "HAND", "Chest": "CHEST PA"}
WRONG_ORDER = {"Hand": "KNEE LEFT", "Chest": "HAND"}
"""What the second image of these parts is filed under."""

NOT_SENT = {
    "fodicom_CR-MONO1-10-chest_noext": "bad DICOM file: .*File meta information header missing",
    "orthanc_PR_for_pelvis.dcm": (
        "No presentation context found .*: GrayscaleSoftcopyPresentationStateStorage"
    ),
}
"""What does not reach the node, and what dcmsend says of it: no Part 10 file; not an image."""

WITH_EFFUSION = ("00022837_005.jpg", "00012628_000.jpg")
"""Of patients whom no training saw, and far above the operating point."""


@dataclass
class Hospital:
    """A node between DCMTK and Orthanc."""

    settings: NodeSettings
    port: int
    orthanc: Orthanc

    def storescu(self, *paths: Path) -> "subprocess.CompletedProcess[str]":
        command = ["storescu", "-v", "-xv", "-aet", CALLING, "-aec", "AI_NODE"]
        return subprocess.run(
            [*command, "127.0.0.1", str(self.port), *map(str, paths)],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def dcmsend(self, *paths: Path) -> "subprocess.CompletedProcess[str]":
        command = ["dcmsend", "-v", "-nh", "-nuc", "-aet", CALLING, "-aec", "AI_NODE"]
        return subprocess.run(
            [*command, "127.0.0.1", str(self.port), *map(str, paths)],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def settled(self, expected: int) -> bool:
        """Whether `expected` studies are here, reported and delivered."""
        listed = studies(self.settings)
        return len(listed) == expected and all(
            s.revision and not s.waiting_jobs and s.deliveries == s.delivered for s in listed
        )

    def objects(self, study_instance_uid: str) -> list[Dataset]:
        """Return what the PACS holds of a study."""
        found = self.orthanc.post(
            "/tools/find",
            {
                "Level": "Instance",
                "Query": {"StudyInstanceUID": study_instance_uid},
                "Expand": True,
            },
        )
        uids = [instance["MainDicomTags"]["SOPInstanceUID"] for instance in found]
        return [dcmread(BytesIO(self.orthanc.file(uid))) for uid in uids]


@pytest.fixture(params=BOTH)
def hospital(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hospital]:
    require("storescu", "dcmsend")
    sections: dict[str, Any] = {"settle": {"settle_s": 2}}
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgresql_server")
        sections["database"] = {"url": server.create(f"hospital_{tmp_path.name[-8:].lower()}")}
    with ExitStack() as stack:
        orthanc = stack.enter_context(running_orthanc(tmp_path / "orthanc"))
        pacs = [dimse_pacs(orthanc.dicom_port, orthanc.ae_title)]
        settings = node_settings(tmp_path, pacs=pacs, inference={"runtime": "auto"}, **sections)
        node = stack.enter_context(running(settings))
        yield Hospital(settings, node.dimse_port, orthanc)


def wrapped_images(folder: Path, taken_at: Any) -> dict[str, tuple[str, str]]:
    """Write UNIFESP images as DICOM with their real accession numbers and UIDs.

    Returns, by Study Instance UID, the part that is seen and the order.
    """
    source = data_dir() / "bodypart" / "unifesp"
    with (source / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file"])
    written = {}
    for part, order in ORDERS.items():
        for index, row in enumerate([r for r in rows if r["labels"] == part][:PER_PART]):
            ordered = WRONG_ORDER.get(part, order) if index else order
            identity = Identity(
                patient_id=row["patient_id"],
                patient_name=f"UNIFESP^{row['patient_id']}",
                accession_number=row["accession_number"],
                study_instance_uid=row["study_uid"],
                series_instance_uid=row["series_uid"],
                sop_instance_uid=row["sop_instance_uid"],
                study_description=ordered,
            )
            ds = wrap(source / row["file"], identity, taken_at=taken_at)
            dcmwrite(folder / f"{row['sop_instance_uid']}.dcm", ds, enforce_file_format=True)
            written[row["study_uid"]] = (part, ordered)
    return written


def test_images_under_the_right_and_the_wrong_order_come_back_judged(
    hospital: Hospital, tmp_path: Path, taken_at: Any
) -> None:
    folder = tmp_path / "wrapped"
    folder.mkdir()
    written = wrapped_images(folder, taken_at)

    sent = hospital.storescu(*sorted(folder.iterdir()))

    assert sent.returncode == 0, sent.stderr
    wait_for(lambda: hospital.settled(len(written)), 120)
    verdicts = []
    for study, (part, ordered) in written.items():
        objects = hospital.objects(study)
        [report] = [ds for ds in objects if ds.Modality == "SR"]
        assert {ds.Modality for ds in objects} <= {"SR", "OT"}
        assert report.AccessionNumber == report.PatientID
        text = sr_text(report)
        assert "Not for diagnosis" in text
        right = ORDERS[part] == ordered
        verdicts.append((right, "MISMATCH" in text))
    assert all(not mismatch for right, mismatch in verdicts if right), "no false alarm here"
    wrong = [mismatch for right, mismatch in verdicts if not right]
    assert len(wrong) == len(WRONG_ORDER)
    assert all(wrong), "both wrong orders are found"


def test_real_dicom_files_come_back_in_their_own_studies(hospital: Hospital) -> None:
    files = sorted((data_dir() / "dicom" / "radiographs").iterdir())
    stored = [path for path in files if path.name not in NOT_SENT]
    assert len(stored) == len(files) - len(NOT_SENT)

    sent = hospital.dcmsend(*files)

    said = sent.stdout + sent.stderr
    for reason in NOT_SENT.values():
        assert len(re.findall(reason, said)) == 1
    assert said.count("Received C-STORE Response") == len(stored)
    assert said.count("Received C-STORE Response (Success)") == len(stored)
    with open_database(hospital.settings) as database, database.reading() as connection:
        here = set(connection.scalars(select(Instance.sop_instance_uid)))
    headers = [dcmread(path, stop_before_pixels=True) for path in stored]
    assert here == {text_of(header, "SOPInstanceUID") for header in headers}

    expected = len({text_of(header, "StudyInstanceUID") for header in headers})
    wait_for(lambda: hospital.settled(expected), 180)

    for listed in studies(hospital.settings):
        objects = hospital.objects(listed.study_instance_uid)
        reports = [ds for ds in objects if ds.Modality == "SR"]
        assert len(reports) == listed.revision
        assert len(objects) == listed.deliveries
        assert all(ds.PatientID == listed.patient_id for ds in objects)


def test_a_chest_with_effusion_comes_back_with_its_heat_map(
    hospital: Hospital, tmp_path: Path, taken_at: Any
) -> None:
    images = {}
    for number, name in enumerate(WITH_EFFUSION, start=1):
        identity = Identity(
            patient_id=f"NIH-{number}",
            patient_name=f"NIH^{number}",
            accession_number=f"NIH-ACC-{number}",
            study_instance_uid=generate_uid(),
            series_instance_uid=generate_uid(),
            sop_instance_uid=generate_uid(),
            study_description="CHEST PA",
        )
        ds = wrap(data_dir() / "chest" / "nih14" / "images" / name, identity, taken_at=taken_at)
        images[tmp_path / f"{number}.dcm"] = ds
    for path, ds in images.items():
        dcmwrite(path, ds, enforce_file_format=True)

    sent = hospital.storescu(*images)

    assert sent.returncode == 0, sent.stderr
    wait_for(lambda: hospital.settled(len(images)), 120)
    for image in images.values():
        objects = hospital.objects(image.StudyInstanceUID)
        [report] = [ds for ds in objects if ds.Modality == "SR"]
        heat_maps = [ds for ds in objects if ds.SOPClassUID == SecondaryCaptureImageStorage]
        [effusion] = [ds for ds in heat_maps if "effusion" in ds.DerivationDescription]
        assert "Pleural effusion PRESENT" in sr_text(report)
        assert {ds.StudyInstanceUID for ds in objects} == {image.StudyInstanceUID}
        assert {ds.AccessionNumber for ds in objects} == {image.AccessionNumber}
        [source] = effusion.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == image.SOPInstanceUID
        assert effusion.pixel_array.shape[1] == image.Columns
        assert evidence(report) == {
            (ds.SeriesInstanceUID, ds.SOPInstanceUID) for ds in (image, *heat_maps)
        }


def evidence(report: Dataset) -> set[tuple[str, str]]:
    """Return series and instance of everything that a report rests on."""
    return {
        (series.SeriesInstanceUID, item.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
