"""Sources: topics and feeds as their owner keeps them, and the small set that a first start loads."""

import tomllib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import exists, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.feeds import Feed, Policy, a_feed
from app.domain.refusals import Conflict
from app.domain.topics import Topic, a_topic, topics_named
from app.polling import enqueue_poll, poll_now

STARTER = Path(__file__).parent / "starter.toml"


async def add_topic(
    session: AsyncSession, slug: str, name: str, *, description: str = "", synonyms: Sequence[str] = ()
) -> Topic:
    topic = a_topic(slug, name, description=description, synonyms=synonyms)
    await _store(session, topic, f"The topic “{slug}” is there already.")
    return topic


async def add_feed(session: AsyncSession, url: str, slugs: Sequence[str], policy: Policy, now: datetime) -> Feed:
    """Store a feed together with its first poll."""
    feed = a_feed(url, topics=await topics_named(session, slugs), policy=policy, now=now)
    await _store(session, feed, "This feed is there already.")
    await enqueue_poll(session, feed)
    return feed


async def resume_feed(session: AsyncSession, feed: Feed) -> None:
    """It is asked at once, and in its own rhythm from then on."""
    feed.resume()
    if not await enqueue_poll(session, feed):  # the poll that was to come when it was paused is still to come
        await poll_now(session, feed)


async def _store(session: AsyncSession, row: Topic | Feed, otherwise: str) -> None:
    """Of two that come at once, one is refused."""
    try:
        async with session.begin_nested():
            session.add(row)
    except IntegrityError:
        raise Conflict(otherwise) from None


async def load_starter(session: AsyncSession, now: datetime, *, feeds: bool = True) -> bool:
    """On a database without any topic or feed, the starter file; False if there was something already."""
    if await session.scalar(select(exists().where(Topic.id.is_not(None)) | exists().where(Feed.id.is_not(None)))):
        return False
    starter = tomllib.loads(STARTER.read_text())
    for topic in starter["topics"]:
        await add_topic(session, topic["slug"], topic["name"], synonyms=topic["synonyms"])
    for feed in starter["feeds"] if feeds else []:
        await add_feed(session, feed["url"], feed["topics"], Policy.AUTO, now)
    return True
