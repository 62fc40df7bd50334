"""All tables at once: importing this fills Base.metadata (for migrations and their test)."""

from app.domain.alerts import Alert
from app.domain.api_keys import ApiKey
from app.domain.audit import AuditEntry
from app.domain.base import Base
from app.domain.editors import Editor
from app.domain.feed_rings import FeedRings
from app.domain.feeds import Feed
from app.domain.guesses import Guess
from app.domain.lanes import Lane
from app.domain.lookups import Lookup
from app.domain.marks import Mark
from app.domain.own_browsers import EditorBrowser
from app.domain.receipts import Receipt, SpentProof
from app.domain.requests import AnsweredRequest
from app.domain.shards import Beat, Shard
from app.domain.sign_ins import EditorSession, SignInLink
from app.domain.stories import Story
from app.domain.subscriptions import Subscription
from app.domain.topics import Topic
from app.domain.wrong_clocks import WrongClock

__all__ = [
    "Alert",
    "AnsweredRequest",
    "ApiKey",
    "AuditEntry",
    "Base",
    "Beat",
    "Editor",
    "EditorBrowser",
    "EditorSession",
    "Feed",
    "FeedRings",
    "Guess",
    "Lane",
    "Lookup",
    "Mark",
    "Receipt",
    "Shard",
    "SignInLink",
    "SpentProof",
    "Story",
    "Subscription",
    "Topic",
    "WrongClock",
]
