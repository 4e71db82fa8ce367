"""A-ASSOCIATE: what a request asks, and the PDU that answers it (PS3.8 Sections 7.1, 9.3)."""

import struct
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RP
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)

from dicom_node.dimse.contexts import negotiate
from dicom_node.dimse.errors import AbortReason, ProtocolError
from dicom_node.dimse.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

APPLICATION_CONTEXT_NAME = "1.2.840.10008.3.1.1.1"
MAXIMUM_REQUEST_BYTES = 512 * 1024
"""An A-ASSOCIATE-RQ of 128 contexts with 40 transfer syntaxes each has a third of it."""

A_RELEASE_RESPONSE: bytes = A_RELEASE_RP().encode()

_PROTOCOL_VERSION_1 = 0x0001
_ACCEPTED = 0x00
_UNDECODABLE = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    struct.error,
)
"""What pynetdicom raises when it decodes a hostile PDU."""


class Refusal(Enum):
    """Why an association is rejected: result, source and reason (PS3.8 Table 9-21)."""

    PROTOCOL_VERSION = ("protocol-version", 1, 2, 2)
    APPLICATION_CONTEXT = ("application-context", 1, 1, 2)
    CALLED_AE_TITLE = ("called-ae-title", 1, 1, 7)
    CALLING_AE_TITLE = ("calling-ae-title", 1, 1, 3)
    ADDRESS = ("address", 1, 1, 1)
    LOCAL_LIMIT = ("local-limit-exceeded", 2, 3, 2)

    @classmethod
    def of_rule(cls, rule: str) -> "Refusal":
        """Return the refusal for a rule that `Reception.admits` names.

        A rule without a reason of its own in the standard is refused like an address: for
        good and without a reason.
        """
        return next((refusal for refusal in cls if refusal.value[0] == rule), cls.ADDRESS)

    @property
    def rule(self) -> str:
        """The rule's name, for logs and metrics."""
        return self.value[0]

    def encoded(self) -> bytes:
        """Return the A-ASSOCIATE-RJ."""
        pdu = A_ASSOCIATE_RJ()
        _, pdu.result, pdu.source, pdu.reason_diagnostic = self.value
        content: bytes = pdu.encode()
        return content


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """A presentation context in use."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """A decoded A-ASSOCIATE-RQ."""

    primitive: A_ASSOCIATE
    protocol_version: int

    @property
    def calling_ae_title(self) -> str:
        return str(self.primitive.calling_ae_title)

    @property
    def called_ae_title(self) -> str:
        return str(self.primitive.called_ae_title)

    @property
    def maximum_length(self) -> int:
        """The longest P-DATA-TF that the requestor takes; 0 means any."""
        return self.primitive.maximum_length_received or 0

    @property
    def formal_refusal(self) -> Refusal | None:
        """The rule of the standard that the request breaks, if any."""
        if not self.protocol_version & _PROTOCOL_VERSION_1:
            return Refusal.PROTOCOL_VERSION
        if self.primitive.application_context_name != APPLICATION_CONTEXT_NAME:
            return Refusal.APPLICATION_CONTEXT
        return None


def decode_request(content: bytes) -> AssociationRequest:
    """Decode a whole A-ASSOCIATE-RQ, its header included.

    Raises
    ------
    ProtocolError
        When it cannot be decoded, or two presentation contexts have one id, or one lacks a
        syntax.
    """
    try:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(content)
        primitive = pdu.to_primitive()
    except _UNDECODABLE:
        raise _invalid("the A-ASSOCIATE-RQ cannot be decoded") from None
    proposed = primitive.presentation_context_definition_list
    if len({context.context_id for context in proposed}) != len(proposed):
        raise _invalid("two presentation contexts have the same id")
    if not all(context.abstract_syntax and context.transfer_syntax for context in proposed):
        raise _invalid("a presentation context lacks a syntax")
    return AssociationRequest(primitive, pdu.protocol_version)


def accept(
    request: AssociationRequest, *, storage_classes: Collection[str], maximum_pdu_bytes: int
) -> tuple[bytes, dict[int, AcceptedContext]]:
    """Return the A-ASSOCIATE-AC, and the contexts in use by their id.

    Only the maximum length and our identity are negotiated: no asynchronous operations, no
    roles, no user identity. What we do not answer, the requestor knows we do not support
    (PS3.7 Annex D.3.3).
    """
    answers = negotiate(request.primitive.presentation_context_definition_list, storage_classes)
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT_NAME
    primitive.calling_ae_title = request.calling_ae_title
    primitive.called_ae_title = request.called_ae_title
    primitive.presentation_context_definition_results_list = answers
    length = MaximumLengthNotification()
    length.maximum_length_received = maximum_pdu_bytes
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    primitive.user_information = [length, implementation, version]
    contexts = {
        int(context.context_id or 0): AcceptedContext(
            str(context.abstract_syntax), str(context.transfer_syntax[0])
        )
        for context in answers
        if context.result == _ACCEPTED
    }
    return A_ASSOCIATE_AC(primitive).encode(), contexts


def abort(reason: AbortReason | None) -> bytes:
    """Return an A-ABORT: by the service provider for `reason`, or by us as user (None)."""
    pdu = A_ABORT_RQ()
    pdu.source = 0 if reason is None else 2
    pdu.reason_diagnostic = 0 if reason is None else int(reason)
    content: bytes = pdu.encode()
    return content


def _invalid(rule: str) -> ProtocolError:
    return ProtocolError(AbortReason.INVALID_PARAMETER, rule)
