"""Receipts: what became of an alert after the push service took it. Counts by the minute, never who."""

import re
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ForeignKey, LargeBinary, delete, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.alerts import Alert
from app.domain.base import Base
from app.domain.marks import Happening, mark
from app.domain.outcomes import Outcome
from app.domain.proofs import Proofs
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


class SpentProof(Base):
    """A delivery whose receipt was counted: by a number that was drawn for its message and stands nowhere else."""

    __tablename__ = "spent_proofs"

    alert_id: Mapped[UUID] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True)
    event: Mapped[Event] = mapped_column(primary_key=True)
    number: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)


class Told(NamedTuple):
    """What a browser told."""

    alert_id: UUID
    event: Event
    number: bytes  # Of its proof: a delivery counts once.
    lane: str
    minute: datetime


def told(alert_id: UUID, event: Event, number: bytes, service: str | None, now: datetime) -> Told:
    return Told(alert_id, event, number, an_origin(service or ""), _minute(now))


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


# Always in the same order, or two web servers that write the same counts would wait for each other.
_ADD_TOLD = text("""
    WITH told AS (
        SELECT * FROM unnest(CAST(:alerts AS uuid[]), CAST(:events AS text[]), CAST(:numbers AS bytea[]),
                             CAST(:lanes AS text[]), CAST(:minutes AS timestamptz[]))
            AS told (alert, event, number, lane, minute)),
    fresh AS (
        INSERT INTO spent_proofs (alert_id, event, number)
        SELECT alert, event, number FROM told JOIN alerts ON alerts.id = alert
        WHERE for_editor_id IS NULL AND NOT is_welcome AND minute <= released_at + ttl * interval '1 second' + :latest
        ORDER BY alert, event, number
        ON CONFLICT DO NOTHING
        RETURNING alert_id, event, number)
    INSERT INTO receipts (alert_id, event, lane, minute, count)
    SELECT alert, told.event, coalesce(of_alert.lane, '') AS known, minute, count(*)
    FROM told JOIN fresh ON fresh.alert_id = alert AND fresh.event = told.event AND fresh.number = told.number
    LEFT JOIN LATERAL (
        SELECT lane FROM shards WHERE alert_id = alert AND shards.lane = told.lane LIMIT 1) AS of_alert ON true
    GROUP BY alert, told.event, known, minute ORDER BY alert, told.event, known, minute
    ON CONFLICT (alert_id, event, lane, minute) DO UPDATE SET count = receipts.count + excluded.count
""")

# The newest first; whom an alert has reached stands in one of its pages, which are in order.
_BLAMED = text(f"""
    SELECT alerts.id
    FROM alerts CROSS JOIN LATERAL (
        SELECT FROM shards
        WHERE alert_id = alerts.id AND lane IN (:lane, :various) AND accepted > 0
          AND subscription_ids[1] <= :reader AND subscription_ids[cardinality(subscription_ids)] >= :reader
          AND get_byte(outcomes, array_position(subscription_ids, CAST(:reader AS bigint)) - 1) = {Outcome.ACCEPTED:d}
        LIMIT 1) AS page
    WHERE released_at > :since AND released_at <= :now AND for_editor_id IS NULL AND NOT is_welcome
      AND (CAST(:topics AS bigint[]) IS NULL OR EXISTS (
          SELECT FROM alert_topics WHERE alert_id = alerts.id AND topic_id = ANY (:topics)))
    ORDER BY released_at DESC LIMIT 1
""")

_ADD_BLAME = text("""
    WITH fresh AS (
        INSERT INTO spent_proofs (alert_id, event, number) VALUES (:alert, :event, :number)
        ON CONFLICT DO NOTHING RETURNING alert_id)
    INSERT INTO receipts (alert_id, event, lane, minute, count) SELECT alert_id, :event, :lane, :minute, 1 FROM fresh
    ON CONFLICT (alert_id, event, lane, minute) DO UPDATE SET count = receipts.count + 1
""")


async def add(session: AsyncSession, receipts: Collection[Told]) -> None:
    """Count what browsers told, each delivery once. What they say of tests, or of alerts that are over, is dropped.

    Of one delivery there may be one of each event among them: `ReceiptBox` sees to that.
    """
    alerts, events, numbers, lanes, minutes = map(list, zip(*receipts, strict=True))
    columns = {"alerts": alerts, "events": events, "numbers": numbers, "lanes": lanes, "minutes": minutes}
    await session.execute(_ADD_TOLD, {**columns, "latest": LATEST})


async def forget(session: AsyncSession, now: datetime) -> None:
    """Of alerts for which no receipts are counted any more."""
    over = Alert.released_at + Alert.ttl * text("interval '1 second'") + LATEST < now
    await session.execute(delete(SpentProof).where(SpentProof.alert_id == Alert.id, over))


async def stopped(
    session: AsyncSession, proofs: Proofs, reader_id: int, lane: str, came_at: datetime, now: datetime
) -> None:
    """A reader stops: the newest alert that reached them within a day may be why."""
    await mark(session, Happening.STOPPED, lane, now)
    if now - came_at < BLAMED:
        await mark(session, Happening.VISITED, lane, now)
    await _blame(session, proofs, Event.STOPPED, reader_id, lane, None, now)


async def gave_up(
    session: AsyncSession, proofs: Proofs, reader_id: int, lane: str, topic_ids: Collection[int], now: datetime
) -> None:
    """A reader gives up topics: so may the newest alert of one of them."""
    if topic_ids:
        await _blame(session, proofs, Event.TOPIC_OFF, reader_id, lane, list(topic_ids), now)


async def _blame(
    session: AsyncSession,
    proofs: Proofs,
    event: Event,
    reader_id: int,
    lane: str,
    topic_ids: list[int] | None,
    now: datetime,
) -> None:
    """Once for each reader and alert, however often they change their mind."""
    reader = {"reader": reader_id, "lane": lane, "various": VARIOUS, "topics": topic_ids}
    alert_id = await session.scalar(_BLAMED, {**reader, "now": now, "since": now - BLAMED})
    if alert_id is not None:
        blame = {"alert": alert_id, "event": event, "number": proofs.of_reader(alert_id, reader_id), "lane": lane}
        await session.execute(_ADD_BLAME, {**blame, "minute": _minute(now)})


def _minute(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0)
