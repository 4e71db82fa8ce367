"""Send by C-STORE: one association for a batch, every answer kept."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from struct import error as struct_error

import structlog
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from audit.clock import Clock, SystemClock
from audit.errors import InvalidConfiguration, PeerUnreachable
from dicom_node.config.settings import DimseDestination
from dicom_node.core.outcome import Outcome
from dicom_node.delivery.answers import (
    LINK_LOST,
    TIMED_OUT,
    UNREADABLE,
    store_status,
)
from dicom_node.delivery.negotiation import Offer, offers_for, refusal, syntax_for
from dicom_node.delivery.outcome import OutgoingObject, SendStatus

log = structlog.get_logger()

_VERIFICATION_SOP_CLASS = "1.2.840.10008.1.1"  # PS3.4 Annex A
_ABSTRACT_SYNTAX_NOT_SUPPORTED = 0x03  # PS3.8 Table 9-18
_SUCCESS = 0x0000
_UNREADABLE_ERRORS = (
    InvalidDicomError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    struct_error,
)


class DimseSender:
    """The Storage SCU of one destination; safe to use from several threads.

    Parameters
    ----------
    settings
        The destination. `timeout_s` bounds the connection, the negotiation, each answer
        and the release.
    calling_ae_title
        Our own title.

    Raises
    ------
    InvalidConfiguration
        A certificate file cannot be read.
    """

    def __init__(
        self, settings: DimseDestination, calling_ae_title: str, clock: Clock | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._calling_ae_title = calling_ae_title
        self._tls = _tls_context(settings)

    def send(self, objects: Sequence[OutgoingObject]) -> list[SendStatus]:
        """Send `objects` over one association; return one status for each, in order.

        An uncompressed object is written anew in a little endian syntax when the peer does
        not take its own; its UIDs and pixels stay. At most 128 different pairs of SOP class
        and transfer syntax fit into one association (PS3.8 Section 9.3.2.2).

        Raises
        ------
        PeerUnreachable
            When no association could be made.
        """
        if not objects:
            return []
        offers = offers_for(objects)
        contexts = [build_context(o.sop_class_uid, o.transfer_syntax_uid) for o in offers]
        with self._association(contexts) as assoc:
            accepted = {_offer(context) for context in assoc.accepted_contexts}
            unknown = {
                str(context.abstract_syntax)
                for context in assoc.rejected_contexts
                if context.result == _ABSTRACT_SYNTAX_NOT_SUPPORTED
            }
            return [self._send_one(assoc, item, accepted, unknown) for item in objects]

    def verify(self) -> None:
        """Ask by C-ECHO whether the destination answers.

        Raises
        ------
        PeerUnreachable
            When it does not, or does not offer the Verification SOP Class.
        """
        with self._association([build_context(_VERIFICATION_SOP_CLASS)]) as assoc:
            if not assoc.accepted_contexts:
                raise PeerUnreachable("the peer does not support C-ECHO")
            try:
                answer = assoc.send_c_echo()
            except RuntimeError:
                raise PeerUnreachable("the association ended before C-ECHO") from None
            if answer.get("Status") != _SUCCESS:
                raise PeerUnreachable("C-ECHO was not answered with success")

    def _send_one(
        self, assoc: Association, item: OutgoingObject, accepted: set[Offer], unknown: set[str]
    ) -> SendStatus:
        if syntax_for(item, accepted) is None:
            return _status(item, Outcome.REFUSED, refusal(item, unknown))
        if not assoc.is_established:
            return _status(item, Outcome.FAILED, LINK_LOST)
        started_s = self._clock.monotonic_s()
        try:
            answer = assoc.send_c_store(dcmread(item.path))
        except RuntimeError:  # the association ended since we looked
            return self._lost(item, LINK_LOST)
        except _UNREADABLE_ERRORS:
            log.error("delivery.object.unreadable", destination=self._settings.name)
            return _status(item, Outcome.FAILED, UNREADABLE)
        if "Status" in answer:
            return store_status(item.sop_instance_uid, int(answer.Status))
        silent_s = self._clock.monotonic_s() - started_s
        return self._lost(item, TIMED_OUT if silent_s >= self._settings.timeout_s else LINK_LOST)

    def _lost(self, item: OutgoingObject, reason: str) -> SendStatus:
        log.warning("delivery.association.lost", destination=self._settings.name, reason=reason)
        return _status(item, Outcome.FAILED, reason)

    @contextmanager
    def _association(self, contexts: list[PresentationContext]) -> Iterator[Association]:
        assoc = self._associate(contexts)
        try:
            yield assoc
        finally:
            if assoc.is_established:
                assoc.release()
            if assoc.is_established:  # the peer did not answer the release
                assoc.abort()

    def _associate(self, contexts: list[PresentationContext]) -> Association:
        ae = AE(ae_title=self._calling_ae_title)
        ae.connection_timeout = ae.acse_timeout = self._settings.timeout_s
        ae.dimse_timeout = ae.network_timeout = self._settings.timeout_s
        try:
            assoc = ae.associate(
                self._settings.host,
                self._settings.port,
                contexts,
                ae_title=self._settings.ae_title,
                tls_args=None if self._tls is None else (self._tls, self._settings.host),
                evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once)],
            )
        except OSError:
            raise PeerUnreachable("the host name has no address") from None
        answer = assoc.acceptor.primitive
        if assoc.is_rejected and answer is not None:
            raise PeerUnreachable(
                f"association rejected ({answer.result_str}): {answer.reason_str}"
            )
        if not assoc.is_established and (answer is None or not assoc.rejected_contexts):
            raise PeerUnreachable("no connection, or no answer to the association request")
        return assoc


def _send_at_once(event: evt.Event) -> None:
    """Turn Nagle's algorithm off: it costs 40 ms for each message."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _offer(context: PresentationContext) -> Offer:
    return Offer(str(context.abstract_syntax), str(context.transfer_syntax[0]))


def _status(item: OutgoingObject, outcome: Outcome, status: str) -> SendStatus:
    return SendStatus(sop_instance_uid=item.sop_instance_uid, outcome=outcome, status=status)


def _tls_context(settings: DimseDestination) -> ssl.SSLContext | None:
    """Return the client side of BCP 195 TLS (PS3.15 Section B.9), or None without a CA."""
    if settings.tls_ca_file is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(settings.tls_ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.tls_certificate_file is not None:
            context.load_cert_chain(settings.tls_certificate_file, settings.tls_private_key_file)
    except OSError:  # SSLError is one
        raise InvalidConfiguration(
            [f"destination {settings.name!r}: a TLS file cannot be read"]
        ) from None
    return context
