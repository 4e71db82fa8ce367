"""PDU headers and presentation data values, parsed in place (PS3.8 Section 9.3)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from dicom_node.dimse.errors import AbortReason, ProtocolError
from dicom_node.dimse.link import deadline_in

_PDU_HEADER = struct.Struct(">BxI")
_PDV_HEADER = struct.Struct(">IBB")
_PDV_LENGTH_BYTES = 4
_CONTEXT_AND_CONTROL_BYTES = 2
_COMMAND = 0x01
_LAST = 0x02


class PduType(IntEnum):
    """The PDUs of PS3.8 Section 9.3.1."""

    A_ASSOCIATE_RQ = 0x01
    A_ASSOCIATE_AC = 0x02
    A_ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    A_RELEASE_RQ = 0x05
    A_RELEASE_RP = 0x06
    A_ABORT = 0x07


class Source(Protocol):
    """Where bytes come from; see `link.Link`."""

    def fill(self, count: int, deadline_s: float) -> None: ...
    def take(self, count: int) -> memoryview: ...
    def take_some(self, limit: int, deadline_s: float) -> memoryview: ...


@dataclass(frozen=True, slots=True)
class Pdu:
    """A PDU of which the header has been read."""

    type: int
    length: int
    """Bytes that follow the header."""

    deadline_s: float
    """When all of them must be here."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a command set or of a data set, in the receive buffer."""

    context_id: int
    is_command: bool
    is_last: bool
    """True for the piece that ends the command set or the data set."""

    content: memoryview


def read_pdu(source: Source, *, silence_s: float, pdu_s: float) -> Pdu:
    """Wait for a PDU and return its header.

    Parameters
    ----------
    source : Source
        The association's bytes.
    silence_s : float
        How long to wait for the first byte.
    pdu_s : float
        How long the whole PDU may take from then on.

    Raises
    ------
    DeadlinePassed, LinkLost
        As `link.Link.fill`.
    """
    source.fill(1, deadline_in(silence_s))
    deadline_s = deadline_in(pdu_s)
    source.fill(_PDU_HEADER.size, deadline_s)
    kind, length = _PDU_HEADER.unpack(source.take(_PDU_HEADER.size))
    return Pdu(kind, length, deadline_s)


def fragments(source: Source, pdu: Pdu) -> Iterator[Fragment]:
    """Yield the content of a P-DATA-TF as it comes, however the network has cut it.

    Raises
    ------
    ProtocolError
        When the presentation data values do not fill the PDU exactly (PS3.8 Section 9.3.5).
    DeadlinePassed, LinkLost
        As `link.Link.fill`.
    """
    left = pdu.length
    if left == 0:
        raise ProtocolError(AbortReason.INVALID_PARAMETER, "a P-DATA-TF is empty")
    while left > 0:
        if left < _PDV_HEADER.size:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "a PDV is cut short")
        source.fill(_PDV_HEADER.size, pdu.deadline_s)
        length, context_id, control = _PDV_HEADER.unpack(source.take(_PDV_HEADER.size))
        left -= _PDV_LENGTH_BYTES + length
        if length < _CONTEXT_AND_CONTROL_BYTES or left < 0:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "a PDV exceeds its PDU")
        yield from _pieces(source, pdu, length - _CONTEXT_AND_CONTROL_BYTES, context_id, control)


def _pieces(
    source: Source, pdu: Pdu, length: int, context_id: int, control: int
) -> Iterator[Fragment]:
    is_command = bool(control & _COMMAND)
    is_last = bool(control & _LAST)
    if length == 0:
        yield Fragment(context_id, is_command, is_last, memoryview(b""))
    while length > 0:
        content = source.take_some(length, pdu.deadline_s)
        length -= len(content)
        yield Fragment(context_id, is_command, is_last and length == 0, content)


def encode_command(context_id: int, command: bytes, maximum_length: int) -> bytes:
    """Return `command` as P-DATA-TF PDUs that the peer can take.

    Parameters
    ----------
    context_id : int
        The presentation context's id.
    command : bytes
        The encoded command set.
    maximum_length : int
        The peer's Maximum Length Received; 0 means no limit (PS3.8 Annex D.1).
    """
    room = max(maximum_length - _PDV_HEADER.size, 1) if maximum_length else len(command)
    pieces = [command[at : at + room] for at in range(0, len(command), room)]
    pdus = []
    for index, piece in enumerate(pieces):
        control = _COMMAND | (_LAST if index == len(pieces) - 1 else 0)
        length = len(piece) + _CONTEXT_AND_CONTROL_BYTES
        pdus.append(_PDU_HEADER.pack(PduType.P_DATA_TF, length + _PDV_LENGTH_BYTES))
        pdus.append(_PDV_HEADER.pack(length, context_id, control) + piece)
    return b"".join(pdus)
