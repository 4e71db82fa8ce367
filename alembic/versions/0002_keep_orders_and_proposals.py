"""Keep orders and proposals (expand).

Only new tables: a node of the release before this one would not notice them.
"""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)

TABLES = (
    "work_order",
    "order_lookup",
    "order_message",
    "accession_check",
    "proposal",
    "proposal_study",
)
"""In the order in which they refer to each other."""


def upgrade() -> None:
    _create_orders()
    _create_checks()
    _create_proposals()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _create_orders() -> None:
    """What was ordered."""
    op.create_table(
        "work_order",
        sa.Column("id", BIG, nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("accession_number", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=256), nullable=False),
        sa.Column("requested_procedure_id", sa.String(length=64), nullable=False),
        sa.Column("patient_id", sa.String(length=256), nullable=False),
        sa.Column("issuer_of_patient_id", sa.String(length=256), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("ordered_on", sa.Date(), nullable=True),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.Column("stale_after", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_work_order"),
        sa.UniqueConstraint(
            "source",
            "accession_number",
            "issuer",
            "requested_procedure_id",
            "patient_id",
            "issuer_of_patient_id",
            name="uq_work_order_key",
        ),
    )
    op.create_index("ix_work_order_accession_number", "work_order", ["accession_number"])
    op.create_index("ix_work_order_patient_id", "work_order", ["patient_id", "ordered_on"])
    op.create_table(
        "order_lookup",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_order_lookup"),
    )
    op.create_table(
        "order_message",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("taken_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_order_message"),
    )
    op.create_index("ix_order_message_taken_at", "order_message", ["taken_at"])


def _create_checks() -> None:
    """How the images of an accession stand to its order."""
    op.create_table(
        "accession_check",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("patient_fk", BIG, nullable=False),
        sa.Column("accession_fk", BIG, nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("checked_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["accession_fk"], ["accession.id"], name="fk_accession_check_accession_fk"
        ),
        sa.ForeignKeyConstraint(
            ["patient_fk"], ["patient.id"], name="fk_accession_check_patient_fk"
        ),
        sa.PrimaryKeyConstraint("key", name="pk_accession_check"),
    )
    op.create_index("ix_accession_check_accession_fk", "accession_check", ["accession_fk"])
    op.create_index("ix_accession_check_checked_at", "accession_check", ["checked_at"])
    op.create_index("ix_accession_check_patient_fk", "accession_check", ["patient_fk"])


def _create_proposals() -> None:
    """Where misfiled images belong, and what a person said to it."""
    op.create_table(
        "proposal",
        sa.Column("id", BIG, nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("patient_fk", BIG, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("decided_at", MOMENT, nullable=True),
        sa.Column("decided_by", sa.String(length=128), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["patient_fk"], ["patient.id"], name="fk_proposal_patient_fk"),
        sa.PrimaryKeyConstraint("id", name="pk_proposal"),
        sa.UniqueConstraint("key", name="uq_proposal_key"),
    )
    op.create_index("ix_proposal_patient_fk", "proposal", ["patient_fk"])
    op.create_index("ix_proposal_state", "proposal", ["state", "created_at"])
    op.create_table(
        "proposal_study",
        sa.Column("proposal_fk", BIG, nullable=False),
        sa.Column("study_fk", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["proposal_fk"], ["proposal.id"], name="fk_proposal_study_proposal_fk"
        ),
        sa.ForeignKeyConstraint(["study_fk"], ["study.id"], name="fk_proposal_study_study_fk"),
        sa.PrimaryKeyConstraint("proposal_fk", "study_fk", name="pk_proposal_study"),
    )
    op.create_index("ix_proposal_study_study_fk", "proposal_study", ["study_fk"])
