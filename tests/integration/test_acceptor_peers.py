"""The acceptor with other makers' senders, plain and over TLS, and with real images."""

import hashlib
import socket
import ssl
import subprocess

import pytest
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE

from dicom_node.core.accepted import STORAGE_CLASSES, TRANSFER_SYNTAXES
from tests.acceptors import CountingMetrics, FolderReception, accepting
from tests.builders import chest_radiograph, part10_bytes
from tests.certificates import make_certificates
from tests.data import data_dir
from tests.peers import require
from tests.raw_peer import (
    CLOSED,
    RELEASE_RQ,
    RawPeer,
    associate_rq,
    eventually,
    store_command,
    store_pdus,
)

_PREAMBLE_BYTES = 132
_GROUP_LENGTH_ELEMENT_BYTES = 12


@pytest.fixture
def reception(tmp_path):
    return FolderReception(tmp_path / "node")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.dcm"
    path.write_bytes(part10_bytes(chest_radiograph()))
    return path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def run(*command: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def data_set_of(path) -> bytes:
    """Return the bytes behind the file meta information."""
    content = path.read_bytes()
    length = read_file_meta_info(path).FileMetaInformationGroupLength
    return content[_PREAMBLE_BYTES + _GROUP_LENGTH_ELEMENT_BYTES + length :]


# Senders


def test_pynetdicom_sends_an_image(reception):
    ds = chest_radiograph()
    ae = AE(ae_title="PACS")
    ae.add_requested_context("1.2.840.10008.1.1")
    ae.add_requested_context(ds.SOPClassUID, list(TRANSFER_SYNTAXES))
    with accepting(reception) as acceptor:
        assoc = ae.associate("127.0.0.1", acceptor.port, ae_title="AI_NODE")
        assert assoc.is_established
        assert assoc.send_c_echo().Status == 0x0000
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        assert assoc.send_c_store(ds).Status == 0x0000
        assoc.release()

    [kept] = reception.kept.iterdir()
    assert dcmread(kept).PixelData == ds.PixelData
    assert kept.read_bytes()[:_PREAMBLE_BYTES] == bytes(128) + b"DICM"


@pytest.mark.peer("dcmtk")
def test_dcmtk_echoes_and_stores(reception, image):
    require("echoscu", "storescu")
    with accepting(reception) as acceptor:
        assert run("echoscu", "127.0.0.1", acceptor.port).returncode == 0
        assert run("storescu", "127.0.0.1", acceptor.port, image).returncode == 0
        assert run("storescu", "--abort", "127.0.0.1", acceptor.port, image).returncode == 0
        assert run("storescu", "-pdu", "4096", "127.0.0.1", acceptor.port, image).returncode == 0

    assert len(reception.received) == 3
    assert {file.content_sha256 for file in reception.received} == {
        hashlib.sha256(data_set_of(image)).hexdigest()
    }


@pytest.mark.peer("dcmtk")
def test_dcmtk_is_told_the_reason_of_a_rejection(reception, image):
    require("storescu")
    reception.refuses = "calling-ae-title"
    with accepting(reception) as acceptor:
        result = run("storescu", "127.0.0.1", acceptor.port, image)

    assert result.returncode != 0
    assert "Calling AE Title Not Recognized" in result.stdout + result.stderr


@pytest.mark.data
@pytest.mark.peer("dcmtk")
def test_dcmsend_delivers_every_real_radiograph(reception):
    require("dcmsend")
    images = [path for path in _images("radiographs") if "PixelData" in dcmread(path, force=True)]
    with accepting(reception) as acceptor:
        result = run("dcmsend", "-v", "-dn", "127.0.0.1", acceptor.port, *images)

    assert result.returncode == 0, result.stderr
    # dcmsend re-encodes data sets, but no pixels; several of these files share their UIDs.
    assert _pixels(reception.kept.iterdir()) == _pixels(images)


# Bytes as they are


@pytest.mark.data
@pytest.mark.parametrize("folder", ["radiographs", "transfer_syntax_matrix"])
def test_the_data_set_is_stored_byte_for_byte(reception, folder):
    images = _images(folder)
    reception.storage_classes = frozenset(
        {*STORAGE_CLASSES, *(dcmread(path, stop_before_pixels=True).SOPClassUID for path in images)}
    )
    with accepting(reception) as acceptor:
        for path in images:
            assert _send_as_is(acceptor.port, path) == 0x0000, path.name

    expected = sorted(hashlib.sha256(data_set_of(path)).hexdigest() for path in images)
    kept = sorted(hashlib.sha256(data_set_of(p)).hexdigest() for p in reception.kept.iterdir())
    assert sorted(file.content_sha256 for file in reception.received) == kept == expected


@pytest.mark.data
def test_a_broken_file_is_answered_and_never_ends_the_association(reception):
    broken = sorted((data_dir() / "dicom" / "broken").iterdir())
    statuses = {}
    with accepting(reception) as acceptor, RawPeer(acceptor.port) as peer:
        peer.associate()
        ds = chest_radiograph()
        for path in broken:
            peer.send(store_pdus(store_command(ds), path.read_bytes()[_PREAMBLE_BYTES:]))
            statuses[path.name] = peer.status()
        assert peer.echo() == 0x0000

    # Sent under another instance's name, every one is refused, one way or the other.
    assert set(statuses.values()) <= {0xC000, 0xA900}
    assert len(statuses) == len(broken) > 40
    assert reception.leftovers == []


@pytest.mark.data
def test_a_broken_file_under_its_own_name_is_kept_as_it_is_or_refused(reception):
    answers = {}
    with accepting(reception) as acceptor:
        for path in sorted((data_dir() / "dicom" / "broken").iterdir()):
            ds = dcmread(path, force=True, stop_before_pixels=True)
            if "SOPClassUID" not in ds or "TransferSyntaxUID" not in ds.file_meta:
                continue
            reception.storage_classes = frozenset({str(ds.SOPClassUID)})
            answers[path.name] = _send_as_is(acceptor.port, path)

    assert answers["MR_truncated.dcm"] == 0xC000
    assert answers["rtplan_truncated.dcm"] == 0xC000
    assert answers["SC_rgb_small_odd.dcm"] == 0x0000
    assert set(answers.values()) <= {0x0000, 0xC000, 0xA900, 0x0117}
    assert len(reception.received) == list(answers.values()).count(0x0000)
    assert reception.leftovers == []


# TLS


@pytest.mark.peer("dcmtk")
def test_dcmtk_stores_over_tls_without_a_certificate_of_its_own(reception, image, certificates):
    require("storescu")
    with accepting(reception, tls=certificates.server()) as acceptor:
        result = run(
            *("storescu", "--anonymous-tls", "+cf", certificates.ca, "--profile-bcp195"),
            *("127.0.0.1", acceptor.tls_port, image),
        )

    assert result.returncode == 0, result.stderr
    assert reception.callers[0].protocol == "DIMSE-TLS"
    assert len(reception.received) == 1


@pytest.mark.peer("dcmtk")
def test_with_mutual_tls_only_a_certified_client_stores(reception, image, certificates):
    require("storescu")
    server = certificates.server(mutual=True)
    with accepting(reception, tls=server) as acceptor:
        end = ("+cf", certificates.ca, "127.0.0.1", acceptor.tls_port, image)
        known = run(
            "storescu", "+tls", certificates.key("client"), certificates.certificate("client"), *end
        )
        stranger = run(
            "storescu",
            "+tls",
            certificates.key("strange"),
            certificates.certificate("strange"),
            *end,
        )
        anonymous = run("storescu", "--anonymous-tls", *end)

    assert known.returncode == 0, known.stderr
    assert stranger.returncode != 0
    assert anonymous.returncode != 0
    assert len(reception.received) == 1


def test_old_tls_is_refused(reception, certificates):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.set_ciphers("ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES128-SHA")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with accepting(reception, tls=certificates.server()) as acceptor:
        connection = socket.create_connection(("127.0.0.1", acceptor.tls_port), timeout=5)
        with connection, pytest.raises(ssl.SSLError):
            old.wrap_socket(connection)


def test_a_plain_peer_on_the_tls_port_is_named_as_such(reception, certificates):
    metrics = CountingMetrics()
    with accepting(reception, metrics, tls=certificates.server()) as acceptor:
        with RawPeer(acceptor.tls_port) as peer:
            peer.send(associate_rq())
            assert peer.receive() is CLOSED
        plain = ("associations_rejected_total", "plain-peer-on-tls-port")
        eventually(lambda: metrics.counts.get(plain) == 1)


@pytest.mark.slow
def test_a_silent_client_on_the_tls_port_blocks_nobody(reception, certificates):
    trusting = ssl.create_default_context(cafile=certificates.ca)
    trusting.check_hostname = False
    with accepting(reception, tls=certificates.server(), association_timeout_s=3.0) as acceptor:
        silent = [RawPeer(acceptor.tls_port) for _ in range(20)]
        with RawPeer(acceptor.tls_port, limit_s=2.5) as peer:
            peer.socket = trusting.wrap_socket(peer.socket)
            peer.associate()
            assert peer.echo() == 0x0000
            peer.send(RELEASE_RQ)
        for one in silent:
            with one:
                assert one.receive() is CLOSED


def _images(folder):
    """The Part 10 files of accepted classes, by name."""
    every = sorted((data_dir() / "dicom" / folder).iterdir())
    part10 = [path for path in every if path.read_bytes()[128:_PREAMBLE_BYTES] == b"DICM"]
    assert len(part10) >= 10
    if folder != "radiographs":
        return part10
    return [p for p in part10 if dcmread(p, stop_before_pixels=True).SOPClassUID in STORAGE_CLASSES]


def _pixels(paths):
    every = [dcmread(path).PixelData for path in paths]
    # One of the files has pixel data of odd length, which dcmsend pads.
    return sorted(hashlib.sha256(p + b"\0" * (len(p) % 2)).hexdigest() for p in every)


def _send_as_is(port, path) -> int:
    """Send the data set of `path` without reading it, in its own transfer syntax."""
    ds = dcmread(path, stop_before_pixels=True, force=True)
    syntax = str(ds.file_meta.TransferSyntaxUID)
    with RawPeer(port) as peer:
        peer.associate(contexts=((str(ds.SOPClassUID), (syntax,)),))
        peer.send(store_pdus(store_command(ds), data_set_of(path)))
        status = peer.status()
        peer.send(RELEASE_RQ)
        return status
