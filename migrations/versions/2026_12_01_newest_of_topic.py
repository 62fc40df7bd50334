"""A topic's stories are looked through from the newest one, however many there are."""

from alembic import op

revision = "2026_12_01_newest_of_topic"
down_revision = "2026_12_01_welcome"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_story_topics_newest", "story_topics", ["topic_id", "story_id"])
    op.drop_index("ix_story_topics_topic_id", table_name="story_topics")


def downgrade() -> None:
    op.create_index("ix_story_topics_topic_id", "story_topics", ["topic_id"])
    op.drop_index("ix_story_topics_newest", table_name="story_topics")
