"""TLS as in PS3.15 Annex B, BCP 195 profile (RFC 9325): 1.2 with AEAD suites, or 1.3."""

import socket
import ssl
from contextlib import ExitStack

from audit.errors import InvalidConfiguration
from dicom_node.config.settings import TlsSettings
from dicom_node.dimse.errors import DeadlinePassed, LinkLost
from dicom_node.dimse.link import left_s

TLS_1_2_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)

TLS_HANDSHAKE_RECORD = 0x16


class NotSecure(LinkLost):
    """The TLS handshake came to nothing; `reason` is of a closed set, for logs and metrics."""

    code = "dimse.tls.refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"no TLS session: {reason}")
        self.reason = reason


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return the context of the TLS port.

    Raises
    ------
    InvalidConfiguration
        When a file cannot be read or is not what its setting says.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(TLS_1_2_SUITES))
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(
            settings.certificate_file,
            settings.private_key_file,
            password="",  # else an encrypted key would ask the terminal
        )
    except (OSError, ssl.SSLError):
        raise InvalidConfiguration(
            ["dimse.tls: certificate_file and private_key_file must be a readable PEM pair"]
        ) from None
    if settings.client_ca_file is not None:
        try:
            context.load_verify_locations(settings.client_ca_file)
        except (OSError, ssl.SSLError):
            raise InvalidConfiguration(
                ["dimse.tls.client_ca_file: must be a readable PEM certificate"]
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def secured(connection: socket.socket, context: ssl.SSLContext, deadline_s: float) -> ssl.SSLSocket:
    """Return `connection` with TLS on it.

    Raises
    ------
    NotSecure
        When the peer does not speak TLS, the two do not agree, or it is not done by then.
    """
    with ExitStack() as on_failure:
        try:
            connection.settimeout(left_s(deadline_s))
            first = connection.recv(1, socket.MSG_PEEK)
            if first and first[0] != TLS_HANDSHAKE_RECORD:
                raise NotSecure("plain-peer-on-tls-port")
            session = context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
            on_failure.callback(session.close)
            session.settimeout(left_s(deadline_s))
            session.do_handshake()
        except (TimeoutError, DeadlinePassed):
            raise NotSecure("tls-handshake-timed-out") from None
        except OSError as error:
            raise NotSecure("tls-handshake-failed") from error
        on_failure.pop_all()
        return session
