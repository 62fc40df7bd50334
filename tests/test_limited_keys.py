"""A key that is limited to some topics or levels learns nothing of the others, whatever it asks."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text, update

from app.database import transaction
from app.domain.alerts import Alert, AlertState, Level, alert_by_id, latest_alerts
from app.domain.api_keys import ApiKey
from app.domain.editors import Actor, Role
from app.domain.refusals import Forbidden
from app.domain.topics import Topic
from app.release import widen
from tests.desk import Desk, a_database, a_desk
from tests.makers import a_feed_row, a_story_row, a_topic_row, an_alert_row, an_entry
from tests.test_api import explained
from tests.test_guards import operations

URL, TITLE = "https://news.example/secret-plan", "Minister resigns tonight"
HIDDEN = "hidden-words"  # In all that is beyond the keys of these tests.


@pytest.fixture
async def desk(server: str, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    with a_database(server, "limited_keys") as url:
        async with a_desk(url, tmp_path_factory.mktemp("limited_keys")) as made:
            yield made


@pytest.fixture
async def beyond(desk: Desk) -> Alert:
    """Scheduled for in five minutes, by a story, of a topic and a feed that the key must not see."""
    async with transaction(desk.sessions) as session:
        russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
        await a_feed_row(session, russia, url=f"https://publisher.example/{HIDDEN}")
        await a_feed_row(session, russia, ukraine, url=f"https://publisher.example/both-{HIDDEN}")
        await a_feed_row(session, ukraine, url="https://publisher.example/ukraine")
        story = await a_story_row(session, russia, entry=an_entry(url=URL, title=TITLE))
        alert = await an_alert_row(session, russia)
        alert.title, alert.url, alert.body, alert.story_id = f"{TITLE}", URL, HIDDEN, story.id
        alert.state, alert.proposed_by = AlertState.SCHEDULED, f"{HIDDEN}@news.example"
        alert.due_at = datetime.now(UTC) + timedelta(minutes=5)
        alert.level = Level.BREAKING
        return alert


@pytest.fixture(params=[{"topics": ["ukraine"]}, {"levels": ["normal", "low"]}], ids=["topics", "levels"])
async def key(desk: Desk, beyond: Alert, request: pytest.FixtureRequest) -> httpx.AsyncClient:
    return await desk.key(Role.EDITOR, **request.param)


async def made(key: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    words = {"title": TITLE, "url": URL, "topics": ["ukraine"]} | more
    answer = await key.post("/api/alerts", json=words)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_no_request_says_a_word_of_an_alert_beyond_it(desk: Desk, key: httpx.AsyncClient, beyond: Alert) -> None:
    draft = await made(key)
    told = [await key.get("/api/alerts"), await key.get(f"/api/alerts/{draft['id']}")]
    for operation, address in operations(desk):
        if operation.streams or not operation.role:
            continue
        for id in (str(beyond.id), draft["id"]):
            where = address.replace(str(UUID(int=7)), id)
            if where == f"/api/alerts/{draft['id']}" and operation.method == "DELETE":
                continue
            told.append(await key.request(operation.method, where, json={}))
    for answer in told:
        asked = answer.request.url.path
        said = answer.text.replace(asked, "")
        assert HIDDEN not in said or asked == "/api/feeds", asked  # of topics: see below
        assert str(beyond.id) not in said, asked


async def test_advice_and_warnings_do_not_tell_of_it(desk: Desk, key: httpx.AsyncClient, beyond: Alert) -> None:
    words = {"title": TITLE, "url": URL}
    assert (await key.post("/api/advice", json=words)).json() == {"warnings": []}
    assert (await made(key))["warnings"] == []
    editor = await desk.somebody()
    assert [one["code"] for one in (await editor.post("/api/advice", json=words)).json()["warnings"]] == ["told_soon"]


async def test_a_release_of_the_same_story_is_refused_without_its_words(
    desk: Desk, key: httpx.AsyncClient, beyond: Alert
) -> None:
    draft = await made(key)
    refused = explained(await key.post(f"/api/alerts/{draft['id']}/release"), 409)
    assert refused == (
        "The same story goes out within half an hour by somebody else. Is it to be told again? Then say so."
    )
    by_a_person = await (await desk.somebody()).post(f"/api/alerts/{draft['id']}/release")
    assert str(beyond.id) in explained(by_a_person, 409)


async def test_a_story_that_has_an_alert_beyond_it_does_not_say_which(
    desk: Desk, key: httpx.AsyncClient, beyond: Alert
) -> None:
    words = {"title": "Another", "url": "https://news.example/2", "topics": ["ukraine"], "story_id": beyond.story_id}
    assert explained(await key.post("/api/alerts", json=words), 409) == "This story has an alert already."
    by_a_person = await (await desk.somebody()).post("/api/alerts", json=words)
    assert str(beyond.id) in explained(by_a_person, 409)


async def test_a_correction_is_for_all_who_got_the_wrong_alert_and_takes_a_key_that_reaches_them(desk: Desk) -> None:
    """A feed may bring the wrong alert to more topics after its correction was written."""
    async with transaction(desk.sessions) as session:
        ukraine, russia = await a_topic_row(session, "ukraine"), await a_topic_row(session, "russia")
        wrong = await an_alert_row(session, ukraine)
        wrong.state, wrong.released_at = AlertState.SENDING, datetime.now(UTC)
        await session.flush()
    key, editor = await desk.key(topics=["ukraine"]), await desk.somebody()
    draft = (await key.post(f"/api/alerts/{wrong.id}/correct", json={"title": "Right", "draft": True})).json()
    assert draft["topics"] == ["ukraine"]
    async with transaction(desk.sessions) as session:
        await widen(session, await alert_by_id(session, wrong.id, lock=True), [await session.get_one(Topic, russia.id)])
    path = f"/api/alerts/{draft['id']}"
    assert "of the topic russia" in explained(await key.post(f"{path}/release"), 403)
    sent = (await editor.post(f"{path}/release")).json()
    assert (sent["state"], sent["topics"]) == ("scheduled", ["ukraine", "russia"])
    assert "of the topic russia" in explained(await key.post(f"{path}/undo"), 403)


async def test_it_takes_no_story_of_other_topics_from_those_who_may_tell_it(desk: Desk) -> None:
    async with transaction(desk.sessions) as session:
        ukraine, russia = await a_topic_row(session, "ukraine"), await a_topic_row(session, "russia")
        other = await a_story_row(session, russia, entry=an_entry(url=URL, title=TITLE))
        both = await a_story_row(session, ukraine, russia, entry=an_entry(url=f"{URL}/2", title=f"{TITLE}, too"))
        own = await a_story_row(session, ukraine, entry=an_entry(url=f"{URL}/3", title="Another"))
    key, editor = await desk.key(topics=["ukraine"]), await desk.somebody()
    words = {"title": "Mine", "url": "https://news.example/mine", "topics": ["ukraine"]}
    for story in (other, both):
        answer = await key.post("/api/alerts", json=words | {"story_id": story.id})
        assert "a story of the topic russia" in explained(answer, 403)
        assert (await editor.post("/api/alerts", json=words | {"story_id": story.id})).status_code == 201
    assert (await key.post("/api/alerts", json=words | {"story_id": own.id})).status_code == 201


async def test_what_is_about_the_whole_site_is_not_for_it(key: httpx.AsyncClient) -> None:
    for path in ("/api/pace", "/api/warnings"):
        assert "limited to some topics or levels" in explained(await key.get(path), 403)


async def test_feeds_and_topics_are_its_own(desk: Desk, beyond: Alert) -> None:
    key, everybody = await desk.key(topics=["ukraine"]), await desk.key()
    assert [one["url"] for one in (await key.get("/api/feeds")).json()["items"]] == [
        "https://publisher.example/ukraine"
    ]
    assert [one["slug"] for one in (await key.get("/api/topics")).json()["items"]] == ["ukraine"]
    assert len((await everybody.get("/api/feeds")).json()["items"]) == 3
    assert len((await everybody.get("/api/topics")).json()["items"]) == 2


# Limits that became empty


async def test_an_alert_whose_topic_was_deleted_by_force_is_nobodys_who_is_limited(desk: Desk, beyond: Alert) -> None:
    owner, key = await desk.somebody(Role.OWNER), await desk.key(topics=["russia"])
    assert (await key.get(f"/api/alerts/{beyond.id}")).status_code == 200
    assert (await owner.delete("/api/topics/russia", params={"force": "true"})).status_code == 204
    other = await desk.key(topics=["ukraine"])
    for program in (key, other):
        assert "no topic" in explained(await program.get(f"/api/alerts/{beyond.id}"), 403)
        assert "no topic" in explained(await program.post(f"/api/alerts/{beyond.id}/undo"), 403)
        assert explained(await program.patch(f"/api/alerts/{beyond.id}", json={"topics": ["ukraine"]}), 403)
        assert (await program.get("/api/alerts")).json()["items"] == []
    assert len((await owner.get("/api/alerts")).json()["items"]) == 1


@pytest.mark.parametrize("limit", ["topics", "levels"])
async def test_a_key_whose_limits_were_taken_away_reaches_nothing(desk: Desk, beyond: Alert, limit: str) -> None:
    limits: dict[str, Any] = {limit: ["ukraine" if limit == "topics" else "breaking"]}
    key = await desk.key(Role.EDITOR, **limits)
    async with transaction(desk.sessions) as session:
        await session.execute(update(ApiKey).values({limit: []}))
        await an_alert_row(session, (await session.get_one(Topic, beyond.topics[0].id)))
    assert (await key.get("/api/alerts")).json()["items"] == []
    explained(await key.get(f"/api/alerts/{beyond.id}"), 403)
    words = {"title": "T", "url": "https://news.example/2", "topics": ["russia"]}
    explained(await key.post("/api/alerts", json=words), 403)


async def test_a_key_without_limits_has_none_in_the_database(desk: Desk) -> None:
    await desk.key()
    async with transaction(desk.sessions) as session:
        rows = (await session.execute(text("SELECT topics, levels FROM api_keys"))).all()
        assert rows == [(None, None)]
        assert await latest_alerts(session, 1) == []


def test_no_topics_at_all_are_beyond_every_limit() -> None:
    for actor in (
        Actor("key CMS", Role.EDITOR, topics=frozenset({"ukraine"})),
        Actor("key CMS", Role.EDITOR, topics=frozenset()),
    ):
        with pytest.raises(Forbidden, match="no topic"):
            actor.must_reach([], "normal")
    with pytest.raises(Forbidden, match="level normal"):
        Actor("key CMS", Role.EDITOR, levels=frozenset()).must_reach(["ukraine"], "normal")
    Actor("ada@news.example", Role.EDITOR).must_reach([], "normal")
