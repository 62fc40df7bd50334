"""Sources: topics and feeds as an operator keeps them, and the small set that a first start loads."""

import tomllib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.feeds import Feed, Policy, a_feed
from app.domain.refusals import Refusal
from app.domain.topics import Topic, a_topic, topics_named
from app.polling import enqueue_poll

STARTER = Path(__file__).parent / "starter.toml"


async def add_topic(
    session: AsyncSession, slug: str, name: str, *, description: str = "", synonyms: Sequence[str] = ()
) -> Topic:
    topic = a_topic(slug, name, description=description, synonyms=synonyms)
    if await session.scalar(select(exists().where(Topic.slug == slug))):
        raise Refusal(f"The topic “{slug}” is there already.")
    session.add(topic)
    await session.flush()
    return topic


async def add_feed(session: AsyncSession, url: str, slugs: Sequence[str], policy: Policy, now: datetime) -> Feed:
    """Store a feed together with its first poll."""
    feed = a_feed(url, topics=await topics_named(session, slugs), policy=policy, now=now)
    if await session.scalar(select(exists().where(Feed.url == feed.url))):
        raise Refusal("This feed is there already.")
    session.add(feed)
    await enqueue_poll(session, feed)
    return feed


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
