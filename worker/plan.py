"""Plan: alert → shards. Who gets it is written down before anything is sent."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, queue
from app.database import Sessions, transaction
from app.domain import shards, subscriptions
from app.domain.alerts import (
    Alert,
    AlertState,
    Level,
    alert_by_id,
    an_alert,
    close_if_done,
    is_corrected,
    replaced_by,
)
from app.domain.moments import now_of
from app.domain.probation import lowered, starts_after
from app.domain.shards import VARIOUS, Planned
from app.domain.topics import every_topic
from app.release import enqueue_due, plan_again, wind_up

log = logging.getLogger("newsbell.plan")

PATIENCE = 600.0  # seconds for one statement: an audience of millions, on a database that has much to do


async def plan_alert(sessions: Sessions, alert_id: UUID) -> None:
    """Write the audience of a released alert and enqueue a job for each shard, in one transaction.

    Doing it again adds only readers whom the ledger does not have yet. One that was recalled or corrected since gets
    nobody any more.
    """
    now = clock.now()
    async with transaction(sessions, patience=PATIENCE) as session:
        alert = await alert_by_id(session, alert_id, lock=True)
        if alert.state is AlertState.RECALLED:
            await wind_up(session, alert, now)
        elif alert.state.is_out and not await is_corrected(session, alert.id):
            await _write_down(session, alert, now)


async def release_alert(sessions: Sessions, draining: asyncio.Event, alert_id: UUID, due_at: datetime) -> None:
    """Wait for the very second, then release the alert and write its audience down, in one transaction.

    It is looked at again when the time has come: moved or taken back, it is not ours any more. Whoever locks the row
    first, this or an undo, is the one that counts. The time is the database's, whatever this machine's clock says.
    """
    while (left := await _time_left(sessions, alert_id, due_at)) is not None:
        if left <= 0:
            await _release_now(sessions, alert_id, due_at)
        elif await _told_to_stop(draining, within=left):
            await _give_back(sessions, alert_id, due_at)
            return


async def _time_left(sessions: Sessions, alert_id: UUID, due_at: datetime) -> float | None:
    """In seconds; None if it is not to go out then."""
    async with transaction(sessions) as session:
        alert, now = await session.get(Alert, alert_id), await now_of(session)
    return (due_at - now).total_seconds() if alert and _is_due(alert, due_at) else None


def _is_due(alert: Alert, due_at: datetime) -> bool:
    return alert.state is AlertState.SCHEDULED and alert.due_at == due_at


async def _told_to_stop(draining: asyncio.Event, *, within: float) -> bool:
    try:
        await asyncio.wait_for(draining.wait(), within)
    except TimeoutError:
        return False
    return True


async def _give_back(sessions: Sessions, alert_id: UUID, due_at: datetime) -> None:
    """This worker ends before the time has come: another one takes it at once."""
    async with transaction(sessions) as session:
        alert = await alert_by_id(session, alert_id)
        if _is_due(alert, due_at):
            await enqueue_due(session, alert)


async def _release_now(sessions: Sessions, alert_id: UUID, due_at: datetime) -> None:
    async with transaction(sessions, patience=PATIENCE) as session:
        alert, now = await alert_by_id(session, alert_id, lock=True), await now_of(session)
        if _is_due(alert, due_at):
            alert.release(now)
            await _write_down(session, alert, now)


async def _write_down(session: AsyncSession, alert: Alert, now: datetime) -> None:
    planned = await (_plan_correction(session, alert, now) if alert.thread_id else _plan(session, alert, now))
    await _send_to(session, alert, planned, now)


async def _send_to(session: AsyncSession, alert: Alert, planned: Sequence[Planned], now: datetime) -> None:
    alert.recipients += sum(shard.size for shard in planned)
    if planned or alert.state is AlertState.RELEASED:
        alert.state, alert.finished_at = AlertState.SENDING, None
    if to_send := [shard for shard in planned if shard.waiting]:
        await _enqueue(session, alert, to_send, now)
    if alert.growing:
        await plan_again(session, alert, now)
    await close_if_done(session, alert.id, now)  # nobody follows these topics, or all have it already
    log.info("alert %s: %d recipients in %d shards", alert.id, sum(s.size for s in planned), len(planned))


async def _plan(session: AsyncSession, alert: Alert, now: datetime) -> list[Planned]:
    if alert.for_editor_id is not None:
        return await shards.plan_for_editor(session, alert.id, alert.for_editor_id, now)
    return await shards.plan(session, alert.id, [topic.id for topic in alert.topics], now, level=alert.level)


async def _plan_correction(session: AsyncSession, alert: Alert, now: datetime) -> list[Planned]:
    """Twice, if what it corrects is still under way: at once for those who got that, then for those who got it since.

    The first time nobody else of the thread, lest one gets the correction before the wrong one that is on its way.
    """
    before = await replaced_by(session, alert)  # read before planning: what is over by now is in the plan
    under_way = any(wrong.finished_at is None for wrong in before)
    if alert.growing and under_way:
        return []
    alert.growing = under_way
    wrong = [one.id for one in before if not under_way or one.id == alert.corrects_id]
    return await shards.plan_correction(session, alert.id, wrong, now)


# A flood of new readers, each with other topics, is a few alerts: who has rarer ones is told in general.
WELCOMES = 20
WELCOME_TTL = timedelta(hours=1)


async def welcome(sessions: Sessions, site_name: str, site_url: str) -> None:
    """Tell those who have come since the last time what they will hear about."""
    now = clock.now()
    async with transaction(sessions) as session:
        found = await subscriptions.newcomers(session)
        by_frequency = sorted(found, key=lambda topic_ids: -len(found[topic_ids]))
        topics = {topic.id: topic for topic in await every_topic(session)}
        for topic_ids in by_frequency[:WELCOMES]:
            names = [topics[topic_id].name for topic_id in topic_ids]
            await _welcome(session, found[topic_ids], listed(names), site_name, site_url, now)
        if others := [reader for topic_ids in by_frequency[WELCOMES:] for reader in found[topic_ids]]:
            await _welcome(session, others, "the topics that you chose", site_name, site_url, now)


async def _welcome(
    session: AsyncSession, readers: list[int], what: str, site_name: str, site_url: str, now: datetime
) -> None:
    alert = an_alert(
        title=site_name,
        body=f"You will hear from us about {what}.",
        url=site_url,
        topics=[],
        level=Level.LOW,
        ttl=WELCOME_TTL,
        is_welcome=True,
        now=now,
    )
    alert.release(now)
    session.add(alert)
    await session.flush()
    await _send_to(session, alert, await shards.plan_welcome(session, alert.id, readers, now), now)


def listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


async def _enqueue(session: AsyncSession, alert: Alert, planned: Sequence[Planned], now: datetime) -> None:
    """Those on probation when the proven are about done, behind all others in the queue; those of many lanes last."""
    wait = starts_after(sum(shard.waiting for shard in planned if not shard.standing))
    by_standing: defaultdict[int, list[Planned]] = defaultdict(list)
    for shard in sorted(planned, key=lambda shard: shard.lane == VARIOUS):
        by_standing[shard.standing].append(shard)
    for standing, found in by_standing.items():
        await queue.enqueue_many(
            session,
            queue.SEND_SHARD,
            [
                {"shard_id": shard.id, "lane": shard.lane, "level": alert.level}
                | ({"standing": standing} if standing else {})
                for shard in by_turns(found)
            ],
            at=now + wait if standing and wait else None,
            priority=lowered(alert.level.priority, standing),
            breaking=alert.level is Level.BREAKING,
        )


def by_turns(planned: Iterable[Planned]) -> list[Planned]:
    """Lane by lane in turn, so that the many shards of one do not stand before the few of another."""
    lanes: defaultdict[str, list[Planned]] = defaultdict(list)
    for shard in planned:
        lanes[shard.lane].append(shard)
    return [shard for turn in zip_longest(*lanes.values()) for shard in turn if shard]
