"""Reports: what came of an alert, from its pages of the ledger, their beats and the receipts."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from app.domain.alerts import IS_PUBLIC, Alert
from app.domain.receipts import Event, Receipt, estimate
from app.domain.shards import COUNTED, Beat, Shard, progress_of

PERCENT = (50, 90, 99)
LATELY = timedelta(seconds=3)  # over which the present speed is measured


@dataclass(frozen=True)
class LaneReport:
    """An alert at one push service."""

    lane: str
    recipients: int
    outcomes: Mapping[str, int]
    seconds_to: Mapping[int, float | None]  # from the release, to so many percent of whom it was to ring for


# Whom their own rules keep it from are not waited for, nor are those on probation. The sum of the counters is how many
# there are: reading the list itself for its length would bring a megabyte for a hundred thousand.
_REACHED = """
    WITH pages AS (
        SELECT id, {scope} AS scope, CASE standing WHEN 0 THEN {counters} - held ELSE accepted END AS due
        FROM shards WHERE alert_id = :alert),
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


@dataclass(frozen=True)
class Results:
    """What came of an alert."""

    delivered: int
    shown: int  # as far as browsers told; see `estimated`
    estimated: int
    clicked: int
    closed: int
    stopped: int
    topic_off: int


async def results(session: AsyncSession, alerts: Collection[Alert]) -> dict[UUID, Results]:
    ids = [alert.id for alert in alerts]
    counts, told = await progress_of(session, ids), await _told(session, ids)
    return {alert.id: _results(alert, counts[alert.id]["accepted"], told[alert.id]) for alert in alerts}


def _results(alert: Alert, delivered: int, told: Mapping[Event, int]) -> Results:
    shown = min(told.get(Event.SHOWN, 0), delivered)
    return Results(delivered, shown, estimate(shown, alert.recipients, delivered), **plausible(told, delivered))


def plausible(told: Mapping[Event, int], delivered: int) -> dict[str, int]:
    """All but "shown", which is estimated. No figure is above what was delivered, whatever was told."""
    return {event.value: min(told.get(event, 0), delivered) for event in Event if event is not Event.SHOWN}


async def _told(session: AsyncSession, alert_ids: Collection[UUID]) -> dict[UUID, Counter[Event]]:
    query = select(Receipt.alert_id, Receipt.event, func.sum(Receipt.count)).where(Receipt.alert_id.in_(alert_ids))
    found: defaultdict[UUID, Counter[Event]] = defaultdict(Counter)
    for alert_id, event, count in await session.execute(query.group_by(Receipt.alert_id, Receipt.event)):
        found[alert_id][event] = int(count)
    return found


async def told_by_lane(session: AsyncSession, alert_id: UUID) -> dict[str, Counter[Event]]:
    """What browsers told of an alert, by the push service that they named."""
    query = select(Receipt.lane, Receipt.event, func.sum(Receipt.count)).where(Receipt.alert_id == alert_id)
    found: defaultdict[str, Counter[Event]] = defaultdict(Counter)
    for lane, event, count in await session.execute(query.group_by(Receipt.lane, Receipt.event)):
        found[lane][event] = int(count)
    return found


class Minute(NamedTuple):
    minute: datetime
    accepted: int
    shown: int  # as far as browsers told
    clicked: int


CHARTED = timedelta(days=1)

_MINUTES = text("""
    SELECT minute, CAST(sum(accepted) AS int), CAST(sum(shown) AS int), CAST(sum(clicked) AS int) FROM (
        SELECT date_trunc('minute', at) AS minute, beats.accepted, 0 AS shown, 0 AS clicked
        FROM beats JOIN shards ON shards.id = shard_id WHERE alert_id = :alert
        UNION ALL
        SELECT minute, 0, CASE event WHEN 'shown' THEN count ELSE 0 END, CASE event WHEN 'clicked' THEN count ELSE 0 END
        FROM receipts WHERE alert_id = :alert AND event IN ('shown', 'clicked')) AS happened
    WHERE minute < :end GROUP BY minute ORDER BY minute
""")


async def minutes(session: AsyncSession, alert: Alert) -> list[Minute]:
    """Those of the first day in which something happened."""
    if alert.released_at is None:
        return []
    found = await session.execute(_MINUTES, {"alert": alert.id, "end": alert.released_at + CHARTED})
    return [Minute(*row) for row in found]


async def released(session: AsyncSession, since: datetime, until: datetime) -> Sequence[Alert]:
    """What went out in a period, the newest first, without what only editors got."""
    query = select(Alert).where(Alert.released_at > since, Alert.released_at <= until, IS_PUBLIC)
    return (await session.scalars(query.options(selectinload(Alert.topics)).order_by(Alert.released_at.desc()))).all()


class Day(NamedTuple):
    day: date
    alerts: int
    delivered: int
    estimated: int
    clicked: int
    closed: int
    stopped: int
    topic_off: int


def by_day(
    alerts: Sequence[Alert], of: Mapping[UUID, Results], since: datetime, until: datetime, zone: tzinfo
) -> list[Day]:
    """The days that the period touches, where the newsroom is, the first one first; those without alerts as well."""
    first, last = since.astimezone(zone).date(), until.astimezone(zone).date()
    days: dict[date, list[Results]] = {first + timedelta(days=n): [] for n in range((last - first).days + 1)}
    for alert in alerts:
        if alert.released_at is not None:
            days[alert.released_at.astimezone(zone).date()].append(of[alert.id])
    return [
        Day(day, len(found), *(sum(getattr(each, name) for each in found) for name in Day._fields[2:]))
        for day, found in days.items()
    ]
