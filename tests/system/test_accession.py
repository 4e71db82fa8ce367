"""A whole node: images under the wrong order are found, proposed, decided, and told."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread

from audit.store import AuditFilter, query
from dicom_node.bootstrap_data import open_database
from dicom_node.cli.main import main
from dicom_node.demo.archive import Archive
from dicom_node.demo.sr_text import sr_text
from dicom_node.node import prepare_database
from storage import jobs, proposals
from storage.proposals import ProposalRow
from storage.states import JobKind, JobState
from tests.hl7 import answer_code, mllp_peer, order_message
from tests.nodes import dimse_pacs, filed, node_settings, running, send, wait_for

pytestmark = pytest.mark.xdist_group("node")

TOKEN = "a-token-for-tests"


class Hook(HTTPServer):
    """A service that is told of proposals; it fails the first time."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.told: list[dict[str, Any]] = []
        self.failures = 1


class _Answering(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.failures:
            self.server.failures -= 1
            self.send_response(503)
        else:
            self.server.told.append(json.loads(body))
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def listening() -> Iterator[Hook]:
    """Run a `Hook`."""
    hook = Hook()
    thread = threading.Thread(target=hook.serve_forever)
    thread.start()
    try:
        yield hook
    finally:
        hook.shutdown()
        thread.join()
        hook.server_close()


class Place:
    """A node with its archive, its settings, a webhook and a folder."""

    def __init__(self, folder: Path, archive: Archive, settings: Any, node: Any, hook: Hook):
        self.folder, self.archive, self.settings = folder, archive, settings
        self.node, self.hook = node, hook
        self.config = folder / "config.json"
        self.config.write_text(settings.model_dump_json())

    def send(self, images: list[Dataset]) -> None:
        assert set(send(self.node.dimse_port, images, self.folder / "sent")) == {"0000H"}

    def reports(self, study_instance_uid: str) -> list[Dataset]:
        """Return the SRs of a study, the oldest first."""
        found = [dcmread(path) for path in self.archive.files()]
        own = [ds for ds in found if ds.StudyInstanceUID == study_instance_uid]
        return sorted(
            (ds for ds in own if ds.Modality == "SR"),
            key=lambda ds: len(ds.get("PredecessorDocumentsSequence", ())),
        )

    def text(self, study_instance_uid: str) -> str:
        """Return what the newest SR of a study says; empty before the first."""
        reports = self.reports(study_instance_uid)
        followed = {
            item.ReferencedSOPInstanceUID
            for ds in reports
            for document in ds.get("PredecessorDocumentsSequence", ())
            for series in document.ReferencedSeriesSequence
            for item in series.ReferencedSOPSequence
        }
        newest = [ds for ds in reports if ds.SOPInstanceUID not in followed]
        return sr_text(newest[0]) if len(newest) == 1 else ""

    def proposals(self) -> list[ProposalRow]:
        with open_database(self.settings) as database, database.reading() as connection:
            return proposals.listing(connection)

    def api(self, method: str, path: str, **more: Any) -> httpx.Response:
        base = f"http://127.0.0.1:{self.node.web_port}/api/accessions"
        return httpx.request(
            method, base + path, headers={"Authorization": f"Bearer {TOKEN}"}, **more
        )

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.node.web_port}/metrics").text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("accession")
    token = folder / "token"
    token.write_text(TOKEN)
    with ExitStack() as stack:
        archive = stack.enter_context(Archive(folder / "archive"))
        hook = stack.enter_context(listening())
        settings = node_settings(
            folder,
            pacs=[dimse_pacs(archive.port)],
            hl7={"port": 0},
            accession={
                "api_token_file": str(token),
                "webhook": {"url": f"http://127.0.0.1:{hook.server_port}/told"},
            },
        )
        node = stack.enter_context(running(settings))
        yield Place(folder, archive, settings, node, hook)


def test_images_swapped_across_two_accessions_are_proposed_accepted_and_told(
    place: Place,
) -> None:
    chest = filed(11, "XR CHEST", ("CHEST", "KNEE"), patient="SWAP")
    knee = filed(12, "XR KNEE", ("KNEE", "CHEST"), patient="SWAP")
    chest_uid, knee_uid = chest[0].StudyInstanceUID, knee[0].StudyInstanceUID

    place.send(chest)
    wait_for(lambda: "MISMATCH" in place.text(chest_uid))
    place.send(knee)
    wait_for(lambda: any(row.kind == "swap" for row in place.proposals()))
    [swap] = [row for row in place.proposals() if row.kind == "swap"]
    assert swap.state.value == "open"
    sentence = swap.document["sentence"]
    assert sentence.startswith("Image 2 of accession PHANTOM011 fits accession PHANTOM012 (knee,")
    assert "swap with image 2 of accession PHANTOM012 (chest," in sentence
    # The study that was reported before gets a new revision that says so, too.
    wait_for(lambda: sentence in place.text(knee_uid))
    wait_for(lambda: sentence in place.text(chest_uid))
    assert "Accession PHANTOM011: MISMATCH." in place.text(chest_uid)

    listed = place.api("GET", "", params={"standing": "mismatch"}).json()["accessions"]
    assert {row["accession_number"] for row in listed} == {"PHANTOM011", "PHANTOM012"}
    dry = place.api(
        "POST", f"/proposals/{swap.id}/accept", json={"actor": "anna", "dry_run": True}
    ).json()
    assert (dry["would_send"], dry["proposal"]["state"]) == (None, "open")
    assert place.proposals()[0].state.value == "open"

    answer = place.api("POST", f"/proposals/{swap.id}/accept", json={"actor": "anna"})
    assert (answer.status_code, answer.json()["proposal"]["decided_by"]) == (200, "anna")
    again = place.api("POST", f"/proposals/{swap.id}/reject", json={"actor": "bert"})
    assert again.status_code == 409
    wait_for(lambda: f"Accepted proposal {swap.id}" in place.text(chest_uid))

    wait_for(lambda: {"proposal.open", "proposal.accepted"} <= _events(place.hook, swap.id))
    assert not any("PHANTOM" in json.dumps(told) for told in place.hook.told)
    with open_database(place.settings) as database, database.reading() as connection:
        rows = [r for r in query(connection, AuditFilter()) if r.kind == "proposal_changed"]
        parked = jobs.listing(connection, state=JobState.PARKED)
    changes = [(r.body["outcome"], r.body["actor"]) for r in rows if r.body["kind"] == "swap"]
    assert changes == [("open", "node"), ("accepted", "anna")]
    assert not any("PHANTOM" in row.payload for row in rows)
    assert parked == []
    assert 'standing="mismatch"' in place.metrics()


def _events(hook: Hook, proposal_id: int) -> set[str]:
    return {told["event"] for told in hook.told if told["proposal_id"] == proposal_id}


def test_an_order_that_changes_after_the_images_came_makes_a_new_report(place: Place) -> None:
    images = filed(21, "HL7 decides", ("KNEE",), patient="CHANGED")
    uid = images[0].StudyInstanceUID
    with mllp_peer(place.node.hl7_port) as ris:
        assert answer_code(ris.ask(_order("M21", "NW", "XR KNEE"))) == "AA"
        place.send(images)
        wait_for(lambda: "Accession PHANTOM021: MATCH." in place.text(uid))
        first = len(place.reports(uid))

        assert answer_code(ris.ask(_order("M22", "XO", "XR CHEST"))) == "AA"
        wait_for(lambda: "Accession PHANTOM021: MISMATCH." in place.text(uid))
        assert "HL7 order" in place.text(uid)
        assert len(place.reports(uid)) == first + 1

        # The same again asks for nothing new.
        assert answer_code(ris.ask(_order("M23", "XO", "XR CHEST"))) == "AA"
        wait_for(lambda: not _waiting(place))
        assert len(place.reports(uid)) == first + 1


def _order(
    message_id: str,
    control: str,
    description: str,
    *,
    accession: str = "PHANTOM021",
    patient: str = "CHANGED",
) -> str:
    return order_message(
        control=control,
        accession=accession,
        procedure=f"X^{description}^L",
        patient=f"{patient}^^^^MR",
        message_id=message_id,
        study_uid="",
    )


def _waiting(place: Place) -> bool:
    with open_database(place.settings) as database, database.reading() as connection:
        kinds = (JobKind.RECONCILE, JobKind.REPORT, JobKind.DELIVER)
        return any(jobs.listing(connection, state=JobState.QUEUED, kind=kind) for kind in kinds)


def test_a_study_filed_rightly_is_a_match_and_proposes_nothing(place: Place) -> None:
    images = filed(31, "XR KNEE", ("KNEE",), patient="RIGHT")
    before = len(place.proposals())
    place.send(images)
    wait_for(
        lambda: (
            "Accession PHANTOM031: MATCH. The image matches."
            in place.text(images[0].StudyInstanceUID)
        )
    )
    assert len(place.proposals()) == before


def test_the_interface_asks_for_its_token_and_names_rules_not_values(place: Place) -> None:
    base = f"http://127.0.0.1:{place.node.web_port}/api/accessions"
    assert httpx.get(base).status_code == 401
    assert httpx.get(base, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert place.api("GET", "/proposals/999999").status_code == 404
    nameless = place.api("POST", "/proposals/1/accept", json={"actor": " "})
    assert nameless.status_code == 422
    assert place.api("GET", "?standing=mismatch").headers["Cache-Control"] == "no-store"


def test_the_command_line_lists_shows_and_takes_a_word_on_a_one_sided_move(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    chest = filed(41, "XR CHEST", ("CHEST", "KNEE"), patient="ONESIDED")
    with mllp_peer(place.node.hl7_port) as ris:
        waiting = _order("M41", "NW", "XR KNEE", accession="WAITS", patient="ONESIDED")
        assert answer_code(ris.ask(waiting)) == "AA"
    place.send(chest)
    wait_for(lambda: any(row.kind == "move" for row in place.proposals()))
    [move] = [row for row in place.proposals() if row.kind == "move"]

    def command(*arguments: str) -> str:
        capsys.readouterr()
        assert main(["accession", *arguments, "--config", str(place.config)]) == 0
        return capsys.readouterr().out

    lines = command("list", "--json", "--accession", "PHANTOM041").splitlines()
    accession, proposal = (json.loads(line) for line in lines)
    assert (accession["type"], accession["standing"]) == ("accession", "mismatch")
    assert (proposal["type"], proposal["proposal_id"]) == ("proposal", move.id)
    assert proposal["moves"][0]["to"] == "WAITS"
    shown = command("show", str(move.id))
    assert "Image 2 of accession PHANTOM041 fits accession WAITS (knee," in shown
    assert "never read from the pixels" in shown
    assert "would be accepted" in command("accept", str(move.id), "--dry-run")
    assert "rejected" in command("reject", str(move.id), "--note", "an add-on view")
    with open_database(place.settings) as database, database.reading() as connection:
        row = proposals.get(connection, move.id)
    assert (row.state.value, row.note) == ("rejected", "an add-on view")
    place.send(filed(51, "Odd words", ("KNEE",), patient="ODD"))
    unmapped = [json.loads(line) for line in command("unmapped", "--json").splitlines()]
    assert {"attribute": "StudyDescription", "count": 1, "text": "Odd words"} in unmapped
    assert main(["accession", "accept", str(move.id), "--config", str(place.config)]) == 1
    assert main(["accession", "show", "999999", "--config", str(place.config)]) == 1


def test_the_command_line_says_so_where_there_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    settings = node_settings(tmp_path)
    config.write_text(settings.model_dump_json())
    with open_database(settings) as database:
        prepare_database(database)
    for arguments, said in (
        (("list",), "no accession needs a look\nno proposal is open"),
        (("list", "--all"), "no accession was checked yet"),
        (("unmapped",), "every description seen names a known body part"),
    ):
        assert main(["accession", *arguments, "--config", str(config)]) == 0
        assert said in capsys.readouterr().out
