"""Telling people: a real HTTP server and a real mail conversation on this machine."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from audit.errors import InvalidConfiguration, PeerUnreachable
from dicom_node.config.accession import AccessionSettings, EmailSettings, WebhookSettings
from dicom_node.notify.begin import channels_of
from dicom_node.notify.mail import Mail
from dicom_node.notify.message import ProposalEvent
from dicom_node.notify.port import NotTaken
from dicom_node.notify.step import make_channels
from dicom_node.notify.webhook import Webhook
from inference.accessions import (
    AccessionRef,
    ImageRef,
    Move,
    Proposal,
    ProposalKind,
    proposal_to_json,
)
from storage.proposals import ProposalRow
from storage.states import ProposalState

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def row(state: ProposalState = ProposalState.OPEN) -> ProposalRow:
    move = Move(
        image=ImageRef(instance_id=1, sop_instance_uid="1.2.3", study_instance_uid="1.2", number=2),
        origin=AccessionRef(key="a", accession_number="SECRET-A"),
        target=AccessionRef(key="b", accession_number="SECRET-B"),
        region="KNEE",
        probability=0.97,
        margin=4.5,
    )
    sentence = "Image 2 of accession SECRET-A fits accession SECRET-B (knee, 0.97)."
    proposal = Proposal(kind=ProposalKind.MOVE, moves=(move,), margin=4.5, sentence=sentence)
    return ProposalRow(
        id=7,
        key="k",
        patient_fk=1,
        kind="move",
        state=state,
        document=proposal_to_json(proposal),
        created_at=NOW,
        updated_at=NOW,
        decided_at=None if state is ProposalState.OPEN else NOW,
        decided_by="" if state is ProposalState.OPEN else "anna",
        note="",
    )


class _Hook(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers), json.loads(body)))
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def served(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def hook() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), _Hook)
    server.status, server.got = 204, []
    with served(server):
        yield server


def webhook(server: Any, **changes: Any) -> Webhook:
    url = f"http://127.0.0.1:{server.server_port}/told"
    return Webhook(WebhookSettings(url=url, timeout_s=5, **changes))


def test_a_webhook_is_told_without_any_number_of_an_order(hook: Any) -> None:
    webhook(hook).tell(row(), ProposalEvent.OPEN, "notify:7:open:webhook")
    [(headers, document)] = hook.got
    assert document["event"] == "proposal.open"
    assert (document["proposal_id"], document["kind"], document["images"]) == (7, "move", 1)
    assert "SECRET" not in json.dumps(document)
    assert "1.2.3" not in json.dumps(document)
    assert headers["Idempotency-Key"] == "notify:7:open:webhook"


def test_identifiers_and_a_token_are_sent_where_they_are_configured(
    hook: Any, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken\n")
    configured = webhook(hook, with_identifiers=True, token_file=token)
    configured.tell(row(ProposalState.ACCEPTED), ProposalEvent.ACCEPTED, "k")
    [(headers, document)] = hook.got
    assert headers["Authorization"] == "Bearer t0ken"
    assert document["accession_numbers"] == ["SECRET-A", "SECRET-B"]
    assert document["decided_by"] == "anna"


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, PeerUnreachable), (429, PeerUnreachable), (400, NotTaken), (302, NotTaken)],
)
def test_what_a_webhook_answers_decides_whether_it_is_tried_again(
    hook: Any, status: int, error: type[Exception]
) -> None:
    hook.status = status
    with pytest.raises(error):
        webhook(hook).tell(row(), ProposalEvent.OPEN, "k")
    assert len(hook.got) == 1


def test_a_webhook_that_is_away_is_tried_again(hook: Any) -> None:
    away = Webhook(WebhookSettings(url="http://127.0.0.1:1/", timeout_s=1))
    with pytest.raises(PeerUnreachable):
        away.tell(row(), ProposalEvent.OPEN, "k")


def test_a_token_file_that_is_not_there_is_a_fault_of_the_configuration(
    hook: Any, tmp_path: Path
) -> None:
    with pytest.raises(InvalidConfiguration):
        webhook(hook, token_file=tmp_path / "none").tell(row(), ProposalEvent.OPEN, "k")


class _Smtp(socketserver.StreamRequestHandler):
    """As much of a mail server as one message needs (RFC 5321)."""

    server: Any

    def handle(self) -> None:
        self._say("220 ready")
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            if verb == "DATA":
                self._say("354 go on")
                lines = []
                while (data := self.rfile.readline()) != b".\r\n":
                    lines.append(data)
                self.server.got.append(b"".join(lines))
                self._say("250 taken")
            elif verb == "RCPT":
                [refused] = [a for each, a in self.server.refuses.items() if each in line] or [""]
                self._say(refused or self.server.answer)
            else:
                self._say("250 fine" if verb != "QUIT" else "221 bye")
            if verb == "QUIT":
                return

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@pytest.fixture
def smtp() -> Iterator[Any]:
    server: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp)
    server.answer, server.refuses, server.got = "250 fine", {}, []
    with served(server):
        yield server


def email(server: Any, **changes: Any) -> EmailSettings:
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": server.server_address[1],
        "security": "none",
        "sender": "node@example.org",
        "recipients": ("lead@example.org",),
        "timeout_s": 5,
    }
    return EmailSettings(**{**settings, **changes})


def mail(server: Any, **changes: Any) -> Mail:
    return Mail(email(server, **changes))


def test_a_mail_says_where_to_look_and_names_no_order(smtp: Any) -> None:
    mail(smtp).tell(row(), ProposalEvent.OPEN, "k")
    [raw] = smtp.got
    message = message_from_bytes(raw)
    assert message["Subject"] == "A new proposal waits for a decision (number 7)"
    assert message["To"] == "lead@example.org"
    body = message.get_payload()
    assert "dicom-node accession show 7" in body
    assert b"SECRET" not in raw


def test_a_mail_names_orders_and_who_decided_where_that_is_configured(smtp: Any) -> None:
    mail(smtp, with_identifiers=True).tell(row(ProposalState.REJECTED), ProposalEvent.REJECTED, "k")
    assert b"SECRET-A" in smtp.got[0]
    assert b"Decided by anna." in smtp.got[0]


@pytest.mark.parametrize(
    ("answer", "error"), [("550 no such user", NotTaken), ("550-no\r\n550 user", NotTaken)]
)
def test_recipients_that_are_refused_are_not_tried_again(
    smtp: Any, answer: str, error: type[Exception]
) -> None:
    smtp.answer = answer
    with pytest.raises(error):
        mail(smtp).tell(row(), ProposalEvent.OPEN, "k")


BOTH = ("lead@example.org", "second@example.org")


@pytest.mark.parametrize(
    ("answer", "error"), [("550 no such user", NotTaken), ("450 greylisted", PeerUnreachable)]
)
def test_a_mail_that_one_of_several_recipients_did_not_get_is_not_done(
    smtp: Any, answer: str, error: type[Exception]
) -> None:
    smtp.refuses["second@"] = answer
    with pytest.raises(error):
        mail(smtp, recipients=BOTH).tell(row(), ProposalEvent.OPEN, "k")


def test_each_recipient_is_told_and_tried_again_alone(smtp: Any) -> None:
    settings = AccessionSettings(email=email(smtp, recipients=(*BOTH, BOTH[0])))
    smtp.refuses["second@"] = "450 greylisted"
    channels, names = make_channels(settings), channels_of(settings)
    assert len(names) == 2
    channels[names[0]].tell(row(), ProposalEvent.OPEN, "k")
    with pytest.raises(PeerUnreachable):
        channels[names[1]].tell(row(), ProposalEvent.OPEN, "k")
    smtp.refuses.clear()
    channels[names[1]].tell(row(), ProposalEvent.OPEN, "k")
    assert [message_from_bytes(raw)["To"] for raw in smtp.got] == list(BOTH)
    assert "email" in channels, "messages begun before the update still have their channel"


def test_a_mail_server_that_is_busy_or_away_is_tried_again(smtp: Any) -> None:
    smtp.answer = "451 later"
    with pytest.raises(PeerUnreachable):
        mail(smtp).tell(row(), ProposalEvent.OPEN, "k")
    with pytest.raises(PeerUnreachable):
        mail(smtp, port=1).tell(row(), ProposalEvent.OPEN, "k")


def test_a_server_without_starttls_is_sent_nothing_in_the_clear(smtp: Any) -> None:
    with pytest.raises(NotTaken):
        mail(smtp, security="starttls").tell(row(), ProposalEvent.OPEN, "k")
    assert smtp.got == []
