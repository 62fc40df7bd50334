"""Connections to the database that go silent: they are found out in time, and replaced."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app import clock, database
from app.database import transaction
from app.domain.alerts import Level, an_alert
from app.domain.topics import topics_named
from app.release import release
from tests.proxy import Proxy, proxied
from tests.sink import Sink
from tests.test_fanout import db, many_readers, sink
from tests.test_poll import Newsstand, follow, killed, newsstand, number, rss, until
from tests.web import web

__all__ = ["db", "newsstand", "sink"]


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    with proxied(database_url) as made:
        yield made


async def test_a_silent_connection_is_replaced_and_those_that_wait_at_others_are_set_free(proxy: Proxy) -> None:
    engine = database.connect(proxy.url)
    sessions = database.sessions_of(engine)

    async def ask(question: str) -> object:
        async with transaction(sessions) as session:
            return await session.scalar(text(question))

    await asyncio.gather(*[ask("SELECT pg_sleep(0.3)") for _ in range(4)])  # four connections in the pool
    at_work = asyncio.create_task(ask("SELECT pg_sleep(0.5)"))
    await asyncio.sleep(0.2)
    assert proxy.silence() == 4
    began = time.monotonic()
    assert await ask("SELECT 1") == 1
    assert time.monotonic() - began < 5
    with pytest.raises(DBAPIError):
        await asyncio.wait_for(at_work, 2)
    began = time.monotonic()
    assert await asyncio.gather(*[ask("SELECT 1") for _ in range(4)]) == [1] * 4
    assert time.monotonic() - began < 1
    await engine.dispose()


async def readyz(site: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=5) as client:
        return await client.get(f"{site}/readyz")


async def test_when_all_connections_go_silent_polls_and_sends_go_on_and_readyz_says_so_meanwhile(
    proxy: Proxy, sessions: database.Sessions, db: psycopg.Connection, sink: Sink, newsstand: Newsstand, tmp_path: Path
) -> None:
    newsstand.documents["feed.xml"] = rss("One")
    follow(db, f"{newsstand.url}/feed.xml", "ukraine")
    many_readers(db, sink.url, 50)
    with ExitStack() as alive:
        site, _ = alive.enter_context(web(proxy.url, tmp_path))
        worker = alive.enter_context(killed(proxy.url, tmp_path))
        await asyncio.to_thread(until, lambda: number(db, "SELECT count(*) FROM stories") == 1)
        await asyncio.to_thread(until, lambda: number(db, "SELECT count(*) FROM procrastinate_workers") == 4)
        assert (await readyz(site)).json() == {"status": "ready", "warnings": []}

        assert proxy.silence() > 10
        began = time.monotonic()
        unready = await readyz(site)
        assert unready.status_code == 503 and "database does not answer" in unready.text
        assert time.monotonic() - began < 3
        polls = len(newsstand.requests)
        async with transaction(sessions) as session:
            ukraine = await topics_named(session, ["ukraine"])
            alert = an_alert(
                title="Meanwhile", url="https://news.example/1", topics=ukraine, level=Level.BREAKING, now=clock.now()
            )
            session.add(alert)
            await release(session, alert, clock.now())
        await asyncio.to_thread(until, lambda: sink.accepted.total() == 50, 15)
        await asyncio.to_thread(until, lambda: len(newsstand.requests) > polls, 15)
        took = time.monotonic() - began
        assert worker.poll() is None  # it need not die for it
        assert (await readyz(site)).status_code == 200
    assert took < 15
