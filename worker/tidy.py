"""Tidy: what only time does. Work of dead workers, feeds without a poll, alerts nobody closed, forgetting."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from procrastinate import App
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import clock
from app.database import Sessions, transaction
from app.domain import feed_rings, lookups, marks, receipts, requests, subscriptions, wrong_clocks
from app.domain.alerts import alert_by_id, close_if_done, forget_welcomes, unfinished
from app.domain.feeds import feed_by_id
from app.outage import trouble_of
from app.polling import enqueue_poll, without_poll
from app.release import enqueue_due, enqueue_welcome, without_release

log = logging.getLogger("newsbell.tidy")

HEARTBEAT = 2.0  # seconds between a worker's signs of life
PRESUMED_DEAD = 8.0  # seconds without one, after which others take its work over
PATIENCE = 600.0  # seconds for one statement that forgets much
WELCOMES_KEPT = timedelta(days=1)
KEPT = timedelta(days=30)  # an ended subscription may be revived by a visit for that long
TAKE_OVER_EVERY, MEND_EVERY = 3.0, 10.0  # seconds
# The transaction-level advisory locks that keep two workers from the same chore; the numbers are ours alone.
TAKING_OVER, MENDING = 7_246_001, 7_246_002


async def look_after(sessions: Sessions, queue: App) -> None:
    """For as long as the worker lives.

    Procrastinate's periodic jobs name the second in which they are due by their machine's clock, and each second is
    done once: while one machine's clock is ahead, the seconds of all others count as done. So these chores are loops.
    """
    await asyncio.gather(
        _every(TAKE_OVER_EVERY, sessions, TAKING_OVER, lambda: take_over(queue)),
        _every(MEND_EVERY, sessions, MENDING, lambda: mend(sessions)),
    )


async def _every(seconds: float, sessions: Sessions, lock: int, chore: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            async with transaction(sessions) as session:
                if await session.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": lock}):
                    await chore()
        except (DBAPIError, PoolTimeout, OSError, ConnectorException) as error:
            if trouble_of(error) is None:
                log.warning("a chore has to wait: %s", type(error).__name__)
        await asyncio.sleep(seconds)


async def take_over(queue: App) -> None:
    """Hand the jobs of dead workers to live ones."""
    jobs = queue.job_manager
    for job in await jobs.get_stalled_jobs(seconds_since_heartbeat=PRESUMED_DEAD):
        assert job.id is not None
        try:
            await jobs.retry_job(job, retry_at=clock.now())
            log.warning("took over %s of a worker that died", job.task_name)
        except ConnectorException:  # its successor waits already: it died between its work and saying so
            await jobs.finish_job_by_id_async(job_id=job.id, status=Status.ABORTED, delete_job=True)


async def mend(sessions: Sessions) -> None:
    """Close and start what a crash between two transactions left undone."""
    async with transaction(sessions) as session:
        for alert_id in await unfinished(session):
            await close_if_done(session, alert_id, clock.now())
        for alert_id in await without_release(session):
            await enqueue_due(session, await alert_by_id(session, alert_id))
        if await subscriptions.any_to_welcome(session):  # one who came while the others' job was just being taken
            await enqueue_welcome(session, clock.now())
        for feed_id in await without_poll(session):
            if feed := await feed_by_id(session, feed_id):
                await enqueue_poll(session, feed)


async def forget(sessions: Sessions, queue: App) -> None:
    await queue.job_manager.delete_old_jobs(nb_hours=72, include_failed=True, include_aborted=True)
    async with transaction(sessions, patience=PATIENCE) as session:
        await requests.forget(session, clock.now())
        await lookups.forget(session, clock.now())
        await wrong_clocks.forget(session)
        await feed_rings.forget(session, clock.now())
        await receipts.forget(session, clock.now())
        await forget_welcomes(session, clock.now() - WELCOMES_KEPT)
        await marks.forget(session, clock.now() - KEPT)
        count = await subscriptions.forget(session, kept=KEPT, now=clock.now())
    if count:
        log.info("forgot %d subscriptions that ended", count)
