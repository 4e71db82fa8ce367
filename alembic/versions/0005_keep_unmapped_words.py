"""Keep words of images in which no region was found (expand).

Only a new table: a node of the release before this one would not notice it.
"""

import sqlalchemy as sa

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "unmapped_text",
        sa.Column("attribute", sa.String(length=64), nullable=False),
        sa.Column("text", sa.String(length=256), nullable=False),
        sa.Column("images", BIG, nullable=False),
        sa.PrimaryKeyConstraint("attribute", "text", name="pk_unmapped_text"),
    )


def downgrade() -> None:
    op.drop_table("unmapped_text")
