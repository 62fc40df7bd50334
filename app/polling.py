"""Polling: a feed has exactly one next poll, and a person may ask for one now."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app import queue
from app.domain.feeds import Feed

NEXT = 10  # Before all whose turn it is.


async def enqueue_poll(session: AsyncSession, feed: Feed, *, at: datetime | None = None) -> bool:
    """The next poll in the feed's own rhythm; one that waits already stays as it is, and the answer is False."""
    await session.flush()
    return await queue.enqueue(
        session,
        queue.POLL_FEED,
        at=at,
        priority=0 if at else NEXT,  # At once: somebody has just added it, and looks.
        lock=f"feed:{feed.id}",
        once=f"feed:{feed.id}",
        feed_id=feed.id,
    )


async def poll_now(session: AsyncSession, feed: Feed, *, at: datetime | None = None) -> None:
    """One poll out of turn. Asking twice is asking once."""
    await queue.enqueue(
        session,
        queue.POLL_FEED,
        at=at,
        priority=NEXT,
        lock=f"feed:{feed.id}",
        once=f"feed:{feed.id}:now",
        feed_id=feed.id,
    )


async def without_poll(session: AsyncSession) -> Collection[int]:
    """Feeds that nothing will poll: a job that failed for good must not silence a feed for ever."""
    rows = await session.scalars(
        text("""
            SELECT id FROM feeds WHERE paused_at IS NULL AND NOT EXISTS (
                SELECT FROM procrastinate_jobs
                WHERE lock = 'feed:' || feeds.id AND status IN ('todo', 'doing'))
        """)
    )
    return rows.all()
