"""Feed rings: how often feeds ring by themselves, what was held back, and which feeds' tags may add topics.

Of the feeds that are there already, only those that were filed under no topic may ring by their stories' tags: their
owner can have meant nothing else.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_12_01_feed_rings"
down_revision = "2026_12_01_two_people"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("feeds", sa.Column("tags_add_topics", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("feeds", sa.Column("hourly_limit", sa.Integer(), server_default="20", nullable=False))
    op.add_column("alerts", sa.Column("held_because", sa.Text(), server_default="", nullable=False))
    op.execute(
        "UPDATE feeds SET tags_add_topics = true"
        " WHERE NOT EXISTS (SELECT FROM feed_topics WHERE feed_topics.feed_id = feeds.id)"
    )
    op.create_table(
        "feed_rings",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("feed_id", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rang", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["feed_id"], ["feeds.id"], name=op.f("fk_feed_rings_feed_id_feeds"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_rings")),
    )
    op.create_index(op.f("ix_feed_rings_at"), "feed_rings", ["at"], unique=False)


def downgrade() -> None:
    op.drop_table("feed_rings")
    op.drop_column("alerts", "held_because")
    op.drop_column("feeds", "hourly_limit")
    op.drop_column("feeds", "tags_add_topics")
