"""Wrong clocks: processes whose machine differs from the database's time. No row means that all agree."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base

# A process reports every ten seconds for as long as its clock is wrong; what is older is of one that has ended.
CURRENT = timedelta(seconds=30)


class WrongClock(Base):
    __tablename__ = "wrong_clocks"

    process: Mapped[str] = mapped_column(primary_key=True)  # host name and process id
    ahead: Mapped[float]  # seconds; negative: behind
    seen_at: Mapped[datetime]


def sentence(process: str, ahead: float) -> str:
    whose = f"The clock of {process.partition(':')[0]}" if process else "This machine's clock"
    return (
        f"{whose} is {_duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the database's. "
        "Set it right, best by NTP."
    )


def _duration(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:,.0f} seconds"


async def report(session: AsyncSession, process: str, ahead: float) -> None:
    fresh = insert(WrongClock).values(process=process, ahead=ahead, seen_at=func.clock_timestamp())
    now_known = {"ahead": fresh.excluded.ahead, "seen_at": fresh.excluded.seen_at}
    await session.execute(fresh.on_conflict_do_update(index_elements=[WrongClock.process], set_=now_known))


async def take_back(session: AsyncSession, process: str) -> None:
    await session.execute(delete(WrongClock).where(WrongClock.process == process))


async def current(session: AsyncSession) -> Sequence[str]:
    """A sentence for each machine whose clock is wrong at the moment."""
    query = select(WrongClock).where(WrongClock.seen_at > func.clock_timestamp() - CURRENT)
    found = await session.scalars(query.order_by(WrongClock.process))
    return list(dict.fromkeys(sentence(one.process, one.ahead) for one in found))


async def forget(session: AsyncSession) -> None:
    await session.execute(delete(WrongClock).where(WrongClock.seen_at < func.clock_timestamp() - CURRENT))
