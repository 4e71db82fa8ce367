"""The hash chain of the audit table: pure functions over texts and hashes.

Every row keeps its whole record as one canonical JSON text (RFC 8785), its number and
time included, and

    row_hash = SHA-256(0x00 || previous row_hash || UTF-8 of the text)

so a row cannot be changed, moved, removed or put in between without every later hash
being wrong. The leading 0x00 marks a leaf, as in RFC 9162 Section 2.1.1. What a chain
alone cannot show is that its last rows were cut off; for that, compare with an anchor: a
`Head` that was written down elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from audit.errors import Fault

GENESIS = "0" * 64
"""What the first row names as the hash before it."""

_LEAF = b"\x00"
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "patient_pseudonym": ("subject", "patient_pseudonym"),
    "accession_pseudonym": ("subject", "accession_pseudonym"),
    "study_instance_uid": ("subject", "study_instance_uid"),
    "sop_instance_uid": ("subject", "sop_instance_uid"),
    "model_name": ("model", "name"),
    "model_version": ("model", "version"),
    "outcome": ("outcome",),
    "verdict": ("verdict", "verdict"),
}
SEARCHED = tuple(_COLUMNS)
"""The columns that repeat a part of the body for searching."""


class InvalidRecord(Fault):
    """A record holds what JSON cannot carry exactly, such as NaN or a set."""

    code = "audit.record.invalid"


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain at some moment: worth writing down outside the node."""

    seq: int
    row_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One row as it lies in the table; `columns` are all that repeat the payload."""

    seq: int
    payload: str
    prev_hash: str
    row_hash: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """What a check found. `count` rows were sound; `head` is the last sound one."""

    ok: bool
    count: int
    head: Head
    first_bad_seq: int | None = None
    reason: str = ""


START = Head(0, GENESIS)


def canonical(document: Mapping[str, Any]) -> str:
    """Return `document` as canonical JSON (RFC 8785).

    Raises
    ------
    InvalidRecord
        When a value has no exact JSON form.
    """
    try:
        return rfc8785.dumps(dict(document)).decode("utf-8")
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise InvalidRecord("an audit record must hold plain JSON values only") from error


def row_hash(prev_hash: str, payload: str) -> str:
    """Return the hash of a row, in hexadecimal.

    Parameters
    ----------
    prev_hash : str
        The row hash before it (64 hexadecimal digits), or `GENESIS`.
    payload : str
        The canonical JSON of the whole record.
    """
    return hashlib.sha256(_LEAF + bytes.fromhex(prev_hash) + payload.encode()).hexdigest()


def columns_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the table's search columns, all derived from the record itself.

    A column is empty where the record is silent.
    """
    columns = {name: str(document[name]) for name in ("audit_id", "kind", "recorded_at")}
    columns["idempotency_key"] = str(document["key"])
    for name, path in _COLUMNS.items():
        value: Any = document["body"]
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        columns[name] = value if isinstance(value, str) else ""
    return columns


def verify(
    links: Iterable[Link], *, after: Head = START, anchor: Head | None = None
) -> ChainReport:
    """Check rows in the order of their numbers; holds one row at a time.

    Parameters
    ----------
    links : iterable of Link
        Every row whose number is above `after.seq`.
    after : Head
        The end of the part that an earlier check found sound.
    anchor : Head, optional
        A head kept outside the node. The chain must pass through it.

    Returns
    -------
    ChainReport
        Up to the first row that is wrong.
    """
    head, count = after, 0
    for link in links:
        problem = _problem(link, head, anchor)
        if problem:
            return ChainReport(
                ok=False, count=count, head=head, first_bad_seq=head.seq + 1, reason=problem
            )
        head, count = Head(link.seq, link.row_hash), count + 1
    if anchor is not None and anchor.seq > head.seq:
        return ChainReport(
            ok=False,
            count=count,
            head=head,
            first_bad_seq=head.seq + 1,
            reason="the chain ends before the anchor",
        )
    return ChainReport(ok=True, count=count, head=head)


def _problem(link: Link, head: Head, anchor: Head | None) -> str:
    if link.seq != head.seq + 1:
        return "a row is missing or out of order"
    if link.prev_hash != head.row_hash:
        return "the row does not continue the row before it"
    if not isinstance(link.payload, str) or link.row_hash != row_hash(link.prev_hash, link.payload):
        return "the payload does not have the row's hash"
    if not _says_the_same(link):
        return "a column does not say what the payload says"
    if anchor is not None and anchor.seq == link.seq and anchor.row_hash != link.row_hash:
        return "the row is not the one that the anchor names"
    return ""


def _says_the_same(link: Link) -> bool:
    try:
        document = json.loads(link.payload)
        return bool(document["seq"] == link.seq and columns_of(document) == dict(link.columns))
    except (ValueError, KeyError, TypeError):
        return False
