"""The MLLP listener: a thread for each connection, so that a slow peer delays no other."""

import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Protocol, cast

import structlog

from audit.clock import Clock
from audit.errors import Fault
from audit.metrics import Metrics
from dicom_node.config.orders import Hl7Settings
from dicom_node.orders.blocks import Blocks, BlockTooLong, block

log = structlog.get_logger()

_AT_ONCE_BYTES = 65_536
_BACKLOG = 64
_POLL_S = 0.1
_LINGER_S = 1.0
_LINGER_READS = 256


class MllpListenerFailed(Fault):
    """The address is taken or is not ours."""

    code = "hl7.listener.failed"


class Inbox(Protocol):
    """Who answers messages; see `dicom_node.orders.inbox.Hl7Inbox`."""

    def take(self, body: bytes, address: str) -> bytes: ...
    def refuse(self, head: bytes, rule: str, address: str) -> bytes: ...


class MllpListener:
    """Listens on the address of `settings`; start it once.

    Connections from addresses that `settings.addresses` does not hold are closed at once,
    and so is one more than `maximum_connections`.
    """

    def __init__(self, settings: Hl7Settings, inbox: Inbox, clock: Clock, metrics: Metrics) -> None:
        self._settings = settings
        self._inbox = inbox
        self._clock = clock
        self._metrics = metrics
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The TCP port, also where the settings say 0; valid once started."""
        if self._server is None:
            raise MllpListenerFailed("the HL7 listener is not running")
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Bind and begin to serve.

        Raises
        ------
        MllpListenerFailed
            When the address cannot be bound.
        """
        try:
            self._server = _Server(self._settings, self._serve, self._metrics)
        except OSError:
            raise MllpListenerFailed("the HL7 address cannot be bound") from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="mllp", daemon=True
        )
        self._thread.start()
        log.info("orders.listener.started", port=self.port)

    def stop(self, grace_s: float) -> None:
        """Take nothing new, let messages under way be answered; may be called again."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        still_open = self._server.end(self._clock, grace_s)
        self._server.server_close()
        self._server = None
        log.info("orders.listener.stopped", still_open=still_open)

    def _serve(self, connection: socket.socket, address: str) -> None:
        """Answer the messages of one connection, in their order, until it ends."""
        settings = self._settings
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        blocks = Blocks(settings.maximum_message_bytes)
        deadline_s = 0.0
        answered = 0
        reason = "peer-closed"
        try:
            while data := self._received(connection, blocks, deadline_s):
                if not blocks.is_open:
                    deadline_s = self._clock.monotonic_s() + settings.message_timeout_s
                for message in blocks.feed(data):
                    self._send(connection, self._inbox.take(message, address))
                    answered += 1
                    deadline_s = self._clock.monotonic_s() + settings.message_timeout_s
        except BlockTooLong as error:
            reason = "message-too-long"
            self._hang_up(connection, self._inbox.refuse(error.head, str(error), address))
        except TimeoutError:
            reason = "timed-out"
        except OSError:
            reason = "connection-lost"
        log.info("orders.connection.ended", address=address, reason=reason, messages=answered)

    def _received(self, connection: socket.socket, blocks: Blocks, deadline_s: float) -> bytes:
        """Wait for bytes: long between messages, and no longer than its time inside one."""
        if blocks.is_open:
            left_s = deadline_s - self._clock.monotonic_s()
            if left_s <= 0:
                raise TimeoutError
            connection.settimeout(left_s)
        else:
            connection.settimeout(self._settings.idle_timeout_s)
        return connection.recv(_AT_ONCE_BYTES)

    def _hang_up(self, connection: socket.socket, answer: bytes) -> None:
        """Send a last answer, and skip what still comes: else it would be lost by a reset."""
        with suppress(OSError):
            self._send(connection, answer)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(_LINGER_S)
            for _ in range(_LINGER_READS):
                if not connection.recv(_AT_ONCE_BYTES):
                    return

    def _send(self, connection: socket.socket, answer: bytes) -> None:
        connection.settimeout(self._settings.message_timeout_s)
        connection.sendall(block(answer))


class _Server(socketserver.ThreadingTCPServer):
    """Threads, an allow-list, a limit, and a way to end."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = _BACKLOG

    def __init__(
        self,
        settings: Hl7Settings,
        serve: Callable[[socket.socket, str], None],
        metrics: Metrics,
    ) -> None:
        if ":" in settings.host:
            self.address_family = socket.AF_INET6
        self._settings = settings
        self._serve = serve
        self._metrics = metrics
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        super().__init__((settings.host, settings.port), socketserver.BaseRequestHandler)

    def verify_request(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> bool:
        address = _plain(client_address)
        known = any(ip_address(address) in network for network in self._settings.addresses)
        with self._changed:
            room = len(self._open) < self._settings.maximum_connections
            if known and room:
                self._open.add(cast("socket.socket", request))
                self._metrics.gauge("hl7_connections", len(self._open))
                return True
        log.warning(
            "orders.connection.refused",
            address=address,
            reason="too-many-connections" if known else "address",
        )
        return False

    def finish_request(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        connection = cast("socket.socket", request)
        try:
            self._serve(connection, _plain(client_address))
        finally:
            with self._changed:
                self._open.discard(connection)
                self._metrics.gauge("hl7_connections", len(self._open))
                self._changed.notify_all()

    def handle_error(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        log.exception("orders.connection.crashed", address=_plain(client_address))

    def end(self, clock: Clock, grace_s: float) -> int:
        """Read nothing more, wait for answers under way; return how many did not end."""
        deadline_s = clock.monotonic_s() + grace_s
        with self._changed:
            for connection in self._open:
                _shut(connection, socket.SHUT_RD)
            while self._open and (left_s := deadline_s - clock.monotonic_s()) > 0:
                self._changed.wait(left_s)
            for connection in self._open:
                _shut(connection, socket.SHUT_RDWR)
            return len(self._open)


def _shut(connection: socket.socket, how: int) -> None:
    with suppress(OSError):  # the peer was faster
        connection.shutdown(how)


def _plain(client_address: object) -> str:
    """Return the address alone; an IPv4 address mapped into IPv6 counts as IPv4."""
    text = str(cast("tuple[object, ...]", client_address)[0]).split("%", 1)[0]
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return text
