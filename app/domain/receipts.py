"""Receipts: what became of an alert after the push service took it. Counts by the minute, never who."""

import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ForeignKey, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base
from app.domain.marks import Happening, mark
from app.domain.outcomes import Outcome
from app.domain.shards import VARIOUS

# So many browsers of an alert's readers tell that they have shown it, about; all of them, if there are no more.
TELLERS = 10_000
# Receipts are counted as long as the alert lives, and for who reads it after a weekend away.
LATEST = timedelta(days=2)
# Who leaves within it does so because of the alert.
BLAMED = timedelta(hours=24)


class Event(StrEnum):
    SHOWN = "shown"  # The browser showed it (a sample of browsers tells).
    CLICKED = "clicked"  # The reader opened the story.
    CLOSED = "closed"  # The reader closed it unread.
    STOPPED = "stopped"  # Somebody who got it within the last day stopped all notifications.
    TOPIC_OFF = "topic_off"  # Somebody who got it within the last day gave up one of its topics.


class Receipt(Base):
    __tablename__ = "receipts"

    alert_id: Mapped[UUID] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True)
    event: Mapped[Event] = mapped_column(primary_key=True)
    lane: Mapped[str] = mapped_column(primary_key=True)  # The push service's origin; empty: not told.
    minute: Mapped[datetime] = mapped_column(primary_key=True)
    count: Mapped[int]


class Told(NamedTuple):
    """What several browsers told alike."""

    alert_id: UUID
    event: Event
    lane: str
    minute: datetime


def told(alert_id: UUID, event: Event, service: str | None, now: datetime) -> Told:
    return Told(alert_id, event, an_origin(service or ""), _minute(now))


def an_origin(address: str) -> str:
    """All that we want to know of a push service's address. The rest of an endpoint is a reader's secret."""
    found = re.match(r"https?://[a-z0-9._-]{1,253}(:\d{1,5})?(?=$|/)", address)
    return found[0] if found else ""


def sample(recipients: int) -> float:
    """The share of browsers that tell that they have shown an alert, so that a million do not tell at once."""
    return float(f"{TELLERS / recipients:.3g}") if recipients > TELLERS else 1.0


def estimate(counted: int, recipients: int, delivered: int) -> int:
    """How many have shown it, if `counted` told so. An alert that gained readers has asked more of its first ones."""
    return min(round(counted / sample(recipients)), delivered)


_ADD = """
    INSERT INTO receipts (alert_id, event, lane, minute, count)
    {found}
    ON CONFLICT (alert_id, event, lane, minute) DO UPDATE SET count = receipts.count + excluded.count
"""

# Always in the same order, or two web servers that write the same counts would wait for each other.
_ADD_TOLD = text(
    _ADD.format(
        found="""
    SELECT alert, event, coalesce(of_alert.lane, '') AS known, minute, sum(times)
    FROM unnest(CAST(:alerts AS uuid[]), CAST(:events AS text[]), CAST(:lanes AS text[]),
                CAST(:minutes AS timestamptz[]), CAST(:times AS int[])) AS told (alert, event, lane, minute, times)
    JOIN alerts ON alerts.id = alert
    LEFT JOIN LATERAL (
        SELECT lane FROM shards WHERE alert_id = alert AND shards.lane = told.lane LIMIT 1) AS of_alert ON true
    WHERE for_editor_id IS NULL AND minute <= released_at + ttl * interval '1 second' + :latest
    GROUP BY alert, event, known, minute ORDER BY alert, event, known, minute
"""
    )
)

# The newest first; whom an alert has reached stands in one of its pages, which are in order.
_ADD_BLAME = text(
    _ADD.format(
        found=f"""
    SELECT alerts.id, :event, :lane, :minute, 1
    FROM alerts CROSS JOIN LATERAL (
        SELECT FROM shards
        WHERE alert_id = alerts.id AND lane IN (:lane, :various) AND accepted > 0
          AND subscription_ids[1] <= :reader AND subscription_ids[cardinality(subscription_ids)] >= :reader
          AND get_byte(outcomes, array_position(subscription_ids, CAST(:reader AS bigint)) - 1) = {Outcome.ACCEPTED:d}
        LIMIT 1) AS page
    WHERE released_at > :since AND released_at <= :now AND for_editor_id IS NULL
      AND (CAST(:topics AS bigint[]) IS NULL OR EXISTS (
          SELECT FROM alert_topics WHERE alert_id = alerts.id AND topic_id = ANY (:topics)))
    ORDER BY released_at DESC LIMIT 1
"""
    )
)


async def add(session: AsyncSession, counts: Mapping[Told, int]) -> None:
    """Count what browsers told. What they say of tests, of alerts that are over or of none, is dropped.

    An alert's id is known to those who got it only; who makes up receipts for one spoils its figures and nothing else.
    """
    alerts, events, lanes, minutes = zip(*counts, strict=True)
    columns = {"alerts": list(alerts), "events": list(events), "lanes": list(lanes), "minutes": list(minutes)}
    await session.execute(_ADD_TOLD, {**columns, "times": list(counts.values()), "latest": LATEST})


async def stopped(session: AsyncSession, reader_id: int, lane: str, came_at: datetime, now: datetime) -> None:
    """A reader stops: the newest alert that reached them within a day may be why."""
    await mark(session, Happening.STOPPED, lane, now)
    if now - came_at < BLAMED:
        await mark(session, Happening.VISITED, lane, now)
    await _blame(session, Event.STOPPED, reader_id, lane, None, now)


async def gave_up(session: AsyncSession, reader_id: int, lane: str, topic_ids: Collection[int], now: datetime) -> None:
    """A reader gives up topics: so may the newest alert of one of them."""
    if topic_ids:
        await _blame(session, Event.TOPIC_OFF, reader_id, lane, list(topic_ids), now)


async def _blame(
    session: AsyncSession, event: Event, reader_id: int, lane: str, topic_ids: list[int] | None, now: datetime
) -> None:
    values = {"event": event, "reader": reader_id, "lane": lane, "topics": topic_ids, "minute": _minute(now)}
    values |= {"various": VARIOUS}
    await session.execute(_ADD_BLAME, {**values, "now": now, "since": now - BLAMED})


def _minute(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0)
