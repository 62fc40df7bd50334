"""Feeds and topics at the desk: where stories come from and what readers follow. Owners change them, all may look."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.asking import ask
from app.context import HereSite, OwnerActor, WriterActor
from app.database import transaction
from app.domain import audit
from app.domain.alerts import count_to_come
from app.domain.editors import Actor
from app.domain.feed_rings import held_by_feed
from app.domain.feeds import Feed, State, every_feed, feed_for_change
from app.domain.lookups import Kind
from app.domain.refusals import Conflict
from app.domain.stories import count_by_feed
from app.domain.subscriptions import count_followers
from app.domain.topics import Topic, describe, every_topic, topic_for_change, topics_named
from app.once import Once
from app.polling import poll_now
from app.shapes import problems
from app.source_shapes import (
    DeskTopicOut,
    FeedChangeIn,
    FeedIn,
    FeedOut,
    FeedsOut,
    PreviewIn,
    PreviewOut,
    TopicChangeIn,
    TopicIn,
    TopicsOut,
    desk_topic_out,
    feed_out,
)
from app.sources import add_feed, add_topic, resume_feed

router = APIRouter(prefix="/api", tags=["feeds and topics"])

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
Slug = Annotated[str, Path(max_length=64, pattern=r"^[a-z0-9-]+$")]
CHANGING = problems(401, 403, 404, 409, 422)
LATELY = timedelta(hours=24)


@router.get("/feeds", responses=problems(401, 403))
async def feeds(here: HereSite, actor: WriterActor) -> FeedsOut:
    """All of them, with what went wrong and when each is asked next; for a key that is limited, those of its topics."""
    async with transaction(here.sessions) as session:
        brought, held = await count_by_feed(session, _now() - LATELY), await held_by_feed(session, _now() - LATELY)
        found = [one for one in await every_feed(session) if _sees(actor, *one.topics)]
        return FeedsOut(items=[feed_out(feed, brought.get(feed.id, 0), held.get(feed.id, 0)) for feed in found])


def _sees(actor: Actor, *topics: Topic) -> bool:
    return actor.topics is None or (bool(topics) and {topic.slug for topic in topics} <= actor.topics)


@router.post("/feeds", status_code=201, responses=problems(401, 403, 409, 413, 422))
async def follow(actor: OwnerActor, wish: FeedIn, once: Once) -> FeedOut:
    """It is asked at once. What it lists today is remembered and does not ring."""

    async def work(session: AsyncSession) -> FeedOut:
        rules = wish.model_dump(include={"tags_add_topics", "hourly_limit"})
        feed = await add_feed(session, wish.url, wish.topics, wish.policy, once.now, **rules)
        _note(session, actor, "feed.add", feed.url, policy=feed.policy, topics=wish.topics, **rules)
        return feed_out(feed)

    return await once(actor, FeedOut, work)


@router.post("/feeds/preview", responses=problems(401, 403, 413, 422, 429, 503))
async def preview(here: HereSite, actor: OwnerActor, wish: PreviewIn) -> PreviewOut:
    """What is in a document, and of which topics it would be. Nothing is kept."""
    return PreviewOut(**await ask(here, Kind.FEED, wish.url))


@router.patch("/feeds/{id}", responses=problems(401, 403, 404, 409, 413, 422))
async def change(here: HereSite, actor: OwnerActor, id: Id, wish: FeedChangeIn) -> FeedOut:
    """It counts from the next story on. Paused, it is not asked, and nothing of it rings; resumed, it is asked at once.

    What came out in between is remembered and does not ring.
    """
    async with transaction(here.sessions) as session:
        feed = await feed_for_change(session, id)
        before = _said_of(feed)
        if wish.topics is not None:
            feed.topics = await topics_named(session, wish.topics)
        for name, value in wish.model_dump(include=set(RULES), exclude_none=True).items():
            setattr(feed, name, value)
        if changed := _changes(before, _said_of(feed)):
            _note(session, actor, "feed.change", feed.url, **changed)
        if wish.paused is not None and wish.paused != (feed.state is State.PAUSED):
            feed.pause(_now()) if wish.paused else await resume_feed(session, feed)
            _note(session, actor, "feed.pause" if wish.paused else "feed.resume", feed.url)
        await session.flush()
        return await _feed_shown(session, feed)


RULES = ("policy", "tags_add_topics", "hourly_limit")


def _said_of(feed: Feed) -> dict[str, Any]:
    return {name: getattr(feed, name) for name in RULES} | {"topics": sorted(topic.slug for topic in feed.topics)}


@router.delete("/feeds/{id}", status_code=204, responses=problems(401, 403, 404, 422))
async def unfollow(here: HereSite, actor: OwnerActor, id: Id) -> None:
    """It is not asked any more. Its stories and their alerts stay."""
    async with transaction(here.sessions) as session:
        feed = await feed_for_change(session, id)
        _note(session, actor, "feed.delete", feed.url)
        await session.delete(feed)


@router.post("/feeds/{id}/poll", status_code=202, responses=CHANGING)
async def poll(here: HereSite, actor: OwnerActor, id: Id) -> FeedOut:
    """Now, out of turn. Asking twice is asking once."""
    async with transaction(here.sessions) as session:
        feed = await feed_for_change(session, id)
        if feed.state is State.PAUSED:
            raise Conflict("This feed is paused. Resume it, and it is asked at once.")
        await poll_now(session, feed)
        _note(session, actor, "feed.poll", feed.url)
        return await _feed_shown(session, feed)


async def _feed_shown(session: AsyncSession, feed: Feed) -> FeedOut:
    brought, held = await count_by_feed(session, _now() - LATELY), await held_by_feed(session, _now() - LATELY)
    return feed_out(feed, brought.get(feed.id, 0), held.get(feed.id, 0))


@router.get("/topics", responses=problems(401, 403))
async def topics(here: HereSite, actor: WriterActor) -> TopicsOut:
    """All of them, with how many readers follow each; for a key that is limited, its own."""
    async with transaction(here.sessions) as session:
        followers, of = await count_followers(session), await _feeds_of(session)
        found = [topic for topic in await every_topic(session) if _sees(actor, topic)]
    return TopicsOut(items=[desk_topic_out(t, followers.get(t.id, 0), of[t.id]) for t in found])


@router.post("/topics", status_code=201, responses=problems(401, 403, 409, 413, 422))
async def add(actor: OwnerActor, wish: TopicIn, once: Once) -> DeskTopicOut:
    """Readers can follow it from this moment on."""

    async def work(session: AsyncSession) -> DeskTopicOut:
        topic = await add_topic(session, wish.slug, wish.name, description=wish.description, synonyms=wish.synonyms)
        _note(session, actor, "topic.add", topic.slug, name=topic.name)
        return desk_topic_out(topic, 0, 0)

    return await once(actor, DeskTopicOut, work)


@router.patch("/topics/{slug}", responses=problems(401, 403, 404, 413, 422))
async def rename(here: HereSite, actor: OwnerActor, slug: Slug, wish: TopicChangeIn) -> DeskTopicOut:
    """The short name stays: sites' programs and saved links use it."""
    async with transaction(here.sessions) as session:
        topic = await topic_for_change(session, slug)
        before = _said_of_topic(topic)
        describe(topic, **(before | wish.model_dump(exclude_none=True)))
        if changed := _changes(before, _said_of_topic(topic)):
            _note(session, actor, "topic.change", slug, **changed)
        return await _shown(session, topic)


def _said_of_topic(topic: Topic) -> dict[str, Any]:
    return {"name": topic.name, "description": topic.description, "synonyms": topic.synonyms}


@router.delete("/topics/{slug}", status_code=204, responses=CHANGING)
async def remove(here: HereSite, actor: OwnerActor, slug: Slug, force: Annotated[bool, Query()] = False) -> None:
    """Refused while readers follow it, feeds bring it or alerts are to go to it, unless `force` says that one knows."""
    async with transaction(here.sessions) as session:
        topic = await topic_for_change(session, slug)
        shown, to_come = await _shown(session, topic), await count_to_come(session, topic.id)
        if (shown.followers or shown.feeds or to_come) and not force:
            waiting = f"; alerts that wait to go to it: {to_come}" if to_come else ""
            raise Conflict(
                f"Readers who follow {topic.name}: {shown.followers:,}; feeds that bring it: {shown.feeds}{waiting}. "
                "With force=true it is deleted all the same."
            )
        _note(session, actor, "topic.delete", slug, followers=shown.followers, feeds=shown.feeds)
        await session.delete(topic)


async def _shown(session: AsyncSession, topic: Topic) -> DeskTopicOut:
    followers, of = await count_followers(session), await _feeds_of(session)
    return desk_topic_out(topic, followers.get(topic.id, 0), of[topic.id])


async def _feeds_of(session: AsyncSession) -> Counter[int]:
    """How many feeds bring a topic."""
    return Counter(topic.id for feed in await every_feed(session) for topic in feed.topics)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """For the audit: what it was and what it is, where these differ."""
    return {name: [before[name], value] for name, value in after.items() if before[name] != value}


def _note(session: AsyncSession, actor: Actor, action: str, subject: str, **detail: object) -> None:
    audit.note(session, _now(), actor=actor.name, action=action, subject=subject, **detail)


def _now() -> datetime:
    return clock.now()
