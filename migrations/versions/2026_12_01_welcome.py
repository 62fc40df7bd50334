"""Welcomes: alerts that go to readers who have just come."""

import sqlalchemy as sa
from alembic import op

revision = "2026_12_01_welcome"
down_revision = "2026_12_01_spent_proofs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alerts", sa.Column("is_welcome", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("subscriptions", sa.Column("is_to_welcome", sa.Boolean(), server_default="false", nullable=False))
    due = sa.text("is_to_welcome")
    op.create_index("ix_subscriptions_to_welcome", "subscriptions", ["id"], postgresql_where=due)


def downgrade() -> None:
    op.drop_index("ix_subscriptions_to_welcome", table_name="subscriptions", postgresql_where=sa.text("is_to_welcome"))
    op.drop_column("subscriptions", "is_to_welcome")
    op.drop_column("alerts", "is_welcome")
