"""Troubles: why some recipients have not got an alert (yet), in words for an editor."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.lanes import Lane
from app.domain.shards import Shard


def troubles(counts: Mapping[str, int], lanes: Sequence[Lane], now: datetime) -> list[str]:
    """`counts`: recipients by outcome; `lanes`: those in trouble in which some of them wait."""
    return [*_of_lanes(lanes, now), *_of_outcomes(counts)]


def _of_lanes(lanes: Sequence[Lane], now: datetime) -> Iterator[str]:
    for lane in lanes:
        host = urlsplit(lane.origin).netloc
        opens = lane.closed_until(now)
        if lane.alarm:
            yield f"{host}: {lane.alarm}"
        if lane.paused_at is not None:
            yield f"{host} is paused until a person resumes it."
        elif opens is not None:
            yield f"{host} wants a rest; it is tried again in {max(round((opens - now).total_seconds()), 1)} s."
        elif (rate := lane.allowed(now)) is not None:
            yield f"{host} takes {rate:,.0f} messages a second at present."


_OUTCOMES = {
    "refused": "Push services refused our key or signature for {}; a person must look.",
    "failed": "Push services did not take the message for {}, or dropped it.",
    "expired": "The time to live ran out before it reached {}.",
    "gone": "No longer there: {}.",
    "held": "Held back by quiet hours, daily limits or levels: {}.",
}


def _of_outcomes(counts: Mapping[str, int]) -> Iterator[str]:
    for outcome, sentence in _OUTCOMES.items():
        if count := counts[outcome]:
            yield sentence.format("one reader" if count == 1 else f"{count:,} readers")


async def lanes_in_the_way(session: AsyncSession, alert_id: UUID) -> Sequence[Lane]:
    """Those in trouble in which somebody waits for this alert."""
    waits = exists().where(Shard.alert_id == alert_id, Shard.lane == Lane.origin, Shard.waiting > 0)
    return (await session.scalars(select(Lane).where(waits).order_by(Lane.origin))).all()


async def standing(session: AsyncSession) -> list[str]:
    """What waits for a person, of whatever alert it came."""
    lanes = await session.scalars(select(Lane).where(Lane.alarm != "").order_by(Lane.origin))
    return [f"{urlsplit(lane.origin).netloc}: {lane.alarm}" for lane in lanes]
