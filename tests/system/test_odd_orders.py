"""A whole node where the RIS is away, slow or lying, and where numbers are shared or missing."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread
from pynetdicom import evt

from dicom_node.bootstrap_data import open_database
from dicom_node.demo.archive import Archive
from dicom_node.demo.sr_text import sr_text
from storage import proposals
from tests.hl7 import answer_code, mllp_peer, order_message
from tests.nodes import dimse_pacs, filed, node_settings, running, send, wait_for
from tests.orthanc import free_port
from tests.worklists import TITLE, scripted_worklist, worklist_item

pytestmark = pytest.mark.xdist_group("node")

TOKEN = "a-token-for-tests"
PENDING, SUCCESS = 0xFF00, 0x0000


class Ward:
    """A node and its archive."""

    def __init__(self, folder: Path, archive: Archive, settings: Any, node: Any) -> None:
        self.folder, self.archive, self.settings, self.node = folder, archive, settings, node

    def send(self, images: list[Dataset]) -> str:
        """Send a study; return its UID."""
        assert set(send(self.node.dimse_port, images, self.folder / "sent")) == {"0000H"}
        return str(images[0].StudyInstanceUID)

    def order(self, *, day: str = "20260103", **content: str) -> None:
        message = order_message(study_uid="", **content).replace("20260103", day)
        with mllp_peer(self.node.hl7_port) as ris:
            assert answer_code(ris.ask(message)) == "AA"

    def texts(self, study: str) -> list[str]:
        """Return the reports on a study, the oldest first."""
        found = [dcmread(path) for path in self.archive.files()]
        own = [ds for ds in found if ds.Modality == "SR" and ds.StudyInstanceUID == study]
        own.sort(key=lambda ds: len(ds.get("PredecessorDocumentsSequence", ())))
        return [sr_text(ds) for ds in own]

    def says(self, study: str, words: str) -> None:
        wait_for(lambda: any(words in text for text in self.texts(study)))


@contextmanager
def ward(folder: Path, **sections: Any) -> Iterator[Ward]:
    with ExitStack() as stack:
        archive = stack.enter_context(Archive(folder / "archive"))
        settings = node_settings(folder, pacs=[dimse_pacs(archive.port)], **sections)
        yield Ward(folder, archive, settings, stack.enter_context(running(settings)))


def ris_at(port: int, **more: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, "ae_title": TITLE, "wait_s": 0.5, **more}


def test_a_ris_that_is_away_delays_a_report_by_its_wait_and_the_image_speaks(
    tmp_path: Path,
) -> None:
    with ward(tmp_path, worklist=ris_at(free_port())) as place:
        study = place.send(filed(81, "XR KNEE", ("KNEE",), patient="AWAY"))
        place.says(study, "Expected Knee")
        assert "(from Study Description)" in place.texts(study)[0]


def test_the_late_answer_of_a_slow_ris_makes_a_new_report(tmp_path: Path) -> None:
    go_on = threading.Event()

    def slowly(_event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        go_on.wait(60)
        yield (
            PENDING,
            worklist_item(accession="PHANTOM082", patient="SLOW", description="XR CHEST"),
        )
        yield SUCCESS, None

    with scripted_worklist(slowly) as port, ward(tmp_path, worklist=ris_at(port)) as place:
        try:
            study = place.send(filed(82, "XR KNEE", ("KNEE",), patient="SLOW"))
            place.says(study, "Accession PHANTOM082: MATCH.")
        finally:
            go_on.set()
        place.says(study, "Accession PHANTOM082: MISMATCH.")
        first, second = place.texts(study)
        assert "worklist" not in first
        assert "Expected Chest (from the worklist)" in second


def test_a_ris_that_answers_about_somebody_else_is_not_believed(tmp_path: Path) -> None:
    asked = threading.Event()

    def lying(_event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked.set()
        for patient, accession in (("STRANGER", "PHANTOM083"), ("LIED", "OTHER")):
            item = worklist_item(accession=accession, patient=patient, description="XR HAND")
            yield PENDING, item
        yield SUCCESS, None

    with scripted_worklist(lying) as port, ward(tmp_path, worklist=ris_at(port)) as place:
        study = place.send(filed(83, "XR KNEE", ("KNEE",), patient="LIED"))
        place.says(study, "Accession PHANTOM083: MATCH.")
        assert asked.is_set()
        assert "(from Study Description)" in place.texts(study)[0]
        assert not any("worklist" in text for text in place.texts(study))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("ward")
    token = folder / "token"
    token.write_text(TOKEN)
    with ward(
        folder,
        hl7={"port": 0, "local_authorities": ["HOSP"]},
        accession={"api_token_file": str(token), "unimaged_after_h": 0.001},
    ) as found:
        yield found


def test_one_number_of_two_issuers_is_two_orders_and_each_image_gets_its_own(
    place: Ward,
) -> None:
    studies = {}
    for number, issuer, ordered in ((84, "NORTH", "XR KNEE"), (85, "SOUTH", "XR CHEST")):
        place.order(
            accession=f"SHARED^{issuer}", patient=f"P-{issuer}^^^HOSP^MR",
            procedure=f"1^{ordered}^L", message_id=f"M{number}",
        )  # fmt: skip
        images = filed(number, "", ("KNEE",), patient=f"P-{issuer}")
        for ds in images:
            ds.AccessionNumber = "SHARED"
            by = Dataset()
            by.LocalNamespaceEntityID = issuer
            ds.IssuerOfAccessionNumberSequence = [by]
        studies[issuer] = place.send(images)

    place.says(studies["NORTH"], "Accession SHARED: MATCH.")
    place.says(studies["SOUTH"], "Accession SHARED: MISMATCH.")
    assert "Expected Chest (from the HL7 order)" in place.texts(studies["SOUTH"])[0]
    assert not any("Chest" in text for text in place.texts(studies["NORTH"]))


def test_an_image_without_accession_number_is_offered_the_order_that_waits(place: Ward) -> None:
    place.order(
        accession="WAITING", patient="P-NONE^^^HOSP^MR", procedure="1^XR KNEE^L", message_id="M86"
    )
    images = filed(86, "", ("KNEE",), patient="P-NONE")
    for ds in images:
        ds.AccessionNumber = ds.SeriesDescription = ds.BodyPartExamined = ""
    study = place.send(images)

    place.says(study, "Image 1 without accession number fits accession WAITING (knee,")
    assert "Without accession number: NOT DECLARED." in place.texts(study)[-1]
    with open_database(place.settings) as database, database.reading() as connection:
        [row] = proposals.listing(connection, accession_number="WAITING")
    assert (row.kind, row.state.value) == ("move", "open")


def test_an_order_that_was_never_imaged_is_told_where_people_look(place: Ward) -> None:
    today = datetime.now(UTC).strftime("%Y%m%d")
    place.order(
        accession="FORGOTTEN", patient="P-GAP^^^HOSP^MR", procedure="1^XR HAND^L",
        message_id="M87", day=today,
    )  # fmt: skip
    images = filed(87, "XR KNEE", ("KNEE",), patient="P-GAP")
    for ds in images:
        ds.StudyDate = today
    study = place.send(images)
    place.says(study, "Accession PHANTOM087: MATCH.")
    assert "FORGOTTEN" not in place.texts(study)[0]

    line = "Accession FORGOTTEN: INCOMPLETE. No image has come under it."
    place.says(study, f"{line} Ordered and not imaged: hand.")
    listed = httpx.get(
        f"http://127.0.0.1:{place.node.web_port}/api/accessions",
        params={"standing": "incomplete", "accession_number": "FORGOTTEN"},
        headers={"Authorization": f"Bearer {TOKEN}"},
    ).json()["accessions"]
    assert [(row["accession_number"], row["missing"]) for row in listed] == [
        ("FORGOTTEN", ["HAND"])
    ]
    assert len(place.texts(study)) == 2
