"""A whole node beside a RIS: what is ordered decides, also when it changes afterwards."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from dicom_node.bootstrap_data import open_database
from dicom_node.cli.main import main
from dicom_node.demo.archive import Archive
from dicom_node.demo.sr_text import sr_text
from dicom_node.node import Node
from storage.orders import orders_of_accession
from tests.builders import chest_radiograph
from tests.hl7 import answer_code, mllp_peer, order_message
from tests.nodes import dimse_pacs, node_settings, running, send, wait_for
from tests.orthanc import free_port
from tests.worklists import TITLE, running_wlmscpfs, worklist_item

pytestmark = [pytest.mark.xdist_group("node"), pytest.mark.peer("dcmtk")]


class Department:
    """A node, its archive, its RIS, and the port where it hears of orders."""

    def __init__(self, folder: Path, archive: Archive, settings: Any, node: Node) -> None:
        self.folder, self.archive, self.settings, self.node = folder, archive, settings, node

    def send(self, *images: Dataset) -> None:
        assert set(send(self.node.dimse_port, images, self.folder / "sent")) == {"0000H"}

    def order(self, **content: str) -> str:
        """Send an HL7 order; return MSA-1."""
        with mllp_peer(self.node.hl7_port) as peer:
            return answer_code(peer.ask(order_message(**content)))

    def reports(self, study_instance_uid: str) -> list[Dataset]:
        """Return the SRs of a study, the oldest first."""
        found = [dcmread(path) for path in self.archive.files()]
        reports = [
            ds for ds in found if ds.Modality == "SR" and ds.StudyInstanceUID == study_instance_uid
        ]
        return sorted(reports, key=lambda ds: len(ds.get("PredecessorDocumentsSequence", ())))

    def known(self, accession: str) -> list[str]:
        """Return the sources that told of an accession."""
        with open_database(self.settings) as database, database.reading() as connection:
            return sorted(row.source for row in orders_of_accession(connection, accession))


def image(accession: str, patient: str, **overrides: Any) -> Dataset:
    return chest_radiograph(
        StudyInstanceUID=generate_uid(),
        SeriesInstanceUID=generate_uid(),
        SOPInstanceUID=generate_uid(),
        AccessionNumber=accession,
        PatientID=patient,
        StudyDate="20260102",
        **overrides,
    )


@pytest.fixture(scope="module")
def department(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Department]:
    folder = tmp_path_factory.mktemp("department")
    items = [worklist_item(accession="WL1", patient="PW1", description="XR CHEST")]
    with ExitStack() as stack:
        ris = stack.enter_context(running_wlmscpfs(folder / "ris", items))
        archive = stack.enter_context(Archive(folder / "archive"))
        settings = node_settings(
            folder,
            pacs=[dimse_pacs(archive.port)],
            worklist={"host": "127.0.0.1", "port": ris, "ae_title": TITLE},
            hl7={"port": 0, "local_authorities": ["HOSP"]},
        )
        node = stack.enter_context(running(settings))
        yield Department(folder, archive, settings, node)


def first_report(department: Department, study: str) -> str:
    wait_for(lambda: bool(department.reports(study)))
    return sr_text(department.reports(study)[0])


def test_the_worklist_is_asked_for_an_accession_when_its_images_come(
    department: Department,
) -> None:
    sent = image("WL1", "PW1", StudyDescription="", BodyPartExamined="")
    department.send(sent)

    text = first_report(department, sent.StudyInstanceUID)

    assert "Expected Chest (from the worklist)" in text
    assert department.known("WL1") == ["worklist"]


def test_an_order_that_changes_after_the_images_came_makes_a_new_revision(
    department: Department,
) -> None:
    sent = image("HL1", "PH1", StudyDescription="XR CHEST", BodyPartExamined="CHEST")
    study = sent.StudyInstanceUID
    assert department.order(accession="HL1", patient="PH1^^^HOSP", procedure="1^XR CHEST^L") == "AA"
    department.send(sent)
    assert "Expected Chest (from the HL7 order)" in first_report(department, study)

    answer = department.order(
        accession="HL1", patient="PH1^^^HOSP", procedure="2^XR HAND^L", control="XO",
        message_id="M2",
    )  # fmt: skip

    assert answer == "AA"
    wait_for(lambda: len(department.reports(study)) == 2)
    old, new = department.reports(study)
    assert new.PredecessorDocumentsSequence
    assert "Expected Hand (from the HL7 order)" in sr_text(new)
    assert "Expected Hand" not in sr_text(old)


def test_a_change_that_changes_nothing_makes_no_revision(department: Department) -> None:
    sent = image("HL2", "PH2", StudyDescription="XR CHEST", BodyPartExamined="CHEST")
    same = {"accession": "HL2", "patient": "PH2^^^HOSP", "procedure": "1^XR CHEST^L"}
    other = image("HL3", "PH3", StudyDescription="XR CHEST", BodyPartExamined="CHEST")
    department.order(**same, message_id="M3")
    department.send(sent)
    first_report(department, sent.StudyInstanceUID)

    department.order(**same, control="XO", message_id="M4")
    department.send(other)
    first_report(department, other.StudyInstanceUID)

    assert len(department.reports(sent.StudyInstanceUID)) == 1


def test_the_same_number_of_another_patient_is_not_taken_for_this_one(
    department: Department,
) -> None:
    sent = image("HL4", "PH4", StudyDescription="XR CHEST", BodyPartExamined="CHEST")
    department.order(
        accession="HL4", patient="STRANGER^^^FAR", procedure="1^XR FOOT^L", message_id="M5"
    )
    department.send(sent)

    text = first_report(department, sent.StudyInstanceUID)
    assert "Expected Chest" in text
    assert "HL7" not in text


def test_the_check_asks_the_worklist(
    department: Department, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = department.settings.worklist
    configuration = tmp_path / "config.yaml"
    configuration.write_text(
        f"storage: {{root: {tmp_path / 'node'}, minimum_free_bytes: 0}}\n"
        "dimse: {port: 0}\nweb: {port: 0}\nhl7: {port: 0}\ninference: {runtime: torch}\n"
        f"worklist: {{host: 127.0.0.1, port: {wanted.port}, ae_title: {TITLE}}}\n"
    )
    main(["check", "--config", str(configuration)])
    away = configuration.read_text().replace(f"port: {wanted.port}", f"port: {free_port()}")
    configuration.write_text(away)
    code = main(["check", "--config", str(configuration)])

    text = capsys.readouterr().out
    assert "ok      worklist: answers C-ECHO and C-FIND" in text
    assert "FAILED  worklist: no connection" in text
    assert "port hl7" in text
    assert code == 1
