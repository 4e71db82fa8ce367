"""Command sets: parsed from and encoded to Implicit VR Little Endian (PS3.7 Section 6.3)."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from dicom_node.dimse.errors import AbortReason, ProtocolError

_ELEMENT = struct.Struct("<HHI")
_US = struct.Struct("<H")
_RESPONSE = 0x8000
NO_DATA_SET = 0x0101
MAXIMUM_COMMAND_BYTES = 64 * 1024


class Tag(IntEnum):
    """Elements of group 0000 that C-ECHO and C-STORE use (PS3.7 Annex E), without the group."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000


class CommandField(IntEnum):
    """Requests that the acceptor tells apart (PS3.7 Table E.1-1)."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request's command set, as far as we need it. UIDs are as sent: not yet checked."""

    command_field: int
    message_id: int
    has_data_set: bool
    affected_sop_class_uid: str
    affected_sop_instance_uid: str

    @property
    def is_response(self) -> bool:
        """Whether this is an answer, which nobody here has asked for."""
        return bool(self.command_field & _RESPONSE)


def parse_request(content: bytes) -> Request:
    """Parse a command set.

    Raises
    ------
    ProtocolError
        When it is not a sequence of complete elements of group 0000, or lacks the
        Command Field, the Command Data Set Type or, unless a C-CANCEL, the Message ID.
    """
    elements = _elements(content)
    command_field = _number(elements, Tag.COMMAND_FIELD)
    is_cancel = command_field == CommandField.C_CANCEL_RQ or command_field & _RESPONSE
    identifies = Tag.MESSAGE_ID_BEING_RESPONDED_TO if is_cancel else Tag.MESSAGE_ID
    return Request(
        command_field=command_field,
        message_id=_number(elements, identifies),
        has_data_set=_number(elements, Tag.DATA_SET_TYPE) != NO_DATA_SET,
        affected_sop_class_uid=_text(elements, Tag.AFFECTED_SOP_CLASS_UID),
        affected_sop_instance_uid=_text(elements, Tag.AFFECTED_SOP_INSTANCE_UID),
    )


def encode_response(request: Request, status: int, comment: str = "") -> bytes:
    """Return the encoded command set that answers `request`.

    Parameters
    ----------
    request : Request
        What is answered.
    status : int
        PS3.7 Annex C and, for C-STORE, PS3.4 Annex B.2.3.
    comment : str
        (0000,0902) Error Comment: the rule that was broken, cut to 64 characters.
    """
    body = [
        _element(Tag.AFFECTED_SOP_CLASS_UID, _padded(request.affected_sop_class_uid, b"\0")),
        _element(Tag.COMMAND_FIELD, _US.pack(request.command_field | _RESPONSE)),
        _element(Tag.MESSAGE_ID_BEING_RESPONDED_TO, _US.pack(request.message_id)),
        _element(Tag.DATA_SET_TYPE, _US.pack(NO_DATA_SET)),
        _element(Tag.STATUS, _US.pack(status)),
    ]
    if comment:
        plain = comment.replace("\\", "/")[:64]
        body.append(_element(Tag.ERROR_COMMENT, _padded(plain, b" ")))
    if request.affected_sop_instance_uid:
        instance = _padded(request.affected_sop_instance_uid, b"\0")
        body.append(_element(Tag.AFFECTED_SOP_INSTANCE_UID, instance))
    content = b"".join(body)
    return _element(Tag.GROUP_LENGTH, struct.pack("<I", len(content))) + content


def _elements(content: bytes) -> dict[int, bytes]:
    elements: dict[int, bytes] = {}
    at = 0
    while at < len(content):
        if len(content) - at < _ELEMENT.size:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "a command set is cut short")
        group, element, length = _ELEMENT.unpack_from(content, at)
        at += _ELEMENT.size + length
        if group != 0 or at > len(content):
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "a command set is malformed")
        elements[element] = content[at - length : at]
    return elements


def _number(elements: Mapping[int, bytes], tag: Tag) -> int:
    value = elements.get(tag, b"")
    if len(value) != _US.size:
        raise ProtocolError(
            AbortReason.INVALID_PARAMETER, "a command set lacks an element that it needs"
        )
    number: int = _US.unpack(value)[0]
    return number


def _text(elements: Mapping[int, bytes], tag: Tag) -> str:
    return elements.get(tag, b"").decode("ascii", "replace").rstrip("\0 ")


def _element(tag: Tag, value: bytes) -> bytes:
    return _ELEMENT.pack(0, tag, len(value)) + value


def _padded(value: str, padding: bytes) -> bytes:
    encoded = value.encode("ascii", "replace")
    return encoded + padding if len(encoded) % 2 else encoded
