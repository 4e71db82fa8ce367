"""A person accepts a swap, by REST and at the command line: Orthanc has it mended."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread

from dicom_node.bootstrap_data import open_database
from dicom_node.cli.main import main
from dicom_node.demo.orthanc import Orthanc
from storage import proposals
from storage.proposals import ProposalRow
from tests.corrections import judged
from tests.databases import BOTH
from tests.nodes import dimse_pacs, filed, node_settings, running, send, wait_for
from tests.orthanc import running_orthanc
from tests.peers import require

pytestmark = [
    pytest.mark.xdist_group("node"),
    pytest.mark.peer("orthanc"),
    pytest.mark.peer("dicom3tools"),
]

TOKEN = "a-token-for-tests"


class Hospital:
    """A node that corrects, its Orthanc, and a patient whose two images changed places."""

    def __init__(self, folder: Path, orthanc: Orthanc, settings: Any, node: Any) -> None:
        self.folder, self.orthanc, self.settings, self.node = folder, orthanc, settings, node
        self.config = folder / "config.json"
        self.config.write_text(settings.model_dump_json())
        chest = filed(71, "XR CHEST", ("CHEST", "KNEE"), patient="MENDED")
        knee = filed(72, "XR KNEE", ("KNEE", "CHEST"), patient="MENDED")
        self.images = [*chest, *knee]
        self.wrong = {chest[1].SOPInstanceUID: "PHANTOM072", knee[1].SOPInstanceUID: "PHANTOM071"}
        send(orthanc.dicom_port, self.images, folder / "modality")
        send(node.dimse_port, self.images, folder / "sent")

    def swap(self) -> ProposalRow:
        """Wait for the swap; return it."""
        found: list[ProposalRow] = []

        def proposed() -> bool:
            with open_database(self.settings) as database, database.reading() as connection:
                found[:] = [r for r in proposals.listing(connection) if r.kind == "swap"]
            return bool(found)

        wait_for(proposed)
        return found[0]

    def held(self) -> list[Dataset]:
        """Return what Orthanc holds that is neither an image as sent nor a report."""
        sent = {ds.SOPInstanceUID for ds in self.images}
        found = self.orthanc.sop_instance_uids() - sent
        every = (dcmread(BytesIO(self.orthanc.file(uid))) for uid in found)
        return [ds for ds in every if ds.Modality == "KO" or "OriginalAttributesSequence" in ds]

    def api(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        answer = httpx.post(
            f"http://127.0.0.1:{self.node.web_port}/api/accessions/proposals/{path}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            json=document,
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def command(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["accession", *arguments, "--json", "--config", str(self.config)]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    def faults(self, sop_instance_uid: str) -> set[str]:
        """Return what dciodvfy finds wrong with an object that Orthanc holds."""
        path = self.folder / f"{sop_instance_uid}.dcm"
        path.write_bytes(self.orthanc.file(sop_instance_uid))
        return judged(path)


@pytest.fixture(params=BOTH)
def hospital(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hospital]:
    require("dciodvfy")
    database = {}
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql_server")
        database = {"url": server.create(f"mended_{tmp_path.name[-6:].strip('_').lower()}")}
    token = tmp_path / "token"
    token.write_text(TOKEN)
    with ExitStack() as stack:
        orthanc = stack.enter_context(
            running_orthanc(tmp_path / "orthanc", options={"OverwriteInstances": False})
        )
        settings = node_settings(
            tmp_path,
            pacs=[dimse_pacs(orthanc.dicom_port, orthanc.ae_title)],
            database=database,
            accession={"on_accept": "correct", "api_token_file": str(token)},
        )
        node = stack.enter_context(running(settings))
        yield Hospital(tmp_path, orthanc, settings, node)


def is_mended(hospital: Hospital) -> None:
    """Wait for the package at Orthanc, and judge it there."""
    wait_for(lambda: len(hospital.held()) == 4)
    held = hospital.held()
    notes = [ds for ds in held if ds.Modality == "KO"]
    copies = [ds for ds in held if ds.Modality != "KO"]
    studies = {ds.AccessionNumber: ds.StudyInstanceUID for ds in hospital.images}
    originals = {ds.SOPInstanceUID: ds for ds in hospital.images}

    assert {note.ConceptNameCodeSequence[0].CodeValue for note in notes} == {"113038"}
    rejected = {
        item.ReferencedSOPInstanceUID
        for note in notes
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert rejected == set(hospital.wrong)
    was = {}
    faults = {note.SOPInstanceUID: set[str]() for note in notes}
    for copy in copies:
        [kept] = copy.OriginalAttributesSequence[0].ModifiedAttributesSequence
        was[str(kept.SOPInstanceUID)] = copy.AccessionNumber
        assert copy.StudyInstanceUID == studies[copy.AccessionNumber]
        assert copy.PixelData == originals[kept.SOPInstanceUID].PixelData
        assert copy.SOPInstanceUID not in originals
        faults[copy.SOPInstanceUID] = hospital.faults(kept.SOPInstanceUID)
    assert was == hospital.wrong
    for uid, before in faults.items():
        assert hospital.faults(uid) <= before, "a copy has no fault that its image has not"
    # Orthanc knows no rejection notes: the originals stay until it is told otherwise.
    assert set(originals) <= hospital.orthanc.sop_instance_uids()


def test_a_swap_that_is_accepted_over_rest_is_mended_and_a_dry_run_sends_nothing(
    hospital: Hospital,
) -> None:
    swap = hospital.swap()

    dry = hospital.api(f"{swap.id}/accept", {"actor": "anna", "dry_run": True})
    assert dry["proposal"]["state"] == "open"
    assert dry["would_send"]["destinations"] == ["pacs"]
    roles = [each["role"] for each in dry["would_send"]["objects"]]
    assert roles == ["COPY", "COPY", "REJECTION NOTE", "REJECTION NOTE"]
    assert hospital.held() == []

    answer = hospital.api(f"{swap.id}/accept", {"actor": "anna"})
    assert (answer["proposal"]["state"], answer["correction"]["objects"]) == ("accepted", 4)
    is_mended(hospital)


def test_a_swap_that_is_accepted_at_the_command_line_is_mended_by_the_running_node(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    number = str(hospital.swap().id)

    dry = hospital.command(capsys, "accept", number, "--dry-run")
    assert (dry["dry_run"], dry["proposal"]["state"]) == (True, "open")
    assert len(dry["would_send"]["objects"]) == 4
    assert hospital.held() == []

    accepted = hospital.command(capsys, "accept", number, "--note", "seen with Anna")
    assert (accepted["state"], accepted["note"]) == ("accepted", "seen with Anna")
    is_mended(hospital)
