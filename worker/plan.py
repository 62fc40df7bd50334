"""Plan: alert → shards. Who gets it is written down before anything is sent."""

import logging
from datetime import UTC, datetime
from uuid import UUID

from app import queue
from app.database import Sessions, transaction
from app.domain import shards
from app.domain.alerts import AlertState, Level, alert_by_id

log = logging.getLogger("newsbell.plan")


async def plan_alert(sessions: Sessions, alert_id: UUID) -> None:
    """Write the audience of a released alert and enqueue a job for each shard, in one transaction.

    Doing it again adds only readers whom the ledger does not have yet.
    """
    now = datetime.now(UTC)
    async with transaction(sessions) as session:
        alert = await alert_by_id(session, alert_id, lock=True)
        if alert.state in (AlertState.DRAFT, AlertState.RECALLED):
            return
        planned = await shards.plan(session, alert.id, [topic.id for topic in alert.topics], now)
        alert.recipients += sum(shard.size for shard in planned)
        if planned:
            alert.state, alert.finished_at = AlertState.SENDING, None
            work = [{"shard_id": shard.id} for shard in planned]
            await queue.enqueue_many(
                session,
                queue.SEND_SHARD,
                work,
                priority=alert.level.priority,
                breaking=alert.level is Level.BREAKING,
            )
        elif alert.state is AlertState.RELEASED:  # nobody follows these topics
            alert.state, alert.finished_at = AlertState.FINISHED, now
    log.info("alert %s: %d recipients in %d shards", alert_id, sum(s.size for s in planned), len(planned))
