"""The acceptor under many peers, and its end."""

import statistics
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from audit.errors import InvalidConfiguration
from audit.metrics import NullMetrics
from dicom_node.config.settings import DimseSettings, TlsSettings
from dicom_node.dimse.acceptor import Acceptor
from tests.acceptors import CountingMetrics, FolderReception, accepting
from tests.builders import chest_radiograph, dataset_bytes
from tests.raw_peer import (
    ABORT,
    CLOSED,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    associate_rq,
    eventually,
    pdu,
    pdv,
    store_command,
    store_pdus,
)

ABORTED_BY_USER = (ABORT, bytes(4))


@pytest.fixture
def reception(tmp_path):
    return FolderReception(tmp_path)


def stored_in_s(port, message, count=40) -> float:
    """Return how long it takes to send `message` so many times over one association.

    The median of three: one pause of the machine is nobody's fault.
    """

    def once() -> float:
        with RawPeer(port) as peer:
            peer.associate()
            began = time.perf_counter()
            for _ in range(count):
                peer.send(message)
                assert peer.status() == 0x0000
            return time.perf_counter() - began

    return statistics.median(once() for _ in range(3))


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.slow
def test_idle_and_stuck_associations_do_not_slow_a_sender(reception):
    ds = chest_radiograph()
    message = store_pdus(store_command(ds), dataset_bytes(ds))
    with accepting(reception, pdu_timeout_s=30.0) as acceptor, ExitStack() as crowd:
        alone_s = stored_in_s(acceptor.port, message)
        for index in range(220):
            peer = crowd.enter_context(RawPeer(acceptor.port))
            peer.associate()
            if index >= 200:
                peer.send(message[: len(message) // 2])

        idle_before = time.process_time()
        threading.Event().wait(0.3)
        idle_cpu_s = time.process_time() - idle_before
        crowded_s = stored_in_s(acceptor.port, message)

    assert crowded_s < 3 * alone_s + 0.5
    assert idle_cpu_s < 0.1
    assert reception.leftovers == []


@pytest.mark.slow
def test_a_thousand_short_associations_leave_no_thread_and_little_memory(reception):
    request = associate_rq()
    threads = threading.active_count()
    with accepting(reception) as acceptor:

        def call():
            with RawPeer(acceptor.port) as peer:
                peer.send(request)
                assert peer.receive() is not CLOSED
                peer.send(RELEASE_RQ)
                assert peer.receive()[0] == RELEASE_RP

        for _ in range(100):
            call()
        before = resident_bytes()
        for _ in range(1000):
            call()
        eventually(lambda: threading.active_count() <= threads + 1)
        grown = resident_bytes() - before

    assert grown < 8_000_000


def test_connections_far_beyond_the_limit_are_closed_at_once(reception, monkeypatch):
    monkeypatch.setattr("dicom_node.dimse.acceptor._SPARE_CONNECTIONS", 1)
    metrics = CountingMetrics()
    with (
        accepting(reception, metrics, maximum_associations=1) as acceptor,
        RawPeer(acceptor.port) as first,
        RawPeer(acceptor.port),
        RawPeer(acceptor.port) as third,
    ):
        assert third.receive() is CLOSED
        first.associate()

    assert metrics.counts["associations_rejected_total", "too-many-connections"] == 1


# The end


def test_stopping_aborts_idle_associations_at_once_and_takes_no_more(reception):
    with accepting(reception) as acceptor, RawPeer(acceptor.port) as peer:
        peer.associate()
        port = acceptor.port
        began = time.perf_counter()
        acceptor.stop(drain_s=30)
        took_s = time.perf_counter() - began

        assert peer.receive() == ABORTED_BY_USER
        assert peer.receive() is CLOSED
        with pytest.raises(ConnectionRefusedError):
            RawPeer(port)
    assert took_s < 2


def test_stopping_lets_the_message_under_way_end(reception):
    ds = chest_radiograph()
    message = store_pdus(store_command(ds), dataset_bytes(ds))
    with accepting(reception) as acceptor, RawPeer(acceptor.port) as peer:
        peer.associate()
        peer.send(message[:-1000])
        eventually(lambda: reception.leftovers)
        port = acceptor.port
        stopping = threading.Thread(target=acceptor.stop, args=(10,))
        stopping.start()
        eventually(lambda: _refuses(port))
        peer.send(message[-1000:])

        assert peer.status() == 0x0000
        assert peer.receive() == ABORTED_BY_USER
        stopping.join(timeout=5)
        assert not stopping.is_alive()
    assert len(reception.received) == 1


def test_stopping_does_not_wait_for_ever(reception):
    ds = chest_radiograph()
    with accepting(reception, pdu_timeout_s=60.0) as acceptor, RawPeer(acceptor.port) as peer:
        peer.associate()
        peer.send(pdu(P_DATA, pdv(1, 3, store_command(ds)) + pdv(1, 0, b"begun")))
        eventually(lambda: reception.leftovers)
        acceptor.stop(drain_s=0.1)

        assert peer.receive() is CLOSED
    assert reception.leftovers == []


def _refuses(port) -> bool:
    try:
        RawPeer(port).socket.close()
    except ConnectionError:  # refused, or reset while the listener closed
        return True
    return False


# The beginning


def test_a_port_in_use_is_a_configuration_error(reception):
    with accepting(reception) as acceptor:
        settings = DimseSettings(port=acceptor.port)
        with pytest.raises(InvalidConfiguration, match=r"dimse\.port"):
            Acceptor(settings, reception, NullMetrics()).start()


def test_a_certificate_that_is_none_is_a_configuration_error(reception, tmp_path):
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("not a certificate")
    tls = TlsSettings(port=0, certificate_file=nothing, private_key_file=nothing)
    with pytest.raises(InvalidConfiguration, match=r"dimse\.tls"):
        Acceptor(DimseSettings(port=0, tls=tls), reception, NullMetrics()).start()
