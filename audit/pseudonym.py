"""Pseudonyms: how the audit names a patient or an order without naming them.

HMAC-SHA-256 under a key that lies in its own file, apart from the database. The same
patient gets the same pseudonym, so the audit can be searched by whoever has the key and
the number; destroying the key makes every pseudonym anonymous and leaves the hash chain
whole.
"""

import contextlib
import hmac
import os
from pathlib import Path

from audit.errors import Fault

KEY_BYTES = 32


class BrokenKey(Fault):
    """The pseudonym key file cannot be read or does not hold a key."""

    code = "audit.key.broken"


class Pseudonyms:
    """Makes pseudonyms under one key.

    Parameters
    ----------
    key : bytes
        At least `KEY_BYTES` secret bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise BrokenKey("the pseudonym key must have at least 32 bytes")
        self._key = key

    def patient(self, patient_id: str, issuer: str = "") -> str:
        """Return 64 hexadecimal digits for (Patient ID, issuer); empty for no id."""
        return self._of("patient", patient_id, issuer)

    def accession(self, accession_number: str, issuer: str = "") -> str:
        """Return 64 hexadecimal digits for (Accession Number, issuer); empty for none."""
        return self._of("accession", accession_number, issuer)

    def _of(self, what: str, value: str, issuer: str) -> str:
        if not value:
            return ""
        message = "\x00".join((what, issuer, value)).encode()
        return hmac.digest(self._key, message, "sha256").hex()


def open_key(path: Path) -> Pseudonyms:
    """Return pseudonyms under the key in `path`; make a new key when there is no file.

    A new file can be read by its owner only and is on disk before this returns.

    Raises
    ------
    BrokenKey
        When the file cannot be read or written, or holds no key.
    """
    try:
        with contextlib.suppress(FileExistsError):
            _create(path)
        return Pseudonyms(bytes.fromhex(path.read_text("ascii").strip()))
    except (OSError, ValueError) as error:
        raise BrokenKey("the pseudonym key file must be readable and hold a hex key") from error


def _create(path: Path) -> None:
    """Write a random key under a name of its own, then link it: never half a key."""
    if path.exists():
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(os.urandom(KEY_BYTES).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    finally:
        partial.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
