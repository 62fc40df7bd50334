"""Idempotency-Key: a POST that is sent again is answered again, and nothing is done twice. With real servers, too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import psycopg
import pytest
from sqlalchemy import func, select

from app.database import Sessions, connect, sessions_of, transaction
from app.domain import requests
from app.domain.alerts import Alert
from app.domain.editors import Role
from app.domain.refusals import Refusal
from app.domain.requests import AnsweredRequest
from tests.desk import Desk, a_database, desk
from tests.makers import NOW, a_topic_row, an_api_key_row
from tests.test_alert_routes import add_topics, done, told, words
from tests.test_api import explained
from tests.web import started, wait_until_ready

__all__ = ["desk"]

DAY = timedelta(days=1)


@pytest.fixture(scope="module", autouse=True)
async def topics(desk: Desk) -> None:
    await add_topics(desk)


async def post(client: httpx.AsyncClient, key: str, body: dict[str, Any], path: str = "/api/alerts") -> httpx.Response:
    return await client.post(path, json=body, headers={"Idempotency-Key": key})


def a_key() -> str:
    return str(uuid4())


async def count(sessions: Sessions, title: str) -> int:
    async with transaction(sessions) as session:
        return await session.scalar(select(func.count()).where(Alert.title == title)) or 0


# Over HTTP


async def test_a_body_that_nobody_asked_for_does_not_matter(desk: Desk) -> None:
    client = await desk.key()
    alert = done(await client.post("/api/alerts", json=words()), 201)
    await told(client, alert, "release")
    for body in (b"[" * 16_000, b"9" * 5_000, b"\xff\x00"):
        answer = await client.post(
            f"/api/alerts/{alert['id']}/undo", content=body, headers={"Idempotency-Key": a_key()}
        )
        assert answer.status_code in (200, 409), answer.text


async def test_a_request_that_is_sent_again_is_answered_the_same(desk: Desk) -> None:
    client, key, wish = await desk.key(), a_key(), words()
    first = await post(client, key, wish)
    assert "idempotency-replayed" not in first.headers
    await client.delete(f"/api/alerts/{done(first, 201)['id']}")  # whatever became of it since
    again = await post(client, key, dict(reversed(wish.items())))  # the same, spelt differently
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert await count(desk.sessions, wish["title"]) == 0


async def test_without_a_key_two_requests_are_two(desk: Desk) -> None:
    client, wish = await desk.key(), words()
    first, second = [done(await client.post("/api/alerts", json=wish), 201) for _ in range(2)]
    assert first["id"] != second["id"]


async def test_a_key_names_one_request(desk: Desk) -> None:
    client, key = await desk.key(), a_key()
    alert, other = done(await post(client, key, words()), 201), done(await post(client, a_key(), words()), 201)
    assert "another request" in explained(await post(client, key, words()), 422)
    released = done(await post(client, key, {}, f"/api/alerts/{alert['id']}/release"))  # another route is another name
    assert released["state"] == "scheduled"
    assert "another request" in explained(await post(client, key, {}, f"/api/alerts/{other['id']}/release"), 422)


async def test_a_key_is_its_owners(desk: Desk) -> None:
    key, wish = a_key(), words()
    made = [done(await post(client, key, wish), 201) for client in (await desk.key(), await desk.key())]
    made.append(done(await post(await desk.somebody(), key, wish), 201))
    assert len({alert["id"] for alert in made}) == 3


async def test_what_was_refused_may_be_tried_again(desk: Desk) -> None:
    client, key = await desk.key(), a_key()
    alert = done(await client.post("/api/alerts", json=words()), 201)
    path = f"/api/alerts/{alert['id']}/undo"
    assert (await post(client, key, {}, path)).status_code == 409
    await told(client, alert, "release")
    assert done(await post(client, key, {}, path))["state"] == "draft"
    await told(client, alert, "release")
    assert done(await post(client, key, {}, path))["state"] == "draft"  # the answer of before; nothing is undone
    assert done(await client.get(f"/api/alerts/{alert['id']}"))["state"] == "scheduled"


async def test_a_key_has_a_length(desk: Desk) -> None:
    client = await desk.key()
    assert (await post(client, "k" * 255, words())).status_code == 201
    assert "Idempotency-Key" in explained(await post(client, "k" * 256, words()), 422)


# In the database


async def test_a_twin_waits_for_the_first_and_reads_its_answer(sessions: Sessions) -> None:
    async with transaction(sessions) as first:
        assert await requests.begin(first, b"name", b"said", NOW) is None
        twin = asyncio.create_task(_begin(sessions))
        await asyncio.sleep(0.1)
        assert not twin.done()
        await requests.end(first, b"name", 201, {"id": 7})
    before = await twin
    assert before is not None
    assert (before.status, before.answer) == (201, {"id": 7})


async def test_a_twin_of_one_that_failed_is_the_first(sessions: Sessions) -> None:
    with pytest.raises(RuntimeError):
        async with transaction(sessions) as first:
            await requests.begin(first, b"name", b"said", NOW)
            twin = asyncio.create_task(_begin(sessions))
            await asyncio.sleep(0.1)
            raise RuntimeError
    assert await twin is None


async def _begin(sessions: Sessions) -> AnsweredRequest | None:
    async with transaction(sessions) as session:
        return await requests.begin(session, b"name", b"said", NOW)


async def test_answers_are_forgotten_after_a_day(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        await requests.begin(session, b"old", b"said", NOW - DAY - timedelta(seconds=1))
        await requests.begin(session, b"new", b"said", NOW - DAY)
        await requests.forget(session, NOW)
        assert (await session.scalars(select(AnsweredRequest.name))).all() == [b"new"]
        with pytest.raises(Refusal, match="new key for a new request"):
            await requests.begin(session, b"new", b"something else", NOW)


# Real servers, real simultaneity


class Two(NamedTuple):
    """Two web processes on one database, and a CMS that speaks to both."""

    database_url: str
    one: httpx.AsyncClient
    other: httpx.AsyncClient

    async def at_once(self, *asked: tuple[str, dict[str, Any], str | None]) -> list[httpx.Response]:
        """The first at one, the second at the other, at the same moment."""
        return await asyncio.gather(
            *(
                client.post(path, json=body, headers={"Idempotency-Key": key} if key else {})
                for client, (path, body, key) in zip((self.one, self.other), asked, strict=True)
            )
        )


@pytest.fixture(scope="module")
async def two(server: str, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Two]:
    folder = tmp_path_factory.mktemp("two")
    with a_database(server, "two") as url, ExitStack() as servers:
        both = [servers.enter_context(started(url, folder)) for _ in range(2)]
        engine = connect(url)
        async with transaction(sessions_of(engine)) as session:
            await a_topic_row(session)
            key = await an_api_key_row(session, Role.EDITOR)
        await engine.dispose()
        for address, process in both:
            wait_until_ready(address, process)
        headers = {"Authorization": f"Bearer {key}"}
        one, other = (httpx.AsyncClient(base_url=address, headers=headers) for address, _ in both)
        async with one, other:
            yield Two(url, one, other)


def statuses(answers: list[httpx.Response]) -> list[int]:
    return sorted(answer.status_code for answer in answers)


async def one_alert(two: Two) -> None:
    """One POST and its repeat make it; two editors release it."""
    wish, key = words(), a_key()
    made = await two.at_once(("/api/alerts", wish, key), ("/api/alerts", wish, key))
    assert statuses(made) == [201, 201]
    assert made[0].content == made[1].content
    release = f"/api/alerts/{made[0].json()['id']}/release"
    assert statuses(await two.at_once((release, {}, None), (release, {}, None))) == [200, 409]


async def test_of_two_requests_at_the_same_moment_one_alert_comes_a_hundred_times(two: Two) -> None:
    for _ in range(20):
        await asyncio.gather(*(one_alert(two) for _ in range(5)))
    with psycopg.connect(two.database_url) as connection:
        alerts = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE state = 'scheduled') FROM alerts"
        ).fetchone()
        jobs = connection.execute(
            "SELECT count(DISTINCT args->>'alert_id'), count(*) FROM procrastinate_jobs"
        ).fetchone()
    assert alerts == jobs == (100, 100)


async def test_of_two_drafts_of_one_story_that_are_released_at_the_same_moment_one_goes_out(two: Two) -> None:
    for _ in range(10):
        url = words()["url"]
        twins = [done(await two.one.post("/api/alerts", json=words(url=url)), 201)["id"] for _ in range(2)]
        one, other = (f"/api/alerts/{twin}/release" for twin in twins)
        assert statuses(await two.at_once((one, {}, None), (other, {}, None))) == [200, 409]


async def test_a_repeat_of_a_decision_is_one(two: Two) -> None:
    alert, key = done(await two.one.post("/api/alerts", json=words()), 201), a_key()
    release = f"/api/alerts/{alert['id']}/release"
    assert statuses(await two.at_once((release, {}, key), (release, {}, key))) == [200, 200]
