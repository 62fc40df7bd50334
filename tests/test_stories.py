import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from app.database import Sessions, transaction
from app.domain.entries import Entry
from app.domain.feeds import Feed
from app.domain.stories import (
    SAME_WORDS,
    Listed,
    Story,
    StoryKey,
    a_story,
    canonical,
    front,
    is_news,
    latest,
    names_of,
    remember,
)
from app.domain.topics import every_topic
from tests.makers import NOW, a_feed_row, a_story_row, a_topic_row, an_entry

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

# Addresses


@pytest.mark.parametrize(
    "published, name",
    [
        ("https://www.bbc.co.uk/news/articles/c1?at_medium=RSS&at_campaign=rss", "bbc.co.uk/news/articles/c1"),
        ("https://www.bbc.co.uk/news/articles/c1#2", "bbc.co.uk/news/articles/c1"),
        ("https://www.dw.com/en/kyiv/a-79209321?maca=en-rss-en-world-4025-rdf", "dw.com/en/kyiv/a-79209321"),
        ("https://www.aljazeera.com/news/2026/9/1/x?traffic_source=rss", "aljazeera.com/news/2026/9/1/x"),
        ("https://www.nytimes.com/2017/1/x.html?partner=rss&emc=rss", "nytimes.com/2017/1/x.html"),
        ("https://www.nytimes.com/2017/1/x.html?smid=tw-share", "nytimes.com/2017/1/x.html"),
        (
            "https://www.reuters.com/article/x-idUSKBN1?feedType=RSS&feedName=worldNews",
            "reuters.com/article/x-idUSKBN1",
        ),
        ("https://www.dailymail.co.uk/news/a-1/x.html?ns_mchannel=rss&ito=1490", "dailymail.co.uk/news/a-1/x.html"),
        ("https://publisher.example/a?utm_source=rss&UTM_Medium=feed&mtm_campaign=x", "publisher.example/a"),
        ("https://publisher.example/a?CMP=share&ocid=x&wt_mc=y&xtor=z", "publisher.example/a"),
        ("https://publisher.example/a?fbclid=1&gclid=2&yclid=3&ysclid=4&mc_cid=5&msclkid=6", "publisher.example/a"),
        ("http://Publisher.Example:80/a/", "publisher.example/a"),
        ("https://publisher.example:443//a//b/", "publisher.example/a/b"),
        ("https://m.publisher.example/a", "publisher.example/a"),
        ("https://amp.publisher.example/a", "publisher.example/a"),
        ("https://www.publisher.example", "publisher.example/"),
        ("https://publisher.example:8080/a", "publisher.example:8080/a"),
        # What may name the story stays.
        ("https://publisher.example/?p=123&utm_source=rss", "publisher.example/?p=123"),
        ("https://publisher.example/?page=2&id=1", "publisher.example/?id=1&page=2"),
        ("https://publisher.example/story?id=", "publisher.example/story?id="),
        ("https://publisher.example/story?79209321", "publisher.example/story?79209321="),
        (
            "https://retriever.example/go?d=https%3A%2F%2Fa.example%2Fb%3Fc%3D1&utm_source=x",
            "retriever.example/go?d=https%3A%2F%2Fa.example%2Fb%3Fc%3D1",
        ),
        # What is no address comes back as it is.
        ("https://publisher.example:port/a", "https://publisher.example:port/a"),
        ("https://[publisher/a", "https://[publisher/a"),
    ],
)
def test_an_address_is_reduced_to_what_names_the_story(published: str, name: str) -> None:
    assert canonical(published) == name


@pytest.mark.parametrize(
    "one, other",
    [
        ("https://retriever.example/go?d=aaa", "https://retriever.example/go?d=bbb"),
        ("https://publisher.example/?p=1", "https://publisher.example/?p=2"),
        ("https://publisher.example/a", "https://publisher.example/A"),
        ("https://publisher.example/a", "https://news.publisher.example/a"),
        ("https://publisher.example/a", "https://publisher.example:8443/a"),
        ("https://publisher.example/?a=1&a=2", "https://publisher.example/?a=2"),
        ("https://publisher.example/?t=%CA%E8%E5%E2", "https://publisher.example/?t=%D0%E8%E3%E0"),  # windows-1251
    ],
)
def test_two_stories_never_become_one(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


# Names


def linked(*names: Sequence[str]) -> bool:
    """Whether these entries are one story: each shares a name with one before it."""
    known = set(names[0])
    for some in names[1:]:
        if not known & set(some):
            return False
        known |= set(some)
    return True


def test_every_entry_has_a_name() -> None:
    entries = [an_entry(), an_entry(guid="1"), *[an_entry(url="https://publisher.example/", title=t) for t in "abc"]]
    assert all(names_of(1, entries))


def test_editions_of_one_bbc_story_are_one_story() -> None:
    url = "https://www.bbc.co.uk/news/articles/c4g"
    editions = [an_entry(url=f"{url}?at_medium=RSS&at_campaign=rss", guid=f"{url}#{n}") for n in range(2)]
    assert linked(*names_of(1, editions))
    assert names_of(1, editions)[0] == ["url:bbc.co.uk/news/articles/c4g"]


def test_a_guid_keeps_a_story_whose_address_changed() -> None:
    before, after = an_entry("old-slug", guid="tag:publisher,2026:1"), an_entry("new-slug", guid="tag:publisher,2026:1")
    assert linked(names_of(1, [before])[0], names_of(1, [after])[0])


def test_a_guid_means_nothing_in_another_feed() -> None:
    assert not linked(names_of(1, [an_entry("a", guid="1")])[0], names_of(2, [an_entry("b", guid="1")])[0])


def test_an_address_means_the_same_in_every_feed() -> None:
    assert linked(names_of(1, [an_entry("a", guid="1")])[0], names_of(2, [an_entry("a", guid="2")])[0])


def test_a_guid_that_stands_beside_two_addresses_is_void() -> None:
    one, other, third = names_of(1, [an_entry("a", guid="1"), an_entry("b", guid="1"), an_entry("c", guid="2")])
    assert one == ["url:publisher.example/a"]
    assert other == ["url:publisher.example/b"]
    assert len(third) == 2


def test_the_same_item_twice_in_a_document_is_one_story() -> None:
    assert linked(*names_of(1, [an_entry("a", guid="1"), an_entry("a", guid="1")]))


def test_an_address_that_many_items_share_names_none_of_them() -> None:
    page = "https://publisher.example/live"
    by_guid = names_of(1, [an_entry(url=page, guid=guid) for guid in "abc"])
    by_text = names_of(1, [an_entry(url=page, title=title) for title in "abc"])
    for names in (by_guid, by_text):
        assert len({name for some in names for name in some}) == 3
        assert not any(name.startswith("url:") for some in names for name in some)


def test_items_that_differ_only_in_the_fragment_keep_their_guids() -> None:
    names = names_of(1, [an_entry(url=f"https://publisher.example/live#{n}", guid=f"post-{n}") for n in range(9)])
    assert len({name for some in names for name in some}) == 9


# Remembering


async def stored(session: AsyncSession) -> Sequence[Story]:
    query = select(Story).options(selectinload(Story.topics), selectinload(Story.feeds)).order_by(Story.id)
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


async def test_a_new_story_has_the_topics_of_its_feed_and_of_its_tags(session: AsyncSession) -> None:
    world = await a_topic_row(session, "world-news")
    ukraine = await a_topic_row(session, "ukraine", "Україна")
    await a_topic_row(session, "russia")
    feed = await a_feed_row(session, world)
    brought = await remember(session, feed, [an_entry(tags=["Україна", "World news", "Sport"])], [ukraine, world], NOW)
    [story] = brought.fresh
    assert (story.topics, story.feeds, story.seen_at, brought.known) == ([world, ukraine], [feed], NOW, [])


async def test_a_story_in_two_feeds_is_one_story_of_both_topics(session: AsyncSession) -> None:
    world, ukraine = await a_topic_row(session, "world-news"), await a_topic_row(session, "ukraine")
    one, other = await a_feed_row(session, world), await a_feed_row(session, ukraine)
    first = await remember(session, one, [an_entry("a", guid="1")], [], NOW)
    second = await remember(session, other, [an_entry("a", guid="2")], [], NOW + MINUTE)
    assert (len(first.fresh), first.known) == (1, [])
    assert (second.fresh, second.known) == ([], first.fresh)
    [story] = await stored(session)
    assert (story.topics, story.feeds, story.seen_at) == ([world, ukraine], [one, other], NOW)


async def test_what_another_feed_has_listed_before_is_known_and_new_from_this_one(session: AsyncSession) -> None:
    world = await a_topic_row(session, "world-news")
    one, other = await a_feed_row(session, world), await a_feed_row(session, world)
    await remember(session, one, [an_entry("a")], [], NOW)
    [again] = (await remember(session, other, [an_entry("a")], [], NOW)).listed
    assert (again.fresh, again.first, again.topics) == (False, True, [world])
    assert (await remember(session, other, [an_entry("a")], [], NOW)).listed == []
    assert [story.feeds for story in await stored(session)] == [[one, other]]


async def test_a_story_seen_again_brings_nothing(session: AsyncSession) -> None:
    feed = await a_feed_row(session, await a_topic_row(session))
    entry = an_entry("a", guid="1")
    await remember(session, feed, [entry], [], NOW)
    edited = replace(entry, title="Corrected", summary="More", published_at=NOW, url=entry.url + "?utm_source=rss")
    moved = replace(entry, url="https://publisher.example/another-slug")
    for again in (entry, edited, moved, replace(moved, guid=None)):
        brought = await remember(session, feed, [again], [], NOW + MINUTE)
        assert (brought.fresh, brought.known) == ([], [])
    assert [story.title for story in await stored(session)] == [entry.title]


def edition(number: int, titles: Sequence[str], *, summary: str = "What is known so far.") -> list[Entry]:
    """Of a publishing system that gives each item another address and id at every request."""
    return [
        an_entry(f"{number}-{n}?sid={number}", guid=f"{number}-{n}", title=title, summary=summary)
        for n, title in enumerate(titles)
    ]


async def test_items_whose_addresses_and_ids_are_others_each_time_are_known_by_their_words(
    session: AsyncSession,
) -> None:
    feed = await a_feed_row(session, await a_topic_row(session))
    titles = ["Kyiv", "Lviv", "Lviv", "Odesa"]  # two of them say the same, and are two stories
    await remember(session, feed, edition(0, titles), [], NOW)
    for number in range(1, 4):
        brought = await remember(session, feed, edition(number, titles), [], NOW + number * HOUR)
        assert (brought.fresh, brought.known) == ([], [])
    brought = await remember(session, feed, edition(4, [*titles, "Dnipro"]), [], NOW + 4 * HOUR)
    assert [story.title for story in brought.fresh] == ["Dnipro"]
    assert len(await stored(session)) == 5


@pytest.mark.parametrize("why", ["still there", "no summary", "long ago", "another feed"])
async def test_the_same_words_are_another_story_if_that_is_likelier(session: AsyncSession, why: str) -> None:
    topic = await a_topic_row(session)
    feed, other = await a_feed_row(session, topic), await a_feed_row(session, topic)
    summary = "" if why == "no summary" else "What is known so far."
    [before], [after] = edition(0, ["Live"], summary=summary), edition(1, ["Live"], summary=summary)
    await remember(session, other if why == "another feed" else feed, [before], [], NOW)
    document = [after, before] if why == "still there" else [after]
    now = NOW + (SAME_WORDS if why == "long ago" else HOUR)
    assert len((await remember(session, feed, document, [], now)).fresh) == 1


async def test_twenty_six_bbc_stories_stay_twenty_six_when_every_edition_is_counted_up(session: AsyncSession) -> None:
    feed = await a_feed_row(session, await a_topic_row(session))

    def edition(number: int) -> list[Entry]:
        urls = [f"https://www.bbc.co.uk/news/articles/c{n}" for n in range(26)]
        return [an_entry(url=url, guid=f"{url}#{number}", title=f"{number}") for url in urls]

    assert len((await remember(session, feed, edition(0), [], NOW)).fresh) == 26
    assert not (await remember(session, feed, edition(1), [], NOW)).fresh
    assert len(await stored(session)) == 26


async def test_an_item_that_a_document_repeats_is_one_story_with_all_its_tags(session: AsyncSession) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    feed = await a_feed_row(session)
    twice = [an_entry("a", tags=["Russia"]), an_entry("a", tags=["Ukraine"])]
    brought = await remember(session, feed, twice, [russia, ukraine], NOW)
    assert [story.topics for story in brought.fresh] == [[russia, ukraine]]
    assert brought.known == []


async def test_a_story_of_no_topic_is_remembered_all_the_same(session: AsyncSession) -> None:
    feed = await a_feed_row(session)
    assert [story.topics for story in (await remember(session, feed, [an_entry()], [], NOW)).fresh] == [[]]


async def test_nothing_comes_of_an_empty_document(session: AsyncSession) -> None:
    feed = await a_feed_row(session)
    brought = await remember(session, feed, [], [], NOW)
    assert (brought.fresh, brought.known) == ([], [])


@pytest.mark.parametrize(
    "path",
    ["a" * 2000, "новини-" * 280, "🦊" * 2000, "?q=" + "/б" * 900, "".join(chr(0x4E00 + n) for n in range(2000))],
)
async def test_the_longest_address_can_be_remembered(session: AsyncSession, path: str) -> None:
    feed = await a_feed_row(session)
    entry = an_entry(path)
    assert len((await remember(session, feed, [entry], [], NOW)).fresh) == 1
    assert len((await remember(session, feed, [entry], [], NOW)).fresh) == 0
    other = replace(entry, url=entry.url + "x")
    assert len((await remember(session, feed, [other], [], NOW)).fresh) == 1


async def test_two_polls_at_the_same_time_make_one_story(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        world, ukraine = await a_topic_row(session, "world-news"), await a_topic_row(session, "ukraine")
        ids = [(await a_feed_row(session, topic)).id for topic in (world, ukraine, world, ukraine)]

    async def poll(feed_id: int) -> tuple[int, int]:
        async with transaction(sessions) as session:
            feed = await session.get_one(Feed, feed_id, options=[selectinload(Feed.topics)])
            entries = [an_entry(f"story-{n}", guid=f"{feed_id} {n}") for n in range(20)]
            brought = await remember(session, feed, entries, await every_topic(session), NOW)
            return len(brought.fresh), len(brought.known)

    brought = await asyncio.gather(*map(poll, ids))
    assert sorted(brought) == [(0, 20), (0, 20), (0, 20), (20, 0)]
    async with transaction(sessions) as session:
        stories = await stored(session)
        assert len(stories) == 20
        assert all({t.slug for t in story.topics} == {"world-news", "ukraine"} for story in stories)
        assert all(len(story.feeds) == 4 for story in stories)
        assert await session.scalar(select(func.count()).select_from(StoryKey)) == 20 * 5


# What rings


@pytest.mark.parametrize(
    "published_at, seen_at, news",
    [
        (None, NOW, True),
        (NOW, NOW, True),
        (NOW - 23 * HOUR, NOW, True),
        (NOW - 24 * HOUR, NOW, False),
        (NOW - 365 * 24 * HOUR, NOW, False),
        (NOW + 2 * HOUR, NOW, True),  # A publisher's clock, or its zone, is wrong.
        (None, NOW - 5 * HOUR, True),  # Another feed has listed it for a while.
        (None, NOW - 6 * HOUR, False),
        (NOW, NOW - 6 * HOUR, False),
    ],
)
def test_an_old_story_is_no_news(published_at: datetime | None, seen_at: datetime, news: bool) -> None:
    entry = an_entry(published_at=published_at)
    listed = Listed(a_story(entry, seen_at), entry, [], fresh=seen_at == NOW, first=True)
    assert is_news(listed, NOW) is news


async def test_tags_ring_only_where_the_owner_said_so_and_are_shown_all_the_same(session: AsyncSession) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    careful, open_minded = await a_feed_row(session, russia), await a_feed_row(session, russia)
    open_minded.tags_add_topics = True
    for feed, rings_for in ((careful, [russia]), (open_minded, [russia, ukraine])):
        [one] = (await remember(session, feed, [an_entry(tags=["Ukraine"])], [russia, ukraine], NOW)).listed
        assert (one.topics, one.story.topics) == (rings_for, [russia, ukraine])


async def test_a_story_that_gains_a_tag_rings_for_that_alone(session: AsyncSession) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    feed = await a_feed_row(session, russia)
    feed.tags_add_topics = True
    entry = an_entry("a")
    await remember(session, feed, [entry], [russia, ukraine], NOW)
    [one] = (await remember(session, feed, [replace(entry, tags=("Ukraine",))], [russia, ukraine], NOW)).listed
    assert (one.topics, one.first, one.fresh) == ([ukraine], False, False)


# The newest


async def test_the_newest_come_first_page_by_page_without_gap_or_repeat(session: AsyncSession) -> None:
    seen = [NOW + n // 4 * MINUTE for n in range(10)]  # four at the same moment
    stories = [await a_story_row(session, now=at) for at in seen]
    pages, before = [], None
    while page := await latest(session, topic=None, before=before, limit=3):
        pages.append(len(page))
        for story in page:
            assert story is stories.pop()
        before = page[-1].seen_at, page[-1].id
    assert (pages, stories) == ([3, 3, 3, 1], [])


async def test_a_topic_shows_its_own_stories_only(session: AsyncSession) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    both, one = await a_story_row(session, russia, ukraine), await a_story_row(session, russia)
    await a_story_row(session)
    assert await latest(session, topic="russia", before=None, limit=9) == [one, both]
    assert await latest(session, topic="ukraine", before=None, limit=9) == [both]
    assert await latest(session, topic="mars", before=None, limit=9) == []


async def test_a_page_of_stories_does_not_read_a_year_of_them(session: AsyncSession) -> None:
    """Most are of one topic, as with “world news”, and there are many others."""
    for statement in (
        "INSERT INTO topics (slug, name, description, synonyms)"
        " SELECT 't' || n, 'T', '', '{}' FROM generate_series(1, 200) n",
        "INSERT INTO stories (title, summary, url, seen_at) SELECT 's', '', 'https://news.example/' || n,"
        " now() - (20000 - n) * interval '1 minute' FROM generate_series(1, 20000) n ORDER BY n",
        "INSERT INTO story_topics SELECT stories.id, topics.id FROM stories, topics WHERE slug = 't7'",
        "INSERT INTO story_topics SELECT max(stories.id) - 20 - topics.id % 300, topics.id FROM stories, topics"
        " WHERE slug <> 't7' GROUP BY topics.id",
        "ANALYZE stories",
        "ANALYZE story_topics",
        "ANALYZE topics",
    ):
        await session.execute(text(statement))
    read = text(
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
        " WHERE relname IN ('stories', 'story_topics')"
    )
    for _ in range(12):  # more often than it takes for a plan to be kept
        before = await session.scalar(read)
        assert len(await front(session, topics=6, each=6)) == 6
        assert len(await latest(session, topic="t7", before=None, limit=20)) == 20
        assert await session.scalar(read) - before < 2000


async def test_the_front_page_has_the_topics_with_news_and_each_story_once(session: AsyncSession) -> None:
    old, quiet, one, other = [await a_topic_row(session, slug) for slug in ("old", "quiet", "one", "other")]
    for number in range(5):
        at = NOW + timedelta(minutes=number)
        await a_story_row(session, one, other, entry=an_entry(title=f"Both {number}"), now=at)
        await a_story_row(session, other, entry=an_entry(title=f"Other {number}"), now=at)
    await a_story_row(session, old, entry=an_entry(title="Old"), now=NOW - timedelta(days=9))

    async def shown(**asked: int) -> list[tuple[str, list[str]]]:
        return [(topic.slug, [s.title for s in some]) for topic, some in await front(session, **asked)]

    assert await shown(topics=2, each=3) == [
        ("one", ["Both 4", "Both 3", "Both 2"]),
        ("other", ["Other 4", "Other 3", "Other 2"]),
    ]
    assert [slug for slug, _ in await shown(topics=9, each=1)] == ["old", "one", "other"]  # the newsroom's order
    assert quiet.slug not in dict(await shown(topics=9, each=9))
