"""Alerts at the desk: the list, one of them, writing and changing drafts. What rings is in `bell.py`."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from sqlalchemy.ext.asyncio import AsyncSession

from app.alert_out import alert_out, alerts_out
from app.context import EditorActor, HereSite, WriterActor
from app.cursors import cursor, read_cursor
from app.database import transaction
from app.desk_shapes import (
    CLEAN,
    AdviceIn,
    AlertIn,
    AlertOut,
    AlertPatch,
    AlertsOut,
    WarningsOut,
    advice_out,
)
from app.domain import decisions
from app.domain.advice import LATELY, advise
from app.domain.alerts import AlertState, alert_of, an_alert, latest_alerts
from app.domain.editors import Actor
from app.domain.moments import now_of
from app.domain.refusals import Conflict
from app.domain.stories import Story, story_by_id
from app.domain.told import told, within_reach
from app.domain.topics import topics_named
from app.once import Once
from app.ringing import Ringing, for_change, reached
from app.shapes import problems

router = APIRouter(prefix="/api", tags=["alerts"])

Id = Annotated[UUID, Path(alias="id")]
CHANGING = problems(401, 403, 404, 409, 413, 422)


@router.get("/alerts", responses=problems(401, 403, 422))
async def alerts(
    here: HereSite,
    actor: WriterActor,
    state: Annotated[list[AlertState], Query(description="repeatable; all if left out")] = [],  # noqa: B006
    q: Annotated[str, Query(max_length=200, pattern=CLEAN, description="words in title or text, all of them")] = "",
    topic: Annotated[str | None, Query(max_length=64, pattern=r"^[a-z0-9-]*$")] = None,
    after: Annotated[str | None, Query(description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> AlertsOut:
    """The newest first. A key that is limited to topics or levels sees the alerts within its limits."""
    async with transaction(here.sessions) as session:
        found = await latest_alerts(
            session,
            limit + 1,
            states=state,
            words=q,
            topic=topic,
            before=read_cursor(after, UUID),
            topics=actor.topics,
            levels=actor.levels,
        )
        page = found[:limit]
        more = cursor(page[-1].created_at, page[-1].id) if len(found) > limit else None
        return AlertsOut(items=await alerts_out(session, page, await now_of(session), actor), next=more)


@router.post("/alerts", status_code=201, responses=CHANGING)
async def make(actor: WriterActor, wish: AlertIn, once: Once) -> AlertOut:
    """A draft, from a story or from nothing. Nobody is told before it is released."""
    actor.must_reach(wish.topics, wish.level)

    async def work(session: AsyncSession) -> AlertOut:
        now = await now_of(session)
        words = wish.model_dump(include={"title", "url", "body", "image", "level"})
        alert = an_alert(
            **words,
            topics=await topics_named(session, wish.topics),
            ttl=timedelta(seconds=wish.ttl),
            story=await _free_story(session, wish.story_id, actor),
            made_by=actor.name,
            now=now,
        )
        session.add(alert)
        Ringing(session, once.here.settings, actor, now).note("make", alert, story=wish.story_id)
        return await alert_out(session, alert, now, actor)

    return await once(actor, AlertOut, work)


async def _free_story(session: AsyncSession, story_id: int | None, actor: Actor) -> Story | None:
    """One that has no alert yet."""
    if story_id is None:
        return None
    story = await story_by_id(session, story_id, lock=True)
    if first := await alert_of(session, story):
        known = f": “{first.title}” ({first.state}, {first.id})" if actor.reaches(first.slugs, first.level) else ""
        raise Conflict(f"This story has an alert already{known}.")
    # A story has one alert, so whoever makes it takes the story from everybody else.
    actor.must_reach_story([topic.slug for topic in story.topics])
    return story


@router.post("/advice", responses=problems(401, 403, 413, 422))
async def advice(here: HereSite, actor: WriterActor, so_far: AdviceIn) -> WarningsOut:
    """What to mind about an alert as it is being written. Nothing is stored."""
    async with transaction(here.sessions) as session:
        now = await now_of(session)
        lately = within_reach(actor, await told(session, since=now - LATELY, until=now + LATELY, now=now))
    words = so_far.model_dump(include={"title", "body", "url", "level"})
    return WarningsOut(warnings=advice_out(advise(**words, now=now, told=lately, besides=so_far.id)))


@router.get("/alerts/{id}", responses=problems(401, 403, 404, 422))
async def alert(here: HereSite, actor: WriterActor, alert_id: Id) -> AlertOut:
    """As it stands now, with its outcomes, and what an attentive colleague would say of it."""
    async with transaction(here.sessions) as session:
        found = await reached(session, actor, alert_id)
        return await alert_out(session, found, await now_of(session), actor)


@router.patch("/alerts/{id}", responses=CHANGING)
async def edit(here: HereSite, actor: WriterActor, alert_id: Id, wish: AlertPatch) -> AlertOut:
    """Drafts only. What is scheduled or waits for approval is taken back first: what was seen is what goes out."""
    async with transaction(here.sessions) as session:
        found, now = await for_change(session, actor, alert_id), await now_of(session)
        changes = wish.model_dump(exclude_none=True, exclude={"topics", "ttl"})
        if "image" in wish.model_fields_set and wish.image is None:
            changes["image"] = ""
        if wish.topics is not None:
            changes["topics"] = await topics_named(session, wish.topics)
        if wish.ttl is not None:
            changes["ttl"] = timedelta(seconds=wish.ttl)
        decisions.edit(found, by=actor.name, **changes)
        actor.must_reach(found.slugs, found.level)
        Ringing(session, here.settings, actor, now).note("edit", found, changed=sorted(changes))
        return await alert_out(session, found, now, actor)


@router.delete("/alerts/{id}", status_code=204, responses=CHANGING)
async def delete(here: HereSite, actor: EditorActor, alert_id: Id) -> None:
    """Drafts only: what went out stays in the books."""
    async with transaction(here.sessions) as session:
        found = await for_change(session, actor, alert_id)
        decisions.must_be_open(found)
        Ringing(session, here.settings, actor, await now_of(session)).note("delete", found)
        await session.delete(found)
