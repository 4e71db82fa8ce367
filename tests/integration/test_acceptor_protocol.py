"""The acceptor against a peer that may send any bytes: PS3.8 Section 9.2, acceptor's half."""

import struct
from contextlib import suppress

import pytest

from audit.errors import DatabaseAway, InvalidDataset
from tests.acceptors import CountingMetrics, FolderReception, accepting
from tests.builders import chest_radiograph, dataset_bytes
from tests.raw_peer import (
    ABORT,
    ASSOCIATE_RJ,
    CLOSED,
    CR_IMAGE,
    EXPLICIT_LE,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    USER_ABORT,
    VERIFICATION,
    RawPeer,
    associate_rq,
    command,
    echo_command,
    element,
    eventually,
    padded,
    pdu,
    pdv,
    store_command,
    store_pdus,
    us,
)

BY_USER = bytes([0, 0, 0, 0])


def by_provider(reason: int) -> bytes:
    return bytes([0, 0, 2, reason])


UNRECOGNIZED_PDU, UNEXPECTED_PDU, UNEXPECTED_PARAMETER, INVALID_PARAMETER = 1, 2, 5, 6


@pytest.fixture
def reception(tmp_path):
    return FolderReception(tmp_path)


@pytest.fixture
def metrics():
    return CountingMetrics()


@pytest.fixture
def port(reception, metrics):
    with accepting(reception, metrics) as acceptor:
        yield acceptor.port
    assert reception.leftovers == []
    assert reception.open_carriages == 0
    assert metrics.gauges.get("associations_open", 0) == 0


@pytest.fixture
def peer(port):
    with RawPeer(port) as peer:
        yield peer


@pytest.fixture
def associated(peer):
    peer.associate()
    return peer


# Sta2: awaiting the A-ASSOCIATE-RQ


def test_an_echo_is_answered_and_a_release_confirmed(associated):
    assert associated.echo() == 0x0000

    associated.send(RELEASE_RQ)

    assert associated.receive() == (RELEASE_RP, bytes(4))


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 6])
def test_anything_but_a_request_first_is_aborted_by_the_user(peer, kind):
    peer.send(pdu(kind, bytes(4)))

    assert peer.receive() == (ABORT, BY_USER)


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\xa5\x01\x00"])
def test_another_protocol_is_aborted(peer, first):
    peer.send(first)

    assert peer.receive() == (ABORT, BY_USER)


def test_an_abort_before_the_request_closes_the_connection(peer):
    peer.send(USER_ABORT)

    assert peer.receive() is CLOSED


def test_a_silent_connection_is_closed_after_the_association_time_out(reception):
    with (
        accepting(reception, association_timeout_s=0.1) as acceptor,
        RawPeer(acceptor.port) as peer,
    ):
        assert peer.receive() is CLOSED


def test_a_request_that_drips_in_is_closed_after_the_association_time_out(reception):
    with (
        accepting(reception, association_timeout_s=0.3) as acceptor,
        RawPeer(acceptor.port, limit_s=0.02) as peer,
    ):
        sent = _drip(peer, associate_rq())

    assert sent < len(associate_rq())


@pytest.mark.parametrize(
    "request_bytes",
    [
        pdu(1, b""),
        pdu(1, bytes(68)),
        pdu(1, b"\xff" * 200),
        associate_rq().replace(b"SENDER", b"\xff\xfe\xfd\xfc\xfb\xfa"),
        associate_rq().replace(b"SENDER", b"      "),
        pdu(1, bytes(600_000))[:6],
    ],
)
def test_a_request_that_cannot_be_decoded_is_aborted(peer, request_bytes):
    peer.send(request_bytes)

    assert peer.receive() == (ABORT, BY_USER)


def test_two_contexts_with_one_id_are_aborted(peer):
    request = bytearray(associate_rq())
    second = request.index(b"\x03\0\0\0", request.index(CR_IMAGE.encode()))
    request[second] = 1
    peer.send(bytes(request))

    assert peer.receive() == (ABORT, BY_USER)


@pytest.mark.parametrize(
    ("rule", "rejection"),
    [
        ("called-ae-title", (1, 1, 7)),
        ("calling-ae-title", (1, 1, 3)),
        ("address", (1, 1, 1)),
        ("a rule of tomorrow", (1, 1, 1)),
    ],
)
def test_a_caller_that_is_not_admitted_is_rejected_for_good(peer, reception, rule, rejection):
    reception.refuses = rule
    peer.send(associate_rq())

    assert peer.receive() == (ASSOCIATE_RJ, bytes([0, *rejection]))


def test_another_protocol_version_is_rejected(peer):
    peer.send(associate_rq(protocol_version=2))

    assert peer.receive() == (ASSOCIATE_RJ, bytes([0, 1, 2, 2]))


def test_another_application_context_is_rejected(peer):
    peer.send(associate_rq(application_context="1.2.840.10008.3.1.1.2"))

    assert peer.receive() == (ASSOCIATE_RJ, bytes([0, 1, 1, 2]))


def test_beyond_the_limit_an_association_is_rejected_for_now_and_a_place_is_given_back(reception):
    metrics = CountingMetrics()
    with accepting(reception, metrics, maximum_associations=1) as acceptor:
        with RawPeer(acceptor.port) as first, RawPeer(acceptor.port) as second:
            first.associate()
            second.send(associate_rq())
            assert second.receive() == (ASSOCIATE_RJ, bytes([0, 2, 3, 2]))
            first.send(RELEASE_RQ)
            assert first.receive()[0] == RELEASE_RP
        eventually(lambda: metrics.gauges["associations_open"] == 0)
        with RawPeer(acceptor.port) as third:
            third.associate()

    assert metrics.counts["associations_rejected_total", "local-limit-exceeded"] == 1


# Negotiation


def test_what_the_node_does_not_take_is_refused_context_by_context(peer):
    ct_image = "1.2.840.10008.5.1.4.1.1.2"
    jpip = "1.2.840.10008.1.2.4.94"
    answer = peer.associate(
        contexts=((ct_image, (EXPLICIT_LE,)), (CR_IMAGE, (jpip,)), (CR_IMAGE, (EXPLICIT_LE,)))
    )

    assert [item.result for item in answer.presentation_context] == [3, 4, 0]


def test_the_first_transfer_syntax_that_the_sender_names_is_taken(peer):
    jpeg_2000 = "1.2.840.10008.1.2.4.90"
    answer = peer.associate(contexts=((CR_IMAGE, ("1.2.3.4", jpeg_2000, EXPLICIT_LE)),))

    assert answer.presentation_context[0].transfer_syntax == jpeg_2000


def test_the_answer_names_our_maximum_pdu_and_our_implementation(peer):
    answer = peer.associate()

    assert answer.user_information.maximum_length == 131_072
    assert answer.user_information.implementation_class_uid.startswith("2.25.")
    assert answer.user_information.async_ops_window is None


def test_answers_are_cut_to_what_the_peer_takes(peer):
    peer.associate(maximum_length=20)
    peer.send(pdu(P_DATA, pdv(3, 3, echo_command())))

    kind, content = peer.receive()

    assert kind == P_DATA
    assert len(content) == 20


# Sta6: data transfer


@pytest.mark.parametrize("kind", [1, 2, 3, 6])
def test_a_pdu_out_of_place_is_aborted_by_the_provider(associated, kind):
    associated.send(pdu(kind, bytes(4)))

    assert associated.receive() == (ABORT, by_provider(UNEXPECTED_PDU))


@pytest.mark.parametrize("kind", [0, 8, 0x16, 0xFF])
def test_a_pdu_of_no_known_type_is_aborted(associated, kind):
    associated.send(pdu(kind, bytes(4)))

    assert associated.receive() == (ABORT, by_provider(UNRECOGNIZED_PDU))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0",
        struct.pack(">IBB", 1, 3, 3),
        struct.pack(">IBB", 100, 3, 3) + b"short",
        pdv(5, 3, b""),
        pdv(2, 3, b""),
        pdv(3, 3, b"not a command set"),
        pdv(3, 3, element(0x0100, us(0x30))),
        pdv(3, 3, struct.pack("<HHI", 8, 0, 0)),
        pdv(3, 3, struct.pack("<HHI", 0, 0x100, 0xFFFFFFFF)),
    ],
)
def test_a_malformed_pdv_or_command_set_is_aborted(associated, content):
    associated.send(pdu(P_DATA, content))

    assert associated.receive() == (ABORT, by_provider(INVALID_PARAMETER))


def test_a_pdu_larger_than_negotiated_is_aborted(associated):
    associated.send(struct.pack(">BBI", P_DATA, 0, 131_073))

    assert associated.receive() == (ABORT, by_provider(INVALID_PARAMETER))


def test_an_endless_command_set_is_aborted(associated):
    for _ in range(5):
        associated.send(pdu(P_DATA, pdv(3, 1, bytes(16_000))))

    assert associated.receive() == (ABORT, by_provider(INVALID_PARAMETER))


@pytest.mark.parametrize(
    "pdvs",
    [
        pdv(1, 2, b"a data set before its command"),
        pdv(3, 1, echo_command()[:10]) + pdv(1, 3, echo_command()[10:]),
        pdv(3, 3, command(0x8030, data_set=False, more=element(0x0120, us(1)))),
    ],
)
def test_a_fragment_out_of_order_is_aborted(associated, pdvs):
    associated.send(pdu(P_DATA, pdvs))

    assert associated.receive() == (ABORT, by_provider(UNEXPECTED_PARAMETER))


def test_a_command_in_the_middle_of_a_data_set_is_aborted_and_leaves_nothing(associated, reception):
    ds = chest_radiograph()
    associated.send(pdu(P_DATA, pdv(1, 3, store_command(ds)) + pdv(1, 0, b"begun")))
    eventually(lambda: reception.leftovers)
    associated.send(pdu(P_DATA, pdv(1, 3, store_command(ds))))

    assert associated.receive() == (ABORT, by_provider(UNEXPECTED_PARAMETER))
    eventually(lambda: not reception.leftovers)


def test_an_abort_in_the_middle_of_a_message_leaves_nothing(associated, reception, metrics):
    ds = chest_radiograph()
    associated.send(pdu(P_DATA, pdv(1, 3, store_command(ds)) + pdv(1, 0, b"begun")))
    eventually(lambda: reception.leftovers)
    associated.send(USER_ABORT)

    assert associated.receive() is CLOSED
    eventually(lambda: not reception.leftovers)
    ended = ("associations_ended_total", "aborted-by-peer")
    eventually(lambda: metrics.counts.get(ended) == 1)


def test_a_connection_lost_in_the_middle_of_a_message_leaves_nothing(port, reception):
    with RawPeer(port) as peer:
        peer.associate()
        whole = store_pdus(store_command(ds := chest_radiograph()), dataset_bytes(ds))
        peer.send(whole[:-10])
        eventually(lambda: reception.leftovers)

    eventually(lambda: not reception.leftovers)


def test_a_cancel_is_not_answered(associated):
    cancel = element(0x0100, us(0x0FFF)) + element(0x0120, us(7)) + element(0x0800, us(0x0101))
    associated.send(pdu(P_DATA, pdv(3, 3, cancel)))

    assert associated.echo() == 0x0000


@pytest.mark.parametrize(
    ("context_id", "field"), [(1, 0x20), (1, 0x30), (3, 0x01), (3, 0x20), (1, 0x0140)]
)
def test_another_operation_is_answered_and_the_association_goes_on(associated, context_id, field):
    request = command(field, data_set=True, more=element(2, padded(CR_IMAGE)))
    associated.send(store_pdus(request, bytes(100), context_id))

    assert associated.status() == 0x0211
    assert associated.echo() == 0x0000


def test_an_idle_association_is_aborted(reception):
    with (
        accepting(reception, idle_timeout_s=0.1) as acceptor,
        RawPeer(acceptor.port) as peer,
    ):
        peer.associate()
        assert peer.receive() == (ABORT, by_provider(0))


def test_a_pdu_that_drips_in_is_aborted_though_it_never_stops(reception):
    ds = chest_radiograph()
    with accepting(reception, pdu_timeout_s=0.3) as acceptor:
        with RawPeer(acceptor.port) as peer:
            peer.associate()
            peer.socket.settimeout(0.02)
            content = store_pdus(store_command(ds), dataset_bytes(ds))
            assert _drip(peer, content) < len(content)
        eventually(lambda: not reception.leftovers)


@pytest.mark.slow
def test_a_peer_that_does_not_read_its_answers_is_let_go(reception):
    metrics = CountingMetrics()
    echo = pdu(P_DATA, pdv(3, 3, echo_command()))
    with (
        accepting(reception, metrics, pdu_timeout_s=0.2) as acceptor,
        RawPeer(acceptor.port, limit_s=1.0) as peer,
    ):
        peer.associate()
        with suppress(OSError):  # a time-out or a reset, as it comes
            for _ in range(20_000):
                peer.send(echo * 1000)
        eventually(lambda: metrics.counts.get(("associations_ended_total", "timed-out")))


# Sta13: awaiting the end of the connection


@pytest.mark.parametrize("late", [associate_rq(), pdu(9, b"")])
def test_a_request_after_the_release_is_aborted(associated, late):
    associated.send(RELEASE_RQ + late)

    assert associated.receive()[0] == RELEASE_RP
    assert associated.receive() == (ABORT, by_provider(UNEXPECTED_PDU))


def test_anything_else_after_the_release_is_ignored_until_the_time_out(reception):
    with (
        accepting(reception, association_timeout_s=0.2) as acceptor,
        RawPeer(acceptor.port) as peer,
    ):
        peer.associate()
        peer.send(RELEASE_RQ + pdu(P_DATA, bytes(100)) + RELEASE_RQ)

        assert peer.receive()[0] == RELEASE_RP
        assert peer.receive() is CLOSED


# C-STORE


def test_an_instance_is_stored_as_sent(associated, reception):
    ds = chest_radiograph()

    associated.send(store_pdus(store_command(ds), dataset_bytes(ds)))

    assert associated.status() == 0x0000
    [file] = reception.received
    [kept] = reception.kept.iterdir()
    assert kept.read_bytes().endswith(dataset_bytes(ds))
    assert file.size_bytes == kept.stat().st_size
    assert "PixelData" not in file.header
    assert file.header.StudyInstanceUID == ds.StudyInstanceUID
    assert reception.callers[0].calling_ae_title == "SENDER"


def test_five_hundred_tiny_pdvs_make_one_data_set(associated, reception):
    ds = chest_radiograph()
    content = dataset_bytes(ds)
    size = len(content) // 500 + 1
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    controls = [0] * (len(pieces) - 1) + [2]
    pdvs = b"".join(pdv(1, c, piece) for c, piece in zip(controls, pieces, strict=True))
    associated.send(pdu(P_DATA, pdv(1, 3, store_command(ds)) + pdvs))

    assert associated.status() == 0x0000
    assert reception.kept.iterdir().__next__().read_bytes().endswith(content)


def test_a_last_fragment_may_be_empty(associated, reception):
    ds = chest_radiograph()
    associated.send(pdu(P_DATA, pdv(1, 3, store_command(ds)) + pdv(1, 0, dataset_bytes(ds))))
    associated.send(pdu(P_DATA, pdv(1, 2, b"")))

    assert associated.status() == 0x0000


def test_an_odd_length_is_tolerated(associated):
    ds = chest_radiograph()
    associated.send(store_pdus(store_command(ds), dataset_bytes(ds) + b"\0"))

    assert associated.status() == 0x0000


@pytest.mark.parametrize(
    ("damage", "status"),
    [
        (lambda whole: b"", 0xA900),
        (lambda whole: b"<html><body>not a data set, but long enough</body></html>", 0xC000),
        (lambda whole: whole[:-100], 0xC000),
        (lambda whole: whole[: whole.index(b"FAKE-ACC") + 4], 0xC000),
        (lambda whole: whole[:4] + b"XX" + whole[6:], 0xC000),
        (lambda whole: dataset_bytes(chest_radiograph()), 0xA900),
    ],
    ids=["empty", "html", "cut in pixels", "cut in a value", "a false VR", "another instance"],
)
def test_a_data_set_that_is_not_what_was_announced_is_refused(associated, damage, status):
    ds = chest_radiograph()

    associated.send(store_pdus(store_command(ds), damage(dataset_bytes(ds))))

    assert associated.status() == status
    assert associated.echo() == 0x0000


@pytest.mark.parametrize("uid", ["", "1.2.x", "1." + "2" * 64, "../../etc/passwd", "1..2", ".1"])
def test_a_hostile_instance_uid_is_refused_not_used_as_a_path(associated, reception, uid):
    ds = chest_radiograph()
    associated.send(store_pdus(store_command(ds, sop_instance_uid=uid), dataset_bytes(ds)))

    assert associated.status() == 0x0117
    assert list(reception.kept.iterdir()) == []


def test_a_sop_class_other_than_the_contexts_is_refused(associated):
    ds = chest_radiograph()
    other = store_command(ds, sop_class_uid=VERIFICATION)
    associated.send(store_pdus(other, dataset_bytes(ds)))

    assert associated.status() == 0x0122


def test_an_object_too_large_is_refused_and_drained(reception):
    ds = chest_radiograph()
    with (
        accepting(reception, maximum_object_bytes=1_000_000) as acceptor,
        RawPeer(acceptor.port) as peer,
    ):
        peer.associate()
        message = store_pdus(store_command(ds), bytes(1_200_000))
        peer.send(message[:500_000])
        eventually(lambda: reception.leftovers)
        peer.send(message[500_000:-1000])
        eventually(lambda: not reception.leftovers)
        peer.send(message[-1000:])
        assert peer.status() == 0xA700
        peer.send(store_pdus(store_command(ds), dataset_bytes(ds)))
        assert peer.status() == 0x0000


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidDataset("no Study Instance UID"), 0xC000),
        (DatabaseAway("the database is away"), 0xA700),
        (RuntimeError("a bug"), 0x0110),
    ],
)
def test_what_the_intake_refuses_is_told_and_the_association_goes_on(
    associated, reception, metrics, error, status
):
    ds = chest_radiograph()
    reception.error = error
    associated.send(store_pdus(store_command(ds), dataset_bytes(ds)))
    assert associated.status() == status

    reception.error = None
    associated.send(store_pdus(store_command(ds), dataset_bytes(ds)))
    assert associated.status() == 0x0000
    assert metrics.counts["instances_received_total", "stored"] == 1


def test_a_full_disk_is_told_and_the_association_goes_on(associated, reception):
    ds = chest_radiograph()
    whole = reception.temporary_path
    reception.temporary_path = lambda: _FullDisk(whole())
    associated.send(store_pdus(store_command(ds), dataset_bytes(ds)))
    assert associated.status() == 0xA700
    assert reception.leftovers == []

    reception.temporary_path = whole
    associated.send(store_pdus(store_command(ds), dataset_bytes(ds)))
    assert associated.status() == 0x0000


def test_a_carriage_is_open_from_the_first_instance_to_the_end(associated, reception):
    associated.echo()
    assert reception.open_carriages == 0
    ds = chest_radiograph()
    associated.send(store_pdus(store_command(ds), dataset_bytes(ds)))
    associated.status()
    assert reception.open_carriages == 1

    associated.send(RELEASE_RQ)
    associated.receive()
    eventually(lambda: reception.open_carriages == 0)


def _drip(peer: RawPeer, content: bytes) -> int:
    """Send byte by byte until the acceptor answers or closes; return how many went out."""
    for at in range(len(content)):
        try:
            peer.socket.sendall(content[at : at + 1])
            peer.socket.recv(1)
        except TimeoutError:
            continue
        except ConnectionError:
            pass
        return at
    return len(content)


class _FullDisk:
    """A path whose file takes no byte, as on a full file system (``/dev/full``)."""

    def __init__(self, path):
        self._path = path

    def open(self, mode, buffering):
        self._path.touch()
        return open("/dev/full", "r+b", buffering=buffering)  # noqa: PTH123 - not this path

    def unlink(self, *, missing_ok):
        self._path.unlink(missing_ok=missing_ok)
