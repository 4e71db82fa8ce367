"""The life of one association, in a thread of its own: PS3.8 Section 9.2, acceptor's half.

=====  ===========================  ========================================================
State  Waits for                    Method
=====  ===========================  ========================================================
Sta2   A-ASSOCIATE-RQ               ``_establish``
Sta6   messages, release or abort   ``_serve``
Sta13  the connection's end         ``_await_close``
=====  ===========================  ========================================================
"""

import socket
import ssl
import threading
import uuid
from contextlib import closing, suppress
from enum import StrEnum

import structlog

from dicom_node.dimse.errors import AbortReason, DeadlinePassed, LinkLost, ProtocolError, origin
from dicom_node.dimse.establishing import Established, Surroundings, establish
from dicom_node.dimse.link import Link, deadline_in, left_s
from dicom_node.dimse.messages import Messages
from dicom_node.dimse.negotiation import A_RELEASE_RESPONSE, abort
from dicom_node.dimse.pdata import Pdu, PduType, encode_command, fragments, read_pdu
from dicom_node.dimse.security import NotSecure, secured
from dicom_node.dimse.storing import StorageService

log = structlog.get_logger()

_PDU_HEADER_BYTES = 6
_FIXED_PDU_BYTES = 4
"""Of A-RELEASE-RQ and A-ABORT (PS3.8 Sections 9.3.6 and 9.3.8)."""

_ABORT_SEND_S = 2.0
_MAXIMUM_DISCARDED_BYTES = 64 * 1024 * 1024


class Ending(StrEnum):
    """How an association ended."""

    RELEASED = "released"
    REJECTED = "rejected"
    ABORTED_BY_PEER = "aborted-by-peer"
    PROTOCOL_ERROR = "protocol-error"
    TIMED_OUT = "timed-out"
    LOST = "lost"
    NOT_SECURE = "not-secure"
    STOPPED = "stopped"
    FAILED = "failed"


class Association:
    """Serves one connection until it ends.

    Parameters
    ----------
    connection : socket.socket
        Just accepted; the association closes it.
    address : str
        The peer's IP address.
    tls : ssl.SSLContext or None
        When given, the handshake comes first.
    surroundings : Surroundings
        Settings and services.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        address: str,
        tls: ssl.SSLContext | None,
        surroundings: Surroundings,
    ) -> None:
        self.association_id = uuid.uuid4().hex[:12]
        self._connection = connection
        self._address = address
        self._tls = tls
        self._shared = surroundings
        self._settings = surroundings.settings
        self._link: Link | None = None
        self._messages: Messages | None = None
        self._calling_ae_title = ""
        self._stopping = threading.Event()

    def run(self) -> None:
        """Serve the connection; returns when it is closed."""
        try:
            ending = self._run()
        except Exception as error:  # noqa: BLE001 - the thread's last line: say it, and close
            ending = Ending.FAILED
            log.error(
                "dimse.association.failed",
                association_id=self.association_id,
                error_type=type(error).__name__,
                origin=origin(error),
            )
            self._abort(AbortReason.NOT_SPECIFIED)
        finally:
            self._connection.close()
        self._shared.metrics.count("associations_ended_total", ending=ending.value)

    def request_stop(self) -> None:
        """End the association once the message under way is answered; at once when idle."""
        self._stopping.set()
        messages = self._messages
        if messages is None or not messages.under_way:
            self._shut(socket.SHUT_RD)

    def force_stop(self) -> None:
        """End the association now."""
        self._stopping.set()
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        with suppress(OSError):  # closed already
            # Past SSLSocket's own method, which would take the session from under the reader.
            socket.socket.shutdown(self._connection, how)

    def _run(self) -> Ending:
        deadline_s = deadline_in(self._settings.association_timeout_s)
        if self._tls is not None:
            try:
                self._connection = secured(self._connection, self._tls, deadline_s)
            except NotSecure as error:
                return self._not_secure(error)
        link = self._link = Link(self._connection)
        try:
            established = self._establish(link, deadline_s)
        except ProtocolError as error:  # PS3.8 Table 9-10, AA-1
            self._log("dimse.association.aborted", reason=str(error))
            self._abort(None)
            self._await_close(link)
            return Ending.PROTOCOL_ERROR
        except LinkLost as error:  # AA-2 and AA-5: there is nobody to talk to
            self._log("dimse.connection.ended", reason=str(error))
            return Ending.TIMED_OUT if isinstance(error, DeadlinePassed) else Ending.LOST
        if established is None:
            self._await_close(link)
            return Ending.REJECTED
        try:
            ending = self._serve(link, established)
        finally:
            self._shared.leave()
        if ending in (Ending.RELEASED, Ending.PROTOCOL_ERROR):
            self._await_close(link)
        return ending

    def _not_secure(self, error: NotSecure) -> Ending:
        log.warning("dimse.tls.refused", reason=error.reason, address=self._address)
        self._shared.metrics.count("associations_rejected_total", reason=error.reason)
        return Ending.NOT_SECURE

    def _establish(self, link: Link, deadline_s: float) -> Established | None:
        return establish(
            link,
            deadline_s,
            self._shared,
            address=self._address,
            protocol="DIMSE" if self._tls is None else "DIMSE-TLS",
            stopping=self._stopping,
        )

    def _serve(self, link: Link, established: Established) -> Ending:
        self._calling_ae_title = established.caller.calling_ae_title
        self._log(
            "dimse.association.accepted",
            contexts=len(established.contexts),
            protocol=established.caller.protocol,
            address=self._address,
        )
        storage = StorageService(
            reception=self._shared.reception,
            caller=established.caller,
            maximum_object_bytes=self._settings.maximum_object_bytes,
            metrics=self._shared.metrics,
            association_id=self.association_id,
        )

        def reply(context_id: int, command: bytes) -> None:
            pdus = encode_command(context_id, command, established.maximum_length)
            link.send(pdus, self._settings.pdu_timeout_s)

        messages = self._messages = Messages(established.contexts, storage, reply)
        try:
            with storage, closing(messages):
                return self._exchange(link, messages)
        except ProtocolError as error:  # AA-8
            self._log("dimse.association.aborted", reason=str(error))
            self._abort(error.reason)
            return Ending.PROTOCOL_ERROR
        except LinkLost as error:
            return self._lost(error)

    def _lost(self, error: LinkLost) -> Ending:
        if self._stopping.is_set():
            self._log("dimse.association.aborted", reason="the node stops")
            self._abort(None)
            return Ending.STOPPED
        if isinstance(error, DeadlinePassed):
            self._log("dimse.association.aborted", reason=str(error))
            self._abort(AbortReason.NOT_SPECIFIED)
            return Ending.TIMED_OUT
        self._log("dimse.association.lost", reason=str(error))
        return Ending.LOST

    def _exchange(self, link: Link, messages: Messages) -> Ending:
        settings = self._settings
        while True:
            if self._stopping.is_set() and not messages.under_way:
                raise LinkLost("the node stops")
            pdu = read_pdu(link, silence_s=settings.idle_timeout_s, pdu_s=settings.pdu_timeout_s)
            if pdu.type == PduType.P_DATA_TF:
                if pdu.length > settings.maximum_pdu_bytes:
                    raise ProtocolError(
                        AbortReason.INVALID_PARAMETER, "a PDU is larger than negotiated"
                    )
                for fragment in fragments(link, pdu):
                    messages.take(fragment)
            elif pdu.type in (PduType.A_RELEASE_RQ, PduType.A_ABORT):
                if pdu.length != _FIXED_PDU_BYTES:
                    raise ProtocolError(AbortReason.INVALID_PARAMETER, "a PDU's length is wrong")
                link.fill(pdu.length, pdu.deadline_s)
                link.take(pdu.length)
                return self._leave(link, pdu)
            elif pdu.type in set(PduType):
                raise ProtocolError(AbortReason.UNEXPECTED_PDU, "a PDU is out of place")
            else:
                raise ProtocolError(AbortReason.UNRECOGNIZED_PDU, "a PDU is of no known type")

    def _leave(self, link: Link, pdu: Pdu) -> Ending:
        if pdu.type == PduType.A_ABORT:  # AA-3
            self._log("dimse.association.aborted", reason="the peer aborted")
            return Ending.ABORTED_BY_PEER
        link.send(A_RELEASE_RESPONSE, self._settings.pdu_timeout_s)  # AR-4
        self._log("dimse.association.released")
        return Ending.RELEASED

    def _await_close(self, link: Link) -> None:
        """Wait for the peer to close: to close first could lose what we sent last (Sta13)."""
        deadline_s = deadline_in(self._settings.association_timeout_s)
        discarded = 0
        has_aborted = False
        with suppress(LinkLost):  # this is what is waited for
            while discarded < _MAXIMUM_DISCARDED_BYTES:
                waiting_s = left_s(deadline_s)
                pdu = read_pdu(link, silence_s=waiting_s, pdu_s=waiting_s)
                is_unknown = pdu.type not in set(PduType)
                if (is_unknown or pdu.type == PduType.A_ASSOCIATE_RQ) and not has_aborted:
                    has_aborted = self._abort(AbortReason.UNEXPECTED_PDU)  # AA-7
                left = min(pdu.length, _MAXIMUM_DISCARDED_BYTES - discarded)
                discarded += left + _PDU_HEADER_BYTES
                while left > 0:
                    left -= len(link.take_some(left, deadline_s))

    def _abort(self, reason: AbortReason | None) -> bool:
        """Send an A-ABORT, if anybody still takes it."""
        if self._link is not None:
            with suppress(LinkLost):
                self._link.send(abort(reason), _ABORT_SEND_S)
        return True

    def _log(self, event: str, **fields: str | int) -> None:
        log.info(
            event,
            association_id=self.association_id,
            calling_ae_title=self._calling_ae_title,
            **fields,
        )
