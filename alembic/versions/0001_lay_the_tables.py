"""Lay the tables (expand).

Nothing was there before, so nothing is removed later.
"""

import sqlalchemy as sa

from alembic import op
from audit.store import APPEND_ONLY_DDL, APPEND_ONLY_DROP_DDL

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
UNREPORTED = sa.text("changes > reported_changes")

TABLES = (
    "patient",
    "accession",
    "study",
    "series",
    "instance",
    "result",
    "report",
    "report_instance",
    "report_object",
    "delivery",
    "job",
    "executor",
    "store",
    "audit_record",
)
"""In the order in which they refer to each other."""


def upgrade() -> None:
    _create_subjects()
    _create_instances()
    _create_results()
    _create_reports()
    _create_work()
    _create_audit_trail()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    for statement in APPEND_ONLY_DROP_DDL[op.get_context().dialect.name]:
        op.execute(statement)


def _create_subjects() -> None:
    """Who and what was imaged."""
    op.create_table(
        "patient",
        sa.Column("id", BIG, nullable=False),
        sa.Column("patient_id", sa.String(length=256), nullable=False),
        sa.Column("issuer_of_patient_id", sa.String(length=256), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("birth_date", sa.String(length=8), nullable=False),
        sa.Column("sex", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_patient"),
        sa.UniqueConstraint(
            "patient_id", "issuer_of_patient_id", name="uq_patient_patient_id_issuer_of_patient_id"
        ),
    )
    op.create_table(
        "accession",
        sa.Column("id", BIG, nullable=False),
        sa.Column("accession_number", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accession"),
        sa.UniqueConstraint(
            "accession_number", "issuer", name="uq_accession_accession_number_issuer"
        ),
    )
    op.create_table(
        "study",
        sa.Column("id", BIG, nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("patient_fk", BIG, nullable=False),
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("study_date", sa.String(length=32), nullable=False),
        sa.Column("study_time", sa.String(length=32), nullable=False),
        sa.Column("study_description", sa.Text(), nullable=False),
        sa.Column("correlation_id", sa.String(length=36), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("revision", BIG, nullable=False),
        sa.Column("last_received_at", MOMENT, nullable=False),
        sa.Column("changes", BIG, nullable=False),
        sa.Column("reported_changes", BIG, nullable=False),
        sa.ForeignKeyConstraint(["patient_fk"], ["patient.id"], name="fk_study_patient_fk"),
        sa.PrimaryKeyConstraint("id", name="pk_study"),
        sa.UniqueConstraint("correlation_id", name="uq_study_correlation_id"),
        sa.UniqueConstraint("study_instance_uid", name="uq_study_study_instance_uid"),
    )
    op.create_index("ix_study_last_received_at", "study", ["last_received_at"])
    op.create_index("ix_study_patient_fk", "study", ["patient_fk"])
    op.create_index(
        "ix_study_unreported",
        "study",
        ["last_received_at"],
        sqlite_where=UNREPORTED,
        postgresql_where=UNREPORTED,
    )
    op.create_table(
        "series",
        sa.Column("id", BIG, nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_fk", BIG, nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("body_part_examined", sa.String(length=64), nullable=False),
        sa.Column("series_description", sa.Text(), nullable=False),
        sa.Column("series_number", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["study_fk"], ["study.id"], name="fk_series_study_fk"),
        sa.PrimaryKeyConstraint("id", name="pk_series"),
        sa.UniqueConstraint(
            "study_fk", "series_instance_uid", name="uq_series_study_fk_series_instance_uid"
        ),
    )


def _create_instances() -> None:
    """What was received."""
    op.create_table(
        "instance",
        sa.Column("id", BIG, nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("revision", BIG, nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("series_fk", BIG, nullable=False),
        sa.Column("study_fk", BIG, nullable=False),
        sa.Column("patient_fk", BIG, nullable=False),
        sa.Column("accession_fk", BIG, nullable=True),
        sa.Column("instance_number", sa.String(length=16), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", BIG, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("route", sa.String(length=64), nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["accession_fk"], ["accession.id"], name="fk_instance_accession_fk"
        ),
        sa.ForeignKeyConstraint(["patient_fk"], ["patient.id"], name="fk_instance_patient_fk"),
        sa.ForeignKeyConstraint(["series_fk"], ["series.id"], name="fk_instance_series_fk"),
        sa.ForeignKeyConstraint(["study_fk"], ["study.id"], name="fk_instance_study_fk"),
        sa.PrimaryKeyConstraint("id", name="pk_instance"),
        sa.UniqueConstraint("path", name="uq_instance_path"),
        sa.UniqueConstraint(
            "sop_instance_uid", "content_sha256", name="uq_instance_sop_instance_uid_content_sha256"
        ),
        sa.UniqueConstraint(
            "sop_instance_uid", "revision", name="uq_instance_sop_instance_uid_revision"
        ),
    )
    op.create_index("ix_instance_accession_fk", "instance", ["accession_fk"])
    op.create_index("ix_instance_received_at", "instance", ["received_at"])
    op.create_index("ix_instance_series_fk", "instance", ["series_fk"])
    op.create_index("ix_instance_study_fk", "instance", ["study_fk"])


def _create_results() -> None:
    """What was found."""
    op.create_table(
        "result",
        sa.Column("id", BIG, nullable=False),
        sa.Column("instance_fk", BIG, nullable=False),
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.String(length=32), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("configuration_sha256", sa.String(length=64), nullable=False),
        sa.Column("task", sa.String(length=32), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["instance_fk"], ["instance.id"], name="fk_result_instance_fk"),
        sa.PrimaryKeyConstraint("id", name="pk_result"),
        sa.UniqueConstraint(
            "instance_fk",
            "model_name",
            "weights_sha256",
            "configuration_sha256",
            name="uq_result_key",
        ),
    )


def _create_reports() -> None:
    """What was reported, and the DICOM objects it became."""
    op.create_table(
        "report",
        sa.Column("id", BIG, nullable=False),
        sa.Column("study_fk", BIG, nullable=False),
        sa.Column("revision", BIG, nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["study_fk"], ["study.id"], name="fk_report_study_fk"),
        sa.PrimaryKeyConstraint("id", name="pk_report"),
        sa.UniqueConstraint("study_fk", "revision", name="uq_report_study_fk_revision"),
    )
    op.create_table(
        "report_instance",
        sa.Column("report_fk", BIG, nullable=False),
        sa.Column("instance_fk", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_fk"], ["instance.id"], name="fk_report_instance_instance_fk"
        ),
        sa.ForeignKeyConstraint(["report_fk"], ["report.id"], name="fk_report_instance_report_fk"),
        sa.PrimaryKeyConstraint("report_fk", "instance_fk", name="pk_report_instance"),
    )
    op.create_table(
        "report_object",
        sa.Column("id", BIG, nullable=False),
        sa.Column("report_fk", BIG, nullable=False),
        sa.Column("profile", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["report_fk"], ["report.id"], name="fk_report_object_report_fk"),
        sa.PrimaryKeyConstraint("id", name="pk_report_object"),
        sa.UniqueConstraint("sop_instance_uid", name="uq_report_object_sop_instance_uid"),
    )
    op.create_index("ix_report_object_path", "report_object", ["path"])
    op.create_index("ix_report_object_report_fk", "report_object", ["report_fk"])


def _create_work() -> None:
    """What is to be done, and by whom."""
    op.create_table(
        "delivery",
        sa.Column("id", BIG, nullable=False),
        sa.Column("report_object_fk", BIG, nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("attempts", BIG, nullable=False),
        sa.Column("delivered_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["report_object_fk"], ["report_object.id"], name="fk_delivery_report_object_fk"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_delivery"),
        sa.UniqueConstraint(
            "report_object_fk", "destination", name="uq_delivery_report_object_fk_destination"
        ),
    )
    op.create_table(
        "job",
        sa.Column("key", sa.String(length=160), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("queue", sa.String(length=80), nullable=False),
        sa.Column("study_fk", BIG, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", BIG, nullable=False),
        sa.Column("first_attempt", BIG, nullable=False),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["study_fk"], ["study.id"], name="fk_job_study_fk"),
        sa.PrimaryKeyConstraint("key", name="pk_job"),
    )
    op.create_index("ix_job_state_kind", "job", ["state", "kind"])
    op.create_index("ix_job_study_fk", "job", ["study_fk"])
    op.create_table(
        "executor",
        sa.Column("executor_id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", BIG, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("beaten_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("executor_id", name="pk_executor"),
    )
    op.create_table(
        "store",
        sa.Column("id", BIG, nullable=False),
        sa.Column("store_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_store"),
    )


def _create_audit_trail() -> None:
    """What can never be changed."""
    op.create_table(
        "audit_record",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("audit_id", sa.String(length=36), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("recorded_at", sa.String(length=32), nullable=False),
        sa.Column("patient_pseudonym", sa.String(length=64), nullable=False),
        sa.Column("accession_pseudonym", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.String(length=32), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("verdict", sa.String(length=32), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.String(length=64), nullable=False),
        sa.Column("row_hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("audit_id"),
        sa.UniqueConstraint("idempotency_key"),
    )
    op.create_index("ix_audit_record_accession", "audit_record", ["accession_pseudonym"])
    op.create_index("ix_audit_record_instance", "audit_record", ["sop_instance_uid"])
    op.create_index("ix_audit_record_kind_seq", "audit_record", ["kind", "seq"])
    op.create_index("ix_audit_record_patient", "audit_record", ["patient_pseudonym"])
    op.create_index("ix_audit_record_recorded_at", "audit_record", ["recorded_at"])
    op.create_index("ix_audit_record_study", "audit_record", ["study_instance_uid"])
    for statement in APPEND_ONLY_DDL[op.get_context().dialect.name]:
        op.execute(statement)
