"""uvicorn in a thread, so that the node owns its own life and signals."""

import asyncio
import socket
import threading

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from audit.errors import Fault
from dicom_node.config.settings import WebSettings

log = structlog.get_logger()

_START_S = 15.0
_GRACE_S = 5.0
_BACKLOG = 256
_CONCURRENT_REQUESTS = 256
_KEEP_ALIVE_S = 15
_HEAD_S = 15.0
"""How long a new connection may take to send the head of its first request: those that send none
count among the concurrent ones, and would keep everybody else out."""


class WebServerFailed(Fault):
    """The HTTP server did not start: the address is taken or is not ours."""

    code = "web.server.failed"


class WebServer:
    """Serves one application on the address of `settings`; start it once.

    Parameters
    ----------
    grace_s
        How long requests under way may take to end when the server stops.
    """

    def __init__(self, app: FastAPI, settings: WebSettings, *, grace_s: float = _GRACE_S) -> None:
        self._settings = settings
        self._grace_s = grace_s
        self._server = _Server(
            uvicorn.Config(
                app,
                http=_Protocol,
                log_config=None,
                access_log=False,  # its lines hold addresses, and those hold UIDs
                server_header=False,
                date_header=False,
                proxy_headers=False,
                lifespan="off",
                limit_concurrency=_CONCURRENT_REQUESTS,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(grace_s)),
            )
        )
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The TCP port, also where the settings say 0; valid once started."""
        if self._socket is None:
            raise WebServerFailed("the HTTP server is not running")
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Bind, begin to serve, and return when requests are answered.

        Raises
        ------
        WebServerFailed
            When the address cannot be bound or the server does not come up.
        """
        try:
            self._socket = _listening(self._settings.host, self._settings.port)
        except OSError:
            raise WebServerFailed("the HTTP address cannot be bound") from None
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="web", daemon=True
        )
        self._thread.start()
        if not self._server.ready.wait(_START_S):
            self.stop()
            raise WebServerFailed("the HTTP server did not come up")
        log.info("web.server.started", port=self.port)

    def stop(self) -> None:
        """Take no more requests, let those under way end, and return; may be called again."""
        if self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(self._grace_s + 1)
        self._server.force_exit = True
        self._thread.join(1)
        self._thread = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        log.info("web.server.stopped")


class _Protocol(H11Protocol):
    """Closes a connection that asks nothing, which uvicorn leaves open for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(_HEAD_S, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class _Server(uvicorn.Server):
    """Says when it is up, instead of letting others poll."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
