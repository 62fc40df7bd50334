"""Feed rings: how often feeds rang by themselves lately, so that a publisher's mistake does not ring a hundred times.

A story above a bound is held back: it becomes a draft, and a person decides.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, ForeignKey, Identity, case, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base
from app.domain.feeds import Feed

AN_HOUR = timedelta(hours=1)
KEPT = timedelta(days=2)  # The desk shows a day.


class FeedRings(Base):
    """What one poll came to."""

    __tablename__ = "feed_rings"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    # What a feed rang counts for the whole newsroom even after somebody has removed it.
    feed_id: Mapped[int | None] = mapped_column(ForeignKey(Feed.id, ondelete="SET NULL"))
    at: Mapped[datetime] = mapped_column(index=True)
    rang: Mapped[int]  # Alerts that went out, were proposed, or went to one more topic.
    held: Mapped[int]  # Alerts that would have, but for a bound.


@dataclass(frozen=True)
class Room:
    """What a feed may still do within this hour."""

    left: int
    of_feed: bool  # Which bound it is: the feed's own, or that of all feeds together.
    limit: int
    counted: int  # What that bound counts: stories of the last hour, rung and held back.
    held_before: bool  # In this hour something of this feed was held back already, and people were told.

    def why_held(self, more: int) -> str:
        """For a person; `more`: the stories of this poll."""
        if self.of_feed:
            return (
                f"Held back: the feed brought {self.counted + more} stories within an hour, and of one feed at most "
                f"{self.limit} ring by themselves."
            )
        return (
            f"Held back: the feeds brought {self.counted + more} stories within an hour, and of all feeds together at "
            f"most {self.limit} ring by themselves."
        )


async def room(session: AsyncSession, feed: Feed, *, of_all: int, now: datetime) -> Room:
    """To be asked under the lock that `stories.remember` takes: then two polls never use the same room."""
    mine = case((FeedRings.feed_id == feed.id, 1), else_=0)
    sums = (FeedRings.rang * mine, FeedRings.held * mine, FeedRings.rang, FeedRings.held)
    query = select(*(func.coalesce(func.sum(number), 0) for number in sums)).where(FeedRings.at > now - AN_HOUR)
    rang, held, rang_all, held_all = map(int, (await session.execute(query)).one())
    left, left_of_all = max(feed.hourly_limit - rang, 0), max(of_all - rang_all, 0)
    if left <= left_of_all:
        return Room(left, True, feed.hourly_limit, rang + held, held > 0)
    return Room(left_of_all, False, of_all, rang_all + held_all, held > 0)


async def held_by_feed(session: AsyncSession, since: datetime) -> dict[int, int]:
    """How many stories of each feed were held back since then."""
    query = select(FeedRings.feed_id, func.sum(FeedRings.held)).where(
        FeedRings.at >= since, FeedRings.feed_id.is_not(None)
    )
    found = await session.execute(query.group_by(FeedRings.feed_id))
    return {feed_id: int(held) for feed_id, held in found if feed_id is not None}


async def forget(session: AsyncSession, now: datetime) -> None:
    await session.execute(delete(FeedRings).where(FeedRings.at < now - KEPT))
