"""The pace meter: how close the site is to what Chrome calls disruptive, and slows down or silences.

Nobody outside knows where the line is. It is drawn each day from how often a site pushes, how often it asks and whether
people react (developer.chrome.com/blog/web-push-rate-limits, January 2026): so we measure that and say what stands out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.alerts import Alert
from app.domain.marks import Happening, marked
from app.domain.push_services import service_name
from app.domain.reports import released, results
from app.domain.shards import Shard
from app.domain.subscriptions import Subscription

DAY, WEEK = timedelta(days=1), timedelta(days=7)
# Alerts a day: an average publisher's, which is also the most that The Times allows itself; and the BBC's most (Press
# Gazette 2022). Readers who switch alerts off name their number first (Reuters Institute, June 2025).
USUAL, MANY = 4, 10
# Under 1 % of all notifications in Chrome get any reaction, so it takes the permission back from sites that send much
# to people who react to nothing (blog.chromium.org, October 2025).
LITTLE = 0.01
# Of fewer messages in a week, the share that was clicked says little.
ENOUGH = 1_000
# Single readers' own limits are fewer (see lanes.SINGLE). A site that is called disruptive gets a 429 for all that it
# sends beyond 1,000 messages a minute, for 1, then 7, then 14 days.
THROTTLED = 0.05
# Readers come and go every day: it stands out when half as many again go as come, and not just a handful.
LOSSES, HANDFUL = 1.5, 10


class Verdict(StrEnum):
    CALM = "calm"
    BUSY = "busy"  # One thing stands out.
    CLOSE = "close"  # Several do, or one that costs deliveries already.


@dataclass(frozen=True)
class Pace:
    alerts_today: int  # since midnight, where the newsroom is
    alerts_7d: int
    delivered: int  # of those 7 days
    clicked: int
    closed: int
    clicked_last: float | None  # share of the last alert
    throttled: Mapping[str, int]  # by lane, in 24 hours
    sent: Mapping[str, int]  # by lane, of the alerts of these 24 hours
    lost: int  # readers in 24 hours, whyever
    won: int

    @property
    def clicked_share(self) -> float | None:
        return _share(self.clicked, self.delivered)

    @property
    def closed_share(self) -> float | None:
        return _share(self.closed, self.delivered)


def _share(part: int, whole: int) -> float | None:
    return min(part / whole, 1.0) if whole else None


def verdict(pace: Pace) -> tuple[Verdict, str]:
    """And one sentence or two that say why."""
    found = sorted(_reasons(pace), key=lambda reason: -reason[0])
    weight = sum(reason[0] for reason in found)
    why = found[0][1] if found else f"{RULE}; this one is far from it."
    return [Verdict.CALM, Verdict.BUSY, Verdict.CLOSE][min(weight, 2)], f"{_opening(pace)} {why}"


RULE = "Chrome slows down sites that ring often and are opened little"


def _opening(pace: Pace) -> str:
    opening = f"{_ordinal(pace.alerts_today)} alert today" if pace.alerts_today else "No alert yet today"
    return opening + ("." if pace.clicked_last is None else f"; {_percent(pace.clicked_last)} clicked the last one.")


def _reasons(pace: Pace) -> Iterator[tuple[int, str]]:
    """What stands out, and how much it weighs."""
    for lane, times in pace.throttled.items():
        if times > THROTTLED * (times + pace.sent.get(lane, 0)):
            yield 2, f"{service_name(lane)} sent {times:,} messages back as too many: it slows this site down."
    if pace.alerts_today > MANY:
        yield 2, f"{RULE}, and more than {MANY} a day is rare even among big publishers."
    elif pace.alerts_today > USUAL:
        yield 1, f"{RULE}; publishers send {USUAL} a day on average."
    if pace.delivered >= ENOUGH and (pace.clicked_share or 0) < LITTLE:
        said = f"Of this week's messages {_percent(pace.clicked_share or 0)} were clicked"
        yield 1, f"{said}: Chrome takes the permission back from sites that hardly anybody reacts to."
    if pace.lost > max(LOSSES * pace.won, HANDFUL):
        yield 1, f"More readers left than came in the last 24 hours: {pace.lost:,} and {pace.won:,}."


_ORDINALS = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh", "Eighth", "Ninth", "Tenth")


def _ordinal(number: int) -> str:
    if number <= len(_ORDINALS):
        return _ORDINALS[number - 1]
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _percent(share: float) -> str:
    """Two figures, and never as a power of ten."""
    hundredths = share * 100
    return f"{hundredths:.0f}\u00a0%" if hundredths >= 10 else f"{hundredths:.2g}\u00a0%"


async def pace(session: AsyncSession, now: datetime, zone: tzinfo) -> Pace:
    """A correction takes the place of an alert without ringing: its clicks count, its messages do not."""
    alerts = await released(session, now - WEEK, now)
    of = await results(session, alerts)
    rang = [alert for alert in alerts if alert.thread_id is None]
    last = next((of[alert.id] for alert in rang if of[alert.id].delivered), None)
    lost, won = await _readers(session, now - DAY)
    return Pace(
        alerts_today=sum(_is_today(alert, now, zone) for alert in rang),
        alerts_7d=len(rang),
        delivered=sum(of[alert.id].delivered for alert in rang),
        clicked=sum(each.clicked for each in of.values()),
        closed=sum(each.closed for each in of.values()),
        clicked_last=_share(last.clicked, last.delivered) if last else None,
        throttled=await marked(session, Happening.THROTTLED, now - DAY),
        sent=await _sent(session, alerts, now - DAY),
        lost=lost,
        won=won,
    )


def _is_today(alert: Alert, now: datetime, zone: tzinfo) -> bool:
    return alert.released_at is not None and alert.released_at.astimezone(zone).date() == now.astimezone(zone).date()


async def _sent(session: AsyncSession, alerts: Sequence[Alert], since: datetime) -> dict[str, int]:
    lately = [alert.id for alert in alerts if alert.released_at is not None and alert.released_at > since]
    query = select(Shard.lane, func.sum(Shard.accepted)).where(Shard.alert_id.in_(lately)).group_by(Shard.lane)
    return {lane: int(count) for lane, count in await session.execute(query)}


async def _readers(session: AsyncSession, since: datetime) -> tuple[int, int]:
    """Lost and won. Of who came and went within a day nothing but marks is left."""
    of, number = Subscription, func.count()
    # Who came since are the last ids: without an index on their time, they are found as fast as they are few.
    before = select(of.id).where(of.created_at <= since).order_by(of.id.desc()).limit(1).scalar_subquery()
    came = await session.scalar(select(number).where(of.id > func.coalesce(before, 0)))
    ended = await session.scalar(select(number).where(of.ended_at > since, of.proven_at.is_not(None)))
    stopped = sum((await marked(session, Happening.STOPPED, since)).values())
    visited = sum((await marked(session, Happening.VISITED, since)).values())
    return (ended or 0) + stopped, (came or 0) + visited
