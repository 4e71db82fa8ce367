"""Keep corrections (expand).

Only new tables: a node of the release before this one would not notice them.
"""

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
UID = sa.String(length=64)

TABLES = ("correction", "correction_object", "correction_delivery")
"""In the order in which they refer to each other."""


def upgrade() -> None:
    op.create_table(
        "correction",
        sa.Column("id", BIG, nullable=False),
        sa.Column("proposal_fk", BIG, nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["proposal_fk"], ["proposal.id"], name="fk_correction_proposal_fk"),
        sa.PrimaryKeyConstraint("id", name="pk_correction"),
        sa.UniqueConstraint("proposal_fk", name="uq_correction_proposal_fk"),
    )
    _create_objects()
    _create_deliveries()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _create_objects() -> None:
    op.create_table(
        "correction_object",
        sa.Column("id", BIG, nullable=False),
        sa.Column("correction_fk", BIG, nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("series_instance_uid", UID, nullable=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("transfer_syntax_uid", UID, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["correction_fk"], ["correction.id"], name="fk_correction_object_correction_fk"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_correction_object"),
        sa.UniqueConstraint("sop_instance_uid", name="uq_correction_object_sop_instance_uid"),
    )
    op.create_index("ix_correction_object_correction_fk", "correction_object", ["correction_fk"])
    op.create_index("ix_correction_object_path", "correction_object", ["path"])


def _create_deliveries() -> None:
    op.create_table(
        "correction_delivery",
        sa.Column("id", BIG, nullable=False),
        sa.Column("correction_object_fk", BIG, nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("attempts", BIG, nullable=False),
        sa.Column("delivered_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["correction_object_fk"],
            ["correction_object.id"],
            name="fk_correction_delivery_correction_object_fk",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_correction_delivery"),
        sa.UniqueConstraint(
            "correction_object_fk",
            "destination",
            name="uq_correction_delivery_correction_object_fk_destination",
        ),
    )
