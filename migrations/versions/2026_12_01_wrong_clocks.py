"""Wrong clocks: which processes differ from the database's time."""

import sqlalchemy as sa
from alembic import op

revision = "2026_12_01_wrong_clocks"
down_revision = "2026_11_27_desk"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "wrong_clocks",
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("ahead", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("process", name=op.f("pk_wrong_clocks")),
    )


def downgrade() -> None:
    op.drop_table("wrong_clocks")
