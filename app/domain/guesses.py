"""Guesses: sign-ins that failed of late, by account and by address, and how they slow down the next ones."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import LargeBinary, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base
from app.domain.refusals import TooMany

FREE = 5  # Failures that cost nothing: people mistype.
FORGOTTEN = timedelta(days=1)


class Guess(Base):
    """Names are hashes, those of addresses keyed ones: no address is stored."""

    __tablename__ = "guesses"

    name: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    count: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(index=True)


@dataclass(frozen=True)
class Guesser:
    """An account that is tried, or an address or a browser that tries."""

    name: bytes
    # An account waits a minute at most, or anybody could keep an editor out; an address may wait longer.
    longest_wait: timedelta
    # Whoever was right once starts anew. Not an address: whoever owns one account could guess at others in between.
    is_cleared: bool = False


def wait_after(failures: int, longest: timedelta) -> timedelta:
    """1, 2, 4 … seconds from the fifth failure on."""
    if failures < FREE:
        return timedelta(0)
    return min(timedelta(seconds=2 ** min(failures - FREE, 20)), longest)


async def charge(session: AsyncSession, guessers: Collection[Guesser], now: datetime) -> None:
    """Count a guess before it is looked at, or refuse to look at it yet.

    Counted first, and under the row's lock, so that however many come at once, no more than allowed are looked at.
    Whoever turns out to be right is pardoned. A guess that is refused here does not count.
    """
    # In one order for everybody: two who lock the same rows must not wait for each other.
    for guesser in sorted(guessers, key=lambda one: one.name):
        count, last_at = await _locked(session, guesser.name, now)
        count = 0 if now - last_at > FORGOTTEN else count
        wait = wait_after(count, guesser.longest_wait)
        if wait and (left := last_at + wait - now) > timedelta(0):
            raise TooMany("That was wrong too often. Wait a little, then try again.", left.total_seconds())
        # Whoever waited for the lock comes with a time before the last one's.
        counted = update(Guess).where(Guess.name == guesser.name)
        await session.execute(counted.values(count=count + 1, last_at=max(now, last_at)))


async def _locked(session: AsyncSession, name: bytes, now: datetime) -> tuple[int, datetime]:
    """Made if need be and locked in one statement: the row may be cleared at any moment."""
    row = insert(Guess).values(name=name, count=0, last_at=now)
    row = row.on_conflict_do_update(index_elements=[Guess.name], set_={"count": Guess.count})
    count, last_at = (await session.execute(row.returning(Guess.count, Guess.last_at))).one()
    return count, last_at


async def pardon(session: AsyncSession, guessers: Collection[Guesser]) -> None:
    """The guess was right: these are cleared, or get back what it cost."""
    for guesser in sorted(guessers, key=lambda one: one.name):
        if guesser.is_cleared:
            await session.execute(delete(Guess).where(Guess.name == guesser.name))
        else:
            one_less = update(Guess).where(Guess.name == guesser.name, Guess.count > 0)
            await session.execute(one_less.values(count=Guess.count - 1))


async def forget(session: AsyncSession, now: datetime) -> None:
    """Those that somebody is looking at stay for the next time: waiting for them could go in a circle."""
    old = select(Guess.name).where(Guess.last_at < now - FORGOTTEN).with_for_update(skip_locked=True)
    await session.execute(delete(Guess).where(Guess.name.in_(old)))
