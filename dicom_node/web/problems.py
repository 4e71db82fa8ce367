"""Errors as ``application/problem+json`` (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"


class Problem(HTTPException):
    """A request that cannot be served; `detail` names the rule, never a value."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))


def install(app: FastAPI) -> None:
    """Make `app` answer every error as a problem document."""
    app.add_exception_handler(HTTPException, _expected)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(Exception, _unexpected)


def _document(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail and detail != content["title"]:
        content["detail"] = detail
    return JSONResponse(content, status, headers, media_type=MEDIA_TYPE)


async def _expected(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _document(error.status_code, error.detail, error.headers)


async def _malformed(_request: Request, _error: Exception) -> JSONResponse:
    # The library's own answer repeats the value that is wrong.
    return _document(HTTPStatus.UNPROCESSABLE_ENTITY, "a parameter of the request is malformed")


async def _unexpected(_request: Request, error: Exception) -> JSONResponse:
    log.error("web.request.failed", error_type=type(error).__name__)
    return _document(HTTPStatus.INTERNAL_SERVER_ERROR, "")
