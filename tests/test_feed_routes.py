"""Feeds and topics at the desk: who may change them, and what each change does."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.database import transaction
from app.domain import audit
from app.domain.alerts import AlertState
from app.domain.editors import Role
from app.domain.feeds import Policy
from app.polling import without_poll
from tests.desk import Desk
from tests.makers import NOW, a_feed_row, a_reader, a_story_row, a_topic_row, an_alert_row
from tests.test_api import explained

CHANGES = [
    ("POST", "/api/feeds"),
    ("POST", "/api/feeds/preview"),
    ("PATCH", "/api/feeds/1"),
    ("DELETE", "/api/feeds/1"),
    ("POST", "/api/feeds/1/poll"),
    ("POST", "/api/topics"),
    ("PATCH", "/api/topics/ukraine"),
    ("DELETE", "/api/topics/ukraine"),
]


@pytest.fixture(scope="module")
async def owner(desk: Desk) -> httpx.AsyncClient:
    return await desk.somebody(Role.OWNER, "owner@news.example")


async def a_topic(owner: httpx.AsyncClient, slug: str, **more: Any) -> dict[str, Any]:
    answer = await owner.post("/api/topics", json={"slug": slug, "name": slug.title()} | more)
    assert answer.status_code == 201, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def a_feed(owner: httpx.AsyncClient, url: str, **more: Any) -> dict[str, Any]:
    answer = await owner.post("/api/feeds", json={"url": url} | more)
    assert answer.status_code == 201, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def actions(desk: Desk, subject: str) -> list[str]:
    async with transaction(desk.sessions) as session:
        return [entry.action for entry in await audit.read(session, limit=20, subject=subject)]


async def last(desk: Desk, subject: str) -> dict[str, Any]:
    """What the audit says besides."""
    async with transaction(desk.sessions) as session:
        [entry] = await audit.read(session, limit=1, subject=subject)
        return entry.detail


async def jobs(desk: Desk, feed_id: int) -> int:
    query = text("SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo' AND lock = 'feed:' || :id")
    async with transaction(desk.sessions) as session:
        return int(await session.scalar(query, {"id": feed_id}) or 0)


@pytest.mark.parametrize("method, path", CHANGES)
async def test_only_an_owner_changes_feeds_and_topics(desk: Desk, method: str, path: str) -> None:
    explained(await desk.browser().request(method, path, json={}), 401)
    for client in (await desk.somebody(Role.EDITOR), await desk.key()):
        assert "role owner" in explained(await client.request(method, path, json={}), 403)


async def test_everybody_at_the_desk_may_look(desk: Desk, owner: httpx.AsyncClient) -> None:
    await a_topic(owner, "looking")
    await a_feed(owner, "https://looking.example/rss", topics=["looking"])
    writer = await desk.somebody(Role.WRITER)
    [feed] = [one for one in (await writer.get("/api/feeds")).json()["items"] if "looking" in one["url"]]
    assert (feed["state"], feed["policy"], feed["topics"], feed["stories_24h"]) == ("new", "auto", ["looking"], 0)
    [topic] = [one for one in (await writer.get("/api/topics")).json()["items"] if one["slug"] == "looking"]
    assert (topic["followers"], topic["feeds"]) == (0, 1)
    explained(await desk.browser().get("/api/feeds"), 401)


async def test_a_new_feed_is_asked_at_once_and_is_there_once(desk: Desk, owner: httpx.AsyncClient) -> None:
    feed = await a_feed(owner, "https://once.example/rss", policy="draft")
    assert await jobs(desk, feed["id"]) == 1
    assert "there already" in explained(await owner.post("/api/feeds", json={"url": feed["url"]}), 409)
    for url in ("ftp://a.example", "https://user:secret@a.example/", "nonsense"):
        explained(await owner.post("/api/feeds", json={"url": url}), 422)
    assert await actions(desk, feed["url"]) == ["feed.add"]


async def test_of_the_same_that_come_at_once_one_is_there(owner: httpx.AsyncClient) -> None:
    for path, wish in (
        ("/api/feeds", {"url": "https://twins.example/rss"}),
        ("/api/topics", {"slug": "twins", "name": "Twins"}),
    ):
        answers = await asyncio.gather(*(owner.post(path, json=wish) for _ in range(6)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5


@pytest.mark.parametrize("what", ["feeds", "topics"])
async def test_nobody_changes_them_from_a_foreign_page(desk: Desk, owner: httpx.AsyncClient, what: str) -> None:
    foreign = desk.browser(owner.cookies[desk.cookie], origin="https://evil.example")
    explained(await foreign.post(f"/api/{what}", json={}), 403)


async def test_the_same_request_with_one_key_makes_one_feed(owner: httpx.AsyncClient) -> None:
    body, headers = {"url": "https://twice.example/rss"}, {"Idempotency-Key": "one"}
    first, second = [await owner.post("/api/feeds", json=body, headers=headers) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()


async def test_a_paused_feed_is_not_asked_and_a_resumed_one_is(desk: Desk, owner: httpx.AsyncClient) -> None:
    feed = await a_feed(owner, "https://paused.example/rss")
    path = f"/api/feeds/{feed['id']}"
    paused = (await owner.patch(path, json={"paused": True})).json()
    assert (paused["state"], paused["next_poll_at"]) == ("paused", None)
    async with transaction(desk.sessions) as session:
        await session.execute(text("DELETE FROM procrastinate_jobs"))
        assert feed["id"] not in await without_poll(session)
    assert "paused" in explained(await owner.post(f"{path}/poll"), 409)
    assert (await owner.patch(path, json={"paused": False})).json()["state"] == "new"
    assert await jobs(desk, feed["id"]) == 1
    assert await actions(desk, feed["url"]) == ["feed.resume", "feed.pause", "feed.add"]
    for paused in (False, True, True):  # what is so already is no change
        await owner.patch(path, json={"paused": paused})
    assert len(await actions(desk, feed["url"])) == 4
    await owner.patch(path, json={"paused": False})
    assert await jobs(desk, feed["id"]) == 2  # what was to come is still to come, and it is asked at once


async def test_a_feeds_policy_and_topics_change(desk: Desk, owner: httpx.AsyncClient) -> None:
    await a_topic(owner, "old")
    await a_topic(owner, "new")
    feed = await a_feed(owner, "https://change.example/rss", topics=["old"])
    changed = await owner.patch(f"/api/feeds/{feed['id']}", json={"policy": "store", "topics": ["new"]})
    assert (changed.json()["policy"], changed.json()["topics"]) == ("store", ["new"])
    assert await last(desk, feed["url"]) == {"policy": ["auto", "store"], "topics": [["old"], ["new"]]}
    await owner.patch(f"/api/feeds/{feed['id']}", json={"policy": "store", "topics": ["new"]})
    assert await actions(desk, feed["url"]) == ["feed.change", "feed.add"]
    assert "no topic" in explained(await owner.patch(f"/api/feeds/{feed['id']}", json={"topics": ["none"]}), 422)
    explained(await owner.patch("/api/feeds/999999", json={}), 404)


async def test_asking_now_twice_is_asking_once(desk: Desk, owner: httpx.AsyncClient) -> None:
    feed = await a_feed(owner, "https://now.example/rss")
    for _ in range(2):
        assert (await owner.post(f"/api/feeds/{feed['id']}/poll")).status_code == 202
    assert await jobs(desk, feed["id"]) == 2  # now, and in its own rhythm


async def test_a_removed_feeds_stories_stay(desk: Desk, owner: httpx.AsyncClient) -> None:
    async with transaction(desk.sessions) as session:
        topic = await a_topic_row(session, "staying")
        feed = await a_feed_row(session, topic, policy=Policy.STORE)
        story = await a_story_row(session, topic, now=NOW)
        await session.refresh(story, ["feeds"])
        story.feeds.append(feed)
    assert (await owner.delete(f"/api/feeds/{feed.id}")).status_code == 204
    explained(await owner.delete(f"/api/feeds/{feed.id}"), 404)
    stories = (await owner.get("/api/stories", params={"topic": "staying"})).json()["items"]
    assert [one["id"] for one in stories] == [story.id]


async def test_a_topic_is_renamed_and_keeps_its_short_name(desk: Desk, owner: httpx.AsyncClient) -> None:
    await a_topic(owner, "climate", synonyms=["Climate crisis"])
    said = (await owner.patch("/api/topics/climate", json={"name": "Climate & energy"})).json()
    assert (said["slug"], said["name"], said["synonyms"]) == ("climate", "Climate & energy", ["Climate crisis"])
    explained(await owner.patch("/api/topics/climate", json={"name": " "}), 422)
    explained(await owner.patch("/api/topics/nothing", json={}), 404)
    assert "there already" in explained(await owner.post("/api/topics", json={"slug": "climate", "name": "X"}), 409)
    assert (await owner.patch("/api/topics/climate", json={"name": "Climate & energy"})).status_code == 200
    assert await actions(desk, "climate") == ["topic.change", "topic.add"]
    assert await last(desk, "climate") == {"name": ["Climate", "Climate & energy"]}


async def test_a_topic_that_somebody_follows_goes_only_on_purpose(desk: Desk, owner: httpx.AsyncClient) -> None:
    async with transaction(desk.sessions) as session:
        topic = await a_topic_row(session, "followed")
        await a_reader(session, topic)
        await a_feed_row(session, topic)
    said = explained(await owner.delete("/api/topics/followed"), 409)
    assert said.startswith("Readers who follow Followed: 1; feeds that bring it: 1.")
    assert (await owner.delete("/api/topics/followed", params={"force": True})).status_code == 204
    assert await last(desk, "followed") == {"followers": 1, "feeds": 1}
    assert "followed" not in [one["slug"] for one in (await owner.get("/api/topics")).json()["items"]]


async def test_a_topic_is_not_taken_from_an_alert_that_is_to_go_to_it(desk: Desk, owner: httpx.AsyncClient) -> None:
    async with transaction(desk.sessions) as session:
        topic = await a_topic_row(session, "promised")
        alert = await an_alert_row(session, topic)
        alert.state, alert.due_at = AlertState.SCHEDULED, datetime.now(UTC) + timedelta(hours=1)
    said = explained(await owner.delete("/api/topics/promised"), 409)
    assert "alerts that wait to go to it: 1." in said


async def test_a_feed_brings_so_many_stories_a_day(desk: Desk, owner: httpx.AsyncClient) -> None:
    async with transaction(desk.sessions) as session:
        feed = await a_feed_row(session)
        for age in (timedelta(0), timedelta(hours=23), timedelta(hours=25)):
            story = await a_story_row(session, now=datetime.now(UTC) - age)
            await session.refresh(story, ["feeds"])
            story.feeds.append(feed)
    [found] = [one for one in (await owner.get("/api/feeds")).json()["items"] if one["id"] == feed.id]
    assert found["stories_24h"] == 2


@pytest.mark.parametrize(
    "method, path, wish",
    [
        ("POST", "/api/feeds", {"url": "https://wrong.example/rss", "topics": ["mars"]}),
        ("POST", "/api/feeds", {"url": "https://wrong.example/rss", "policy": "shout"}),
        ("POST", "/api/feeds", {"url": "https://wrong.example/\x00"}),
        ("POST", "/api/feeds", {"url": "https://wrong.example/" + "a" * 3000}),
        ("POST", "/api/feeds", {"url": "https://wrong.example/rss", "title": "Ours"}),
        ("PATCH", "/api/feeds/1", {"url": "https://wrong.example/rss"}),
        ("PATCH", f"/api/feeds/{2**63}", {}),
        ("POST", "/api/topics", {"slug": "Not a slug", "name": "X"}),
        ("POST", "/api/topics", {"slug": "wrong", "name": "X" * 201}),
        ("POST", "/api/topics", {"slug": "wrong", "name": "—"}),
        ("POST", "/api/topics", {"slug": "wrong", "name": "X", "synonyms": ["\x00"]}),
        ("DELETE", "/api/topics/%00", {}),
    ],
)
async def test_what_cannot_be_is_refused(
    owner: httpx.AsyncClient, method: str, path: str, wish: dict[str, Any]
) -> None:
    explained(await owner.request(method, path, json=wish), 422)
