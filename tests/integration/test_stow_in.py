"""STOW-RS into a running server: real clients, hostile bodies, a failing intake."""

import contextlib
import socket
import threading
import time
from io import BytesIO
from uuid import uuid4

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from audit.errors import DatabaseAway, DiskFull, Fault, InvalidDataset
from dicom_node.config.settings import WebSettings
from dicom_node.dicomweb.stow import StowLimits
from dicom_node.web.app import make_app
from dicom_node.web.health import HealthReport
from dicom_node.web.prometheus import PrometheusMetrics
from dicom_node.web.server import WebServer
from tests.builders import chest_radiograph, part10_bytes
from tests.orthanc import running_orthanc
from tests.reception import FolderReception

JSON = "application/dicom+json"


@pytest.fixture
def reception(tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    return FolderReception(folder)


@contextlib.contextmanager
def serving(reception, settings=None, **limits):
    settings = settings or WebSettings(port=0)
    app = make_app(
        reception,
        lambda: HealthReport(components={}),
        PrometheusMetrics(),
        settings,
        StowLimits(**limits),
    )
    server = WebServer(app, settings, grace_s=1)
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}/dicom-web"
    finally:
        server.stop()


@pytest.fixture
def base(reception):
    with serving(reception) as url:
        yield url


def body(*parts, boundary="frontier", part_type="application/dicom"):
    """Return a multipart body of `parts`."""
    head = f"--{boundary}\r\nContent-Type: {part_type}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()


def post(base, content, *, path="/studies", content_type=None, **headers):
    content_type = content_type or (
        'multipart/related; type="application/dicom"; boundary=frontier'
    )
    return httpx.post(
        base + path, content=content, headers={"Content-Type": content_type, **headers}, timeout=20
    )


def items(answer, tag):
    return answer.json().get(tag, {}).get("Value", [])


def test_dicomweb_client_stores_and_is_told_so(base, reception):
    # Read from files, as the client writes a preamble only where it read one.
    sent = [dcmread(BytesIO(part10_bytes(chest_radiograph()))) for _ in range(2)]

    answer = DICOMwebClient(base).store_instances(sent)

    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [
        ds.SOPInstanceUID for ds in sent
    ]
    assert [dcmread(file.path) for file in reception.received] == sent
    assert reception.callers[0].protocol == "STOW-RS"
    assert reception.callers[0].address == "127.0.0.1"
    assert reception.open_carriages == 0


@pytest.mark.peer("orthanc")
def test_orthanc_as_client_stores(reception, tmp_path):
    ds = chest_radiograph()
    with serving(reception) as base, running_orthanc(tmp_path / "orthanc") as orthanc:
        orthanc.add_dicomweb_server("node", base + "/")
        uploaded = httpx.post(f"{orthanc.url}/instances", content=part10_bytes(ds)).json()

        job = orthanc.post(
            "/dicom-web/servers/node/stow", {"Resources": [uploaded["ID"]], "Synchronous": True}
        )

    assert job["InstancesCount"] in (1, "1")
    [received] = reception.received
    assert dcmread(received.path) == ds


def test_the_bytes_are_kept_as_sent(base, reception):
    content = part10_bytes(chest_radiograph())

    answer = post(base, body(content))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == JSON
    assert reception.received[0].path.read_bytes() == content


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/related; type="application/dicom"; boundary=frontier',
        "multipart/related; type=application/dicom; boundary=frontier",
        'Multipart/Related;boundary="frontier";TYPE="Application/DICOM"',
        "multipart/related; boundary=frontier",
        'multipart/related; type="application/dicom;transfer-syntax=*"; boundary=frontier',
    ],
)
def test_every_way_to_write_the_content_type_is_understood(base, content_type):
    answer = post(base, body(part10_bytes(chest_radiograph())), content_type=content_type)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("multipart/related; type=application/dicom", 400),
        ('multipart/related; type=application/dicom; boundary=""', 400),
        (f"multipart/related; type=application/dicom; boundary={'b' * 5000}", 400),
        ("multipart/form-data; boundary=frontier", 415),
        ("application/dicom", 415),
        ("multipart/related; type=application/dicom+json; boundary=frontier", 415),
        ("multipart/related; type=application/dicom+xml; boundary=frontier", 415),
        ("", 415),
    ],
)
def test_another_content_type_is_refused(base, reception, content_type, status):
    answer = httpx.post(
        f"{base}/studies",
        content=body(part10_bytes(chest_radiograph())),
        headers={"Content-Type": content_type},
    )

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert reception.received == []


def test_a_compressed_body_is_refused(base):
    answer = post(base, b"x", **{"Content-Encoding": "gzip"})

    assert answer.status_code == 415


def test_one_bad_part_does_not_hinder_the_others(base, reception):
    good = chest_radiograph()

    answer = post(base, body(b"not a DICOM file", part10_bytes(good)))

    assert answer.status_code == 202
    [stored] = items(answer, "00081199")
    assert stored["00081155"]["Value"] == [good.SOPInstanceUID]
    assert items(answer, "0008119A") == [{"00081197": {"vr": "US", "Value": [0xC000]}}]
    assert reception.left_over() == set()


def failing(error):
    def fault(_file):
        raise error

    return fault


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (DiskFull("full"), 503, 0xA700),
        (DatabaseAway("away"), 503, 0xA700),
        (InvalidDataset("no study"), 409, 0xC000),
        (Fault("ours"), 500, 0x0110),
    ],
)
def test_a_refusal_of_the_intake_reaches_the_client(base, reception, error, status, reason):
    reception.fault = failing(error)
    ds = chest_radiograph()

    answer = post(base, body(part10_bytes(ds)))

    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 503)
    [failed] = items(answer, "00081198")
    assert failed["00081155"]["Value"] == [ds.SOPInstanceUID]
    assert failed["00081197"]["Value"] == [reason]
    assert list(reception.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("ds", "reason"),
    [
        (chest_radiograph(SOPClassUID=CTImageStorage), 0x0122),
        (chest_radiograph(StudyInstanceUID="1.2.4"), 0xC409),
    ],
    ids=["SOP class", "study"],
)
def test_an_instance_that_does_not_belong_here_is_refused(base, reception, ds, reason):
    answer = post(base, body(part10_bytes(ds)), path="/studies/1.2.3")

    assert answer.status_code == 409
    assert items(answer, "00081198")[0]["00081197"]["Value"] == [reason]
    assert reception.received == []
    assert reception.left_over() == set()


def test_an_instance_of_the_named_study_is_stored(base, reception):
    ds = chest_radiograph()

    answer = post(base, body(part10_bytes(ds)), path=f"/studies/{ds.StudyInstanceUID}")

    assert answer.status_code == 200
    assert len(reception.received) == 1


def test_an_unknown_transfer_syntax_is_refused_as_one(base):
    content = GOOD.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0", 1)

    answer = post(base, body(content))

    assert answer.status_code == 409
    assert items(answer, "0008119A")[0]["00081197"]["Value"] == [0xC122]


GOOD = part10_bytes(chest_radiograph())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"--frontier--\r\n",
        b"--frontier",
        b"--frontier\r\nContent-Type",
        b"--other\r\n\r\nx\r\n--other--\r\n",
        b"--frontier\r\nContent-Type: application/dicom\r\n\r\n" + GOOD,
        b"--frontier\r\n" + b"X: y\r\n" * 1000 + b"\r\nx\r\n--frontier--\r\n",
        b"--frontier\r\nX: " + b"y" * 100_000 + b"\r\n\r\nx\r\n--frontier--\r\n",
        b"--frontier\r\n: nothing\r\n\r\nx\r\n--frontier--\r\n",
    ],
    ids=[
        "empty", "no part", "cut boundary", "cut header", "other boundary", "no end",
        "many headers", "long header", "nameless header",
    ],
)  # fmt: skip
def test_a_malformed_body_is_refused_and_leaves_nothing(base, reception, content):
    answer = post(base, content)

    assert answer.status_code == 400
    assert list(reception.folder.iterdir()) == []
    assert reception.open_carriages == 0


def test_what_was_stored_before_the_body_broke_is_said(base, reception):
    whole = body(GOOD)
    broken = whole[: -len(b"--frontier--\r\n")] + b"--frontier\r\nContent-Type: application/dicom"

    answer = post(base, broken)

    assert answer.status_code == 202
    assert len(items(answer, "00081199")) == 1
    assert len(items(answer, "0008119A")) == 1
    assert reception.left_over() == set()


def test_a_part_of_another_type_is_not_kept(base, reception):
    answer = post(base, body(GOOD, part_type="image/jpeg"))

    assert answer.status_code == 409
    assert list(reception.folder.iterdir()) == []


def test_a_boundary_inside_the_pixels_does_not_cut_them(base, reception):
    ds = chest_radiograph()
    ds.PixelData = (b"\r\n--frontie\r\n--frontierx\r\n-" * 400)[: 64 * 64 * 2]

    post(base, body(part10_bytes(ds)))

    assert dcmread(reception.received[0].path).PixelData == ds.PixelData


def test_chunks_of_any_size_give_the_same_file(base, reception):
    content = body(GOOD, GOOD[:-2] + b"\x01\x01")

    answer = post(base, (content[i : i + 7] for i in range(0, len(content), 7)))

    assert answer.status_code == 200
    assert [file.path.read_bytes() for file in reception.received] == [
        GOOD,
        GOOD[:-2] + b"\x01\x01",
    ]


def test_a_part_over_the_limit_is_dropped_and_the_next_is_stored(reception):
    with serving(reception, maximum_object_bytes=len(GOOD)) as base:
        answer = post(base, body(GOOD + bytes(2), GOOD))

    assert answer.status_code == 202
    assert [file.path.read_bytes() for file in reception.received] == [GOOD]
    assert reception.left_over() == set()


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused(reception, announced):
    content = body(GOOD)
    with serving(reception, maximum_body_bytes=len(content) - 1) as base:
        answer = post(base, content if announced else iter([content]))

    assert answer.status_code == 413
    assert reception.received == []


def test_a_full_disk_is_said_for_the_part(base, reception, monkeypatch):
    def no_space():
        raise DiskFull("less than the minimum is free")

    monkeypatch.setattr(reception, "temporary_path", no_space)

    answer = post(base, body(GOOD))

    assert answer.status_code == 503
    assert items(answer, "0008119A")[0]["00081197"]["Value"] == [0xA700]


def test_a_token_is_asked_for_when_one_is_set(reception, tmp_path):
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    with serving(reception, WebSettings(port=0, stow_token_file=file)) as base:
        without = post(base, body(GOOD))
        wrong = post(base, body(GOOD), Authorization="Bearer s3cre")
        other_scheme = post(base, body(GOOD), Authorization="Basic s3cret")
        right = post(base, body(GOOD), Authorization="Bearer s3cret")

    assert [a.status_code for a in (without, wrong, other_scheme, right)] == [401, 401, 401, 200]
    assert without.headers["www-authenticate"] == "Bearer"
    assert len(reception.received) == 1


def test_a_refused_caller_gets_403_and_the_name_of_the_rule(base, reception):
    reception.rule = "address"

    answer = post(base, body(GOOD))

    assert answer.status_code == 403
    assert answer.json()["detail"] == "refused by the rule address"


def eventually(condition, deadline_s=5):
    """Return once `condition` holds; fail at the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def raw_request(base, content_length):
    """Open a connection and send the head of a request, and the first part of its body."""
    url = httpx.URL(base)
    connection = socket.create_connection((url.host, url.port), timeout=5)
    connection.sendall(
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: multipart/related; type=application/dicom; boundary=frontier\r\n"
        + f"Content-Length: {content_length}\r\n\r\n".encode()
        + b"--frontier\r\nContent-Type: application/dicom\r\n\r\n"
        + GOOD[:2000]
    )
    return connection


def test_a_silent_client_is_given_up(reception):
    with serving(reception, idle_timeout_s=0.2) as base, raw_request(base, 10**6) as connection:
        answer = connection.recv(4096)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert list(reception.folder.iterdir()) == []
    assert reception.open_carriages == 0


def test_a_client_that_goes_away_leaves_nothing(reception):
    with serving(reception) as base:
        connection = raw_request(base, 10**6)
        eventually(lambda: reception.open_carriages == 1)
        connection.close()
        eventually(lambda: reception.open_carriages == 0)

    assert list(reception.folder.iterdir()) == []


def test_one_silent_client_does_not_stop_the_others(reception):
    with serving(reception, threads=1, idle_timeout_s=5) as base, raw_request(base, 10**6):
        answer = post(base, body(GOOD))

    assert answer.status_code == 200


def test_many_clients_at_once_are_all_stored(base, reception):
    contents = [part10_bytes(chest_radiograph()) for _ in range(12)]
    answers = []
    threads = [
        threading.Thread(target=lambda c=content: answers.append(post(base, body(c)).status_code))
        for content in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [200] * 12
    assert {file.path.read_bytes() for file in reception.received} == set(contents)


def test_an_error_does_not_repeat_the_address(base):
    uid = uuid4().hex

    answer = httpx.get(f"{base}/studies/{uid}")

    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert uid not in answer.text
