"""The audit table: append only, one unbroken hash chain.

`append` runs in the transaction of the work it records, so there is no result without
its record and no record without its result. The triggers of `APPEND_ONLY_DDL` refuse
UPDATE and DELETE to everybody who does not first remove the triggers; the chain shows
what was done by those who did.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Connection,
    Index,
    MetaData,
    RowMapping,
    Select,
    String,
    Table,
    Text,
    event,
    insert,
    inspect,
    select,
    text,
)

from audit import chain
from audit.entries import Entry, RecordKind

metadata = MetaData()

audit_record = Table(
    "audit_record",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("audit_id", String(36), nullable=False, unique=True),
    Column("idempotency_key", String(255), nullable=False, unique=True),
    Column("kind", String(32), nullable=False),
    # ISO 8601, UTC, microseconds: the text that was hashed, and it sorts by time.
    Column("recorded_at", String(32), nullable=False),
    # The columns down to `verdict` repeat the payload for searching; empty where it is silent.
    Column("patient_pseudonym", String(64), nullable=False),
    Column("accession_pseudonym", String(64), nullable=False),
    Column("study_instance_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("model_name", String(64), nullable=False),
    Column("model_version", String(32), nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("verdict", String(32), nullable=False),
    Column("payload", Text, nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("row_hash", String(64), nullable=False),
    Index("ix_audit_record_kind_seq", "kind", "seq"),
    Index("ix_audit_record_recorded_at", "recorded_at"),
    Index("ix_audit_record_patient", "patient_pseudonym"),
    Index("ix_audit_record_accession", "accession_pseudonym"),
    Index("ix_audit_record_study", "study_instance_uid"),
    Index("ix_audit_record_instance", "sop_instance_uid"),
)

APPEND_ONLY_DDL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sqlite": (
            """
            CREATE TRIGGER audit_record_no_update BEFORE UPDATE ON audit_record
            BEGIN SELECT RAISE(ABORT, 'audit_record is append only'); END
            """,
            """
            CREATE TRIGGER audit_record_no_delete BEFORE DELETE ON audit_record
            BEGIN SELECT RAISE(ABORT, 'audit_record is append only'); END
            """,
            # INSERT OR REPLACE deletes rows without asking the trigger above.
            """
            CREATE TRIGGER audit_record_no_replace BEFORE INSERT ON audit_record
            WHEN EXISTS (
                SELECT 1 FROM audit_record WHERE seq = NEW.seq OR audit_id = NEW.audit_id
                OR idempotency_key = NEW.idempotency_key
            )
            BEGIN SELECT RAISE(ABORT, 'audit_record is append only'); END
            """,
        ),
        "postgresql": (
            """
            CREATE FUNCTION audit_record_refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'audit_record is append only'; END $$
            """,
            """
            CREATE TRIGGER audit_record_append_only
            BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_record
            FOR EACH STATEMENT EXECUTE FUNCTION audit_record_refuse()
            """,
        ),
    }
)
"""By dialect name: what makes the table append only. A migration executes it after the
table; ``metadata.create_all`` does so by itself."""

APPEND_ONLY_DROP_DDL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sqlite": (),
        "postgresql": ("DROP FUNCTION audit_record_refuse()",),
    }
)
"""What is left to remove once the table has been dropped."""

for _moment_of, _ddl in (("after_create", APPEND_ONLY_DDL), ("after_drop", APPEND_ONLY_DROP_DDL)):
    for _dialect, _statements in _ddl.items():
        for _statement in _statements:
            _hook = DDL(_statement).execute_if(dialect=_dialect)  # type: ignore[no-untyped-call]
            event.listen(audit_record, _moment_of, _hook)

_LOCK = 0x61756469740001
"""Key of the PostgreSQL advisory lock that puts appends in line."""

_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One record as it lies in the table."""

    seq: int
    audit_id: str
    kind: RecordKind
    key: str
    recorded_at: datetime
    body: Mapping[str, Any]
    payload: str
    prev_hash: str
    row_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which records to find; what is None or empty does not restrict."""

    kinds: tuple[RecordKind, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    """Exclusive."""

    patient_pseudonym: str = ""
    accession_pseudonym: str = ""
    study_instance_uid: str = ""
    sop_instance_uid: str = ""
    model_name: str = ""
    model_version: str = ""
    outcome: str = ""
    verdict: str = ""
    after_seq: int = 0
    limit: int | None = None
    newest_first: bool = False


def append(connection: Connection, entry: Entry) -> AuditRow | None:
    """Add `entry` to the chain, in the caller's transaction.

    Appends stand in line until their transactions end: on PostgreSQL behind an advisory
    lock, on SQLite behind its one writer. So append last, and commit soon.

    Returns
    -------
    AuditRow or None
        None when a record with the entry's key is there already; see `find`.

    Raises
    ------
    audit.chain.InvalidRecord
        When the body is not plain JSON.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    if find(connection, entry.key) is not None:
        return None
    last = head(connection)
    document = {
        "format": 1,
        "seq": last.seq + 1,
        "audit_id": str(uuid.uuid4()),
        "kind": str(entry.kind),
        "key": entry.key,
        "recorded_at": _moment(entry.recorded_at),
        "body": dict(entry.body),
    }
    payload = chain.canonical(document)
    values = {
        **chain.columns_of(json.loads(payload)),
        "seq": last.seq + 1,
        "payload": payload,
        "prev_hash": last.row_hash,
        "row_hash": chain.row_hash(last.row_hash, payload),
    }
    connection.execute(insert(audit_record).values(values))
    return _row(values)


def head(connection: Connection) -> chain.Head:
    """Return the end of the chain; `chain.START` while it is empty."""
    statement = select(audit_record.c.seq, audit_record.c.row_hash)
    row = connection.execute(statement.order_by(audit_record.c.seq.desc()).limit(1)).first()
    return chain.START if row is None else chain.Head(row.seq, row.row_hash)


def holds_records(connection: Connection) -> bool:
    """Return whether anything is recorded; nothing is before the table is made."""
    return inspect(connection).has_table(audit_record.name) and head(connection) != chain.START


def find(connection: Connection, key: str) -> str | None:
    """Return the audit id of the record with `key`, or None."""
    statement = select(audit_record.c.audit_id).where(audit_record.c.idempotency_key == key)
    return connection.execute(statement).scalar_one_or_none()


def get(connection: Connection, audit_id: str | int) -> AuditRow | None:
    """Return the record with that audit id, or of that number in the chain; or None."""
    column = audit_record.c.seq if isinstance(audit_id, int) else audit_record.c.audit_id
    statement = select(audit_record).where(column == audit_id)
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else _row(dict(row))


def query(connection: Connection, wanted: AuditFilter) -> Iterator[AuditRow]:
    """Yield the records that `wanted` describes, oldest first unless it says otherwise."""
    statement = select(audit_record).where(audit_record.c.seq > wanted.after_seq)
    if wanted.kinds:
        statement = statement.where(audit_record.c.kind.in_([str(k) for k in wanted.kinds]))
    if wanted.since is not None:
        statement = statement.where(audit_record.c.recorded_at >= _moment(wanted.since))
    if wanted.until is not None:
        statement = statement.where(audit_record.c.recorded_at < _moment(wanted.until))
    for name in chain.SEARCHED:
        value = getattr(wanted, name)
        if value:
            statement = statement.where(audit_record.c[name] == value)
    order = audit_record.c.seq
    statement = statement.order_by(order.desc() if wanted.newest_first else order)
    for row in _stream(connection, statement.limit(wanted.limit)):
        yield _row(dict(row))


def verify(
    connection: Connection,
    *,
    after: chain.Head = chain.START,
    anchor: chain.Head | None = None,
) -> chain.ChainReport:
    """Check the chain, all of it or the rows after an earlier sound `head`.

    Reads in batches, so the table may be larger than memory. See `chain.verify`.
    """
    columns = audit_record.c
    wanted = select(audit_record).order_by(columns.seq)
    if after != chain.START:  # from the start every row counts, whatever its number
        wanted = wanted.where(columns.seq > after.seq)
    rows = _stream(connection, wanted)
    links = (
        chain.Link(
            seq=row["seq"],
            payload=row["payload"],
            prev_hash=row["prev_hash"],
            row_hash=row["row_hash"],
            columns={
                name: value
                for name, value in row.items()
                if name not in ("seq", "payload", "prev_hash", "row_hash")
            },
        )
        for row in rows
    )
    return chain.verify(links, after=after, anchor=anchor)


def _stream(connection: Connection, statement: Select[Any]) -> Iterator[RowMapping]:
    statement = statement.execution_options(yield_per=_BATCH)
    yield from connection.execute(statement).mappings()


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _row(row: Mapping[str, Any]) -> AuditRow:
    return AuditRow(
        seq=row["seq"],
        audit_id=row["audit_id"],
        kind=RecordKind(row["kind"]),
        key=row["idempotency_key"],
        recorded_at=datetime.fromisoformat(row["recorded_at"]),
        body=json.loads(row["payload"])["body"],
        payload=row["payload"],
        prev_hash=row["prev_hash"],
        row_hash=row["row_hash"],
    )
