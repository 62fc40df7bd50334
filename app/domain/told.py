"""Told: what went out lately or is about to, so that nobody is told the same thing twice."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Text, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.alerts import IS_PUBLIC, Alert, AlertState, Level, alert_topics
from app.domain.editors import Actor
from app.domain.refusals import Conflict
from app.domain.stories import canonical
from app.domain.topics import Topic, fold

# Sent again within this, it is a mistake until somebody says that it is not.
TWICE = timedelta(minutes=30)
# Whose it is, when and in which words is not said to a key that does not reach so far.
BEYOND = "The same story goes out within half an hour by somebody else"
NONE = literal([], ARRAY(Text))


class Told(NamedTuple):
    id: UUID
    title: str
    url: str
    at: datetime  # When it went out, or is going to.
    waits: bool  # For a second person's approval: it may go out at any moment.
    topics: Collection[str] = ()  # Their short names.
    level: str = Level.NORMAL

    def when(self, now: datetime) -> str:
        if self.waits:
            return "The same story waits for a second person's approval"
        if self.at > now:
            return f"The same story goes out in {_span(self.at - now)}"
        return f"The same story went out {_span(now - self.at)} ago"


def _span(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    if minutes < 2:
        return "less than a minute" if minutes < 1 else "a minute"
    return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"


async def told(session: AsyncSession, *, since: datetime, until: datetime, now: datetime) -> Sequence[Told]:
    """Alerts that went or are to go out between the two. What waits for approval past its time may do so now."""
    pending = Alert.state.in_((AlertState.PROPOSED, AlertState.SCHEDULED))
    due = func.greatest(Alert.due_at, now)  # of NULL and now, PostgreSQL takes now
    at = func.coalesce(Alert.released_at, due).label("at")
    of_alert = Topic.id.in_(select(alert_topics.c.topic_id).where(alert_topics.c.alert_id == Alert.id))
    topics = select(func.array_agg(Topic.slug)).where(of_alert).correlate(Alert).scalar_subquery()
    waits = Alert.state == AlertState.PROPOSED
    query = select(Alert.id, Alert.title, Alert.url, at, waits, func.coalesce(topics, NONE), Alert.level)
    found = await session.execute(
        query.where(
            IS_PUBLIC,
            or_(
                Alert.released_at.between(since, until),
                pending & due.between(since, until),
            ),
        ).order_by("at")
    )
    return [Told(*row) for row in found]


def within_reach(actor: Actor, among: Sequence[Told]) -> list[Told]:
    """A key that is limited is told of no other alerts; least of those that are not out yet."""
    return [one for one in among if actor.reaches(one.topics, one.level)]


def same(among: Sequence[Told], *, title: str, url: str, besides: UUID | None = None) -> list[Told]:
    """Those of the same story: the address without what campaigns add, or the title without what type-setting adds."""
    address, words = _address(url), _words(title)
    return [
        one
        for one in among
        if one.id != besides and ((address and address == _address(one.url)) or (words and words == _words(one.title)))
    ]


# A day of alerts is compared with every draft that somebody looks at.
@lru_cache(maxsize=4096)
def _address(url: str) -> str:
    """A front page is no story's own."""
    address = canonical(url)
    return "" if address.endswith("/") else address


@lru_cache(maxsize=4096)
def _words(title: str) -> str:
    return fold(title)


async def must_be_new(session: AsyncSession, alert: Alert, at: datetime, now: datetime, actor: Actor) -> None:
    """Refuses what readers are told within half an hour of `at` anyway.

    Two editors may release two drafts of one story at the same moment, each seeing only their own. So from here to the
    end of their transactions they go one after the other.
    """
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtext("release"))))
    near = await told(session, since=at - TWICE, until=at + TWICE, now=now)
    if found := same(near, title=alert.title, url=alert.url, besides=alert.id):
        shown = within_reach(actor, found)
        what = f"{shown[-1].when(now)}: “{shown[-1].title}” ({shown[-1].id})" if shown else BEYOND
        raise Conflict(f"{what}. Is it to be told again? Then say so.")
