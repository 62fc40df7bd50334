"""Lanes: how each push service takes what we send; strikes for what is unclear."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_22_lanes"
down_revision = "2026_11_22_corrections"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lanes",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("rate", sa.Float(), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("open_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("breaks", sa.Integer(), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("endings_stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("alarm", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("origin", name=op.f("pk_lanes")),
    )
    op.add_column("subscriptions", sa.Column("strikes", sa.Integer(), server_default="0", nullable=False))
    op.add_column("subscriptions", sa.Column("struck_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("subscriptions", "struck_at")
    op.drop_column("subscriptions", "strikes")
    op.drop_table("lanes")
