"""STOW-RS, the receiving side: ``POST /studies`` and ``POST /studies/{study}``.

PS3.18 Section 10.5. Only ``multipart/related; type="application/dicom"`` is taken. The event
loop never blocks: parts are written, synced and filed by a few threads of their own.
"""

import hmac
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus

import anyio
import anyio.to_thread
import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from audit.metrics import Metrics
from dicom_node.dicomweb.multipart import MalformedBody, WrongMediaType, boundary_of
from dicom_node.dicomweb.store import StoreTransaction
from dicom_node.dicomweb.store_response import http_status, response_module
from dicom_node.pipeline.receiving import Caller, Reception
from dicom_node.web.problems import Problem

log = structlog.get_logger()

MEDIA_TYPE = "application/dicom+json"
_HOP_BYTES = 1 << 20
"""Bytes gathered before a thread is asked to write them."""

_RETRY_AFTER_S = "30"


@dataclass(frozen=True, slots=True, kw_only=True)
class StowLimits:
    """What one request may cost."""

    maximum_object_bytes: int = 2_000_000_000
    maximum_body_bytes: int = 16_000_000_000
    idle_timeout_s: float = 30.0
    """Silence within a body after which the request is given up: while it is open, its
    study cannot settle."""

    threads: int = 32


def stow_router(
    reception: Reception,
    metrics: Metrics,
    *,
    token: str | None,
    limits: StowLimits | None = None,
) -> APIRouter:
    """Return the routes of the store transaction.

    Parameters
    ----------
    token
        The bearer token to ask for (RFC 6750); None asks for none.
    """
    service = _StowService(reception, metrics, token, limits or StowLimits())
    router = APIRouter()

    @router.post("/studies")
    async def store(request: Request) -> Response:
        return await service.store(request, None)

    @router.post("/studies/{study_instance_uid}")
    async def store_in_study(request: Request, study_instance_uid: str) -> Response:
        return await service.store(request, study_instance_uid)

    return router


class _StowService:
    def __init__(
        self, reception: Reception, metrics: Metrics, token: str | None, limits: StowLimits
    ) -> None:
        self._reception = reception
        self._metrics = metrics
        self._token = None if token is None else token.encode()
        self._limits = limits
        self._threads = anyio.CapacityLimiter(limits.threads)

    async def store(self, request: Request, study_instance_uid: str | None) -> Response:
        """Run one transaction and answer it."""
        try:
            caller = self._admitted(request)
            boundary = self._boundary(request)
            transaction = StoreTransaction(
                self._reception, caller, self._metrics, study_instance_uid
            )
            return self._answer(transaction, await self._carry(request, transaction, boundary))
        except Problem as problem:
            self._metrics.count("stow_requests_total", status=str(problem.status_code))
            raise

    async def _carry(
        self, request: Request, transaction: StoreTransaction, boundary: bytes
    ) -> Problem | None:
        """Bring the body into `transaction`; return what cut it short, if anything did."""
        try:
            await self._run(transaction.begin, boundary, self._limits.maximum_object_bytes)
            async for chunk in self._chunks(request):
                await self._run(transaction.feed, chunk)
            await self._run(transaction.finish)
        except MalformedBody as error:
            return Problem(HTTPStatus.BAD_REQUEST, str(error))
        except Problem as problem:
            return problem
        finally:
            with anyio.CancelScope(shield=True):
                await self._run(transaction.close)
        return None

    def _answer(self, transaction: StoreTransaction, problem: Problem | None) -> Response:
        """Answer with the module; with `problem` where nothing was stored before it."""
        if problem is not None:
            if all(result.failure_reason is not None for result in transaction.results):
                raise problem
            transaction.cut()
        results = transaction.results
        status = http_status(results)
        stored = sum(result.failure_reason is None for result in results)
        self._metrics.count("stow_requests_total", status=str(int(status)))
        log.info(
            "dicomweb.store.answered",
            http_status=int(status),
            stored=stored,
            failed=len(results) - stored,
        )
        busy = status == HTTPStatus.SERVICE_UNAVAILABLE
        headers = {"Retry-After": _RETRY_AFTER_S} if busy else None
        return JSONResponse(response_module(results), status, headers, media_type=MEDIA_TYPE)

    def _admitted(self, request: Request) -> Caller:
        if self._token is not None:
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode(), self._token)
            if scheme.lower() != "bearer" or not right:
                raise Problem(
                    HTTPStatus.UNAUTHORIZED,
                    "a bearer token is needed",
                    {"WWW-Authenticate": "Bearer"},
                )
        caller = Caller(
            calling_ae_title="",
            called_ae_title="",
            address=request.client.host if request.client else "",
            protocol="STOW-RS",
        )
        rule = self._reception.admits(caller)
        if rule is not None:
            log.warning("dicomweb.request.refused", rule=rule)
            raise Problem(HTTPStatus.FORBIDDEN, f"refused by the rule {rule}")
        return caller

    def _boundary(self, request: Request) -> bytes:
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must not be compressed")
        announced = request.headers.get("Content-Length", "0")
        if announced.isdigit() and int(announced) > self._limits.maximum_body_bytes:
            raise _too_large()
        try:
            return boundary_of(request.headers.get("Content-Type", ""))
        except WrongMediaType as error:
            raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error)) from None
        except MalformedBody as error:
            raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None

    async def _chunks(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body in pieces of about `_HOP_BYTES`.

        Raises
        ------
        Problem
            The client went silent or away, or sends more than the limit.
        """
        gathered = bytearray()
        total = 0
        stream = request.stream()
        while True:
            try:
                with anyio.fail_after(self._limits.idle_timeout_s):
                    chunk = await anext(stream, None)
            except TimeoutError:
                raise Problem(HTTPStatus.REQUEST_TIMEOUT, "the body stopped coming") from None
            except ClientDisconnect:
                log.warning("dicomweb.request.cut")
                raise Problem(HTTPStatus.BAD_REQUEST, "the client went away") from None
            if chunk is None:
                break
            total += len(chunk)
            if total > self._limits.maximum_body_bytes:
                raise _too_large()
            gathered += chunk
            if len(gathered) >= _HOP_BYTES:
                yield bytes(gathered)
                gathered.clear()
        yield bytes(gathered)

    async def _run(self, work: Callable[..., None], *arguments: object) -> None:
        await anyio.to_thread.run_sync(work, *arguments, limiter=self._threads)


def _too_large() -> Problem:
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is larger than the node takes")
