"""STOW-RS towards servers that refuse, break, stall and promise nothing."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
from pydicom import dcmread

from audit.errors import InvalidConfiguration, PeerUnreachable
from dicom_node.config.settings import WebSettings
from dicom_node.core.outcome import Outcome
from dicom_node.delivery.factory import make_sender
from dicom_node.delivery.stow_sender import StowSender
from dicom_node.web.app import make_app
from dicom_node.web.health import HealthReport
from dicom_node.web.prometheus import PrometheusMetrics
from dicom_node.web.server import WebServer
from tests.archives import CALLING, outgoing, silent_listener, stow_destination
from tests.builders import chest_radiograph
from tests.orthanc import running_orthanc
from tests.reception import FolderReception


@pytest.fixture
def two(tmp_path):
    return [outgoing(tmp_path, chest_radiograph(InstanceNumber=n)) for n in (1, 2)]


def words(statuses):
    return [(s.outcome, s.status) for s in statuses]


class ScriptedServer(ThreadingHTTPServer):
    """Answers every request with one status and body, and keeps what it was asked."""

    daemon_threads = True
    status = 200
    body = b""
    cut = False
    encoding = "identity"

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/dicom-web"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self._answer(self.rfile.read(length))

    def do_GET(self):
        self._answer(b"")

    def _answer(self, content):
        self.server.requests.append((self.path, dict(self.headers), content))
        if self.server.cut:
            return
        self.send_response(self.server.status)
        self.send_header("Content-Encoding", self.server.encoding)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ScriptedServer() as scripted:
        thread = threading.Thread(target=scripted.serve_forever, args=(0.02,))
        thread.start()
        yield scripted
        scripted.shutdown()
        thread.join()


def sender_to(url, **overrides):
    return make_sender(stow_destination(url, **overrides), CALLING)


def test_the_body_is_the_files_and_its_length_is_said(server, two):
    sender_to(server.url + "/").send(two)

    [(path, headers, content)] = server.requests
    assert path == "/dicom-web/studies"
    assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"; ')
    assert headers["Accept"] == "application/dicom+json"
    assert "Transfer-Encoding" not in headers
    boundary = headers["Content-Type"].rpartition("boundary=")[2].encode()
    parts = content.split(b"--" + boundary)
    assert [part.partition(b"\r\n\r\n")[2][:-2] for part in parts[1:-1]] == [
        item.path.read_bytes() for item in two
    ]
    assert parts[-1] == b"--\r\n"


def test_a_partial_success_is_told_apart(server, two):
    server.status = 202
    server.body = json.dumps(
        {
            "00081199": {
                "vr": "SQ",
                "Value": [{"00081155": {"vr": "UI", "Value": [two[0].sop_instance_uid]}}],
            },
            "00081198": {
                "vr": "SQ",
                "Value": [
                    {
                        "00081155": {"vr": "UI", "Value": [two[1].sop_instance_uid]},
                        "00081197": {"vr": "US", "Value": [0x0122]},
                    }
                ],
            },
        }
    ).encode()

    assert words(sender_to(server.url).send(two)) == [
        (Outcome.DELIVERED, "HTTP 202"),
        (Outcome.REFUSED, "sop-class-not-supported"),
    ]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(401, Outcome.REFUSED), (415, Outcome.REFUSED), (429, Outcome.FAILED), (503, Outcome.FAILED)],
)
def test_an_http_error_is_the_answer_for_all(server, two, status, outcome):
    server.status = status

    assert words(sender_to(server.url).send(two)) == [(outcome, f"HTTP {status}")] * 2


def test_a_log_in_page_is_no_delivery(server, two):
    server.body = b"<html>please log in</html>"

    assert words(sender_to(server.url).send(two)) == [(Outcome.FAILED, "not-acknowledged")] * 2


def test_a_connection_that_ends_without_an_answer_fails_the_batch(server, two):
    server.cut = True

    assert words(sender_to(server.url).send(two)) == [(Outcome.FAILED, "link-lost")] * 2


def test_an_answer_that_cannot_be_unpacked_acknowledges_nothing(server, two):
    server.encoding, server.body = "gzip", b"not gzip"

    answers = sender_to(server.url).send(two)

    assert words(answers) == [(Outcome.FAILED, "not-acknowledged")] * 2
    with pytest.raises(PeerUnreachable):
        sender_to(server.url).verify()


@pytest.mark.parametrize("url", ["http://pacs:abc/dicom", "http://pacs..local", "http://[::1/x"])
def test_an_address_that_is_none_is_unreachable(two, url):
    """Settings refuse these; what else a URL may hold is the client's to find."""
    sender = StowSender(stow_destination("http://pacs").model_copy(update={"url": url}))

    with pytest.raises(PeerUnreachable):
        sender.send(two)
    with pytest.raises(PeerUnreachable):
        sender.verify()


def test_a_silent_server_is_given_up(two):
    with silent_listener() as port:
        answers = sender_to(f"http://127.0.0.1:{port}", timeout_s=0.2).send(two)

    assert words(answers) == [(Outcome.FAILED, "timed-out")] * 2


def test_a_silent_server_does_not_verify():
    with silent_listener() as port, pytest.raises(PeerUnreachable):
        sender_to(f"http://127.0.0.1:{port}", timeout_s=0.2).verify()


@pytest.mark.parametrize("status", [200, 204, 400, 405, 501])
def test_a_server_that_answers_verifies(server, status):
    server.status = status

    sender_to(server.url).verify()

    assert server.requests[0][0].startswith("/dicom-web/studies?")


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_a_server_that_takes_no_request_from_us_does_not_verify(server, status):
    server.status = status

    with pytest.raises(PeerUnreachable, match=f"HTTP {status}"):
        sender_to(server.url).verify()


@pytest.mark.peer("orthanc")
def test_a_password_opens_the_door_and_a_wrong_one_does_not(tmp_path, two):
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("s3cret\n")
    wrong.write_text("guess")
    options = {"AuthenticationEnabled": True, "RegisteredUsers": {"ai": "s3cret"}}

    with running_orthanc(tmp_path / "orthanc", options=options) as orthanc:
        url = orthanc.dicomweb_url
        refused = sender_to(url, username="ai", password_file=wrong).send(two)
        delivered = sender_to(url, username="ai", password_file=right).send(two)

    assert words(refused) == [(Outcome.REFUSED, "HTTP 401")] * 2
    assert [s.outcome for s in delivered] == [Outcome.DELIVERED] * 2


def test_a_password_file_that_is_away_is_a_wrong_configuration(tmp_path):
    with pytest.raises(InvalidConfiguration, match="password_file"):
        sender_to("http://127.0.0.1", username="ai", password_file=tmp_path / "none")


@contextmanager
def a_node(folder):
    folder.mkdir()
    reception = FolderReception(folder)
    settings = WebSettings(port=0)
    app = make_app(reception, lambda: HealthReport(components={}), PrometheusMetrics(), settings)
    web = WebServer(app, settings, grace_s=1)
    web.start()
    try:
        yield reception, f"http://127.0.0.1:{web.port}/dicom-web"
    finally:
        web.stop()


def test_one_node_delivers_to_another(tmp_path, two):
    with a_node(tmp_path / "other") as (reception, url):
        sender = sender_to(url)
        sender.verify()
        first, second = sender.send(two), sender.send(two)

    assert [s.outcome for s in (*first, *second)] == [Outcome.DELIVERED] * 4
    assert [file.path.read_bytes() for file in reception.received[:2]] == [
        item.path.read_bytes() for item in two
    ]
    assert dcmread(BytesIO(two[0].path.read_bytes())) == dcmread(reception.received[0].path)


def test_the_reasons_of_another_node_arrive(tmp_path, two):
    with a_node(tmp_path / "other") as (reception, url):
        reception.storage_classes = frozenset()
        answers = sender_to(url).send(two)

    assert words(answers) == [(Outcome.REFUSED, "sop-class-not-supported")] * 2
