"""``dicom-node models import``: from a file or a server to a model that runs in the node."""

import hashlib
import json
import re
import ssl
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from audit.clock import SystemClock
from audit.metrics import NullMetrics
from dicom_node.cli.main import main
from inference.importing import fetch
from inference.importing.checkpoint import UnusableCheckpoint
from inference.importing.fetch import DownloadFailed
from inference.registry import Registry
from inference.runtime.torch_runtime import torch_runtimes
from inference.service import InferenceOptions, InferenceService
from inference.types import Decision, Outcome
from tests.builders import chest_radiograph, part10_bytes
from tests.certificates import make_certificates
from tests.checkpoints import saved, torchxrayvision
from tests.models import label, model_folder

CONTENT = b"some weights" * 1000


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@contextmanager
def server(content, *, redirect="", cut=0, hide_length=False, tls=None):
    """Serve `content` at every address, and keep the addresses that were asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if redirect and self.path.endswith("/first"):
                self.send_response(302)
                self.send_header("Location", redirect)
                self.end_headers()
                return
            self.send_response(404 if self.path == "/nowhere" else 200)
            if not hide_length:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) - cut])

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        httpd.socket = tls.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{httpd.server_port}", asked
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def download(url, content=CONTENT, **more):
    told = {"maximum_bytes": 10**6, **more}
    with tempfile.TemporaryDirectory() as place:
        found = fetch.fetch(url, sha256=sha256(content), place=Path(place), **told)
        assert not any(Path(place).iterdir())
    return found


def test_a_download_is_what_the_server_has_and_tells_its_progress():
    told = []
    with server(CONTENT) as (url, _):
        assert download(f"{url}/w.pt", progress=lambda *now: told.append(now)) == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_a_redirect_is_followed():
    with server(CONTENT, redirect="/second") as (url, asked):
        assert download(f"{url}/first") == CONTENT
    assert asked == ["/first", "/second"]


@pytest.mark.parametrize(
    ("to", "rule"),
    [
        ("http://192.0.2.1/w.pt", "http:// is refused"),
        ("file:///etc/hostname", "https://"),
        ("/first", "leads on"),
    ],
)
def test_a_redirect_to_what_is_not_allowed_is_refused(to, rule):
    with server(CONTENT, redirect=to) as (url, _), pytest.raises(UnusableCheckpoint, match=rule):
        download(f"{url}/first")


def test_a_server_of_https_does_not_lead_to_a_service_of_this_machine(tmp_path, monkeypatch):
    made = make_certificates(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.certificate("server"), made.key("server"))
    monkeypatch.setenv("SSL_CERT_FILE", str(made.ca))
    with (
        server(CONTENT) as (local, asked),
        server(CONTENT, redirect=local, tls=tls) as (url, _),
        pytest.raises(UnusableCheckpoint, match="this machine"),
    ):
        download(f"{url}/first")
    assert asked == []


def test_a_certificate_that_is_not_trusted_is_told(tmp_path):
    made = make_certificates(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.certificate("server"), made.key("server"))
    with (
        server(CONTENT, tls=tls) as (url, _),
        pytest.raises(fetch.DownloadFailed, match="certificate is not trusted"),
    ):
        download(f"{url}/w.pt")


@pytest.mark.parametrize("proxy", ["foo://192.0.2.1", "socks5://192.0.2.1"])
def test_a_proxy_that_cannot_be_used_is_told(proxy, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(UnusableCheckpoint, match="proxy"):
        download("https://192.0.2.2/w.pt")


def test_nor_does_another_machine_over_http_that_the_person_allowed(monkeypatch):
    with server(CONTENT) as (local, asked), server(CONTENT, redirect=local) as (proxy, by_proxy):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        with pytest.raises(UnusableCheckpoint, match="this machine"):
            download("http://192.0.2.1/first", insecure_http=True)
    assert (by_proxy, asked) == (["http://192.0.2.1/first"], [])


@pytest.mark.parametrize(
    ("address", "rule"),
    [("http://192.0.2.1/w.pt", "insecure-http"), ("https:///w.pt", "name a server")],
)
def test_an_address_that_is_not_allowed_is_not_asked(address, rule):
    with pytest.raises(UnusableCheckpoint, match=rule):
        download(address)


def test_other_content_is_refused():
    with (
        server(CONTENT[:-1] + b"X") as (url, _),
        pytest.raises(UnusableCheckpoint, match="sha256 differs"),
    ):
        download(url)


def test_a_download_that_is_cut_off_may_be_tried_again():
    with server(CONTENT, cut=100) as (url, _), pytest.raises(DownloadFailed, match="broke off"):
        download(url)


def test_a_page_that_is_not_there_is_not_taken_for_the_file():
    with server(CONTENT) as (url, _), pytest.raises(DownloadFailed, match="404"):
        download(f"{url}/nowhere")


@pytest.mark.parametrize("hide_length", [False, True])
def test_a_file_that_is_too_large_is_refused_announced_or_not(hide_length):
    with (
        server(CONTENT, hide_length=hide_length) as (url, _),
        pytest.raises(UnusableCheckpoint, match="larger than"),
    ):
        download(url, maximum_bytes=len(CONTENT) - 1)


def test_a_local_file_is_held_to_size_and_sha256_too(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(CONTENT)

    assert download(str(path)) == CONTENT
    for more in ({"maximum_bytes": 10}, {"content": b"other"}):
        with pytest.raises(UnusableCheckpoint):
            download(str(path), **more)
    with pytest.raises(UnusableCheckpoint, match="cannot be read"):
        download(str(tmp_path / "nowhere"))


@pytest.fixture(scope="module")
def checkpoint():
    return saved(torchxrayvision())


@pytest.fixture
def configuration(tmp_path):
    path = tmp_path / "config.yaml"
    (tmp_path / "models").mkdir()
    document = {"inference": {"model_dirs": [str(tmp_path / "models")]}}
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.slow
def test_an_imported_model_is_listed_and_runs_in_the_node(
    tmp_path, configuration, checkpoint, capsys
):
    with server(checkpoint) as (url, _):
        command = ["models", "import", f"{url}/weights.pt?x=1", "--sha256", sha256(checkpoint)]
        code = main([*command, "--report", "Hernia=0.0", "--config", str(configuration)])
    assert code == 0
    assert "reported: Hernia" in capsys.readouterr().out

    assert main(["models", "list", "--json", "--config", str(configuration)]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [mine] = [each for each in listed if each["name"] == "torchxrayvision-densenet121"]
    assert mine["training"]["imported_from"] == "weights.pt"

    gate = {"name": "gatekeeper", "task": "body_part"}
    model_folder(
        tmp_path / "models",
        **gate,
        labels=[label(key, role="auxiliary") for key in ("FrontalChest", "Inverted", "Turned")],
        head_bias=[9.0, -9.0, -9.0],
    )
    service = InferenceService(
        Registry.load([tmp_path / "models"], shipped=None),
        runtime_for=torch_runtimes(device="cpu", threads=1),
        options=InferenceOptions(),
        clock=SystemClock(),
        metrics=NullMetrics(),
    )
    image = tmp_path / "image.dcm"
    image.write_bytes(part10_bytes(chest_radiograph()))
    try:
        _, said = service.analyse(image, ["gatekeeper", "torchxrayvision-densenet121"]).predictions
    finally:
        service.close()
    assert said.outcome is Outcome.PREDICTED
    decisions = {each.key: each.decision for each in said.labels}
    assert decisions.pop("Hernia") is Decision.PRESENT
    assert set(decisions.values()) == {Decision.NOT_REPORTED}
    assert [heat.key for heat in said.heat_maps] == ["Hernia"]


@pytest.mark.parametrize("more", [["--dry-run"], ["--sha256", "0" * 64], ["--name", "bodypart"]])
def test_a_dry_run_and_a_refusal_leave_nothing(tmp_path, configuration, checkpoint, capsys, more):
    path = tmp_path / "w.pt"
    path.write_bytes(checkpoint)
    command = ["models", "import", str(path), "--sha256", sha256(checkpoint)]

    code = main([*command, *more, "--config", str(configuration)])

    assert code == (0 if more == ["--dry-run"] else 1)
    assert list((tmp_path / "models").iterdir()) == []
    assert ("error:" in capsys.readouterr().err) == bool(code)


@pytest.mark.slow
def test_the_second_import_replaces_the_first_where_that_is_said(
    tmp_path, configuration, checkpoint, capsys
):
    path = tmp_path / "w.pt"
    path.write_bytes(checkpoint)
    command = ["models", "import", str(path), "--sha256", sha256(checkpoint)]
    again = [*command, "--report", "Mass=0.3", "--version", "1.0.1", "--config", str(configuration)]

    assert main([*command, "--config", str(configuration)]) == 0
    assert main([*again, "--replace", "--dry-run"]) == 0
    assert main(again) == 1
    assert "--replace" in capsys.readouterr().err
    assert main([*again, "--replace"]) == 0

    assert main(["models", "list", "--json", "--config", str(configuration)]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[0] == "{"]
    [mine] = [each for each in listed if each["name"] == "torchxrayvision-densenet121"]
    assert mine["version"] == "1.0.1"
    assert [each["key"] for each in mine["labels"] if each.get("reported", True)] == ["Mass"]


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_a_folder_of_models_that_is_not_there_yet_is_made(tmp_path, configuration, checkpoint, dry):
    path = tmp_path / "w.pt"
    path.write_bytes(checkpoint)
    (tmp_path / "models").rmdir()
    command = ["models", "import", str(path), "--sha256", sha256(checkpoint), *dry]

    assert main([*command, "--config", str(configuration)]) == 0

    made = [each.name for each in tmp_path.glob("models/*")]
    assert made == ([] if dry else ["torchxrayvision-densenet121"])
    assert (tmp_path / "models").exists() != bool(dry)


@pytest.mark.parametrize(
    ("more", "code", "rule"),
    [
        (["--out", f"{__file__}/models"], 4, "test_models_import.py"),
        (["--out", "/proc/models"], 4, "/proc"),
        (["--name", "chest-findings"], 1, "installed"),
        (["--layout", "chexnet"], 1, "--replace"),
    ],
)
def test_where_a_model_cannot_go_nothing_is_downloaded(configuration, capsys, more, code, rule):
    (configuration.parent / "models" / "chexnet").mkdir()
    with server(CONTENT) as (url, asked):
        command = ["models", "import", url, "--sha256", sha256(CONTENT), *more]
        assert main([*command, "--config", str(configuration)]) == code
    assert asked == []
    assert re.match(f"error: .*{rule}", capsys.readouterr().err)


@pytest.mark.parametrize(
    "more", [["--name", "Mine"], ["--version", "2"], ["--sha256", "0"], ["--report", "Mass=1.5"]]
)
def test_values_that_no_model_may_have_are_told_at_once(more):
    with pytest.raises(SystemExit, match="2"):
        main(["models", "import", "nowhere", "--sha256", "0" * 64, *more])


def test_without_a_place_for_models_the_command_says_what_to_add(tmp_path, capsys):
    empty = tmp_path / "config.yaml"
    empty.write_text("{}")

    assert main(["models", "import", "x", "--sha256", "0" * 64, "--config", str(empty)]) == 3
    assert "inference.model_dirs" in capsys.readouterr().err
