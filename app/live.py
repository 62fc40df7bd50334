"""What an open page is told as it happens, by server-sent events: new stories, and how an alert goes out.

Each event is one short look at the database. The refusals come before the stream; once it runs, it ends without a
word when the database is away, and the browser comes again.
"""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.alert_out import alert_out
from app.context import HereSite, Site, WriterActor
from app.database import transaction
from app.desk_shapes import LaneOut, OutcomesOut, ProgressOut, desk_story_out
from app.domain import reports, stories
from app.domain.alerts import alerts_of
from app.domain.editors import Actor
from app.domain.moments import now_of
from app.domain.push_services import service_name
from app.domain.refusals import Forbidden, NotFound
from app.domain.troubles import lanes_in_the_way, troubles
from app.ringing import reached, within_reach
from app.shapes import problems
from app.streams import Stream

AWAY = (OperationalError, InterfaceError, PoolTimeout)
# Stories that a page missed: who was away for longer reads the list anew.
MISSED = 100


async def _place(here: HereSite, actor: WriterActor) -> AsyncIterator[Stream]:
    with here.streams.place(actor) as stream:
        yield stream


Place = Annotated[Stream, Depends(_place)]
router = APIRouter(
    prefix="/api",
    default_response_class=EventSourceResponse,
    responses=problems(401, 403, 404, 422, 429),
)


async def _first_after(
    here: HereSite,
    after: Annotated[int | None, Query(ge=0, lt=2**63, description="the newest story that you have")] = None,
    last_event_id: Annotated[str | None, Header(pattern=r"^[0-9]{1,18}$")] = None,
) -> int:
    if last_event_id is not None:
        return int(last_event_id)
    if after is not None:
        return after
    async with transaction(here.sessions) as session:
        return await stories.newest_id(session)


@router.get("/stories/events", tags=["stories"])
async def story_events(
    here: HereSite, actor: WriterActor, stream: Place, newest: Annotated[int, Depends(_first_after)]
) -> AsyncIterator[ServerSentEvent]:
    """`event: story` for each new story, as `GET /api/stories` shows it. `Last-Event-ID` brings what was missed."""
    async for _ in here.streams.looks(stream):
        try:
            async with transaction(here.sessions) as session:
                found = await stories.since(session, newest, MISSED)
                made = await alerts_of(session, [story.id for story in found])
        except AWAY:
            return
        for story in found:
            newest = story.id
            shown = desk_story_out(story, within_reach(actor, made.get(story.id)))
            yield ServerSentEvent(event="story", id=str(story.id), data=shown)


async def _watched(here: HereSite, actor: WriterActor, alert_id: Annotated[UUID, Path(alias="id")]) -> UUID:
    async with transaction(here.sessions) as session:
        return (await reached(session, actor, alert_id)).id


@router.get("/alerts/{id}/events", tags=["alerts"])
async def alert_events(
    here: HereSite, stream: Place, alert_id: Annotated[UUID, Depends(_watched)]
) -> AsyncIterator[ServerSentEvent]:
    """`event: progress` at least every half second, then `event: end`, after which nothing more will change."""
    async for _ in here.streams.looks(stream):
        try:
            progress = await _progress(here, stream.actor, alert_id)
        except (NotFound, Forbidden, *AWAY):
            return
        yield ServerSentEvent(event="progress", data=progress)
        if progress.finished_at is not None:
            yield ServerSentEvent(event="end", data={"id": str(alert_id), "state": progress.state})
            return


async def _progress(here: Site, actor: Actor, alert_id: UUID) -> ProgressOut:
    async with transaction(here.sessions) as session:
        # All that one event says is of one moment, so that its numbers add up.
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        now = await now_of(session)
        alert = await reached(session, actor, alert_id)  # A draft may have changed its topics meanwhile.
        shown = (await alert_out(session, alert, now, actor)).model_dump()
        lanes = await reports.by_lane(session, alert_id)
        return ProgressOut(
            **shown,
            per_second=await reports.per_second(session, alert_id, now),
            seconds_to=await reports.seconds_to(session, alert),
            lanes=[_lane_out(one) for one in lanes],
            troubles=troubles(shown["outcomes"], await lanes_in_the_way(session, alert_id), now),
        )


def _lane_out(one: reports.LaneReport) -> LaneOut:
    return LaneOut(lane=one.lane, service=service_name(one.lane), outcomes=OutcomesOut(**one.outcomes))
