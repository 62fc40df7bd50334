"""The desk: the latest stories with what was sent of them, and who an alert would ring for."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.context import HereSite, Site, WriterActor
from app.cursors import big_int, cursor, read_cursor
from app.database import transaction
from app.desk_shapes import CLEAN, AudienceOut, DeskStoriesOut, StandingWarningsOut, audience_out, desk_story_out
from app.domain import shards, stories, wrong_clocks
from app.domain.alerts import Level, alerts_of, thread_of
from app.domain.editors import Actor
from app.domain.moments import moment, now_of
from app.domain.refusals import Refusal
from app.domain.topics import topics_named
from app.domain.troubles import standing
from app.ringing import reached, within_reach
from app.shapes import problems

router = APIRouter(prefix="/api", responses=problems(401, 403, 422))


@router.get("/stories", tags=["stories"])
async def latest_stories(
    here: HereSite,
    actor: WriterActor,
    topic: Annotated[str | None, Query(max_length=64, pattern=r"^[a-z0-9-]*$")] = None,
    q: Annotated[str, Query(max_length=200, pattern=CLEAN, description="words in title or summary, all of them")] = "",
    after: Annotated[str | None, Query(description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> DeskStoriesOut:
    """The newest first, by when they were first seen, each with the alert that was made of it."""
    before = read_cursor(after, big_int)
    async with transaction(here.sessions) as session:
        found = await stories.latest(session, topic=topic, before=before, limit=limit + 1, words=q)
        page = found[:limit]
        made = await alerts_of(session, [story.id for story in page])
    items = [desk_story_out(story, within_reach(actor, made.get(story.id))) for story in page]
    return DeskStoriesOut(items=items, next=cursor(page[-1].seen_at, page[-1].id) if len(found) > limit else None)


@router.get("/warnings", tags=["stories"])
async def warnings(here: HereSite, actor: WriterActor) -> StandingWarningsOut:
    """What somebody should put right about this installation, a sentence each; none while all is well."""
    actor.must_see_all("these warnings are")
    async with transaction(here.sessions) as session:
        return StandingWarningsOut(items=[*await wrong_clocks.current(session), *await standing(session)])


@router.get("/audience", tags=["alerts"], responses=problems(404))
async def audience(
    here: HereSite,
    actor: WriterActor,
    topics: Annotated[str, Query(max_length=4096, pattern=CLEAN, description="short names: ukraine,world-news")] = "",
    level: Level = Level.NORMAL,
    corrects: Annotated[UUID | None, Query(description="instead of topics: who got this alert")] = None,
    at: Annotated[str | None, Query(max_length=64, pattern=CLEAN, description="as `…/schedule` takes it")] = None,
    time_zone: Annotated[str | None, Query(max_length=64, pattern=CLEAN)] = None,
) -> AudienceOut:
    """Who an alert of these topics would ring for, each reader once, and what holds others back: now, or then."""
    if corrects is not None:
        return await _of_correction(here, actor, corrects)
    slugs = [slug for slug in topics.split(",") if slug]
    if not slugs:
        raise Refusal("Name at least one topic: ukraine,world-news.")
    actor.must_reach(slugs, level)
    async with transaction(here.sessions) as session:
        ids = [topic.id for topic in await topics_named(session, slugs)]
        now = await now_of(session)
        then = moment(at, time_zone, now) if at else now
        return audience_out(await shards.audience(session, ids, level, then))


async def _of_correction(here: Site, actor: Actor, wrong_id: UUID) -> AudienceOut:
    async with transaction(here.sessions) as session:
        wrong = await reached(session, actor, wrong_id)
        return audience_out(await shards.audience_of_correction(session, await thread_of(session, wrong)))
