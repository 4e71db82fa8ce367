"""Send by STOW-RS: one store transaction for a batch, streamed from the files."""

import uuid
from collections.abc import Iterator, Sequence
from http import HTTPStatus

import httpx
import structlog

from audit.errors import InvalidConfiguration, PeerUnreachable
from dicom_node.config.settings import StowDestination
from dicom_node.core.outcome import Outcome
from dicom_node.delivery.answers import (
    LINK_LOST,
    NOT_ACKNOWLEDGED,
    TIMED_OUT,
    UNREADABLE,
    all_alike,
)
from dicom_node.delivery.outcome import OutgoingObject, SendStatus
from dicom_node.delivery.stow_response import read_response

log = structlog.get_logger()

_CHUNK_BYTES = 1 << 18
_MEDIA_TYPE = "application/dicom+json"
_NOWHERE_UID = "2.25.1"
"""A Study Instance UID that names no study: `verify` asks for it and so reads no patient."""

_REFUSED_AT_THE_DOOR = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
)

_NO_ADDRESS = (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError)
"""What an address raises that no connection can be tried to."""


class StowSender:
    """The STOW-RS user agent of one destination; safe to use from several threads.

    Server certificates are checked against the usual public authorities, or those of the
    file that the environment variable ``SSL_CERT_FILE`` names.

    Raises
    ------
    InvalidConfiguration
        The password file cannot be read.
    """

    def __init__(self, settings: StowDestination) -> None:
        self._settings = settings
        self._studies_url = settings.url.rstrip("/") + "/studies"
        self._auth = _basic_auth(settings)

    def send(self, objects: Sequence[OutgoingObject]) -> list[SendStatus]:
        """Post `objects` in one request (PS3.18 Section 10.5); one status for each, in order.

        Raises
        ------
        PeerUnreachable
            When no connection could be made.
        """
        present = [item for item in objects if item.path.is_file()]
        answers = {status.sop_instance_uid: status for status in self._post(present)}
        return [answers.get(item.sop_instance_uid) or self._unreadable(item) for item in objects]

    def _post(self, objects: Sequence[OutgoingObject]) -> list[SendStatus]:
        if not objects:
            return []
        body = _Multipart(objects)
        uids = [item.sop_instance_uid for item in objects]
        try:
            with self._client() as client:
                response = client.post(
                    self._studies_url, content=body.stream(), headers=body.headers()
                )
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise PeerUnreachable("no connection to the DICOMweb service") from None
        except _NO_ADDRESS:
            raise PeerUnreachable("the address of the DICOMweb service is none") from None
        except httpx.TimeoutException:
            return self._lost(uids, TIMED_OUT)
        except httpx.TransportError:
            return self._lost(uids, LINK_LOST)
        except httpx.RequestError:  # an answer that cannot be unpacked
            return self._lost(uids, NOT_ACKNOWLEDGED)
        except OSError:
            return [self._unreadable(item) for item in objects]
        return read_response(uids, response.status_code, response.content)

    def verify(self) -> None:
        """Ask by a QIDO-RS query of no result whether the destination answers.

        A server that stores only may say that it has no such query (405, 501).

        Raises
        ------
        PeerUnreachable
            When it does not answer, knows no such address, or takes no request from us.
        """
        query = {"StudyInstanceUID": _NOWHERE_UID, "limit": "1"}
        try:
            with self._client() as client:
                answer = client.get(
                    self._studies_url, params=query, headers={"Accept": _MEDIA_TYPE}
                )
        except _NO_ADDRESS:
            raise PeerUnreachable("the address of the DICOMweb service is none") from None
        except httpx.RequestError:
            raise PeerUnreachable("no answer from the DICOMweb service") from None
        status = answer.status_code
        broken = status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED
        if broken or status in _REFUSED_AT_THE_DOOR:
            raise PeerUnreachable(f"the DICOMweb service answered HTTP {status}")

    def _client(self) -> httpx.Client:
        return httpx.Client(auth=self._auth, timeout=self._settings.timeout_s)

    def _unreadable(self, item: OutgoingObject) -> SendStatus:
        log.error("delivery.object.unreadable", destination=self._settings.name)
        return SendStatus(
            sop_instance_uid=item.sop_instance_uid, outcome=Outcome.FAILED, status=UNREADABLE
        )

    def _lost(self, uids: list[str], reason: str) -> list[SendStatus]:
        log.warning("delivery.request.lost", destination=self._settings.name, reason=reason)
        return all_alike(uids, Outcome.FAILED, reason)


class _Multipart:
    """A multipart/related body (RFC 2387) read from the files while it is sent.

    Its length is known beforehand, because some servers take no chunked body.

    Raises
    ------
    OSError
        A file is away, or cannot be read.
    """

    def __init__(self, objects: Sequence[OutgoingObject]) -> None:
        self._objects = objects
        self._boundary = uuid.uuid4().hex

    def headers(self) -> dict[str, str]:
        length = sum(len(self._head()) + i.path.stat().st_size + 2 for i in self._objects)
        return {
            "Content-Type": f'multipart/related; type="application/dicom"; '
            f"boundary={self._boundary}",
            "Content-Length": str(length + len(self._end())),
            "Accept": _MEDIA_TYPE,
        }

    def stream(self) -> Iterator[bytes]:
        for item in self._objects:
            yield self._head()
            with item.path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
            yield b"\r\n"
        yield self._end()

    def _head(self) -> bytes:
        # No transfer-syntax parameter: Orthanc 1.10 then skips the part, and answers 200.
        return f"--{self._boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")

    def _end(self) -> bytes:
        return f"--{self._boundary}--\r\n".encode("ascii")


def _basic_auth(settings: StowDestination) -> httpx.BasicAuth | None:
    if not settings.username:
        return None
    password = ""
    if settings.password_file is not None:
        try:
            password = settings.password_file.read_text().strip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise InvalidConfiguration(
                [f"destination {settings.name!r}: password_file cannot be read"]
            ) from None
    return httpx.BasicAuth(settings.username, password)
