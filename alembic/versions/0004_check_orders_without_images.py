"""Let an accession be judged whose patient has no images (expand).

A node of the release before this one always names the patient, and never looks at these rows.
"""

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("accession_check") as table:
        table.alter_column("patient_fk", existing_type=BIG, nullable=True)


def downgrade() -> None:
    op.execute("DELETE FROM accession_check WHERE patient_fk IS NULL")
    with op.batch_alter_table("accession_check") as table:
        table.alter_column("patient_fk", existing_type=BIG, nullable=False)
