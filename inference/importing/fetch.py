"""Bring a checkpoint file here, and make sure that it is the one that was meant."""

import hashlib
import ipaddress
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from audit.errors import Transient
from inference.importing.checkpoint import UnusableCheckpoint

Progress = Callable[[int, int | None], None]
"""Told the bytes that have come, and how many there will be where that is known."""

_REDIRECTS = 5
_TIMEOUT_S = 30.0
_CHUNK = 1 << 20


class DownloadFailed(Transient):
    """The server is away, refused, or broke off; the same address may answer later."""

    code = "inference.download.failed"


def fetch(
    source: str,
    *,
    sha256: str,
    maximum_bytes: int,
    place: Path,
    insecure_http: bool = False,
    progress: Progress = lambda _have, _whole: None,
) -> bytes:
    """Return the content of a file or address whose sha256 is known.

    Nothing is parsed before the whole content has that sha256. A download goes through a
    temporary file; proxies are taken from the environment.

    Parameters
    ----------
    source : str
        A path, or an address that begins with ``https://``; ``http://`` of this machine
        only, unless `insecure_http`. A redirect of another server to this machine is refused.
    sha256 : str
        Of the whole content, in hexadecimal.
    maximum_bytes : int
        A larger file is refused.
    place : Path
        Folder in which a download lies until it is read.
    progress : callable

    Raises
    ------
    UnusableCheckpoint
        When the file is missing, too large, or another one; when the address, or one that
        it leads to, is not allowed.
    DownloadFailed
        When the server does not give the whole file.
    """
    if "://" not in source:
        return _checked(_read(Path(source), maximum_bytes), sha256)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=place) as folder:
        path = Path(folder) / "checkpoint"
        try:
            with (
                _client() as client,
                _answer(client, httpx.URL(source), insecure_http) as answer,
            ):
                _save(answer, path, maximum_bytes, progress)
        except httpx.InvalidURL as error:
            raise UnusableCheckpoint("that is not an address") from error
        except httpx.HTTPError as error:
            raise DownloadFailed(f"the download broke off: {_why(error)}") from error
        return _checked(_read(path, maximum_bytes), sha256)


def _client() -> httpx.Client:
    try:
        return httpx.Client(timeout=_TIMEOUT_S)
    except (ValueError, ImportError) as error:
        raise UnusableCheckpoint(
            "a proxy that the environment names (HTTPS_PROXY, ALL_PROXY) cannot be used"
        ) from error


def _why(error: httpx.HTTPError) -> str:
    """Return what went wrong, without an address: the kind, and whether a certificate did."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "the server's certificate is not trusted here (see SSL_CERT_FILE)"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def file_name(source: str) -> str:
    """Return the last part of a path or address, without its query."""
    return Path(httpx.URL(source).path if "://" in source else source).name


@contextmanager
def _answer(
    client: httpx.Client, address: httpx.URL, insecure_http: bool
) -> Iterator[httpx.Response]:
    """Follow redirects, each address checked before it is asked."""
    asked = address
    for _ in range(_REDIRECTS + 1):
        _check_address(address, asked, insecure_http=insecure_http)
        with client.stream("GET", address) as answer:
            if answer.next_request is not None:
                address = answer.next_request.url
                continue
            if answer.status_code != httpx.codes.OK:
                raise DownloadFailed(f"the server answers {answer.status_code}")
            yield answer
            return
    raise UnusableCheckpoint(f"the address leads on more than {_REDIRECTS} times")


def _save(answer: httpx.Response, path: Path, maximum_bytes: int, progress: Progress) -> None:
    announced = answer.headers.get("Content-Length", "")
    whole = int(announced) if announced.isdigit() else None
    have = 0
    with path.open("wb") as file:
        if whole is not None and whole > maximum_bytes:
            raise _too_large(maximum_bytes)
        for chunk in answer.iter_bytes(_CHUNK):
            have += len(chunk)
            if have > maximum_bytes:
                raise _too_large(maximum_bytes)
            file.write(chunk)
            progress(have, whole)


def _check_address(address: httpx.URL, asked: httpx.URL, *, insecure_http: bool) -> None:
    """Refuse an address that `asked`, the one that a person gave, may not lead to."""
    if address.scheme not in ("https", "http") or not address.host:
        raise UnusableCheckpoint("an address must begin with https:// and name a server")
    if _is_here(address.host):
        plain_here = asked.scheme == "http" and _is_here(asked.host)
        if not plain_here and _origin(address) != _origin(asked):
            raise UnusableCheckpoint("another server may not lead to this machine")
    elif address.scheme == "http" and not insecure_http:
        raise UnusableCheckpoint("http:// is refused; use https://, or --insecure-http")


def _origin(address: httpx.URL) -> tuple[str, str, int | None]:
    return address.scheme, address.host, address.port


def _is_here(host: str) -> bool:
    """Whether a name or address, however it is spelt, is one of this machine's own."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in found]
    plain = [getattr(address, "ipv4_mapped", None) or address for address in addresses]
    return any(address.is_loopback or address.is_unspecified for address in plain)


def _read(path: Path, maximum_bytes: int) -> bytes:
    try:
        if path.stat().st_size > maximum_bytes:
            raise _too_large(maximum_bytes)
        return path.read_bytes()
    except OSError as error:
        raise UnusableCheckpoint("the file cannot be read") from error


def _checked(content: bytes, sha256: str) -> bytes:
    if hashlib.sha256(content).hexdigest() != sha256.lower():
        raise UnusableCheckpoint("the file is another one: its sha256 differs; nothing was opened")
    return content


def _too_large(maximum_bytes: int) -> UnusableCheckpoint:
    megabytes = maximum_bytes / 1e6
    return UnusableCheckpoint(f"the file is larger than {megabytes:g} MB (--maximum-mb)")
