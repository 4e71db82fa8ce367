"""C-STORE towards peers that refuse, break, stall and remark."""

import socket
import subprocess
import time
from contextlib import contextmanager
from threading import Thread

import pytest
from pydicom.uid import (
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from audit.errors import InvalidConfiguration, PeerUnreachable
from dicom_node.core.outcome import Outcome
from dicom_node.delivery.factory import make_sender
from tests.archives import (
    CALLING,
    dimse_destination,
    outgoing,
    relayed,
    scripted_scp,
    silent_listener,
)
from tests.builders import chest_radiograph
from tests.peers import require

CR, SR = ComputedRadiographyImageStorage, ComprehensiveSRStorage
PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


@pytest.fixture
def three(tmp_path):
    return [outgoing(tmp_path, chest_radiograph(InstanceNumber=n)) for n in (1, 2, 3)]


@pytest.fixture
def large(tmp_path):
    """An object that fits into no socket's buffers."""
    ds = chest_radiograph()
    ds.Rows = ds.Columns = 4096
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = bytes(4096 * 4096)
    return outgoing(tmp_path, ds)


@contextmanager
def ends_within(seconds):
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def first_bytes(client, server):
    """Pass the request and the beginning of an object on, and read no further."""
    passed = 0
    while passed < 20_000:
        said = client.recv(4096)
        passed += len(said)
        server.sendall(said)


def words(statuses):
    return [(s.outcome, s.status) for s in statuses]


def test_every_status_of_a_batch_is_kept_and_read(tmp_path):
    statuses = [0x0000, 0xB000, 0x0111, 0xA700, 0xA900, 0xC000, 0x0110, 0x0122, 0x0124, 0xFE00]
    objects = [outgoing(tmp_path, chest_radiograph()) for _ in statuses]

    with scripted_scp([CR], PLAIN) as scp:
        scp.statuses = statuses
        answers = scp.sender().send(objects)

    assert words(answers) == [
        (Outcome.DELIVERED, "0000H"),
        (Outcome.WARNING, "B000H"),
        (Outcome.WARNING, "0111H"),
        (Outcome.FAILED, "A700H"),
        (Outcome.REFUSED, "A900H"),
        (Outcome.REFUSED, "C000H"),
        (Outcome.FAILED, "0110H"),
        (Outcome.REFUSED, "sop-class-not-supported"),
        (Outcome.REFUSED, "0124H"),
        (Outcome.FAILED, "FE00H"),
    ]
    assert [s.sop_instance_uid for s in answers] == [o.sop_instance_uid for o in objects]


def test_a_batch_uses_one_association(three):
    with scripted_scp([CR], PLAIN) as scp:
        scp.sender().send(three)

        assert scp.associations == 1


def test_a_peer_of_the_default_syntax_gets_the_object_rewritten(tmp_path):
    ds = chest_radiograph()

    with scripted_scp([CR], [ImplicitVRLittleEndian]) as scp:
        answers = scp.sender().send([outgoing(tmp_path, ds)])

    assert words(answers) == [(Outcome.DELIVERED, "0000H")]
    assert scp.syntaxes == [ImplicitVRLittleEndian]
    held = scp.held()[ds.SOPInstanceUID]
    assert held == ds
    assert held.PixelData == ds.PixelData


def test_a_class_that_the_peer_does_not_know_is_named_and_the_rest_is_sent(tmp_path):
    image = outgoing(tmp_path, chest_radiograph())
    report = outgoing(tmp_path, chest_radiograph(SOPClassUID=SR, Modality="SR"))

    with scripted_scp([CR], PLAIN) as scp:
        answers = scp.sender().send([report, image])

    assert words(answers) == [
        (Outcome.REFUSED, "sop-class-not-supported"),
        (Outcome.DELIVERED, "0000H"),
    ]


def test_a_peer_that_takes_nothing_of_the_batch_refuses_and_is_not_away(tmp_path):
    report = outgoing(tmp_path, chest_radiograph(SOPClassUID=SR, Modality="SR"))

    with scripted_scp([CR], PLAIN) as scp:
        answers = scp.sender().send([report])

    assert words(answers) == [(Outcome.REFUSED, "sop-class-not-supported")]


def test_a_syntax_that_the_peer_does_not_know_is_named(tmp_path):
    ds = chest_radiograph()
    ds.compress(RLELossless, generate_instance_uid=False)
    plain = outgoing(tmp_path, chest_radiograph())

    with scripted_scp([CR], PLAIN) as scp:
        answers = scp.sender().send([outgoing(tmp_path, ds), plain])

    assert words(answers) == [
        (Outcome.REFUSED, "no-presentation-context"),
        (Outcome.DELIVERED, "0000H"),
    ]


def test_a_compressed_object_goes_as_it_is(tmp_path):
    ds = chest_radiograph()
    ds.compress(RLELossless, generate_instance_uid=False)

    with scripted_scp([CR], [*PLAIN, RLELossless]) as scp:
        scp.sender().send([outgoing(tmp_path, ds)])

    assert scp.syntaxes == [RLELossless]
    assert scp.held()[ds.SOPInstanceUID].PixelData == ds.PixelData


def test_an_abort_half_way_keeps_what_was_answered(three):
    def abort_second(event, number):
        if number == 1:
            event.assoc.abort()

    with scripted_scp([CR], PLAIN) as scp:
        scp.before_answer = abort_second
        answers = scp.sender().send(three)

    assert words(answers) == [
        (Outcome.DELIVERED, "0000H"),
        (Outcome.FAILED, "link-lost"),
        (Outcome.FAILED, "link-lost"),
    ]


def test_a_peer_that_stalls_half_way_is_given_up(three):
    def stall(event, number):
        if number == 1:
            time.sleep(1.0)

    with scripted_scp([CR], PLAIN) as scp:
        scp.before_answer = stall
        answers = scp.sender(timeout_s=0.3).send(three)

    assert words(answers) == [
        (Outcome.DELIVERED, "0000H"),
        (Outcome.FAILED, "timed-out"),
        (Outcome.FAILED, "link-lost"),
    ]


def test_a_slow_peer_within_its_time_is_waited_for(three):
    with scripted_scp([CR], PLAIN) as scp:
        scp.before_answer = lambda _event, _number: time.sleep(0.2)
        answers = scp.sender(timeout_s=2).send(three)

    assert [s.outcome for s in answers] == [Outcome.DELIVERED] * 3


def test_a_rejected_association_says_why(three):
    with scripted_scp([CR], PLAIN, require_called_aet=True) as scp:
        sender = scp.sender(ae_title="SOMEBODY")

        with pytest.raises(PeerUnreachable, match="Called AE title not recognised"):
            sender.send(three)
        with pytest.raises(PeerUnreachable, match="Called AE title not recognised"):
            sender.verify()


def test_a_peer_that_never_speaks_is_unreachable(three):
    with silent_listener() as port:
        sender = make_sender(dimse_destination(port, timeout_s=0.3), CALLING)

        with pytest.raises(PeerUnreachable):
            sender.send(three)


def test_an_object_may_be_longer_on_its_way_than_the_peer_may_be_silent(large):
    def slowly(client, server):
        while said := client.recv(1 << 16):
            time.sleep(0.01)  # 16 MB take more than two seconds
            server.sendall(said)

    with scripted_scp([CR], PLAIN) as scp, relayed(scp.port, slowly) as port:
        started = time.monotonic()
        answers = make_sender(dimse_destination(port, timeout_s=1), CALLING).send([large])

    assert words(answers) == [(Outcome.DELIVERED, "0000H")]
    assert time.monotonic() - started > 2


@pytest.mark.timeout(30)
def test_a_peer_that_stops_reading_within_an_object_is_given_up(three, large):
    with scripted_scp([CR], PLAIN) as scp, relayed(scp.port, first_bytes) as port:
        sender = make_sender(dimse_destination(port, timeout_s=0.5), CALLING)

        with ends_within(5):
            answers = sender.send([large, *three])

    assert [s.outcome for s in answers] == [Outcome.FAILED] * 4


@pytest.mark.timeout(30)
@pytest.mark.parametrize("said", [b"\x02", b"\x02\x00\x00\x00\x00\xb8\x00\x01"])
def test_a_peer_that_falls_silent_within_its_acceptance_is_unreachable(three, said):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept = []

        def answer():
            kept.append(listener.accept()[0])
            kept[0].recv(1 << 16)
            kept[0].sendall(said)

        Thread(target=answer, daemon=True).start()
        port = listener.getsockname()[1]
        sender = make_sender(dimse_destination(port, timeout_s=0.5), CALLING)

        with ends_within(5), pytest.raises(PeerUnreachable):
            sender.send(three)
        kept[0].close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "pacs..local"])
def test_a_host_without_an_address_is_unreachable(three, host):
    settings = dimse_destination(104).model_copy(update={"host": host})
    sender = make_sender(settings, CALLING)

    with pytest.raises(PeerUnreachable):
        sender.send(three)


def test_a_damaged_file_fails_alone(three):
    three[0].path.write_bytes(b"not DICOM")

    with scripted_scp([CR], PLAIN) as scp:
        answers = scp.sender().send(three)

    assert words(answers) == [
        (Outcome.FAILED, "unreadable"),
        (Outcome.DELIVERED, "0000H"),
        (Outcome.DELIVERED, "0000H"),
    ]


def test_nagles_algorithm_is_off(three, monkeypatch):
    """Twenty small objects would otherwise wait 40 ms each for a delayed acknowledgement."""
    from dicom_node.dimse import requestor

    seen = []
    original = requestor._send_at_once

    def watch(event):
        original(event)
        connection = event.assoc.dul.socket.socket
        seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(requestor, "_send_at_once", watch)
    with scripted_scp([CR], PLAIN) as scp:
        scp.sender().send(three)

    assert [value != 0 for value in seen] == [True]


class Certificates:
    """A certificate authority, a server and a client certificate, made by openssl."""

    def __init__(self, folder):
        require("openssl")
        self.folder = folder
        self._run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=CA",
                  "-addext", "keyUsage=critical,keyCertSign",
                  "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
        for name in ("server", "client"):
            self._run("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
                      "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
            (folder / f"{name}.ext").write_text(
                "subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n"
            )
            self._run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                      "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext",
                      "-out", f"{name}.pem")  # fmt: skip

    def _run(self, *arguments):
        subprocess.run(
            ["openssl", *arguments], cwd=self.folder, check=True, stderr=subprocess.DEVNULL
        )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def tls_scp(certificates):
    import ssl

    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.folder / "ca.pem")
    )
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates.folder / "server.pem", certificates.folder / "server.key")
    with scripted_scp([CR], PLAIN, ssl_context=context) as scp:
        yield scp


def test_an_association_over_tls_with_both_certificates(tls_scp, certificates, three):
    sender = tls_scp.sender(
        tls_ca_file=certificates.folder / "ca.pem",
        tls_certificate_file=certificates.folder / "client.pem",
        tls_private_key_file=certificates.folder / "client.key",
    )

    assert [s.outcome for s in sender.send(three)] == [Outcome.DELIVERED] * 3
    sender.verify()


@pytest.mark.timeout(30)
def test_a_peer_that_stops_reading_over_tls_is_given_up(tls_scp, certificates, large):
    with relayed(tls_scp.port, first_bytes) as port:
        sender = make_sender(
            dimse_destination(
                port,
                timeout_s=0.5,
                tls_ca_file=certificates.folder / "ca.pem",
                tls_certificate_file=certificates.folder / "client.pem",
                tls_private_key_file=certificates.folder / "client.key",
            ),
            CALLING,
        )

        with ends_within(5):
            answers = sender.send([large])

    assert [s.outcome for s in answers] == [Outcome.FAILED]


@pytest.mark.slow
def test_a_server_of_another_authority_is_not_trusted(tls_scp, tmp_path, three):
    others = Certificates(tmp_path)
    sender = tls_scp.sender(tls_ca_file=others.folder / "ca.pem")

    with pytest.raises(PeerUnreachable):
        sender.send(three)
    assert tls_scp.held() == {}


def test_a_certificate_file_that_is_away_is_a_wrong_configuration(tmp_path):
    with pytest.raises(InvalidConfiguration, match="pacs"):
        make_sender(dimse_destination(104, tls_ca_file=tmp_path / "no.pem"), CALLING)
