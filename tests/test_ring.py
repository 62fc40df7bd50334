"""Ring: what a poll may do to readers without a person. A real publisher, the real parser, a real database."""

import logging
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import selectinload

from app.alert_out import alert_out
from app.database import Sessions, transaction
from app.domain.alerts import NEWSBELL, Alert, AlertState, alert_by_id
from app.domain.editors import Actor, Role
from app.domain.entries import Entry
from app.domain.feed_rings import KEPT, FeedRings, forget, held_by_feed
from app.domain.feeds import Policy, feed_by_id
from app.domain.own_browsers import EditorBrowser
from app.domain.stories import latest
from app.domain.topics import topics_named
from app.ringing import Ringing, Wish
from app.settings import Settings
from tests.makers import a_feed_row, a_reader, a_topic_row, an_editor_row
from tests.publisher import Publisher
from worker.fetch import Publishers
from worker.parse import Parsed
from worker.parser_process import Parser
from worker.poll import NOT_STORED, Poller


class Newsroom:
    """Feeds of the made-up publisher, polled by hand; `settings` are its rules."""

    def __init__(self, sessions: Sessions, publisher: Publisher, poller: Poller, settings: Settings) -> None:
        self.sessions, self.publisher, self.poller, self.settings = sessions, publisher, poller, settings

    def rules(self, **changes: Any) -> None:
        self.settings = self.poller.settings = self.settings.model_copy(update=changes)

    async def feed(self, path: str, *slugs: str, policy: Policy = Policy.AUTO, **rules: Any) -> int:
        """Followed, and polled once: its backlog is known."""
        self.publisher.publish(f"Old news of {path}", path=path)
        async with transaction(self.sessions) as session:
            feed = await a_feed_row(
                session, *await topics_named(session, slugs), url=self.publisher.feed_url(path), policy=policy
            )
            for name, value in rules.items():
                setattr(feed, name, value)
        await self.poller.poll_feed(feed.id)
        return feed.id

    async def poll(self, feed_id: int) -> None:
        await self.poller.poll_feed(feed_id)

    async def alerts(self, *states: AlertState, private: bool = False) -> list[Alert]:
        async with transaction(self.sessions) as session:
            query = select(Alert).where(Alert.for_editor_id.is_not(None) if private else Alert.for_editor_id.is_(None))
            query = query.where(Alert.state.in_(states)) if states else query
            return list((await session.scalars(query.options(selectinload(Alert.topics)).order_by(Alert.title))).all())

    async def out(self) -> list[tuple[str, list[str]]]:
        found = await self.alerts(AlertState.RELEASED)
        return [(alert.title, sorted(topic.slug for topic in alert.topics)) for alert in found]

    async def an_editor(self) -> Actor:
        """With a browser of their own."""
        async with transaction(self.sessions) as session:
            editor = await an_editor_row(session)
            reader = await a_reader(session, *await topics_named(session, ["russia"]))
            browser = EditorBrowser(editor_id=editor.id, subscription_id=reader.id, name="", added_at=reader.created_at)
            session.add(browser)
            return Actor(editor.email, Role.EDITOR, editor_id=editor.id)


@pytest.fixture(scope="module")
async def parser() -> AsyncIterator[Parser]:
    parser = Parser()
    yield parser
    await parser.aclose()


@pytest.fixture
async def newsroom(sessions: Sessions, publisher: Publisher, parser: Parser, tmp_path: Path) -> AsyncIterator[Newsroom]:
    settings = Settings(data_dir=tmp_path, site_url="https://news.example")
    async with transaction(sessions) as session:
        for slug in ("russia", "ukraine"):
            await a_topic_row(session, slug)
    async with Publishers(allow_private_addresses=True, contact="") as publishers:
        yield Newsroom(sessions, publisher, Poller(sessions, publishers, parser, settings), settings)


def titles(alerts: Collection[Alert]) -> list[str]:
    return [alert.title for alert in alerts]


# Hourly bounds


async def test_of_sixty_stories_in_one_poll_twenty_ring_and_the_rest_waits_for_a_person(
    newsroom: Newsroom, caplog: pytest.LogCaptureFixture
) -> None:
    feed, editor = await newsroom.feed("flood.xml", "ukraine"), await newsroom.an_editor()
    with caplog.at_level(logging.WARNING, "newsbell.poll"):
        for number in range(60):
            newsroom.publisher.publish(f"Story {number:02}", path="flood.xml")
        await newsroom.poll(feed)
        rang, drafts = await newsroom.alerts(AlertState.RELEASED), await newsroom.alerts(AlertState.DRAFT)
        assert titles(rang) == [f"Story {number:02}" for number in range(40, 60)]  # the newest
        assert len(drafts) == 40
        why = "Held back: the feed brought 60 stories within an hour, and of one feed at most 20 ring by themselves."
        assert {alert.held_because for alert in drafts} == {why}

        newsroom.publisher.publish("One more", path="flood.xml")
        await newsroom.poll(feed)
    assert len(await newsroom.alerts(AlertState.RELEASED)) == 20
    assert len(await newsroom.alerts(AlertState.DRAFT)) == 41
    [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]  # once
    assert "40 stories do not ring" in said
    [told] = await newsroom.alerts(private=True)  # editors, too
    assert (told.for_editor_id, told.title) == (
        editor.editor_id,
        "40 stories wait for you: The Loopback Courier: flood.xml",
    )
    assert told.body == why

    async with transaction(newsroom.sessions) as session:  # what is held back can be released like any draft
        assert await held_by_feed(session, datetime.now(UTC) - timedelta(hours=24)) == {feed: 41}
        alert = await alert_by_id(session, drafts[0].id, lock=True)
        assert (await alert_out(session, alert, datetime.now(UTC), editor)).held_because == why
        await Ringing(session, newsroom.settings, editor, datetime.now(UTC)).release(alert, Wish())
        assert alert.state is AlertState.SCHEDULED


async def test_after_an_hour_there_is_room_again(newsroom: Newsroom) -> None:
    feed = await newsroom.feed("busy.xml", "ukraine", hourly_limit=2)
    for minutes, title in ((0, "a"), (0, "b"), (0, "c"), (61, "d")):
        async with transaction(newsroom.sessions) as session:
            await session.execute(text(f"UPDATE feed_rings SET at = at - interval '{minutes} minutes'"))
        newsroom.publisher.publish(title, path="busy.xml")
        await newsroom.poll(feed)
    assert titles(await newsroom.alerts(AlertState.RELEASED)) == ["a", "b", "d"]
    async with transaction(newsroom.sessions) as session:
        await forget(session, datetime.now(UTC) + KEPT)
        assert (await session.scalars(select(FeedRings))).all() == []


async def test_all_feeds_together_have_a_bound_too_and_taking_one_away_makes_no_room(newsroom: Newsroom) -> None:
    newsroom.rules(feeds_hourly_limit=3)
    one, other = await newsroom.feed("one.xml", "russia"), await newsroom.feed("other.xml", "ukraine")
    for feed, path, first in ((one, "one.xml", "a"), (other, "other.xml", "c")):
        newsroom.publisher.publish(first, path=path)
        newsroom.publisher.publish(chr(ord(first) + 1), path=path)
        await newsroom.poll(feed)
        async with transaction(newsroom.sessions) as session:
            await session.delete(await feed_by_id(session, feed))
    assert titles(await newsroom.alerts(AlertState.RELEASED)) == ["a", "b", "d"]
    [held] = await newsroom.alerts(AlertState.DRAFT)
    assert held.held_because == (
        "Held back: the feeds brought 4 stories within an hour, and of all feeds together at most 3 ring by themselves."
    )


async def test_a_feed_that_floods_keeps_no_other_feeds_story_back(newsroom: Newsroom) -> None:
    """Known addresses listed by a feed above its bound: whoever may ring with them still does."""
    flood, good = await newsroom.feed("flood.xml", "russia", hourly_limit=1), await newsroom.feed("good.xml", "ukraine")
    story = newsroom.publisher.publish("The true title", path="good.xml")
    newsroom.publisher.publish("Nonsense", path="flood.xml", url=story.url)
    newsroom.publisher.publish("Another", path="flood.xml")
    await newsroom.poll(flood)
    assert await newsroom.out() == [("Another", ["russia"])]
    await newsroom.poll(good)
    assert await newsroom.out() == [("Another", ["russia"]), ("The true title", ["ukraine"])]


async def test_more_topics_for_what_is_out_count_like_alerts(newsroom: Newsroom) -> None:
    one, other = await newsroom.feed("one.xml", "russia"), await newsroom.feed("other.xml", "ukraine", hourly_limit=1)
    for title in ("a", "b"):
        newsroom.publisher.publish(title, path="other.xml", url=newsroom.publisher.publish(title, path="one.xml").url)
    await newsroom.poll(one)
    await newsroom.poll(other)
    assert await newsroom.out() == [("a", ["russia"]), ("b", ["russia", "ukraine"])]


# Two people


async def test_where_the_level_takes_two_people_a_feed_proposes_and_one_person_completes_it(newsroom: Newsroom) -> None:
    newsroom.rules(two_people_levels=("normal",))
    feed, editor = await newsroom.feed("careful.xml", "ukraine"), await newsroom.an_editor()
    newsroom.publisher.publish("Ceasefire", path="careful.xml")
    await newsroom.poll(feed)
    [alert] = await newsroom.alerts()
    assert (alert.state, alert.proposed_by, alert.title) == (AlertState.PROPOSED, NEWSBELL, "Ceasefire")
    [asked] = await newsroom.alerts(private=True)
    assert (asked.for_editor_id, asked.title) == (editor.editor_id, "Approve? Ceasefire")
    assert asked.body.startswith("A feed brought this.")
    async with transaction(newsroom.sessions) as session:
        found = await alert_by_id(session, alert.id, lock=True)
        await Ringing(session, newsroom.settings, editor, datetime.now(UTC)).approve(found)
        assert (found.state, found.approved_by) == (AlertState.SCHEDULED, editor.name)
        jobs = await session.scalar(text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'release_alert'"))
    assert jobs == 1


@pytest.mark.parametrize("readers, state", [(2, AlertState.RELEASED), (3, AlertState.PROPOSED)])
async def test_a_large_audience_takes_two_people_whoever_brings_the_story(
    newsroom: Newsroom, readers: int, state: AlertState
) -> None:
    newsroom.rules(two_people_audience=3)
    feed = await newsroom.feed("large.xml", "ukraine")
    async with transaction(newsroom.sessions) as session:
        for _ in range(readers):
            await a_reader(session, *await topics_named(session, ["ukraine"]))
    newsroom.publisher.publish("Ceasefire", path="large.xml")
    await newsroom.poll(feed)
    assert [alert.state for alert in await newsroom.alerts()] == [state]


async def test_what_is_out_does_not_reach_a_large_audience_by_more_topics(newsroom: Newsroom) -> None:
    newsroom.rules(two_people_audience=3)
    small, large = await newsroom.feed("small.xml", "russia"), await newsroom.feed("large.xml", "ukraine")
    async with transaction(newsroom.sessions) as session:
        for _ in range(3):
            await a_reader(session, *await topics_named(session, ["ukraine"]))
    newsroom.publisher.publish("Both", path="large.xml", url=newsroom.publisher.publish("Both", path="small.xml").url)
    await newsroom.poll(small)
    await newsroom.poll(large)
    assert await newsroom.out() == [("Both", ["russia"])]


# Topics


async def test_a_feed_rings_for_its_own_topics_and_its_tags_only_show_where_else_it_belongs(newsroom: Newsroom) -> None:
    feed = await newsroom.feed("russia.xml", "russia")
    newsroom.publisher.publish("Tagged", tags=["Ukraine"], path="russia.xml")
    await newsroom.poll(feed)
    assert await newsroom.out() == [("Tagged", ["russia"])]
    async with transaction(newsroom.sessions) as session:
        assert [story.title for story in await latest(session, topic="ukraine", before=None, limit=9)] == ["Tagged"]


async def test_where_the_owner_said_so_tags_add_topics(newsroom: Newsroom) -> None:
    feed = await newsroom.feed("russia.xml", "russia", tags_add_topics=True)
    newsroom.publisher.publish("Tagged", tags=["Ukraine"], path="russia.xml")
    await newsroom.poll(feed)
    item = newsroom.publisher.publish("Later", path="russia.xml")
    await newsroom.poll(feed)
    newsroom.publisher.feeds["russia.xml"][0] = replace(item, tags=("Ukraine",))
    newsroom.publisher.changed_at["russia.xml"] += 1
    await newsroom.poll(feed)
    assert await newsroom.out() == [("Later", ["russia", "ukraine"]), ("Tagged", ["russia", "ukraine"])]


# Who lists a story first


@pytest.mark.parametrize(
    "slugs, policy",
    [(["ukraine"], Policy.STORE), ([], Policy.AUTO), (["russia"], Policy.DRAFT)],
    ids=["store", "no topic", "draft"],
)
async def test_a_feed_that_may_not_ring_silences_nobody_elses_story_and_puts_no_words_into_it(
    newsroom: Newsroom, slugs: list[str], policy: Policy
) -> None:
    first, feed = await newsroom.feed("first.xml", *slugs, policy=policy), await newsroom.feed("good.xml", "ukraine")
    item = newsroom.publisher.publish("The true title", path="good.xml")
    newsroom.publisher.publish("Nonsense", path="first.xml", url=f"{item.url}?utm_source=elsewhere")
    await newsroom.poll(first)
    assert await newsroom.out() == []
    await newsroom.poll(feed)
    await newsroom.poll(feed)
    assert await newsroom.out() == [("The true title", ["ukraine"])]
    [alert] = await newsroom.alerts()
    assert alert.url == item.url
    async with transaction(newsroom.sessions) as session:
        assert (await latest(session, topic=None, before=None, limit=9))[0].title == "The true title"


async def test_a_new_feeds_backlog_silences_nobody_elses_story(newsroom: Newsroom) -> None:
    feed = await newsroom.feed("good.xml", "ukraine")
    item = newsroom.publisher.publish("This minute", path="good.xml")
    newsroom.publisher.publish("This minute", path="added.xml", url=item.url)
    await newsroom.feed("added.xml", "russia")
    assert await newsroom.out() == []
    await newsroom.poll(feed)
    assert await newsroom.out() == [("This minute", ["ukraine"])]


@pytest.mark.parametrize("policy", [Policy.STORE, Policy.DRAFT])
async def test_what_is_out_goes_to_no_more_topics_by_a_feed_that_may_not_ring(
    newsroom: Newsroom, policy: Policy
) -> None:
    feed, other = await newsroom.feed("good.xml", "russia"), await newsroom.feed("other.xml", "ukraine", policy=policy)
    item = newsroom.publisher.publish("Out", path="good.xml")
    newsroom.publisher.publish("Out", path="other.xml", url=item.url)
    await newsroom.poll(feed)
    await newsroom.poll(other)
    assert await newsroom.out() == [("Out", ["russia"])]
    assert len(await newsroom.alerts()) == 1


async def test_a_draft_that_a_person_has_touched_is_theirs(newsroom: Newsroom) -> None:
    first, feed = (
        await newsroom.feed("first.xml", "russia", policy=Policy.DRAFT),
        await newsroom.feed("g.xml", "ukraine"),
    )
    item = newsroom.publisher.publish("Seen", path="g.xml")
    newsroom.publisher.publish("Seen", path="first.xml", url=item.url)
    await newsroom.poll(first)
    async with transaction(newsroom.sessions) as session:
        await session.execute(text("UPDATE alerts SET made_by = 'editor@news.example'"))
    await newsroom.poll(feed)
    assert [alert.state for alert in await newsroom.alerts()] == [AlertState.DRAFT]


# Documents that cannot be kept whole


class Reads:
    """In the parser's place: whatever the document is, these are its entries."""

    def __init__(self, *entries: Entry) -> None:
        self.entries = entries

    async def parse(self, body: bytes, **_: Any) -> Parsed:
        return Parsed("Odd", self.entries)


def an_entry(title: str, url: str) -> Entry:
    return Entry(title=title, url=url, guid=None, summary="", image=None, published_at=None, tags=())


async def test_an_address_with_a_control_character_is_encoded_as_a_browser_would(newsroom: Newsroom) -> None:
    feed = await newsroom.feed("odd.xml", "ukraine")
    newsroom.publisher.publish("Odd", path="odd.xml", url="https://news.example/a\x7fb")
    await newsroom.poll(feed)
    [alert] = await newsroom.alerts(AlertState.RELEASED)
    assert alert.url == "https://news.example/a%7Fb"


@pytest.mark.parametrize("policy", [Policy.AUTO, Policy.DRAFT])
async def test_an_item_of_which_no_alert_can_be_made_costs_only_itself(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch, policy: Policy
) -> None:
    feed = await newsroom.feed("odd.xml", "ukraine", policy=policy)
    newsroom.publisher.publish("More", path="odd.xml")
    odd, good = an_entry("Odd", "https://news.example/a\x7fb"), an_entry("Good", "https://news.example/good")
    monkeypatch.setattr(newsroom.poller, "parser", Reads(odd, good))
    await newsroom.poll(feed)
    assert titles(await newsroom.alerts()) == ["Good"]
    async with transaction(newsroom.sessions) as session:
        shown = await latest(session, topic="ukraine", before=None, limit=9)
        assert {"Odd", "Good"} <= {story.title for story in shown}


async def test_a_feed_that_cannot_be_stored_is_in_trouble_and_asked_more_rarely(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its job failed and was tried again each minute for ever, while the desk called the feed well."""
    feed_id = await newsroom.feed("odd.xml", "ukraine")
    newsroom.publisher.publish("More", path="odd.xml")
    whole = newsroom.poller.parser
    odd = an_entry("No\0 database takes this", "https://news.example/a")
    monkeypatch.setattr(newsroom.poller, "parser", Reads(odd))
    for misses in (1, 2):
        await newsroom.poll(feed_id)
        async with transaction(newsroom.sessions) as session:
            feed = await feed_by_id(session, feed_id)
            assert feed is not None and feed.next_poll_at is not None and feed.polled_at is not None
            assert (feed.trouble, feed.misses, feed.state) == (NOT_STORED, misses, "trouble")
            assert feed.next_poll_at - feed.polled_at >= newsroom.poller.every * 2**misses
    assert "cannot be stored" in caplog.text and "No\0" not in caplog.text
    monkeypatch.setattr(newsroom.poller, "parser", whole)
    await newsroom.poll(feed_id)
    assert titles(await newsroom.alerts(AlertState.RELEASED)) == ["More"]
