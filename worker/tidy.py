"""Tidy: what only time does. Work of dead workers, feeds without a poll, alerts nobody closed, forgetting."""

import logging
from datetime import UTC, datetime, timedelta

from procrastinate import App
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status

from app.database import Sessions, transaction
from app.domain import lookups, marks, requests, subscriptions
from app.domain.alerts import alert_by_id, close_if_done, unfinished
from app.domain.feeds import feed_by_id
from app.polling import enqueue_poll, without_poll
from app.release import enqueue_due, without_release

log = logging.getLogger("newsbell.tidy")

HEARTBEAT = 2.0  # seconds between a worker's signs of life
PRESUMED_DEAD = 8.0  # seconds without one, after which others take its work over
KEPT = timedelta(days=30)  # an ended subscription may be revived by a visit for that long


async def take_over(queue: App) -> None:
    """Hand the jobs of dead workers to live ones."""
    jobs = queue.job_manager
    for job in await jobs.get_stalled_jobs(seconds_since_heartbeat=PRESUMED_DEAD):
        assert job.id is not None
        try:
            await jobs.retry_job(job)
            log.warning("took over %s of a worker that died", job.task_name)
        except ConnectorException:  # its successor waits already: it died between its work and saying so
            await jobs.finish_job_by_id_async(job_id=job.id, status=Status.ABORTED, delete_job=True)


async def mend(sessions: Sessions) -> None:
    """Close and start what a crash between two transactions left undone."""
    async with transaction(sessions) as session:
        for alert_id in await unfinished(session):
            await close_if_done(session, alert_id, datetime.now(UTC))
        for alert_id in await without_release(session):
            await enqueue_due(session, await alert_by_id(session, alert_id))
        for feed_id in await without_poll(session):
            if feed := await feed_by_id(session, feed_id):
                await enqueue_poll(session, feed)


async def forget(sessions: Sessions, queue: App) -> None:
    await queue.job_manager.delete_old_jobs(nb_hours=72, include_failed=True, include_aborted=True)
    async with transaction(sessions) as session:
        await requests.forget(session, datetime.now(UTC))
        await lookups.forget(session, datetime.now(UTC))
        await marks.forget(session, datetime.now(UTC) - KEPT)
        count = await subscriptions.forget(session, ended_before=datetime.now(UTC) - KEPT)
    if count:
        log.info("forgot %d subscriptions that ended over %d days ago", count, KEPT.days)
