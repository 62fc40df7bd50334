"""Feeds: a publisher's document, how politely it is polled and what its new stories become."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Table, false, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload

from app.domain.base import Base
from app.domain.refusals import NotFound, Refusal
from app.domain.topics import Topic

A_DAY, A_WEEK = timedelta(days=1), timedelta(days=7)
SELDOM = timedelta(hours=6)  # as rarely as a feed is asked that fails again and again
# Stories of one feed that ring by themselves within an hour, unless its owner says otherwise. In their fullest hour the
# documents of twenty publishers have 1 to 16, half of them at most 5. What brings more was rebuilt, or taken over.
HOURLY_LIMIT = 20


class Policy(StrEnum):
    AUTO = "auto"  # Every new story rings.
    DRAFT = "draft"  # Every new story becomes a draft that a person may release.
    STORE = "store"  # New stories are only remembered.


class State(StrEnum):
    NEW = "new"  # It was never asked.
    WELL = "well"  # Its last poll went well.
    TROUBLE = "trouble"  # It did not; `Feed.trouble` says why.
    PAUSED = "paused"  # Nobody asks it until a person resumes it.


feed_topics = Table(
    "feed_topics",
    Base.metadata,
    Column("feed_id", ForeignKey("feeds.id", ondelete="CASCADE"), primary_key=True),
    Column("topic_id", ForeignKey("topics.id", ondelete="CASCADE"), primary_key=True, index=True),
)


class Feed(Base):
    __tablename__ = "feeds"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    url: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str] = mapped_column(default="")
    policy: Mapped[Policy] = mapped_column(default=Policy.AUTO)
    # Whether its stories' own tags may add topics to those that it is filed under. Tags are the publisher's word.
    tags_add_topics: Mapped[bool] = mapped_column(default=False, server_default=false())
    hourly_limit: Mapped[int] = mapped_column(default=HOURLY_LIMIT, server_default=str(HOURLY_LIMIT))
    etag: Mapped[str | None]
    last_modified: Mapped[str | None]
    baseline_at: Mapped[datetime | None]  # When its backlog was first remembered; nothing rings before.
    polled_at: Mapped[datetime | None]
    next_poll_at: Mapped[datetime | None]
    next_poll_because: Mapped[str] = mapped_column(default="", server_default="")  # As a sentence.
    paused_at: Mapped[datetime | None]  # Nothing is polled until a person resumes it.
    misses: Mapped[int] = mapped_column(default=0)  # Failed polls in a row.
    trouble: Mapped[str] = mapped_column(default="")  # The last failure as a sentence; empty when all is well.
    # Of the last document that was read: the same one is not read again.
    body_hash: Mapped[bytes | None]
    body_trouble: Mapped[str] = mapped_column(default="", server_default="")  # Why it could not be; else empty.
    body_seconds: Mapped[float] = mapped_column(default=0.0, server_default="0")  # Of computing.
    created_at: Mapped[datetime]
    topics: Mapped[list[Topic]] = relationship(secondary=feed_topics, lazy="raise", order_by=Topic.id)

    @property
    def state(self) -> State:
        if self.paused_at is not None:
            return State.PAUSED
        if self.polled_at is None:
            return State.NEW
        return State.TROUBLE if self.trouble else State.WELL

    def pause(self, now: datetime) -> None:
        self.paused_at, self.next_poll_at, self.next_poll_because = now, None, ""

    def move(self, url: str) -> None:
        """The publisher has another address now. What the old one said of itself means nothing there."""
        self.url = url
        self.etag = self.last_modified = self.body_hash = None
        self.misses, self.trouble = 0, ""

    def resume(self) -> None:
        """As new: what came out meanwhile is remembered and does not ring. A "nothing new" would not show what did."""
        self.paused_at = self.baseline_at = self.etag = self.last_modified = self.body_hash = None


def a_feed(
    url: str,
    *,
    topics: Sequence[Topic],
    policy: Policy,
    now: datetime,
    tags_add_topics: bool = False,
    hourly_limit: int = HOURLY_LIMIT,
) -> Feed:
    url = url.strip()
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is no number
        whole = False
    if not whole or len(url) > 2048 or not url.isprintable() or " " in url:
        raise Refusal("A feed's address starts with https:// or http://, names a host and has no spaces.")
    if parts.username or parts.password:
        raise Refusal("A feed's address must not hold a user name or password.")
    feed = Feed(url=url, policy=policy, topics=list(topics), created_at=now)
    feed.tags_add_topics, feed.hourly_limit = tags_add_topics, an_hourly_limit(hourly_limit)
    return feed


def an_hourly_limit(number: int) -> int:
    if not 1 <= number <= 10_000:
        raise Refusal("Between 1 and 10,000 stories of a feed may ring within an hour. For none: let it make drafts.")
    return number


def next_poll(
    *,
    every: timedelta,
    misses: int,
    asked: timedelta | None,
    luck: float,
    gone: bool,
    now: datetime,
    costly: bool = False,
) -> datetime:
    """Publishers may slow us down, never speed us up; and luck (0…1) keeps feeds from arriving together."""
    wait = max(_own_wait(every, misses, gone, costly), min(asked or every, A_DAY))
    return now + wait * (1 + 0.1 * luck)


def _own_wait(every: timedelta, misses: int, gone: bool, costly: bool) -> timedelta:
    if gone:
        return A_WEEK
    return max(every, SELDOM) if costly else min(every * 2 ** min(misses, 16), max(every, SELDOM))


def why_then(*, every: timedelta, misses: int, asked: timedelta | None, gone: bool, costly: bool = False) -> str:
    """The reason of `next_poll`, for a person."""
    own = _own_wait(every, misses, gone, costly)
    if asked and min(asked, A_DAY) > own:
        return f"The publisher asked for {in_words(min(asked, A_DAY))}."
    if gone:
        return "The publisher says that it is gone for good, so once a week is enough."
    if costly:
        return f"Reading it costs too much, so it is left alone for {in_words(own)}."
    if misses:
        failed = "It failed" if misses == 1 else f"It failed {misses} times in a row"
        return f"{failed}, so it is left alone for {in_words(own)}."
    return f"Every {in_words(every)}."


def in_words(span: timedelta) -> str:
    """In the largest unit that tells it well: 90 minutes are neither one hour nor two."""
    seconds = span.total_seconds()
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and (seconds % size == 0 or seconds >= 10 * size):
            return _counted(seconds / size, name)
    return _counted(max(seconds, 1), "second")


def _counted(number: float, name: str) -> str:
    return f"{number:.0f} {name}{'' if round(number) == 1 else 's'}"


async def feed_by_id(session: AsyncSession, feed_id: int) -> Feed | None:
    return await session.get(Feed, feed_id, populate_existing=True)


async def feed_by_url(session: AsyncSession, url: str, *, lock: bool = False) -> Feed:
    query = select(Feed).where(Feed.url == url.strip()).options(selectinload(Feed.topics))
    feed = await session.scalar(query.with_for_update(of=Feed) if lock else query)
    if feed is None:
        raise NotFound(f"There is no feed {url}. ./newsbell feed list shows them all.")
    return feed


async def feed_for_change(session: AsyncSession, feed_id: int) -> Feed:
    query = select(Feed).where(Feed.id == feed_id).options(selectinload(Feed.topics)).with_for_update(of=Feed)
    feed = await session.scalar(query)
    if feed is None:
        raise NotFound("There is no such feed.")
    return feed


async def every_feed(session: AsyncSession) -> Sequence[Feed]:
    return (await session.scalars(select(Feed).order_by(Feed.id).options(selectinload(Feed.topics)))).all()
