"""Asking for an association as an SCU: who we call, over TLS or not, and for how long."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from audit.errors import InvalidConfiguration, PeerUnreachable

_VERIFICATION_SOP_CLASS = "1.2.840.10008.1.1"  # PS3.4 Annex A
_SUCCESS = 0x0000


class Peer(Protocol):
    """The settings of an application entity that we call."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def ae_title(self) -> str: ...
    @property
    def tls_ca_file(self) -> Path | None: ...
    @property
    def tls_certificate_file(self) -> Path | None: ...
    @property
    def tls_private_key_file(self) -> Path | None: ...


class Requestor:
    """Makes associations with one peer; safe to use from several threads.

    Parameters
    ----------
    peer
        Who is called.
    calling_ae_title
        Our own title.
    name
        What a problem with the certificate files is reported under, such as
        ``destination 'pacs'``.

    Raises
    ------
    InvalidConfiguration
        A certificate file cannot be read.
    """

    def __init__(self, peer: Peer, calling_ae_title: str, name: str) -> None:
        self._peer = peer
        self._calling_ae_title = calling_ae_title
        self._tls = _tls_context(peer, name)

    @contextmanager
    def association(
        self, contexts: Sequence[PresentationContext], timeout_s: float
    ) -> Iterator[Association]:
        """Yield an association, and release it afterwards, or abort it where that fails.

        Parameters
        ----------
        timeout_s
            Bounds the connection, the negotiation, each answer and the release, and how
            long the peer may take nothing in, or stop within a message. The peer may take
            none of the `contexts`.

        Raises
        ------
        PeerUnreachable
            When no association could be made.
        """
        assoc = self._associate(contexts, timeout_s)
        try:
            yield assoc
        finally:
            if assoc.is_established:
                assoc.release()
            if assoc.is_established:  # the peer did not answer the release
                assoc.abort()

    def verify(self, timeout_s: float) -> None:
        """Ask by C-ECHO whether the peer answers.

        Raises
        ------
        PeerUnreachable
            When it does not, or does not offer the Verification SOP Class.
        """
        with self.association([build_context(_VERIFICATION_SOP_CLASS)], timeout_s) as assoc:
            if not assoc.accepted_contexts:
                raise PeerUnreachable("the peer does not support C-ECHO")
            try:
                answer = assoc.send_c_echo()
            except RuntimeError:
                raise PeerUnreachable("the association ended before C-ECHO") from None
            if answer.get("Status") != _SUCCESS:
                raise PeerUnreachable("C-ECHO was not answered with success")

    def _associate(self, contexts: Sequence[PresentationContext], timeout_s: float) -> Association:
        ae = AE(ae_title=self._calling_ae_title)
        ae.connection_timeout = ae.acse_timeout = timeout_s
        ae.dimse_timeout = ae.network_timeout = timeout_s
        try:
            assoc = ae.associate(
                self._peer.host,
                self._peer.port,
                list(contexts),
                ae_title=self._peer.ae_title,
                tls_args=None if self._tls is None else (self._tls, self._peer.host),
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, _send_at_once),
                    (evt.EVT_CONN_OPEN, _bound_silence, [timeout_s]),
                ],
            )
        except (OSError, UnicodeError):  # a name that cannot be looked up
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


def _bound_silence(event: evt.Event, timeout_s: float) -> None:
    """End the connection where the peer takes nothing in, or says nothing more, within a PDU.

    pynetdicom itself waits for ever then, and so does its abort.
    """
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.settimeout(timeout_s)


def _tls_context(peer: Peer, name: str) -> ssl.SSLContext | None:
    """Return the client side of BCP 195 TLS (PS3.15 Section B.9), or None without a CA."""
    if peer.tls_ca_file is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(peer.tls_ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if peer.tls_certificate_file is not None:
            context.load_cert_chain(peer.tls_certificate_file, peer.tls_private_key_file)
    except OSError:  # SSLError is one
        raise InvalidConfiguration([f"{name}: a TLS file cannot be read"]) from None
    return context
