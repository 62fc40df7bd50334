"""Release: the one way in which an alert goes out, for the poller, the command line and the desk."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app import queue
from app.domain.alerts import Alert, Level
from app.domain.topics import Topic


async def release(session: AsyncSession, alert: Alert, now: datetime) -> None:
    """Ring. Written in the caller's transaction together with the work that follows from it."""
    alert.release(now)
    await _enqueue_plan(session, alert)


async def widen(session: AsyncSession, alert: Alert, topics: Sequence[Topic]) -> None:
    """The alert turned out to be of more topics: those who follow only these get it too, nobody gets it twice."""
    alert.topics.extend(topic for topic in topics if topic not in alert.topics)
    if alert.released_at is not None:
        await _enqueue_plan(session, alert)


async def _enqueue_plan(session: AsyncSession, alert: Alert) -> None:
    # Writing the audience down goes before sending others' shards: it is short, and exact counts wait for it.
    await queue.enqueue(
        session,
        queue.PLAN_ALERT,
        priority=alert.level.priority + 10,
        breaking=alert.level is Level.BREAKING,
        lock=f"alert:{alert.id}",
        alert_id=str(alert.id),
    )
