"""The audit table: append only, one unbroken hash chain.

`append` runs in the transaction of the work it records, so there is no result without
its record and no record without its result. The triggers of `APPEND_ONLY_DDL` refuse
UPDATE and DELETE to everybody who does not first remove the triggers; the chain shows
what was done by those who did.
"""

from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Index,
    MetaData,
    String,
    Table,
    Text,
    event,
)

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

for _dialect, _statements in APPEND_ONLY_DDL.items():
    for _statement in _statements:
        event.listen(audit_record, "after_create", DDL(_statement).execute_if(dialect=_dialect))
for _dialect, _statements in APPEND_ONLY_DROP_DDL.items():
    for _statement in _statements:
        event.listen(audit_record, "after_drop", DDL(_statement).execute_if(dialect=_dialect))
