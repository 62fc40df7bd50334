"""Told: what went out lately or is about to, so that nobody is told the same thing twice."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.alerts import Alert, AlertState
from app.domain.refusals import Conflict
from app.domain.stories import canonical
from app.domain.topics import fold

# Sent again within this, it is a mistake until somebody says that it is not.
TWICE = timedelta(minutes=30)


class Told(NamedTuple):
    id: UUID
    title: str
    url: str
    at: datetime  # When it went out, or is going to.


async def told(session: AsyncSession, *, since: datetime, until: datetime, now: datetime) -> Sequence[Told]:
    """Alerts that went or are to go out between the two. One that waits for approval may do so at any moment: now."""
    pending = Alert.state.in_((AlertState.PROPOSED, AlertState.SCHEDULED))
    query = select(Alert.id, Alert.title, Alert.url, func.coalesce(Alert.released_at, Alert.due_at, now).label("at"))
    found = await session.execute(
        query.where(
            Alert.for_editor_id.is_(None),
            or_(
                Alert.released_at.between(since, until),
                pending & func.coalesce(Alert.due_at, now).between(since, until),
            ),
        ).order_by("at")
    )
    return [Told(*row) for row in found]


def same(among: Sequence[Told], *, title: str, url: str, besides: UUID | None = None) -> list[Told]:
    """Those of the same story: the address without what campaigns add, or the title without what type-setting adds."""
    address, words = _address(url), fold(title)
    return [
        one
        for one in among
        if one.id != besides and ((address and _address(one.url) == address) or (words and fold(one.title) == words))
    ]


def _address(url: str) -> str:
    """A front page is no story's own."""
    address = canonical(url)
    return "" if address.endswith("/") else address


async def must_be_new(session: AsyncSession, alert: Alert, at: datetime, now: datetime) -> None:
    """Refuses what readers are told within half an hour of `at` anyway.

    Two editors may release two drafts of one story at the same moment, each seeing only their own. So from here to the
    end of their transactions they go one after the other.
    """
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtext("release"))))
    near = await told(session, since=at - TWICE, until=at + TWICE, now=now)
    if found := same(near, title=alert.title, url=alert.url, besides=alert.id):
        raise Conflict(f"{_when(found[-1], now)}: “{found[-1].title}” ({found[-1].id}). Is it to be told again?")


def _when(one: Told, now: datetime) -> str:
    minutes = round(abs((now - one.at).total_seconds()) / 60)
    ago = f"{minutes} minutes" if minutes != 1 else "a minute"
    return f"The same story went out {ago} ago" if one.at <= now else f"The same story goes out in {ago}"
