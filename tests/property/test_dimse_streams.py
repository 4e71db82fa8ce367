"""Whatever bytes come, in whatever pieces."""

import socket
import struct
import threading
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_dataset

from dicom_node.dimse import link as link_module
from dicom_node.dimse.command import encode_response, parse_request
from dicom_node.dimse.errors import ProtocolError
from dicom_node.dimse.link import Link
from dicom_node.dimse.pdata import PduType, encode_command, fragments, read_pdu
from tests.acceptors import CountingMetrics, FolderReception, accepting
from tests.builders import chest_radiograph, dataset_bytes
from tests.raw_peer import (
    CLOSED,
    P_DATA,
    RELEASE_RQ,
    RawPeer,
    associate_rq,
    echo_command,
    element,
    eventually,
    pdu,
    pdv,
    store_command,
    store_pdus,
    us,
)

SMALL_BUFFER_BYTES = 64

pdvs = st.tuples(
    st.integers(0, 127).map(lambda half: 2 * half + 1),
    st.sampled_from([0, 1, 2, 3]),
    st.binary(max_size=200),
)
pdus = st.lists(st.lists(pdvs, min_size=1, max_size=4), min_size=1, max_size=4)


@given(sent=pdus, cuts=st.lists(st.integers(1, 97), min_size=1, max_size=5))
def test_the_network_may_cut_a_stream_anywhere(sent, cuts):
    stream = b"".join(pdu(P_DATA, b"".join(pdv(*one) for one in values)) for values in sent)

    meant = [(c, bool(k & 1), bool(k & 2), b) for values in sent for c, k, b in values]
    assert _merged(_received(stream, cuts)) == _merged(meant)


def _received(stream, cuts):
    """Read the fragments of `stream` through a small buffer, while it is sent in pieces."""
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.MonkeyPatch.context() as patch:
        patch.setattr(link_module, "BUFFER_BYTES", SMALL_BUFFER_BYTES)
        sender = threading.Thread(target=_send_in_pieces, args=(theirs, stream, cuts))
        sender.start()
        link = Link(ours)
        values, left = [], len(stream)
        while left > 0:
            header = read_pdu(link, silence_s=5, pdu_s=5)
            left -= 6 + header.length
            values += [
                (f.context_id, f.is_command, f.is_last, bytes(f.content))
                for f in fragments(link, header)
            ]
        sender.join()
    return values


def _send_in_pieces(connection, stream, cuts):
    at = 0
    while at < len(stream):
        for cut in cuts:
            connection.sendall(stream[at : at + cut])
            at += cut


def _merged(values):
    """Join what follows one another in one context and kind, up to each last fragment."""
    runs, is_open = [], False
    for context_id, is_command, is_last, content in values:
        if is_open and runs[-1][:2] == [context_id, is_command]:
            runs[-1][2:] = [is_last, runs[-1][3] + content]
        else:
            runs.append([context_id, is_command, is_last, content])
        is_open = not is_last
    return runs


requests = st.builds(
    lambda field, message, kind, extra: b"".join(
        [element(0x0100, us(field)), element(0x0110, us(message)), element(0x0800, us(kind)), extra]
    ),
    st.integers(0, 0x7FFF).filter(lambda field: field != 0x0FFF),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.text("0123456789.", max_size=30).map(
        lambda uid: element(0x1000, uid.encode() + b"\0" * (len(uid) % 2))
    ),
)


@given(requests)
def test_a_command_set_means_what_pydicom_says(content):
    judge = read_dataset(BytesIO(content), is_implicit_VR=True, is_little_endian=True)

    request = parse_request(content)

    assert request.command_field == judge.CommandField
    assert request.message_id == judge.MessageID
    assert request.has_data_set == (judge.CommandDataSetType != 0x0101)
    assert request.affected_sop_instance_uid == (judge.AffectedSOPInstanceUID or "")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_command_set_or_break_the_protocol(content):
    try:
        request = parse_request(content)
    except ProtocolError:
        return
    assert 0 <= request.command_field <= 0xFFFF


@given(requests, st.integers(0, 0xFFFF), st.integers(7, 300))
def test_an_answer_fits_any_maximum_length(content, status, maximum_length):
    answer = encode_response(parse_request(content), status)

    stream = encode_command(1, answer, maximum_length)

    at, whole = 0, b""
    while at < len(stream):
        kind, length, pdv_length, context_id, control = struct.unpack_from(">BxIIBB", stream, at)
        assert (kind, context_id, control & 1) == (PduType.P_DATA_TF, 1, 1)
        assert length == pdv_length + 4 <= maximum_length
        whole += stream[at + 12 : at + 6 + length]
        at += 6 + length
        assert bool(control & 2) == (at == len(stream))
    assert whole == answer


# The acceptor, whole


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    reception = FolderReception(tmp_path_factory.mktemp("node"))
    metrics = CountingMetrics()
    times = {"association_timeout_s": 1.0, "pdu_timeout_s": 1.0, "idle_timeout_s": 1.0}
    with accepting(reception, metrics, **times) as acceptor:
        yield acceptor.port, reception, metrics


_IMAGE = chest_radiograph()
_VALID = b"".join(
    [
        associate_rq(),
        pdu(P_DATA, pdv(3, 3, echo_command())),
        store_pdus(store_command(_IMAGE), dataset_bytes(_IMAGE), cut=2000),
        RELEASE_RQ,
    ]
)
_ASSOCIATED = len(associate_rq())

changes = st.tuples(
    st.sampled_from(["flip", "insert", "delete", "repeat"]),
    st.integers(0, len(_VALID) - 1),
    st.integers(1, 300),
    st.binary(min_size=1, max_size=12),
)


def mutated(stream: bytes, edits) -> bytes:
    content = bytearray(stream)
    for kind, at, length, new in edits:
        match kind:
            case "flip":
                content[at : at + len(new)] = new
            case "insert":
                content[at:at] = new
            case "delete":
                del content[at : at + length]
            case "repeat":
                content[at:at] = content[at : at + length]
    return bytes(content)


@given(st.binary(max_size=400))
@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_any_bytes_end_an_association_cleanly(node, content):
    _survives(node, content)


@given(st.binary(max_size=400))
@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_any_bytes_after_the_request_end_an_association_cleanly(node, content):
    _survives(node, associate_rq() + content)


@pytest.mark.slow
@given(st.lists(changes, min_size=1, max_size=4))
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_a_damaged_stream_ends_an_association_cleanly(node, edits):
    _survives(node, mutated(_VALID, edits))


@given(st.integers(_ASSOCIATED, len(_VALID) - len(RELEASE_RQ) - 1))
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_a_stream_cut_anywhere_stores_nothing_and_leaves_nothing(node, length):
    _, reception, _ = node
    before = len(reception.received)

    _survives(node, _VALID[:length])

    assert len(reception.received) == before


def _survives(node, stream):
    """Send `stream`, hang up, and see that nothing of it stays and the next peer is served."""
    port, reception, metrics = node
    with RawPeer(port) as peer:
        try:
            peer.send(stream)
            peer.socket.shutdown(socket.SHUT_WR)
            while peer.receive() is not CLOSED:
                pass
        except OSError:  # the acceptor hung up first
            pass
    with RawPeer(port) as next_peer:
        next_peer.associate()
        assert next_peer.echo() == 0x0000
        next_peer.send(RELEASE_RQ)
        next_peer.receive()
    eventually(lambda: metrics.gauges["associations_open"] == 0)
    assert reception.leftovers == []
    assert reception.open_carriages == 0
    assert metrics.counts.get(("associations_ended_total", "failed"), 0) == 0
    assert metrics.counts.get(("instances_received_total", "failed"), 0) == 0
