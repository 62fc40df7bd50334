"""Feed bodies: what reading a feed's last document cost and came to, so that the same one is not read again."""

import sqlalchemy as sa
from alembic import op

revision = "2026_12_01_feed_bodies"
down_revision = "2026_12_01_probation"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("feeds", sa.Column("body_hash", sa.LargeBinary(), nullable=True))
    op.add_column("feeds", sa.Column("body_trouble", sa.Text(), server_default="", nullable=False))
    op.add_column("feeds", sa.Column("body_seconds", sa.Float(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("feeds", "body_seconds")
    op.drop_column("feeds", "body_trouble")
    op.drop_column("feeds", "body_hash")
