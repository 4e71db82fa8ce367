"""Sta2: reads the A-ASSOCIATE-RQ and answers it (PS3.8 Sections 7.1 and 9.2)."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from audit.metrics import Metrics
from dicom_node.config.settings import DimseSettings
from dicom_node.dimse.errors import AbortReason, LinkLost, ProtocolError
from dicom_node.dimse.link import Link, left_s
from dicom_node.dimse.negotiation import (
    MAXIMUM_REQUEST_BYTES,
    AcceptedContext,
    AssociationRequest,
    Refusal,
    accept,
    decode_request,
)
from dicom_node.dimse.pdata import PduType, read_pdu
from dicom_node.dimse.security import TLS_HANDSHAKE_RECORD
from dicom_node.pipeline.receiving import Caller, Reception

log = structlog.get_logger()

_REJECT_SEND_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all associations of an acceptor share."""

    settings: DimseSettings
    reception: Reception
    metrics: Metrics
    enter: Callable[[], bool]
    """Takes one of the places for open associations; False when all are taken."""

    leave: Callable[[], None]
    """Gives the place back."""


@dataclass(frozen=True, slots=True)
class Established:
    """An accepted association. Whoever holds it gives its place back."""

    caller: Caller
    contexts: dict[int, AcceptedContext]
    maximum_length: int
    """The longest P-DATA-TF that the peer takes; 0 means any."""


def establish(
    link: Link,
    deadline_s: float,
    shared: Surroundings,
    *,
    address: str,
    protocol: str,
    stopping: threading.Event,
) -> Established | None:
    """Read the request by `deadline_s` and answer it; None when it is rejected.

    Raises
    ------
    ProtocolError
        When what comes is not an A-ASSOCIATE-RQ that can be decoded.
    LinkLost
        When nothing comes, or the peer aborts.
    """
    request = _read_request(link, deadline_s)
    caller = Caller(
        calling_ae_title=request.calling_ae_title,
        called_ae_title=request.called_ae_title,
        address=address,
        protocol=protocol,
    )
    refusal = _refusal(request, caller, shared, stopping)
    if refusal is not None:
        log.warning(
            "dimse.association.rejected",
            reason=refusal.rule,
            calling_ae_title=caller.calling_ae_title,
            called_ae_title=caller.called_ae_title,
            address=address,
        )
        shared.metrics.count("associations_rejected_total", reason=refusal.rule)
        link.send(refusal.encoded(), _REJECT_SEND_S)
        return None
    try:
        answer, contexts = accept(
            request,
            storage_classes=shared.reception.storage_classes,
            maximum_pdu_bytes=shared.settings.maximum_pdu_bytes,
        )
        link.send(answer, shared.settings.pdu_timeout_s)
    except BaseException:
        shared.leave()
        raise
    return Established(caller, contexts, request.maximum_length)


def _read_request(link: Link, deadline_s: float) -> AssociationRequest:
    waiting_s = left_s(deadline_s)
    pdu = read_pdu(link, silence_s=waiting_s, pdu_s=waiting_s)
    if pdu.type == PduType.A_ABORT:
        raise LinkLost("the peer aborted before it asked for anything")
    if pdu.type == TLS_HANDSHAKE_RECORD:
        raise ProtocolError(AbortReason.UNRECOGNIZED_PDU, "a TLS peer on the plain port")
    if pdu.type != PduType.A_ASSOCIATE_RQ:
        raise ProtocolError(AbortReason.UNEXPECTED_PDU, "no A-ASSOCIATE-RQ came first")
    if pdu.length > MAXIMUM_REQUEST_BYTES:
        raise ProtocolError(AbortReason.INVALID_PARAMETER, "an A-ASSOCIATE-RQ is too large")
    link.fill(pdu.length, deadline_s)
    header = bytes([pdu.type, 0]) + pdu.length.to_bytes(4, "big")
    return decode_request(header + bytes(link.take(pdu.length)))


def _refusal(
    request: AssociationRequest, caller: Caller, shared: Surroundings, stopping: threading.Event
) -> Refusal | None:
    """Return why `request` is rejected, or None: then a place has been taken for it."""
    if request.formal_refusal is not None:
        return request.formal_refusal
    rule = shared.reception.admits(caller)
    if rule is not None:
        return Refusal.of_rule(rule)
    if stopping.is_set() or not shared.enter():
        return Refusal.LOCAL_LIMIT
    return None
