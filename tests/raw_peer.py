"""A DICOM peer that sends any bytes, right or wrong, for tests of the acceptor."""

import socket
import struct
import time

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT_LE = "1.2.840.10008.1.2.1"

ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RP, ABORT = 2, 3, 4, 6, 7
RELEASE_RQ = bytes.fromhex("0500 00000004 00000000")
USER_ABORT = bytes.fromhex("0700 00000004 00000000")
CLOSED = None


def pdu(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(content)) + content


def pdv(context_id: int, control: int, content: bytes) -> bytes:
    return struct.pack(">IBB", len(content) + 2, context_id, control) + content


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def us(value: int) -> bytes:
    return struct.pack("<H", value)


def padded(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def command(field: int, *, data_set: bool, message_id: int = 7, more: bytes = b"") -> bytes:
    """Return a command set, group length included; `more` goes before the rest."""
    content = (
        more
        + element(0x0100, us(field))
        + element(0x0110, us(message_id))
        + element(0x0800, us(0 if data_set else 0x0101))
    )
    return element(0, struct.pack("<I", len(content))) + content


def echo_command(message_id: int = 7) -> bytes:
    more = element(2, padded(VERIFICATION))
    return command(0x30, data_set=False, message_id=message_id, more=more)


def store_command(ds, *, sop_class_uid=None, sop_instance_uid=None) -> bytes:
    """Return the command set of a C-STORE of `ds`, in which either UID may lie."""
    named_class = ds.SOPClassUID if sop_class_uid is None else sop_class_uid
    named = ds.SOPInstanceUID if sop_instance_uid is None else sop_instance_uid
    more = element(2, padded(named_class)) + element(0x1000, padded(named))
    return command(1, data_set=True, more=more)


def store_pdus(ds_command: bytes, data_set: bytes, context_id: int = 1, cut: int = 16384) -> bytes:
    """Return a whole C-STORE request as PDUs with one PDV each, cut at `cut` bytes."""
    pieces = [data_set[at : at + cut] for at in range(0, len(data_set), cut)] or [b""]
    controls = [0] * (len(pieces) - 1) + [2]
    return pdu(P_DATA, pdv(context_id, 3, ds_command)) + b"".join(
        pdu(P_DATA, pdv(context_id, control, piece))
        for piece, control in zip(pieces, controls, strict=True)
    )


def associate_rq(
    *,
    calling="SENDER",
    called="AI_NODE",
    contexts=((CR_IMAGE, (EXPLICIT_LE,)), (VERIFICATION, (EXPLICIT_LE,))),
    application_context="1.2.840.10008.3.1.1.1",
    protocol_version=1,
    maximum_length=16384,
) -> bytes:
    """Return an A-ASSOCIATE-RQ; contexts get the ids 1, 3, 5, ..."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = application_context
    primitive.calling_ae_title = calling
    primitive.called_ae_title = called
    proposed = [build_context(abstract, list(syntaxes)) for abstract, syntaxes in contexts]
    for index, context in enumerate(proposed):
        context.context_id = 2 * index + 1
    primitive.presentation_context_definition_list = proposed
    length = MaximumLengthNotification()
    length.maximum_length_received = maximum_length
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3.4"
    primitive.user_information = [length, implementation]
    request = A_ASSOCIATE_RQ(primitive)
    request.protocol_version = protocol_version
    return request.encode()


class RawPeer:
    """One connection. Closes when its ``with`` block ends."""

    def __init__(self, port: int, *, limit_s: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=limit_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_exception) -> None:
        self.socket.close()

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def receive(self):
        """Return the next PDU as (type, content), or None when the acceptor closed."""
        header = self._read(6)
        if header is None:
            return CLOSED
        kind, length = struct.unpack(">BxI", header)
        return kind, self._read(length)

    def associate(self, **options) -> A_ASSOCIATE_AC:
        self.send(associate_rq(**options))
        kind, content = self.receive()
        assert kind == ASSOCIATE_AC, kind
        answer = A_ASSOCIATE_AC()
        answer.decode(pdu(kind, content))
        return answer

    def status(self) -> int:
        """Return the status of the response that comes next."""
        kind, content = self.receive()
        assert kind == P_DATA, kind
        marker = struct.pack("<HHI", 0, 0x0900, 2)
        at = content.index(marker) + len(marker)
        return int.from_bytes(content[at : at + 2], "little")

    def echo(self, context_id: int = 3) -> int:
        self.send(pdu(P_DATA, pdv(context_id, 3, echo_command())))
        return self.status()

    def _read(self, count: int):
        content = b""
        while len(content) < count:
            try:
                piece = self.socket.recv(count - len(content))
            except ConnectionError:
                return CLOSED
            if not piece:
                return CLOSED
            content += piece
        return content


def eventually(condition, limit_s: float = 5.0) -> None:
    """Wait until `condition` holds, with a deadline; for what happens in other threads."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
