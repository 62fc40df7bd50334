"""Sources: topics and feeds as their owner keeps them, and the small set that a first start loads."""

import tomllib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import exists, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.feeds import HOURLY_LIMIT, Feed, Policy, a_feed
from app.domain.refusals import Conflict
from app.domain.topics import Topic, a_topic, topics_named
from app.polling import enqueue_poll, poll_now

DEMO_TITLE = "The Demo Courier"
STARTER = Path(__file__).parent / "starter.toml"


async def add_topic(
    session: AsyncSession, slug: str, name: str, *, description: str = "", synonyms: Sequence[str] = ()
) -> Topic:
    topic = a_topic(slug, name, description=description, synonyms=synonyms)
    await _store(session, topic, f"The topic “{slug}” is there already.")
    return topic


async def add_feed(
    session: AsyncSession,
    url: str,
    slugs: Sequence[str],
    policy: Policy,
    now: datetime,
    *,
    tags_add_topics: bool = False,
    hourly_limit: int = HOURLY_LIMIT,
) -> Feed:
    """Store a feed together with its first poll."""
    topics = await topics_named(session, slugs)
    feed = a_feed(
        url, topics=topics, policy=policy, now=now, tags_add_topics=tags_add_topics, hourly_limit=hourly_limit
    )
    await _store(session, feed, "This feed is there already.")
    await enqueue_poll(session, feed)
    return feed


# The demo's publisher lives to ring: a story every 20 seconds is 180 in an hour.
DEMO_HOURLY_LIMIT = 1_000


async def follow_demo(session: AsyncSession, url: str, now: datetime) -> None:
    """The demo's publisher, at the port that it has this time: the feed moves there, and its stories stay known."""
    own = Feed.url.like("http://127.0.0.1:%/feed.xml") & Feed.title.in_(("", DEMO_TITLE))
    found = (await session.scalars(select(Feed).where(own).order_by(Feed.url != url, Feed.id))).all()
    for other in found[1:]:
        await session.delete(other)
    if not found:
        await add_feed(
            session, url, ["world-news"], Policy.AUTO, now, tags_add_topics=True, hourly_limit=DEMO_HOURLY_LIMIT
        )
    elif found[0].url != url:
        await session.flush()
        found[0].move(url)
        await poll_now(session, found[0])


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
        tags = feed.get("tags_add_topics", False)
        await add_feed(session, feed["url"], feed["topics"], Policy.AUTO, now, tags_add_topics=tags)
    return True
