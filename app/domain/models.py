"""All tables at once: importing this fills Base.metadata (for migrations and their test)."""

from app.domain.alerts import Alert
from app.domain.base import Base
from app.domain.feeds import Feed
from app.domain.lanes import Lane
from app.domain.shards import Shard
from app.domain.stories import Story
from app.domain.subscriptions import Subscription
from app.domain.topics import Topic

__all__ = ["Alert", "Base", "Feed", "Lane", "Shard", "Story", "Subscription", "Topic"]
