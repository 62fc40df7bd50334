"""Moments: when an alert is to go out, in the words of a person who looks at a clock on a wall."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.refusals import Refusal
from app.domain.time_zones import a_time_zone
from app.domain.wall_clock import in_words

# News that is further ahead is a plan, and plans change.
FURTHEST = timedelta(days=30)

# RFC 3339, its offset and seconds left out where a time zone is named beside it.
_WRITTEN = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


def moment(text: str, zone: str | None, now: datetime) -> datetime:
    """When exactly that is. A time that the clocks of `zone` skip or show twice is refused with the two choices."""
    if zone:
        a_time_zone(zone)
    written = _read(text)
    if written.tzinfo is None:
        if not zone:
            raise Refusal("Say of which time zone this is: name one, or end the time with an offset such as +02:00.")
        written = _on_the_wall(written, zone)
    try:
        at = written.astimezone(UTC)
    except OverflowError:
        raise Refusal("This time is beyond all calendars.") from None
    if at <= now:
        raise Refusal(f"{in_words(written, zone or '')} has passed.")
    if at > now + FURTHEST:
        raise Refusal(f"{in_words(written, zone or '')} is more than 30 days ahead.")
    return at


def _read(text: str) -> datetime:
    if _WRITTEN.fullmatch(text):
        try:
            return datetime.fromisoformat(text.upper())
        except ValueError:  # a 30th of February
            pass
    raise Refusal("Write the time as 2026-11-28T07:30 beside a time zone, or as 2026-11-28T07:30:00+02:00.")


def _on_the_wall(local: datetime, zone: str) -> datetime:
    """PEP 495: fold=0 and fold=1 are the two readings of what a clock shows around the change of its time."""
    wall = ZoneInfo(zone)
    first, second = (local.replace(tzinfo=wall, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first
    choices = [at.astimezone(wall) for at in sorted(one.astimezone(UTC) for one in (first, second))]
    happens = "comes twice" if choices[0].replace(tzinfo=None) == local else "is skipped"
    which = " or ".join(_say(choice) for choice in choices)
    raise Refusal(f"The clocks of {zone} change then: {local:%H:%M} {happens}. Say which you mean: {which}.")


def _say(at: datetime) -> str:
    return at.isoformat(timespec="seconds" if at.second else "minutes")


async def now_of(session: AsyncSession) -> datetime:
    """The database's clock.

    Whatever says when an alert goes out (the desk that schedules it, the queue that wakes a worker, the worker that
    waits for the second) goes by this one. A clock on a machine beside it that is wrong shifts nothing.
    """
    now: datetime = (await session.scalars(select(func.clock_timestamp()))).one()
    return now
