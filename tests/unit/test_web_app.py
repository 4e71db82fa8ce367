"""Health, metrics and errors over HTTP."""

import contextlib
import socket
import threading

import httpx
import pytest

from audit.errors import InvalidConfiguration
from dicom_node.config.settings import WebSettings
from dicom_node.web import server as server_module
from dicom_node.web.app import make_app
from dicom_node.web.health import ComponentHealth, HealthReport, HealthState
from dicom_node.web.prometheus import PrometheusMetrics
from dicom_node.web.server import WebServer, WebServerFailed
from tests.nodes import wait_for
from tests.reception import FolderReception

OK = ComponentHealth(state=HealthState.OK)
DEGRADED = ComponentHealth(state=HealthState.DEGRADED, detail="one destination is away")
FAILING = ComponentHealth(state=HealthState.FAILING)


@pytest.fixture
def serve(tmp_path):
    servers = []

    def start(health=lambda: HealthReport(components={}), metrics=None, **settings):
        web = WebSettings(port=0, **settings)
        app = make_app(FolderReception(tmp_path), health, metrics or PrometheusMetrics(), web)
        server = WebServer(app, web, grace_s=1)
        server.start()
        servers.append(server)
        return httpx.Client(base_url=f"http://127.0.0.1:{server.port}")

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize(
    ("components", "status_code", "status"),
    [
        ({}, 200, "ok"),
        ({"database": OK, "models": OK}, 200, "ok"),
        ({"database": OK, "destinations": DEGRADED}, 200, "degraded"),
        ({"database": FAILING, "destinations": DEGRADED, "models": OK}, 503, "failing"),
    ],
)
def test_health_is_that_of_the_worst_component(serve, components, status_code, status):
    answer = serve(lambda: HealthReport(components=components)).get("/healthz")

    assert answer.status_code == status_code
    assert answer.json()["status"] == status
    assert {n: c["status"] for n, c in answer.json()["components"].items()} == {
        name: component.state for name, component in components.items()
    }
    assert answer.headers["cache-control"] == "no-store"


def test_the_detail_of_a_component_is_shown(serve):
    answer = serve(lambda: HealthReport(components={"destinations": DEGRADED})).get("/healthz")

    assert answer.json()["components"]["destinations"]["detail"] == "one destination is away"


def test_metrics_are_exposed(serve):
    metrics = PrometheusMetrics()
    metrics.count("instances_stored_total", 2, calling_ae_title="CR_1")
    metrics.observe("decode_seconds", 0.03)
    metrics.gauge("free_bytes", 12)

    answer = serve(metrics=metrics).get("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.text.splitlines()
    assert 'dicom_node_instances_stored_total{calling_ae_title="CR_1"} 2.0' in lines
    assert "dicom_node_decode_seconds_count 1.0" in lines
    assert 'dicom_node_decode_seconds_bucket{le="0.05"} 1.0' in lines
    assert 'dicom_node_decode_seconds_bucket{le="0.02"} 0.0' in lines
    assert "dicom_node_free_bytes 12.0" in lines


@pytest.mark.parametrize("again", ["other labels", "other kind"])
def test_a_sample_that_does_not_fit_is_left_out_and_breaks_nothing(again):
    metrics = PrometheusMetrics()
    metrics.count("things_total", state="a")

    if again == "other labels":
        metrics.count("things_total", kind="b")
    else:
        metrics.gauge("things_total", 7, state="a")

    assert b'dicom_node_things_total{state="a"} 1.0' in metrics.exposition()
    assert b"7.0" not in metrics.exposition()


def test_counting_from_many_threads_loses_nothing():
    metrics = PrometheusMetrics()

    def work():
        for _ in range(500):
            metrics.count("things_total")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert b"dicom_node_things_total 4000.0" in metrics.exposition()


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/", "/dicom-web"])
def test_nothing_else_is_served(serve, path):
    answer = serve().get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {"type": "about:blank", "title": "Not Found", "status": 404}
    assert "server" not in answer.headers


def test_stow_can_be_switched_off(serve):
    assert serve(stow_enabled=False).post("/dicom-web/studies").status_code == 404


def test_an_error_of_ours_tells_the_client_nothing(serve):
    def broken():
        raise RuntimeError("DOE^JOHN")

    answer = serve(broken).get("/healthz")

    assert answer.status_code == 500
    assert answer.json()["title"] == "Internal Server Error"
    assert "DOE" not in answer.text


@pytest.mark.parametrize("content", [None, "", "  \n", "pässword"])
def test_a_token_file_without_a_token_is_a_wrong_configuration(tmp_path, content):
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content, encoding="utf-8")

    with pytest.raises(InvalidConfiguration, match="stow_token_file"):
        make_app(
            FolderReception(tmp_path),
            lambda: HealthReport(components={}),
            PrometheusMetrics(),
            WebSettings(stow_token_file=file),
        )


def test_a_port_that_is_taken_is_said_at_start(serve, tmp_path):
    taken = serve().base_url.port
    settings = WebSettings(port=taken)
    app = make_app(
        FolderReception(tmp_path),
        lambda: HealthReport(components={}),
        PrometheusMetrics(),
        settings,
    )

    with pytest.raises(WebServerFailed):
        WebServer(app, settings).start()


def test_a_stopped_server_answers_no_more_and_stops_twice(tmp_path):
    settings = WebSettings(port=0)
    app = make_app(
        FolderReception(tmp_path),
        lambda: HealthReport(components={}),
        PrometheusMetrics(),
        settings,
    )
    server = WebServer(app, settings, grace_s=1)
    server.start()
    url = f"http://127.0.0.1:{server.port}/healthz"
    assert httpx.get(url).status_code == 200

    server.stop()
    server.stop()

    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_those_who_ask_nothing_keep_nobody_out_for_long(serve, monkeypatch):
    monkeypatch.setattr(server_module, "_HEAD_S", 0.5)
    client = serve()
    address = ("127.0.0.1", client.base_url.port)

    with contextlib.ExitStack() as silent:
        opened = [
            silent.enter_context(socket.create_connection(address))
            for _ in range(server_module._CONCURRENT_REQUESTS + 10)
        ]
        opened[0].sendall(b"GET /healthz HTT")  # a head that never ends

        wait_for(lambda: client.get("/healthz").status_code == 200)

        opened[0].settimeout(5)
        assert opened[0].recv(1) == b""
    assert client.get("/healthz").status_code == 200
