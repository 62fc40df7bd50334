"""Feeds: a publisher's document, how politely it is polled and what its new stories become."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Table, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload

from app.domain.base import Base
from app.domain.refusals import NotFound, Refusal
from app.domain.topics import Topic

A_DAY = timedelta(days=1)


class Policy(StrEnum):
    AUTO = "auto"  # Every new story rings.
    DRAFT = "draft"  # Every new story becomes a draft that a person may release.
    STORE = "store"  # New stories are only remembered.


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
    etag: Mapped[str | None]
    last_modified: Mapped[str | None]
    baseline_at: Mapped[datetime | None]  # When its backlog was first remembered; nothing rings before.
    polled_at: Mapped[datetime | None]
    next_poll_at: Mapped[datetime | None]
    next_poll_because: Mapped[str] = mapped_column(default="", server_default="")  # As a sentence.
    paused_at: Mapped[datetime | None]  # Nothing is polled until a person resumes it.
    misses: Mapped[int] = mapped_column(default=0)  # Failed polls in a row.
    trouble: Mapped[str] = mapped_column(default="")  # The last failure as a sentence; empty when all is well.
    created_at: Mapped[datetime]
    topics: Mapped[list[Topic]] = relationship(secondary=feed_topics, lazy="raise", order_by=Topic.id)


def a_feed(url: str, *, topics: Sequence[Topic], policy: Policy, now: datetime) -> Feed:
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
    return Feed(url=url, policy=policy, topics=list(topics), created_at=now)


def next_poll(
    *, every: timedelta, misses: int, asked: timedelta | None, luck: float, gone: bool, now: datetime
) -> datetime:
    """Publishers may slow us down, never speed us up; and luck (0…1) keeps feeds from arriving together."""
    wait = timedelta(days=7) if gone else min(every * 2 ** min(misses, 16), max(every, timedelta(hours=6)))
    wait = max(wait, min(asked or wait, A_DAY))
    return now + wait * (1 + 0.1 * luck)


def why_then(*, every: timedelta, misses: int, asked: timedelta | None, gone: bool) -> str:
    """The reason of `next_poll`, for a person."""
    if gone:
        return "The publisher says that this feed is gone for good, so it is asked once a week."
    if misses:
        return "It failed, so it is asked less often." if misses == 1 else f"It failed {misses} times in a row."
    if asked and asked > every:
        return f"The publisher asks to be left alone for {in_words(min(asked, A_DAY))}."
    return f"Every {in_words(every)}."


def in_words(span: timedelta) -> str:
    seconds = span.total_seconds()
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "moment"


def state_of(feed: Feed) -> str:
    if feed.paused_at is not None:
        return "paused"
    if feed.polled_at is None:
        return "new"
    return "trouble" if feed.trouble else "well"


async def feed_by_id(session: AsyncSession, feed_id: int) -> Feed | None:
    return await session.get(Feed, feed_id, populate_existing=True)


async def feed_by_url(session: AsyncSession, url: str) -> Feed:
    feed = await session.scalar(select(Feed).where(Feed.url == url.strip()))
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
