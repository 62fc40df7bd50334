"""Marks: how often something happened in an hour, where nothing else keeps it."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base


class Happening(StrEnum):
    THROTTLED = "throttled"  # A push service answered "too many".
    STOPPED = "stopped"  # A reader stopped all notifications, and the row of the subscription is gone.
    VISITED = "visited"  # And had come within a day before.
    ODD_PATH = "odd_path"  # A new reader's endpoint begins as none of its push service's did before.


class Mark(Base):
    __tablename__ = "marks"

    what: Mapped[Happening] = mapped_column(primary_key=True)
    lane: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True, index=True)
    count: Mapped[int]


async def mark(session: AsyncSession, what: Happening, lane: str, now: datetime, times: int = 1) -> None:
    fresh = insert(Mark).values(what=what, lane=lane, hour=_hour(now), count=times)
    more = {"count": Mark.count + fresh.excluded.count}
    await session.execute(fresh.on_conflict_do_update(index_elements=[Mark.what, Mark.lane, Mark.hour], set_=more))


async def marked(session: AsyncSession, what: Happening, since: datetime) -> dict[str, int]:
    """How often, by lane, from the hour of `since` on."""
    query = select(Mark.lane, func.sum(Mark.count)).where(Mark.what == what, Mark.hour >= _hour(since))
    return {lane: int(count) for lane, count in await session.execute(query.group_by(Mark.lane))}


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


async def forget(session: AsyncSession, before: datetime) -> None:
    await session.execute(delete(Mark).where(Mark.hour < before))
