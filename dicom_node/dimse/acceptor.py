"""Listens for associations, and gives each a thread (architecture: receive path)."""

import selectors
import socket
import ssl
import threading
from dataclasses import dataclass

import structlog

from audit.errors import InvalidConfiguration
from audit.metrics import Metrics
from dicom_node.config.settings import DimseSettings
from dicom_node.dimse.association import Association
from dicom_node.dimse.establishing import Surroundings
from dicom_node.dimse.link import deadline_in
from dicom_node.dimse.security import server_context
from dicom_node.pipeline.receiving import Reception

log = structlog.get_logger()

_BACKLOG = 512
_SPARE_CONNECTIONS = 100
"""Connections beyond `maximum_associations`: they are told that the limit is reached."""

_EXHAUSTED_PAUSE_S = 0.1
_FORCED_END_S = 2.0


@dataclass(frozen=True, slots=True)
class _Listener:
    socket: socket.socket
    tls: ssl.SSLContext | None

    @property
    def port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port


class _Places:
    """The places for open associations, counted in the gauge ``associations_open``."""

    def __init__(self, maximum: int, metrics: Metrics) -> None:
        self._maximum = maximum
        self._metrics = metrics
        self._taken = 0
        self._lock = threading.Lock()

    def enter(self) -> bool:
        """Take a place, if there is one."""
        with self._lock:
            if self._taken >= self._maximum:
                return False
            self._change(1)
            return True

    def leave(self) -> None:
        """Give a place back."""
        with self._lock:
            self._change(-1)

    def _change(self, by: int) -> None:
        self._taken += by
        self._metrics.gauge("associations_open", self._taken)


class Acceptor:
    """The C-ECHO and C-STORE service, on a plain port and, when configured, a TLS port.

    Parameters
    ----------
    settings : DimseSettings
        Ports, limits and time-outs.
    reception : Reception
        Who may send, what is accepted, and what becomes of it.
    metrics : Metrics
        ``associations_open``, ``associations_rejected_total{reason}``,
        ``associations_ended_total{ending}``, ``instances_received_total{outcome}``,
        ``received_bytes_total`` and ``store_seconds``.
    """

    def __init__(self, settings: DimseSettings, reception: Reception, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        places = _Places(settings.maximum_associations, metrics)
        self._shared = Surroundings(
            settings=settings,
            reception=reception,
            metrics=metrics,
            enter=places.enter,
            leave=places.leave,
        )
        self._listeners: list[_Listener] = []
        self._open: dict[Association, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._waker, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._listen, name="dimse-listener", daemon=True)

    @property
    def port(self) -> int:
        """The plain port, once started: the system's choice when the setting is 0."""
        return self._listeners[0].port

    @property
    def tls_port(self) -> int | None:
        """The TLS port, once started; None without TLS."""
        return self._listeners[1].port if len(self._listeners) > 1 else None

    def start(self) -> None:
        """Listen. When this returns, peers can connect.

        Raises
        ------
        InvalidConfiguration
            When a port cannot be listened on, or the certificate cannot be used.
        """
        tls = self._settings.tls
        context = None if tls is None else server_context(tls)
        self._bind("dimse.port", self._settings.port, None)
        if tls is not None:
            self._bind("dimse.tls.port", tls.port, context)
        self._thread.start()
        log.info("dimse.listener.started", port=self.port, tls_port=self.tls_port)

    def stop(self, drain_s: float) -> None:
        """Take no more, let the messages under way end within `drain_s`, end the rest."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._waker.send(b"\0")
        if self._thread.ident is not None:
            self._thread.join()
        self._close_listeners()
        self._waker.close()
        self._woken.close()
        with self._lock:
            associations = dict(self._open)
        for association in associations:
            association.request_stop()
        self._join(associations, drain_s)
        for association in self._still_open():
            association.force_stop()
        self._join(associations, _FORCED_END_S)
        log.info("dimse.listener.stopped", still_open=len(self._still_open()))

    def _bind(self, setting: str, port: int, tls: ssl.SSLContext | None) -> None:
        host = self._settings.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError:
            self._close_listeners()
            raise InvalidConfiguration([f"{setting}: cannot listen on this port"]) from None
        listening.setblocking(False)
        self._listeners.append(_Listener(listening, tls))

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.socket.close()

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            for listener in self._listeners:
                selector.register(listener.socket, selectors.EVENT_READ, listener)
            while True:
                for key, _ in selector.select():
                    if self._stopping.is_set():
                        return
                    self._accept(key.data)

    def _accept(self, listener: _Listener) -> None:
        try:
            connection, (address, *_) = listener.socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the peer went away before we came
        except OSError:
            self._refuse("out-of-descriptors")
            self._stopping.wait(_EXHAUSTED_PAUSE_S)
            return
        with self._lock:
            is_full = len(self._open) >= self._settings.maximum_associations + _SPARE_CONNECTIONS
        if is_full:
            connection.close()
            self._refuse("too-many-connections")
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._begin(
            Association(
                connection,
                address=address.removeprefix("::ffff:"),
                tls=listener.tls,
                surroundings=self._shared,
            ),
            connection,
        )

    def _begin(self, association: Association, connection: socket.socket) -> None:
        thread = threading.Thread(
            target=self._run, args=(association,), name="dimse-association", daemon=True
        )
        with self._lock:
            self._open[association] = thread
        try:
            thread.start()
        except RuntimeError:
            self._forget(association)
            connection.close()
            self._refuse("out-of-threads")

    def _run(self, association: Association) -> None:
        try:
            association.run()
        finally:
            self._forget(association)

    def _forget(self, association: Association) -> None:
        with self._lock:
            del self._open[association]

    def _refuse(self, reason: str) -> None:
        self._metrics.count("associations_rejected_total", reason=reason)
        log.warning("dimse.connection.refused", reason=reason)

    def _still_open(self) -> list[Association]:
        with self._lock:
            return list(self._open)

    @staticmethod
    def _join(associations: dict[Association, threading.Thread], limit_s: float) -> None:
        deadline_s = deadline_in(limit_s)
        for thread in associations.values():
            thread.join(max(deadline_s - deadline_in(0), 0))
