import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.feeds import Feed, Policy, State, every_feed
from app.domain.refusals import Refusal
from app.domain.topics import every_topic, spoken_of
from app.polling import without_poll
from app.sources import DEMO_HOURLY_LIMIT, add_feed, add_topic, follow_demo, load_starter
from tests.makers import NOW, a_feed_row, a_topic_row

URL = "https://publisher.example/rss"


async def polls(session: AsyncSession) -> int:
    return await session.scalar(text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'poll_feed'")) or 0


async def test_a_topic_is_added_once(session: AsyncSession) -> None:
    topic = await add_topic(session, "ukraine", " Ukraine ", description="War and peace", synonyms=[" Україна "])
    assert (topic.name, topic.description, topic.synonyms) == ("Ukraine", "War and peace", ["Україна"])
    with pytest.raises(Refusal, match="“ukraine” is there already"):
        await add_topic(session, "ukraine", "Another")
    assert await every_topic(session) == [topic]


async def test_a_feed_is_added_together_with_its_first_poll(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    feed = await add_feed(session, URL, ["ukraine"], Policy.DRAFT, NOW)
    assert (feed.url, feed.topics, feed.policy, feed.created_at) == (URL, [topic], Policy.DRAFT, NOW)
    assert (feed.baseline_at, feed.misses, feed.trouble) == (None, 0, "")
    assert await polls(session) == 1
    assert await without_poll(session) == []


@pytest.mark.parametrize("again", [URL, f"  {URL}\n"])
async def test_a_feed_is_added_once(session: AsyncSession, again: str) -> None:
    await add_feed(session, URL, [], Policy.AUTO, NOW)
    with pytest.raises(Refusal, match="there already"):
        await add_feed(session, again, [], Policy.AUTO, NOW)
    assert await polls(session) == 1


@pytest.mark.parametrize("url, slugs", [("nonsense", []), (URL, ["mars"])])
async def test_a_refused_feed_leaves_nothing(session: AsyncSession, url: str, slugs: list[str]) -> None:
    with pytest.raises(Refusal):
        await add_feed(session, url, slugs, Policy.AUTO, NOW)
    assert (await session.scalars(select(Feed))).all() == []
    assert await polls(session) == 0


async def test_a_first_start_loads_the_starter_file(session: AsyncSession) -> None:
    assert await load_starter(session, NOW)
    assert {topic.slug for topic in await every_topic(session)} >= {"russia", "ukraine", "world-news"}
    feeds = await every_feed(session)
    assert all(feed.topics and feed.policy is Policy.AUTO and feed.url.startswith("https://") for feed in feeds)
    assert await polls(session) == len(feeds) > 0


async def test_the_demos_feed_follows_its_publisher_to_another_port(session: AsyncSession) -> None:
    """What earlier starts at other ports left behind goes: it would be in trouble for ever."""
    await load_starter(session, NOW, feeds=False)
    await follow_demo(session, "http://127.0.0.1:8001/feed.xml", NOW)
    [feed] = await every_feed(session)
    feed.title, feed.etag, feed.misses, feed.trouble = "The Demo Courier", '"1"', 7, "Nobody answers."
    left = await add_feed(session, "http://127.0.0.1:8031/feed.xml", ["world-news"], Policy.AUTO, NOW)
    own = await add_feed(session, URL, ["world-news"], Policy.AUTO, NOW)
    for port in (8011, 8011, 8031):
        await follow_demo(session, f"http://127.0.0.1:{port}/feed.xml", NOW)
        now = {one.id: one.url for one in await every_feed(session)}
        assert now == {feed.id: f"http://127.0.0.1:{port}/feed.xml", own.id: URL}
    assert left.id not in now
    [moved, _] = await every_feed(session)
    assert (moved.state, moved.etag, moved.misses, moved.trouble) == (State.NEW, None, 0, "")
    assert feed.tags_add_topics and feed.hourly_limit == DEMO_HOURLY_LIMIT
    at_once = text("SELECT count(*) FROM procrastinate_jobs WHERE queueing_lock = :name")
    assert await session.scalar(at_once, {"name": f"feed:{feed.id}:now"}) == 1


async def test_a_second_start_changes_nothing(session: AsyncSession) -> None:
    await load_starter(session, NOW)
    feeds = await polls(session)
    assert not await load_starter(session, NOW)
    assert await polls(session) == feeds


async def test_what_an_operator_made_is_left_alone(session: AsyncSession) -> None:
    await a_feed_row(session)
    assert not await load_starter(session, NOW)
    assert await every_topic(session) == []


async def test_the_starter_can_come_without_feeds(session: AsyncSession) -> None:
    assert await load_starter(session, NOW, feeds=False)
    assert await every_topic(session)
    assert await every_feed(session) == []
    topic = await a_topic_row(session, "own")
    assert not await load_starter(session, NOW)
    assert topic in await every_topic(session)


@pytest.mark.parametrize(
    "tag, slugs",
    [
        ("Ukraine", ["ukraine"]),
        ("Україна", ["ukraine"]),
        ("Украина", ["ukraine"]),
        ("Россия", ["russia"]),
        ("росія", ["russia"]),
        ("World news", ["world-news"]),
        ("worldNews", ["world-news"]),
        ("Ausland", ["world-news"]),
        ("Світ", ["world-news"]),
        ("Russia-Ukraine war", ["russia", "ukraine"]),
        ("Війна в Україні", ["russia", "ukraine"]),
        ("Sport", []),
        ("Georgia (US)", []),
    ],
)
async def test_the_starter_knows_what_publishers_call_its_topics(
    session: AsyncSession, tag: str, slugs: list[str]
) -> None:
    await load_starter(session, NOW, feeds=False)
    assert [topic.slug for topic in spoken_of(await every_topic(session), [tag])] == slugs
