import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Sessions, transaction
from app.domain import shards
from app.domain.alerts import (
    LONGEST_TTL,
    USUAL_TTL,
    Alert,
    AlertState,
    Level,
    a_correction,
    alert_by_id,
    alert_of,
    alerts_of,
    an_alert,
    close_if_done,
    correction_of,
    from_story,
    id_of_alert,
    latest_alerts,
    replaced_by,
    unfinished,
)
from app.domain.outcomes import Outcome
from app.domain.refusals import NotFound, Refusal
from app.domain.shards import Shard
from app.domain.topics import Topic
from tests.makers import NOW, a_reader, a_story_row, a_topic_row, an_alert_row, an_editor_row, an_entry, some_alert

UKRAINE = Topic(slug="ukraine", name="Ukraine")
DAY = timedelta(days=1)

# What an alert needs


@pytest.mark.parametrize(
    "url",
    [
        "https://news.example/1",
        "http://news.example",
        "https://новости.example/київ?q=й#top",
        "https://news.example/a\u00a0b",  # Seen in a feed; browsers encode it.
        "https://news.example/" + "a" * 2027,
    ],
)
def test_an_address_that_a_browser_opens_is_taken(url: str) -> None:
    assert an_alert(title="Title", url=f" {url}\n", topics=[UKRAINE], now=NOW).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "news.example/1",
        "/1",
        "//news.example/1",
        "https://",
        "https:///1",
        "https://?q",
        "javascript:alert(1)",
        "https://[",
        "https://[::1/",
        "https://news.example:port/1",
        "https://news.example:99999/1",
        "https://:80/1",
        "data:text/html,x",
        "ftp://news.example/1",
        "https://news.example/a b",
        "https://news.example/a\nb",
        "https://news.example/a\tb",
        "https://news.example/a\0b",
        "https://news.example/" + "a" * 2028,
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(Refusal, match="address"):
        an_alert(title="Title", url=url, topics=[UKRAINE], now=NOW)


@pytest.mark.parametrize(
    "title, topics, ttl, because",
    [
        ("", [UKRAINE], USUAL_TTL, "title"),
        (" \n\t", [UKRAINE], USUAL_TTL, "title"),
        ("Title", [], USUAL_TTL, "at least one topic"),
        ("Title", [UKRAINE], timedelta(seconds=59), "one minute to 28 days"),
        ("Title", [UKRAINE], timedelta(0), "one minute to 28 days"),
        ("Title", [UKRAINE], -DAY, "one minute to 28 days"),
        ("Title", [UKRAINE], LONGEST_TTL + timedelta(seconds=1), "one minute to 28 days"),
    ],
)
def test_an_alert_that_nobody_could_get_is_refused(
    title: str, topics: Sequence[Topic], ttl: timedelta, because: str
) -> None:
    with pytest.raises(Refusal, match=because):
        an_alert(title=title, url="https://news.example/1", topics=topics, ttl=ttl, now=NOW)


def test_texts_are_made_fit() -> None:
    alert = an_alert(
        title="  Ceasefire\n  agreed ", body="й" * 5000, url="https://news.example/1", topics=[UKRAINE], now=NOW
    )
    assert alert.title == "Ceasefire agreed"
    assert len(alert.body) == 1000
    assert len(an_alert(title="й" * 5000, url="https://news.example/1", topics=[UKRAINE], now=NOW).title) == 300


def test_a_new_alert_is_a_draft() -> None:
    alert = some_alert()
    assert (alert.state, alert.level, alert.ttl) == (AlertState.DRAFT, Level.NORMAL, 12 * 3600)
    assert (alert.created_at, alert.released_at, alert.finished_at, alert.recipients) == (NOW, None, None, 0)


@pytest.mark.parametrize(
    "level, urgency, priority", [(Level.BREAKING, "high", 100), (Level.NORMAL, "normal", 0), (Level.LOW, "low", -100)]
)
def test_a_level_says_how_urgent_it_is_to_push_services_and_to_us(level: Level, urgency: str, priority: int) -> None:
    assert (level.urgency, level.priority) == (urgency, priority)


# Releasing


def test_a_released_alert_lives_from_then_on() -> None:
    alert = some_alert()
    assert alert.expires_at == NOW + USUAL_TTL
    alert.release(NOW + DAY)
    assert (alert.state, alert.released_at, alert.expires_at) == (AlertState.RELEASED, NOW + DAY, NOW + DAY + USUAL_TTL)


def test_a_scheduled_alert_is_released_when_its_time_comes() -> None:
    alert = some_alert()
    alert.state = AlertState.SCHEDULED
    alert.release(NOW + DAY)
    assert (alert.state, alert.released_at) == (AlertState.RELEASED, NOW + DAY)


@pytest.mark.parametrize(
    "state", [state for state in AlertState if state not in (AlertState.DRAFT, AlertState.SCHEDULED)]
)
def test_an_alert_is_not_sent_twice(state: AlertState) -> None:
    alert = some_alert()
    alert.release(NOW)
    alert.state = state
    with pytest.raises(Refusal, match=f"was {state} already"):
        alert.release(NOW + DAY)
    assert (alert.state, alert.released_at) == (state, NOW)


# Taking it back


@pytest.mark.parametrize("state", [AlertState.DRAFT, AlertState.RELEASED, AlertState.SENDING])
def test_an_alert_can_be_recalled_until_everybody_has_it(state: AlertState) -> None:
    alert = some_alert()
    alert.state = state
    alert.recall()
    assert alert.state is AlertState.RECALLED


@pytest.mark.parametrize(
    "state, because", [(AlertState.FINISHED, "already.*correct it"), (AlertState.RECALLED, "recalled already")]
)
def test_afterwards_a_recall_is_refused(state: AlertState, because: str) -> None:
    alert = some_alert()
    alert.state = state
    with pytest.raises(Refusal, match=because):
        alert.recall()
    assert alert.state is state


# Putting it right


def a_wrong_one(state: AlertState = AlertState.FINISHED) -> Alert:
    wrong = an_alert(
        title="Wrong",
        body="Body",
        url="https://news.example/1",
        image="https://news.example/1.jpg",
        topics=[UKRAINE],
        level=Level.LOW,
        ttl=DAY,
        now=NOW,
    )
    wrong.state, wrong.story_id = state, 7
    return wrong


def words(alert: Alert) -> tuple[str, str, str, str | None]:
    return alert.title, alert.body, alert.url, alert.image


def test_what_is_left_out_of_a_correction_stays_as_it_was() -> None:
    wrong = a_wrong_one()
    right = a_correction(wrong, title="  Right \n", now=NOW + DAY)
    assert words(right) == ("Right", *words(wrong)[1:])
    assert (right.level, right.ttl, right.topics, right.story_id) == (Level.LOW, 24 * 3600, [UKRAINE], None)
    assert (right.state, right.created_at, right.recipients) == (AlertState.DRAFT, NOW + DAY, 0)
    changed = a_correction(wrong, body="", url="https://news.example/2", image="", now=NOW)
    assert words(changed) == ("Wrong", "", "https://news.example/2", None)


def test_a_correction_has_an_id_of_its_own_and_the_first_ones_thread() -> None:
    first = a_wrong_one()
    second = a_correction(first, title="Second", now=NOW)
    second.state, second.released_at, second.growing = AlertState.SENDING, NOW, True
    second.recall()
    assert not second.growing
    third = a_correction(second, title="Third", now=NOW)
    assert len({first.id, second.id, third.id}) == 3
    assert (second.corrects_id, third.corrects_id) == (first.id, second.id)
    assert first.thread == second.thread == third.thread == first.id


@pytest.mark.parametrize(
    "change, because",
    [
        ({}, "what is to be read instead"),
        ({"title": " "}, "needs a title"),
        ({"url": "news.example"}, "address"),
    ],
)
def test_a_correction_that_would_be_none_is_refused(change: dict[str, str], because: str) -> None:
    with pytest.raises(Refusal, match=because):
        a_correction(a_wrong_one(), now=NOW, title=change.get("title"), url=change.get("url"))


@pytest.mark.parametrize(
    "state, because",
    [
        (AlertState.DRAFT, "is a draft: nobody"),
        (AlertState.PROPOSED, "not approved yet"),
        (AlertState.SCHEDULED, "still to go out"),
    ],
)
def test_what_nobody_has_got_needs_no_correction(state: AlertState, because: str) -> None:
    with pytest.raises(Refusal, match=because):
        a_correction(a_wrong_one(state), title="Right", now=NOW)


@pytest.mark.parametrize(
    "picture", ["/1.jpg", "javascript:alert(1)", "https://news.example/a b.jpg", "data:image/png,x"]
)
def test_a_picture_has_an_address_that_a_browser_loads(picture: str) -> None:
    with pytest.raises(Refusal, match="picture"):
        an_alert(title="Title", url="https://news.example/1", topics=[UKRAINE], image=picture, now=NOW)
    assert an_alert(title="Title", url="https://news.example/1", topics=[UKRAINE], image=" ", now=NOW).image is None


@pytest.mark.parametrize("state", AlertState)
def test_an_alert_is_out_once_it_is_released(state: AlertState) -> None:
    assert state.is_out is (state not in ("draft", "proposed", "scheduled"))


# Finding it


async def test_an_alert_is_found_by_how_its_id_begins(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    one, other, far = [some_alert(topic) for _ in range(3)]
    one.id, other.id, far.id = (UUID(start.ljust(32, "0")) for start in ("abcdef12", "abcdef13", "abcde0"))
    session.add_all([one, other, far])
    await session.flush()
    for start in ("abcdef12", "ABCDEF12-0000", " abcdef12\n", str(one.id), one.id.hex):
        assert await id_of_alert(session, start) == one.id
    assert await id_of_alert(session, "abcde0") == far.id
    with pytest.raises(Refusal, match=f"Several .*{one.id}, {other.id}"):
        await id_of_alert(session, "abcdef")
    with pytest.raises(NotFound, match="begins with abcdef14"):
        await id_of_alert(session, "abcdef14")
    for start in ("", "abcde", "abcdeg", "%%%%%%", "a" * 33):
        with pytest.raises(Refusal, match="first six characters"):
            await id_of_alert(session, start)


async def test_the_newest_alerts_come_first(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    made = [await an_alert_row(session, topic) for _ in range(3)]
    for days, alert in zip((2, 3, 1), made, strict=True):
        alert.created_at = NOW + days * DAY
    assert await latest_alerts(session, 2) == [made[1], made[0]]
    assert await latest_alerts(session, 9, before=(made[0].created_at, made[0].id)) == [made[2]]
    made[0].state = AlertState.FINISHED
    assert await latest_alerts(session, 9, states=[AlertState.FINISHED]) == [made[0]]
    made[1].for_editor_id = (await an_editor_row(session)).id
    assert await latest_alerts(session, 9) == [made[0], made[2]]
    made[2].topics.append(await a_topic_row(session, "russia"))
    made[0].level = Level.LOW
    assert await latest_alerts(session, 9, topics=["ukraine"]) == [made[0]]
    assert await latest_alerts(session, 9, levels=["normal"]) == [made[2]]


# From a story


async def test_a_story_becomes_an_alert_of_its_topics(session: AsyncSession) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    entry = an_entry(title="T" * 500, summary="word " * 1000)
    story = await a_story_row(session, russia, ukraine, entry=entry)
    alert = from_story(story, story.topics, NOW)
    session.add(alert)
    await session.flush()
    assert (alert.topics, alert.url, alert.story_id) == ([russia, ukraine], entry.url, story.id)
    assert (len(alert.title), len(alert.body) <= 300) == (300, True)
    story.title = "\u200b"  # as it may have been remembered
    assert from_story(story, story.topics, NOW).title == entry.url
    assert await alert_of(session, story) is alert


async def test_a_story_has_one_alert(session: AsyncSession) -> None:
    story = await a_story_row(session, await a_topic_row(session))
    session.add(from_story(story, story.topics, NOW))
    await session.flush()
    with pytest.raises(IntegrityError):
        async with session.begin_nested():
            session.add(from_story(story, story.topics, NOW))


async def test_a_storys_alert_has_its_picture_if_a_browser_can_load_it(session: AsyncSession) -> None:
    story = await a_story_row(session, await a_topic_row(session))
    for image, kept in (("https://news.example/1.jpg", "https://news.example/1.jpg"), ("/1.jpg", None), (None, None)):
        story.image = image
        assert from_story(story, story.topics, NOW).image == kept


async def test_what_was_made_of_stories_is_found(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    stories = [await a_story_row(session, topic) for _ in range(3)]
    alert = from_story(stories[1], [topic], NOW)
    session.add(alert)
    await session.flush()
    assert await alerts_of(session, [story.id for story in stories]) == {stories[1].id: alert}


async def test_an_alert_that_is_not_there_is_said_so(session: AsyncSession) -> None:
    with pytest.raises(NotFound):
        await alert_by_id(session, uuid4())
    assert await alert_of(session, await a_story_row(session)) is None


# Closing


async def a_sent_alert(session: AsyncSession, *, shard_count: int = 2) -> tuple[Alert, list[Shard]]:
    topic = await a_topic_row(session)
    for _ in range(shard_count):
        await a_reader(session, topic)
    alert = await an_alert_row(session, topic, state=AlertState.SENDING)
    planned = await shards.plan(session, alert.id, [topic.id], NOW, size=1)
    return alert, [await session.get_one(Shard, shard.id) for shard in planned]


async def finish(session: AsyncSession, shard: Shard) -> None:
    assert await shards.record(session, shard.id, shard.claim, bytes([Outcome.ACCEPTED]), 1)


async def test_an_alert_ends_with_its_last_recipient(session: AsyncSession) -> None:
    alert, (one, other) = await a_sent_alert(session)
    assert not await close_if_done(session, alert.id, NOW)
    await finish(session, one)
    assert not await close_if_done(session, alert.id, NOW)
    assert await unfinished(session) == []
    await finish(session, other)
    assert await unfinished(session) == [alert.id]
    assert await close_if_done(session, alert.id, NOW + DAY)
    await session.refresh(alert)
    assert (alert.state, alert.finished_at) == (AlertState.FINISHED, NOW + DAY)
    assert not await close_if_done(session, alert.id, NOW + 2 * DAY)
    assert await unfinished(session) == []


async def test_a_recalled_alert_ends_once_and_stays_recalled(session: AsyncSession) -> None:
    alert, (shard,) = await a_sent_alert(session, shard_count=1)
    alert.recall()
    assert not await close_if_done(session, alert.id, NOW)
    await finish(session, shard)
    assert await unfinished(session) == [alert.id]
    assert await close_if_done(session, alert.id, NOW + DAY)
    await session.refresh(alert)
    assert (alert.state, alert.finished_at) == (AlertState.RECALLED, NOW + DAY)
    assert not await close_if_done(session, alert.id, NOW + 2 * DAY)
    assert await unfinished(session) == []


async def test_a_correction_does_not_end_before_what_it_corrects(session: AsyncSession) -> None:
    wrong, (shard,) = await a_sent_alert(session, shard_count=1)
    wrong.recall()
    right = a_correction(wrong, title="Right", now=NOW)
    right.state = AlertState.SENDING
    session.add(right)
    right.growing = True
    await finish(session, shard)
    assert await unfinished(session) == [wrong.id]
    assert await close_if_done(session, wrong.id, NOW)
    assert not await close_if_done(session, right.id, NOW)  # its last recipients are not written down yet
    right.growing = False
    assert await unfinished(session) == [right.id]
    assert await close_if_done(session, right.id, NOW)


async def test_an_alert_has_one_correction_which_replaces_the_whole_thread(session: AsyncSession) -> None:
    first = await an_alert_row(session, await a_topic_row(session), state=AlertState.FINISHED)
    assert await correction_of(session, first.id) is None
    second = a_correction(first, title="Second", now=NOW)
    session.add(second)
    await session.flush()
    second.state = AlertState.FINISHED
    third = a_correction(second, title="Third", now=NOW)
    session.add(third)
    await session.flush()
    assert await correction_of(session, first.id) == second.id
    assert {wrong.id for wrong in await replaced_by(session, third)} == {first.id, second.id}
    with pytest.raises(IntegrityError):
        async with session.begin_nested():
            session.add(a_correction(first, title="Another", now=NOW))


@pytest.mark.parametrize("state", [AlertState.DRAFT, AlertState.RELEASED, AlertState.FINISHED])
async def test_an_alert_that_is_not_being_sent_does_not_end(session: AsyncSession, state: AlertState) -> None:
    alert = await an_alert_row(session, await a_topic_row(session), state=state)
    assert not await close_if_done(session, alert.id, NOW)
    assert await unfinished(session) == []


async def test_of_workers_that_finish_at_once_exactly_one_closes_the_alert(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        alert, pages = await a_sent_alert(session, shard_count=6)

    async def work(shard: Shard) -> bool:
        async with transaction(sessions) as session:
            await finish(session, shard)
        async with transaction(sessions) as session:
            return await close_if_done(session, alert.id, NOW)

    assert sorted(await asyncio.gather(*map(work, pages))) == [False] * 5 + [True]


async def test_an_alert_does_not_end_while_a_plan_adds_recipients(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        alert, (shard,) = await a_sent_alert(session, shard_count=1)
        topic = await a_topic_row(session, "russia")
        await a_reader(session, topic)
        await finish(session, shard)
    async with sessions() as planning, planning.begin():
        await alert_by_id(planning, alert.id, lock=True)
        closing = asyncio.create_task(close(sessions, alert))
        await shards.plan(planning, alert.id, [topic.id], NOW)
        await asyncio.sleep(0.1)
        assert not closing.done()
    assert not await closing


async def close(sessions: Sessions, alert: Alert) -> bool:
    async with transaction(sessions) as session:
        return await close_if_done(session, alert.id, NOW)


async def test_states_are_stored_as_words(session: AsyncSession) -> None:
    alert = await an_alert_row(session, await a_topic_row(session))
    for state in AlertState:
        await session.execute(update(Alert).where(Alert.id == alert.id).values(state=state))
        assert await session.scalar(select(Alert.state).where(Alert.id == alert.id)) is state
