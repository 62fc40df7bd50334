"""The desk: stories, audiences, and what an open page is told as it happens."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import uvicorn
from sqlalchemy.engine import make_url

from app.database import Sessions, transaction
from app.domain.alerts import AlertState
from app.domain.editors import Actor, Role
from app.domain.lanes import a_lane
from app.domain.push_services import service_name
from app.domain.stories import Story
from app.domain.topics import topics_named
from app.streams import Stream, Streams
from tests.desk import Desk, a_desk, desk
from tests.makers import (
    GOOGLE,
    NOW,
    a_reader,
    a_story_row,
    a_topic_row,
    an_api_key_row,
    an_endpoint,
    an_entry,
    many_readers,
    some_browser,
)
from tests.sink import Sink
from tests.test_alert_routes import a_draft, add_topics, done, now, set_state, told
from tests.test_api import explained
from tests.test_fanout import sink
from tests.test_poll import until, worker
from tests.web import web

__all__ = ["desk", "sink"]

Json = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
async def topics(desk: Desk) -> None:
    await add_topics(desk)


@pytest.fixture
async def writer(desk: Desk) -> httpx.AsyncClient:
    return await desk.somebody(Role.WRITER)


async def stories(desk: Desk, *titles: str, topic: str = "ukraine", summary: str = "") -> list[Story]:
    """The last one is the newest."""
    async with transaction(desk.sessions) as session:
        topics = await topics_named(session, [topic])
        return [await a_story_row(session, *topics, entry=an_entry(title=title, summary=summary)) for title in titles]


async def titles(client: httpx.AsyncClient, **asked: Any) -> list[str]:
    return [story["title"] for story in done(await client.get("/api/stories", params=asked))["items"]]


# Stories


async def test_stories_come_newest_first_page_by_page_and_by_topic(desk: Desk, writer: httpx.AsyncClient) -> None:
    await stories(desk, "One", "Two", "Three")
    await stories(desk, "Elsewhere", topic="russia")
    assert (await titles(writer))[:4] == ["Elsewhere", "Three", "Two", "One"]
    assert (await titles(writer, topic="ukraine"))[:3] == ["Three", "Two", "One"]
    first = done(await writer.get("/api/stories", params={"limit": 3}))
    assert (await titles(writer, limit=1, after=first["next"])) == ["One"]
    assert "page" in explained(await writer.get("/api/stories", params={"after": "1-x"}), 422)
    assert "page" in explained(await writer.get("/api/stories", params={"after": f"1-{2**63}"}), 422)


@pytest.mark.parametrize(
    "words, found",
    [
        ("київ", ["Київ відкрив метро"]),
        ("метро КИЇВ", ["Київ відкрив метро"]),
        ("reads below", ["50% of _all_"]),  # in the summary
        ("50%", ["50% of _all_"]),
        ("_all_", ["50% of _all_"]),
        ("5_%", []),
        ("%", ["50% of _all_"]),
        ("nothing of that", []),
        (" ", ["50% of _all_", "Київ відкрив метро"]),
    ],
)
async def test_stories_are_searched_by_all_words_in_title_and_summary(
    desk: Desk, writer: httpx.AsyncClient, words: str, found: list[str]
) -> None:
    if not await titles(writer, topic="science"):
        await stories(desk, "Київ відкрив метро", topic="science")
        await stories(desk, "50% of _all_", topic="science", summary="Who reads this, below")
    assert await titles(writer, topic="science", q=words) == found


async def test_a_story_says_what_was_sent_of_it(desk: Desk, writer: httpx.AsyncClient) -> None:
    story, _ = await stories(desk, "Sent", "Not sent")
    alert = await a_draft(writer, story_id=story.id, topics=["russia"])
    await set_state(desk, alert, AlertState.FINISHED)
    alert = await now(writer, alert)
    items = done(await writer.get("/api/stories", params={"limit": 2}))["items"]
    wanted = {name: alert[name] for name in ("id", "state", "title", "released_at")}
    assert [item["alert"] for item in items] == [None, wanted]
    key = await desk.key(topics=["ukraine"])
    items = done(await key.get("/api/stories", params={"limit": 2}))["items"]
    assert [item["alert"] for item in items] == [None, None]  # of a topic that this key does not reach


# Audiences


async def test_an_audience_counts_each_reader_once_and_says_what_holds_some_back(
    desk: Desk, writer: httpx.AsyncClient
) -> None:
    nobody = {
        "readers": 0,
        "rings": 0,
        "lanes": {},
        "held_back": dict.fromkeys(("paused", "level", "quiet_hours", "daily_limit"), 0),
    }
    asked = {"topics": "science,russia", "level": "normal"}
    assert done(await writer.get("/api/audience", params=asked)) == nobody
    async with transaction(desk.sessions) as session:
        science, russia = await topics_named(session, ["science", "russia"])
        await a_reader(session, science, russia)
        await a_reader(session, science, browser=some_browser(an_endpoint(GOOGLE)))
        await a_reader(session, science, paused_until=datetime.now(UTC) + timedelta(days=1))
        await a_reader(session, science, ended_at=NOW)
        quiet, picky = await a_reader(session, russia), await a_reader(session, russia)
        quiet.quiet_from, quiet.quiet_to = time(0), time(23, 59, 59, 999999)
        morning = datetime.now(UTC) + timedelta(hours=12)
        asleep = await a_reader(session, science)
        asleep.time_zone = "UTC"
        asleep.quiet_from, asleep.quiet_to = ((morning + timedelta(hours=h)).time() for h in (6, -6))
        picky.levels = ["breaking"]
    found = done(await writer.get("/api/audience", params=asked))
    assert found["held_back"] == {"paused": 1, "level": 1, "quiet_hours": 2, "daily_limit": 0}
    assert (found["readers"], found["rings"], sorted(found["lanes"].values())) == (6, 2, [1, 1])
    assert done(await writer.get("/api/audience", params=asked | {"level": "breaking"}))["rings"] == 5
    then = {"at": morning.replace(tzinfo=None).isoformat(timespec="minutes"), "time_zone": "UTC"}
    assert done(await writer.get("/api/audience", params=asked | then))["rings"] == 3
    assert "has passed" in explained(await writer.get("/api/audience", params=asked | {"at": f"{NOW:%FT%T}Z"}), 422)
    assert "gardening" in explained(await writer.get("/api/audience", params={"topics": "gardening"}), 422)
    assert "at least one topic" in explained(await writer.get("/api/audience", params={"topics": ","}), 422)
    key = await desk.key(topics=["science"])
    assert "topic russia" in explained(await key.get("/api/audience", params=asked), 403)


async def test_what_waits_for_the_operator_is_said_at_the_desk(desk: Desk, writer: httpx.AsyncClient) -> None:
    assert done(await writer.get("/api/warnings"))["items"] == []
    async with transaction(desk.sessions) as session:
        lane = a_lane(f"https://{GOOGLE}", NOW)
        lane.alarm = "It refuses our key."
        session.add(lane)
    assert done(await writer.get("/api/warnings"))["items"] == [f"{GOOGLE}: It refuses our key."]
    explained(await desk.browser().get("/api/warnings"), 401)


# What an open page is told


class Live:
    """A stream of events, as EventSource reads it."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer, self.lines = answer, answer.aiter_lines()

    async def next(self, within: float = 30) -> tuple[str, Any, str]:
        """The next event: its name, what it says, its id."""
        found: dict[str, str] = {}
        async with asyncio.timeout(within):
            async for line in self.lines:
                name, _, value = line.partition(": ")
                if line and name:
                    found[name] = value
                elif not line and "data" in found:
                    return found["event"], json.loads(found["data"]), found.get("id", "")
        raise StopAsyncIteration

    async def ended(self) -> bool:
        try:
            while True:
                await self.next()
        except (StopAsyncIteration, httpx.RemoteProtocolError):
            return True


@asynccontextmanager
async def live(client: httpx.AsyncClient, path: str, **headers: str) -> AsyncIterator[Live]:
    async with client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Live(answer)


@pytest.fixture
async def cms(sessions: Sessions, database_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A program that speaks to a real web process, on this test's own database with one topic."""
    async with transaction(sessions) as session:
        await a_topic_row(session)
        key = await an_api_key_row(session, Role.EDITOR)
    with web(database_url, tmp_path) as (url, _):
        async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}) as client:
            yield client


async def remember(sessions: Sessions, *found: str) -> list[int]:
    async with transaction(sessions) as session:
        topics = await topics_named(session, ["ukraine"])
        return [(await a_story_row(session, *topics, entry=an_entry(title=title))).id for title in found]


async def test_new_stories_arrive_by_themselves_and_none_is_missed(cms: httpx.AsyncClient, sessions: Sessions) -> None:
    await remember(sessions, "Old")
    async with live(cms, "/api/stories/events") as page:
        await asyncio.sleep(0.2)
        one, two = await remember(sessions, "One", "Two")
        name, story, event_id = await page.next()
        assert (name, story["title"], event_id) == ("story", "One", str(one))
        assert (story["alert"], story["topics"]) == (None, ["ukraine"])
        assert (await page.next())[1]["title"] == "Two"
    [three] = await remember(sessions, "Three")
    async with live(cms, "/api/stories/events", **{"Last-Event-ID": str(one)}) as page:
        assert [(await page.next())[2] for _ in range(2)] == [str(two), str(three)]
    async with live(cms, f"/api/stories/events?after={two}") as page:
        assert (await page.next())[2] == str(three)


async def test_the_progress_of_an_alert_adds_up_at_every_moment(
    cms: httpx.AsyncClient, sessions: Sessions, sink: Sink, database_url: str, tmp_path: Path
) -> None:
    async with transaction(sessions) as session:
        [topic] = await topics_named(session, ["ukraine"])
        await many_readers(session, topic, 1500, lane=sink.url)
    sink.delay = 0.1
    alert = await a_draft(cms, level="breaking")
    seen: list[Json] = []
    with worker(database_url, tmp_path):
        async with live(cms, f"/api/alerts/{alert['id']}/events") as page:
            assert (await page.next())[1]["state"] == "draft"
            await told(cms, alert, "release")
            while (event := await page.next())[0] == "progress":
                seen.append(event[1])
            assert event[1] == {"id": alert["id"], "state": "finished"}
            assert await page.ended()
    for moment in seen:
        assert sum(moment["outcomes"].values()) == moment["recipients"]
        assert sum(lane["outcomes"]["accepted"] for lane in moment["lanes"]) == moment["outcomes"]["accepted"]
        assert {lane["service"] for lane in moment["lanes"]} <= {service_name(sink.url)}
    states = list(dict.fromkeys(moment["state"] for moment in seen))
    assert states == ["draft", "scheduled", "sending", "finished"] or states == ["scheduled", "sending", "finished"]
    assert seen[-1]["outcomes"]["accepted"] == seen[-1]["recipients"] == 1500
    assert any(0 < moment["outcomes"]["accepted"] < 1500 and moment["per_second"] > 0 for moment in seen)
    assert 0 < seen[-1]["seconds_to"]["50"] <= seen[-1]["seconds_to"]["90"] <= seen[-1]["seconds_to"]["99"]
    assert min(moment["due_in"] for moment in seen if moment["state"] == "scheduled") < 1


async def test_a_stream_begins_with_its_refusals(desk: Desk, writer: httpx.AsyncClient) -> None:
    assert "no such alert" in explained(await writer.get(f"/api/alerts/{uuid4()}/events"), 404)
    alert = await a_draft(writer)
    path = f"/api/alerts/{alert['id']}/events"
    assert "may not touch" in explained(await (await desk.key(topics=["russia"])).get(path), 403)
    explained(await desk.browser().get(path), 401)
    explained(await desk.browser().get("/api/stories/events"), 401)
    desk.site.streams.most = 0
    try:
        answer = await writer.get("/api/stories/events")
        assert "Too many pages" in explained(answer, 429)
        assert answer.headers["retry-after"] == "5"
    finally:
        desk.site.streams.most = 100
    assert not desk.site.streams.open


async def test_streams_end_with_their_process_and_without_their_database(
    sessions: Sessions, server: str, database_url: str, tmp_path: Path
) -> None:
    async with transaction(sessions) as session:
        key = await an_api_key_row(session)
    name = make_url(database_url).database
    with web(database_url, tmp_path) as (url, process):
        async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}) as client:
            async with live(client, "/api/stories/events") as page:
                with psycopg.connect(server, autocommit=True) as admin:
                    admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
                    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
                    assert await page.ended()
                    answer = await client.get("/api/stories/events")
                    assert answer.status_code == 503
                    admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            async with live(client, "/api/stories/events") as page:
                process.terminate()
                assert await page.ended()
                await asyncio.to_thread(process.wait, 10)


async def test_who_leaves_makes_room(database_url: str, tmp_path: Path) -> None:
    async with a_desk(database_url, tmp_path) as desk:
        client = await desk.key()
        address = {"Authorization": client.headers["Authorization"]}
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(desk.app, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server._serve([listener]))  # without its signal handlers
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/stories/events"
        streams = desk.site.streams
        async with httpx.AsyncClient(headers=address) as browser:
            async with browser.stream("GET", url), browser.stream("GET", url):
                assert len(streams.open) == 2
            await asyncio.to_thread(until, lambda: not streams.open)
        server.should_exit = True
        await serving


async def test_a_connection_lasts_for_a_while_and_no_longer_than_the_process() -> None:
    stream = Stream(Actor("key CMS", Role.EDITOR))
    assert len([None async for _ in Streams(longest=0.01).looks(stream, every=0)]) > 1
    streams = Streams()
    looks = streams.looks(stream, every=0)
    await anext(looks)
    streams.end()
    assert [None async for _ in looks] == []
