"""The parts of a multipart/related body (RFC 2387), written to files while they come in.

The tokenising is python-multipart's; here its calls become files. At most one part is open
at a time, and only the chunk at hand is in memory. Nothing here knows about HTTP frameworks:
bytes are fed in, files come out, and the caller decides what becomes of them.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from audit.errors import DiskFull, NodeError, Rejected

PART_MEDIA_TYPE = "application/dicom"
_ROOT_MEDIA_TYPE = "multipart/related"
_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})


class MalformedBody(Rejected):
    """The body is not the multipart message that its header announces."""

    code = "dicomweb.body.malformed"


class WrongMediaType(Rejected):
    """The body or a part has a media type that the service does not take."""

    code = "dicomweb.media_type.unsupported"


class PartTooLarge(Rejected):
    """A part is larger than the largest object that the node takes."""

    code = "dicomweb.part.too_large"


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is complete: a file that the taker now owns, or why there is none."""

    path: Path | None
    problem: NodeError | None = None


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a request's Content-Type names.

    The `type` may be quoted or not; a request without one is judged by its parts.

    Raises
    ------
    WrongMediaType
        It is not multipart/related of application/dicom (PS3.18 Section 10.5.1).
    MalformedBody
        It has no boundary.
    """
    media_type, options = parse_options_header(content_type)
    if media_type.decode("latin-1") != _ROOT_MEDIA_TYPE:
        raise WrongMediaType("the body must be multipart/related")
    part_type = options.get(b"type", PART_MEDIA_TYPE.encode()).decode("latin-1")
    if _bare(part_type) != PART_MEDIA_TYPE:
        raise WrongMediaType("the parts must be application/dicom")
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise MalformedBody("the Content-Type has no boundary")
    return boundary


class PartWriter:
    """Turns chunks of a body into files.

    Parameters
    ----------
    boundary
        As `boundary_of` returns it.
    new_path
        Returns a fresh path for a part; may raise `DiskFull`.
    maximum_part_bytes
        A larger part is dropped while it comes in.
    take
        Called with each part when it is complete.

    Raises
    ------
    MalformedBody
        The boundary cannot be one.
    """

    def __init__(
        self,
        boundary: bytes,
        new_path: Callable[[], Path],
        maximum_part_bytes: int,
        take: Callable[[Part], None],
    ) -> None:
        self._new_path = new_path
        self._maximum_part_bytes = maximum_part_bytes
        self._take = take
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._problem: NodeError | None = None
        self._size = 0
        self._header_name = b""
        self._header_value = b""
        self._media_type = PART_MEDIA_TYPE
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_header_name,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._open,
                    "on_part_data": self._write,
                    "on_part_end": self._end,
                    "on_end": self._finish,
                },
            )
        except FormParserError:
            raise MalformedBody("the boundary is not one (RFC 2046 Section 5.1.1)") from None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body; blocks while it writes, and while `take` works.

        Raises
        ------
        MalformedBody
            The bytes are no multipart message.
        """
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise MalformedBody("the body is not a multipart message (RFC 2046)") from None

    def finish(self) -> None:
        """Say that the body has ended.

        Raises
        ------
        MalformedBody
            The closing boundary is missing.
        """
        if not self._ended:
            raise MalformedBody("the body ends before its closing boundary")

    def close(self) -> None:
        """Remove what is left of an unfinished part; may be called at any time."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _begin(self) -> None:
        self._size = 0
        self._problem = None
        self._media_type = PART_MEDIA_TYPE
        self._header_name = self._header_value = b""

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-type":
            self._media_type = _bare(self._header_value.decode("latin-1"))
        self._header_name = self._header_value = b""

    def _open(self) -> None:
        if self._media_type != PART_MEDIA_TYPE:
            self._problem = WrongMediaType("a part is not application/dicom")
            return
        try:
            self._path = self._new_path()
            self._file = self._path.open("xb")
        except DiskFull as error:
            self._give_up(error)
        except OSError as error:
            self._give_up(_disk_full(error))

    def _write(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._file is None:
            return
        if self._size > self._maximum_part_bytes:
            self._give_up(PartTooLarge("an object is larger than the node takes"))
            return
        try:
            self._file.write(memoryview(data)[start:end])
        except OSError as error:
            self._give_up(_disk_full(error))

    def _end(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._give_up(_disk_full(error))
            self._file = None
        path, self._path = self._path, None
        self._take(Part(path, self._problem))

    def _finish(self) -> None:
        self._ended = True

    def _give_up(self, problem: NodeError) -> None:
        self._problem = problem
        self.close()


def _disk_full(error: OSError) -> DiskFull:
    """Return the `DiskFull` that `error` is, or raise it again."""
    if error.errno not in _FULL_DISK:
        raise error
    return DiskFull("no space for an incoming instance")


def _bare(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()
