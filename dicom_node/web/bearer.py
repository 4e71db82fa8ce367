"""Bearer tokens (RFC 6750): read from a file once, compared in constant time."""

import hmac
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from fastapi import Request

from audit.errors import InvalidConfiguration
from dicom_node.web.problems import Problem


def token_of(path: Path, setting: str) -> bytes:
    """Return the token that a file holds.

    Raises
    ------
    InvalidConfiguration
        The file cannot be read, or is empty; the message names `setting`.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if not token:
        raise InvalidConfiguration([f"{setting}: must be a file that holds a token"])
    return token.encode()


def bearer_required(token: bytes) -> Callable[[Request], None]:
    """Return the check of a route that asks for `token`."""

    def check(request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), token)
        if scheme.lower() != "bearer" or not right:
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "a bearer token is needed",
                {"WWW-Authenticate": 'Bearer realm="dicom-node"'},
            )

    return check
