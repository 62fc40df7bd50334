"""Lanes: how each push service takes what we send, known to all workers; and when a person must look."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base
from app.domain.refusals import NotFound

# Additive increase: a lane that was slowed down is as fast as before after a minute or two of good answers.
GROWTH = 100.0  # messages/s, each second
UNLIMITED = 20_000.0  # messages/s from which on nothing needs to hold us
SLOWEST = 1.0
PROBE = 20.0  # messages/s with which a lane is tried again after it failed
# A breaker needs enough answers to mean something, and more failures than a service has on a bad day.
ENOUGH, TOO_MANY = 20, 0.2
LONGEST_BREAK = timedelta(minutes=1)
# What a service asks of a whole lane is believed for so long (WNS asks for 15 minutes); then it is tried again, gently.
LONGEST_CLOSURE = timedelta(minutes=15)
# So few refusals are single readers' own limits, and they wait by themselves. (At every one of them the lane used to
# halve its rate: with 1 % of 429 and of 503 it sent 200 messages a second.)
SINGLE = 0.05
# Between two decreases: answers to what was under way at the first one say nothing new.
ONE_DECREASE = timedelta(seconds=1)
# Refusals of our authorisation, more than acceptances, that mean all readers; and what acceptances may make up for.
HANDFUL, CREDIT = 5, 20
# Endings that one alert may bring in a lane before somebody should ask what is going on.
FEW_ENDINGS, MANY_ENDINGS = 50, 0.1


class Lane(Base):
    """A push service's origin. There is a row only once there was trouble: no row means no limit."""

    __tablename__ = "lanes"

    origin: Mapped[str] = mapped_column(primary_key=True)
    rate: Mapped[float | None]  # messages/s that were allowed at `since`; None: no limit
    since: Mapped[datetime]
    open_at: Mapped[datetime | None]  # Nothing is sent before.
    breaks: Mapped[int] = mapped_column(default=0)  # Times in a row that the breaker opened.
    paused_at: Mapped[datetime | None]  # Until a person resumes it.
    endings_stopped_at: Mapped[datetime | None]  # Until a person says whether so many readers really left.
    alarm: Mapped[str] = mapped_column(default="")  # What the person should know, as a sentence.

    def allowed(self, now: datetime) -> float | None:
        """Messages a second, all workers together; None: as many as they can."""
        if self.rate is None:
            return None
        grown = self.rate + GROWTH * max((now - self.since).total_seconds(), 0.0)
        return grown if grown < UNLIMITED else None

    def closed_until(self, now: datetime) -> datetime | None:
        """When to come back; None: come in. A paused lane is looked at again now and then."""
        if self.paused_at is not None:
            return now + timedelta(seconds=30)
        return self.open_at if self.open_at is not None and self.open_at > now else None


@dataclass
class Tally:
    """What one worker heard from a lane since it last told the others."""

    accepted: int = 0
    throttled: int = 0
    failed: int = 0  # busy or unreachable
    others: int = 0
    asked: timedelta | None = None  # the longest Retry-After

    @property
    def heard(self) -> int:
        return self.accepted + self.throttled + self.failed + self.others

    @property
    def is_silence(self) -> bool:
        """Failures and nothing else, and not enough of them yet to mean something."""
        return 0 < self.failed == self.heard < ENOUGH

    @property
    def broken(self) -> bool:
        return self.failed >= ENOUGH and self.failed > TOO_MANY * self.heard


@dataclass
class TokenRecord:
    """How a service takes our authorisation of late, by its proven readers, whichever shard and pass they are in.

    Refusals count against acceptances, up to a few of these: on a lane of which nothing is known yet the first handful
    decides, and on one that takes what we send a few dozen in a row do. A tenth of its readers that are refused, for
    reasons of their own or of some machine of the service's, do not keep the alert from the others.
    """

    balance: int = 0

    def note(self, taken: int, refused: int) -> None:
        self.balance = min(self.balance + taken - refused, CREDIT)

    @property
    def is_refused(self) -> bool:
        return self.balance <= -HANDFUL

    def forgive(self) -> None:
        """Another token, or a person's word. What was taken before still counts."""
        self.balance = max(self.balance, 0)


def a_lane(origin: str, now: datetime) -> Lane:
    return Lane(origin=origin, rate=None, since=now, open_at=None, breaks=0, alarm="")


def weigh(lane: Lane, tally: Tally, speed: float, now: datetime) -> None:
    """Slow down, open the breaker, or forgive. `speed`: messages/s at which all workers together were sending.

    Multiplicative decrease when the service often says "too many" (429, WNS's 406) or "not now" (503); a break,
    doubling each time, when it fails or does not answer; forgiveness with the first good answer after that.
    """
    if tally.broken:
        if lane.closed_until(now):  # answers to what was under way when it closed
            return
        lane.breaks += 1
        pause = min(timedelta(seconds=2.0 ** min(lane.breaks, 10)), LONGEST_BREAK)
        lane.rate, lane.since = PROBE, now + pause
        _close(lane, now, max(pause, tally.asked or pause))
    elif tally.throttled + tally.failed > SINGLE * tally.heard:
        if lane.rate is None or now - lane.since >= ONE_DECREASE:
            before = lane.allowed(now)
            lane.rate, lane.since = max((speed if before is None else min(before, speed)) / 2, SLOWEST), now
        # One reader's Retry-After is the reader's own matter; that of many is the lane's.
        if tally.asked and tally.throttled + tally.failed >= ENOUGH:
            _close(lane, now, tally.asked)
    elif tally.accepted and lane.breaks:
        lane.breaks = 0


def _close(lane: Lane, now: datetime, wait: timedelta) -> None:
    until = now + min(wait, LONGEST_CLOSURE)
    lane.open_at = max(lane.open_at or until, until)


def too_many_endings(ended: int, recipients: int) -> bool:
    """More readers gone at once than leave by themselves: a wrong key or a broken service, or a clean-up of theirs."""
    return ended > max(FEW_ENDINGS, MANY_ENDINGS * recipients)


async def every_lane(session: AsyncSession) -> Sequence[Lane]:
    return (await session.scalars(select(Lane).order_by(Lane.origin))).all()


async def lane_for_change(session: AsyncSession, origin: str, now: datetime) -> Lane:
    """The lane's row, made if there is none, locked until the transaction ends."""
    fresh = {"origin": origin, "since": now, "breaks": 0, "alarm": ""}
    await session.execute(insert(Lane).values(**fresh).on_conflict_do_nothing())
    return (await session.scalars(select(Lane).where(Lane.origin == origin).with_for_update())).one()


async def lane_named(session: AsyncSession, origin: str) -> Lane:
    lane = await session.get(Lane, origin.rstrip("/"), with_for_update=True)
    if lane is None:
        raise NotFound(f"There is no trouble with {origin}. ./newsbell lane list shows where there is.")
    return lane
