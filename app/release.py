"""Release, recall, correct: the one way in which an alert goes out or back, for the poller, commands and the desk."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app import queue
from app.domain import shards
from app.domain.alerts import (
    NEWSBELL,
    Alert,
    AlertState,
    Level,
    a_correction,
    close_if_done,
    must_be_uncorrected,
)
from app.domain.subscriptions import Subscription
from app.domain.topics import Topic

# How soon to look again at what is still under way; workers look for scheduled work twice a second.
AGAIN = timedelta(seconds=0.3)
# New readers who come within it are welcomed together.
SOON = timedelta(seconds=1)
# How long before its time a scheduled alert is in a worker's hands: twice as long as it takes one to look.
LEAD = timedelta(seconds=2)


async def release(session: AsyncSession, alert: Alert, now: datetime) -> None:
    """Ring. Written in the caller's transaction together with the work that follows from it."""
    alert.release(now)
    await _enqueue_plan(session, alert)


async def welcome(session: AsyncSession, reader: Subscription, now: datetime) -> None:
    """A new reader is told soon what they will hear about. Whoever comes meanwhile is told by the same job."""
    reader.is_to_welcome = True
    await session.flush()
    await enqueue_welcome(session, now)


async def enqueue_welcome(session: AsyncSession, now: datetime) -> None:
    await queue.enqueue(session, queue.WELCOME, at=now + SOON, once=queue.WELCOME)


async def enqueue_due(session: AsyncSession, alert: Alert) -> None:
    """A scheduled alert's work. It names the time, so that an alert which is moved or taken back leaves it idle."""
    assert alert.due_at
    await queue.enqueue(
        session,
        queue.RELEASE_ALERT,
        at=alert.due_at - LEAD,
        priority=alert.level.priority + 20,
        breaking=alert.level is Level.BREAKING,
        alert_id=str(alert.id),
        due_at=alert.due_at.isoformat(),
    )


async def without_release(session: AsyncSession) -> Sequence[UUID]:
    """Scheduled alerts that nothing will release: a job that was lost must not keep news back."""
    silent = text("""
        SELECT id FROM alerts WHERE state = 'scheduled' AND NOT EXISTS (
            SELECT FROM procrastinate_jobs
            WHERE task_name = :task AND status IN ('todo', 'doing')
              AND args->>'alert_id' = alerts.id::text AND CAST(args->>'due_at' AS timestamptz) = alerts.due_at)
    """)
    return (await session.scalars(silent, {"task": queue.RELEASE_ALERT})).all()


async def recall(session: AsyncSession, alert: Alert, now: datetime) -> None:
    """Take it back. The caller has locked the alert's row: a plan came before and is seen, or comes after in vain."""
    alert.recall()
    await wind_up(session, alert, now)


async def wind_up(session: AsyncSession, alert: Alert, now: datetime) -> None:
    """Of a recalled alert: what no worker is sending becomes `recalled` at once; what one is sending is its to write.

    It does so at its next checkpoint. But it may be giving the shard back at this very moment for a later try, or be
    dead and not known to be: so we look again until nothing is open.
    """
    taken = await shards.claims(session, alert.id)  # before the jobs: whoever begins after that has another claim
    jobs = await queue.arguments_under_way(session, queue.SEND_SHARD) if taken else []
    busy = {job["shard_id"] for job in jobs}
    await shards.recall(session, {shard: claim for shard, claim in taken.items() if not claim or shard not in busy})
    if not await close_if_done(session, alert.id, now) and alert.finished_at is None:
        await plan_again(session, alert, now)


async def draft_correction(
    session: AsyncSession, wrong: Alert, now: datetime, *, by: str = NEWSBELL, unwritten: bool = False, **words: Any
) -> Alert:
    """Another alert to take the place of a wrong one, which the caller has locked. The wrong one goes on meanwhile."""
    await must_be_uncorrected(session, wrong.id)
    right = a_correction(wrong, made_by=by, now=now, unwritten=unwritten, **words)
    session.add(right)
    return right


async def stop(session: AsyncSession, wrong: Alert, now: datetime) -> None:
    """What of a wrong alert is not sent yet never will be."""
    if wrong.state in (AlertState.RELEASED, AlertState.SENDING):
        await recall(session, wrong, now)


async def correct(session: AsyncSession, wrong: Alert, now: datetime, *, by: str = NEWSBELL, **words: Any) -> Alert:
    """Another alert in the place of a wrong one, at once, for those who got that. `words`: as `a_correction` takes."""
    right = await draft_correction(session, wrong, now, by=by, **words)
    await stop(session, wrong, now)
    await release(session, right, now)
    return right


async def widen(session: AsyncSession, alert: Alert, topics: Sequence[Topic]) -> None:
    """The alert turned out to be of more topics: those who follow only these get it too, nobody gets it twice.

    Unless a person has said whom it is for.
    """
    if alert.chosen:
        return
    alert.topics.extend(topic for topic in topics if topic not in alert.topics)
    if alert.released_at is not None:
        await _enqueue_plan(session, alert)


async def plan_again(session: AsyncSession, alert: Alert, now: datetime) -> None:
    await _enqueue_plan(session, alert, at=now + AGAIN, once=f"alert:{alert.id}:again")


async def _enqueue_plan(
    session: AsyncSession, alert: Alert, *, at: datetime | None = None, once: str | None = None
) -> None:
    # Writing the audience down goes before sending others' shards: it is short, and exact counts wait for it.
    await queue.enqueue(
        session,
        queue.PLAN_ALERT,
        at=at,
        once=once,
        priority=alert.level.priority + 10,
        breaking=alert.level is Level.BREAKING,
        lock=f"alert:{alert.id}",
        alert_id=str(alert.id),
    )
