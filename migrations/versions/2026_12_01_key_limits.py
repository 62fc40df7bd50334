"""Limits of API keys: none at all is NULL. A list that became empty is a limit that leaves nothing."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_12_01_key_limits"
down_revision = "2026_12_01_feed_rings"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("topics", "levels"):
        op.alter_column("api_keys", column, existing_type=postgresql.ARRAY(sa.Text()), nullable=True)
        op.execute(f"UPDATE api_keys SET {column} = NULL WHERE {column} = '{{}}'")


def downgrade() -> None:
    for column in ("topics", "levels"):
        op.execute(f"UPDATE api_keys SET {column} = '{{}}' WHERE {column} IS NULL")
        op.alter_column("api_keys", column, existing_type=postgresql.ARRAY(sa.Text()), nullable=False)
