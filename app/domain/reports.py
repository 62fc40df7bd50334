"""Reports: what came of an alert, from its pages of the ledger, their beats and the receipts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.alerts import Alert
from app.domain.shards import COUNTED, Beat, Shard

PERCENT = (50, 90, 99)
LATELY = timedelta(seconds=3)  # over which the present speed is measured


@dataclass(frozen=True)
class LaneReport:
    """An alert at one push service."""

    lane: str
    recipients: int
    outcomes: Mapping[str, int]
    seconds_to: Mapping[int, float | None]  # from the release, to so many percent of whom it was to ring for


# Whom their own rules keep it from are not waited for. The sum of the counters is how many there are: reading the list
# itself for its length would bring a megabyte for a hundred thousand.
_REACHED = """
    WITH pages AS (SELECT id, {scope} AS scope, {counters} - held AS due FROM shards WHERE alert_id = :alert),
    wanted AS (SELECT scope, sum(due) AS due FROM pages GROUP BY scope),
    steps AS (
        SELECT scope, at, sum(accepted) OVER (PARTITION BY scope ORDER BY at, beats.id) AS reached
        FROM beats JOIN pages ON pages.id = shard_id)
    SELECT scope, percent, min(at)
    FROM wanted JOIN steps USING (scope), unnest(CAST(:percent AS int[])) AS percent
    WHERE reached * 100 >= due * percent AND due > 0
    GROUP BY scope, percent
"""
_REACHED_BY_ALL = text(_REACHED.format(scope="''", counters=" + ".join(COUNTED)))
_REACHED_BY_LANE = text(_REACHED.format(scope="lane", counters=" + ".join(COUNTED)))


async def seconds_to(session: AsyncSession, alert: Alert) -> dict[int, float | None]:
    """How long after the release 50, 90 and 99 % of those for whom it was to ring were accepted; None: not (yet)."""
    found = await session.execute(_REACHED_BY_ALL, {"alert": alert.id, "percent": list(PERCENT)})
    at = {percent: when for _, percent, when in found}
    return {percent: _since(alert.released_at, at.get(percent)) for percent in PERCENT}


async def by_lane(session: AsyncSession, alert_id: UUID) -> list[LaneReport]:
    """The same alert at each push service, the one with most readers first."""
    released_at = await session.scalar(select(Alert.released_at).where(Alert.id == alert_id))
    found = await session.execute(_REACHED_BY_LANE, {"alert": alert_id, "percent": list(PERCENT)})
    at = {(lane, percent): when for lane, percent, when in found}
    sums = [func.sum(getattr(Shard, label)) for label in COUNTED]
    rows = await session.execute(select(Shard.lane, *sums).where(Shard.alert_id == alert_id).group_by(Shard.lane))
    lanes = [
        LaneReport(
            lane=lane,
            recipients=sum(map(int, counts)),
            outcomes=dict(zip(COUNTED, map(int, counts), strict=True)),
            seconds_to={percent: _since(released_at, at.get((lane, percent))) for percent in PERCENT},
        )
        for lane, *counts in rows
    ]
    return sorted(lanes, key=lambda each: (-each.recipients, each.lane))


def _since(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round(max((end - start).total_seconds(), 0.0), 3)


async def per_second(session: AsyncSession, alert_id: UUID, now: datetime) -> float:
    """How many were accepted a second, over the last three."""
    query = select(func.coalesce(func.sum(Beat.accepted), 0)).join(Shard, Shard.id == Beat.shard_id)
    lately = await session.scalar(query.where(Shard.alert_id == alert_id, Beat.at > now - LATELY, Beat.at <= now))
    return round(float(lately or 0) / LATELY.total_seconds(), 1)
