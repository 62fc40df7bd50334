"""Probation: when an endpoint was first accepted, and shards of those who never were."""

import sqlalchemy as sa
from alembic import op

revision = "2026_12_01_probation"
down_revision = "2026_12_01_key_limits"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("subscriptions", sa.Column("proven_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("shards", sa.Column("standing", sa.Integer(), server_default="0", nullable=False))
    # Where a push service has accepted anything, the readers that are there by now count as proven: to look each of
    # them up in the ledger takes minutes, and at a made-up host nobody was ever accepted.
    op.execute(
        """
        UPDATE subscriptions SET proven_at = now()
        WHERE ended_at IS NULL AND lane IN (SELECT lane FROM shards GROUP BY lane HAVING sum(accepted) > 0)
        """
    )


def downgrade() -> None:
    op.drop_column("shards", "standing")
    op.drop_column("subscriptions", "proven_at")
