"""Lookups: a door asks, a real worker looks at real pages, and the answer is a sentence."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Sessions
from app.domain import lookups
from app.domain.editors import Role
from app.domain.lookups import Kind, Lookup, a_lookup
from tests.desk import Desk, a_desk
from tests.publisher import Publisher
from tests.test_api import explained
from tests.test_poll import Newsstand, db, newsstand, number, rss, until, worker
from worker.fetch import Publishers, Seen, Unreachable
from worker.lookup import LookUp, link_in_words, title_of
from worker.parser_process import Parser

__all__ = ["db", "newsstand"]


MOVED = "https://b.example/2?page=1"


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(database_url, tmp_path) as made:
        yield made


@pytest.fixture
def working(db: psycopg.Connection, database_url: str, tmp_path: Path) -> Iterator[None]:
    with worker(database_url, tmp_path):
        until(lambda: number(db, "SELECT count(*) FROM procrastinate_workers"))
        yield


async def test_a_preview_shows_what_a_feed_would_bring_and_keeps_nothing(
    desk: Desk, newsstand: Newsstand, working: None, db: psycopg.Connection
) -> None:
    newsstand.documents = {"rss": rss("Kyiv reopens its metro", "Odesa has a new tram"), "page": b"<html>no feed"}
    owner = await desk.somebody(Role.OWNER)
    said = (await owner.post("/api/feeds/preview", json={"url": f"{newsstand.url}/rss"})).json()
    assert (said["title"], said["trouble"], said["count"]) == ("The Stand", "", 2)
    first = said["entries"][0]
    assert (first["title"], first["topics"], first["tags"]) == ("Kyiv reopens its metro", ["ukraine"], ["Ukraine"])
    broken = (await owner.post("/api/feeds/preview", json={"url": f"{newsstand.url}/page"})).json()
    assert broken["entries"] == []
    assert broken["trouble"].endswith(".")
    missing = (await owner.post("/api/feeds/preview", json={"url": f"{newsstand.url}/nothing"})).json()
    assert "404" in missing["trouble"]
    assert db.execute("SELECT count(*) FROM stories").fetchone() == (0,)


async def test_a_link_is_looked_at_as_a_reader_would(desk: Desk, publisher: Publisher, working: None) -> None:
    url = publisher.publish("Ceasefire & after", tags=["Ukraine"]).url
    writer = await desk.somebody(Role.WRITER)
    said = (await writer.post("/api/links/check", json={"url": url})).json()
    assert said == {
        "status": 200,
        "ok": True,
        "sentence": "It answers 200: “Ceasefire & after”.",
        "title": "Ceasefire & after",
    }
    gone = (await writer.post("/api/links/check", json={"url": url + "-not"})).json()
    assert (gone["status"], gone["ok"]) == (404, False)
    assert gone["sentence"] == "It answers 404: readers would find nothing there."
    nobody = (await writer.post("/api/links/check", json={"url": "http://127.0.0.1:9/"})).json()
    assert (nobody["status"], nobody["ok"]) == (None, False)
    assert nobody["sentence"].endswith(".")


async def test_who_is_not_signed_in_looks_at_nothing(desk: Desk) -> None:
    explained(await desk.browser().post("/api/links/check", json={"url": "https://news.example"}), 401)


async def test_without_a_worker_it_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.asking.PATIENCE", 0.3)
    writer = await desk.somebody(Role.WRITER)
    answer = await writer.post("/api/links/check", json={"url": "https://news.example"})
    assert "No worker" in explained(answer, 503)


async def test_too_many_questions_at_once_wait(desk: Desk) -> None:
    writer: httpx.AsyncClient = await desk.somebody(Role.WRITER)
    places = desk.site.questions
    for _ in range(10):
        await places.acquire()
    answer = await writer.post("/api/links/check", json={"url": "https://news.example"})
    explained(answer, 429)
    assert answer.headers["Retry-After"] == "3"


async def test_answers_are_kept_for_an_hour(session: AsyncSession) -> None:
    now = datetime.now(UTC)
    old, young = a_lookup(Kind.LINK, "https://old.example", now - timedelta(hours=2)), a_lookup(Kind.LINK, "x", now)
    session.add_all([old, young])
    await session.flush()
    await lookups.forget(session, now)
    session.expunge_all()
    assert await session.get(Lookup, old.id) is None
    assert await session.get(Lookup, young.id) is not None


@pytest.mark.parametrize(
    "found, ok, sentence",
    [
        (Seen(200, None, b""), True, "It answers 200."),
        (Seen(200, None, b"<title>T</title>"), True, "It answers 200: “T”."),
        (Seen(200, MOVED, b""), True, f"It redirects to {MOVED}, which answers 200."),
        (Seen(200, MOVED, b"<title>T</title>"), True, f"It redirects to {MOVED}, which answers 200: “T”."),
        (Seen(410, None, b""), False, "It answers 410: readers would find nothing there."),
        (Seen(404, MOVED, b""), False, "It answers 404: readers would find nothing there."),
        (Seen(403, None, b""), False, "It answers 403 to us. Look whether readers can open it."),
        (Seen(500, None, b""), False, "It answers 500: readers may find an error there."),
        (Unreachable("The name could not be found."), False, "The name could not be found."),
    ],
)
def test_what_a_link_answers_is_a_sentence(found: Seen | Unreachable, ok: bool, sentence: str) -> None:
    told = link_in_words(found)
    assert (told["ok"], told["sentence"]) == (ok, sentence)


@pytest.mark.parametrize(
    "page, title",
    [
        (b"<html><head><TITLE lang=en>One\n &amp; two</title>", "One & two"),
        (b"no title", ""),
        (b"<title>never ended", ""),
        (b"<title>one</title><title>two</title>", "one"),
        (b"<titles>not one</titles><title >one</TITLE >", "one"),
        (b"<title>a&#0;b</title>", ""),
        (b"<title>a\0b&shy;c\x07</title>", "abc"),
        ("<title>Київ</title>".encode("cp1251"), ""),
        (b"<title" * 10_000, ""),  # read once, not once for each
        (b"<title>" * 9_000, ""),
        ("<title>Київ</title>".encode(), "Київ"),
        (b"<title>" + b"x" * 500 + b"</title>", "x" * 200),
    ],
)
def test_the_title_stands_at_the_top_of_the_page(page: bytes, title: str) -> None:
    assert title_of(page) == title


# The worker's side, without a process of its own.


async def looked_up(session: AsyncSession, sessions: Sessions, kind: Kind, url: str, asked_at: datetime) -> Any:
    """The answer of a worker that may not reach private addresses, as in production."""
    asked = a_lookup(kind, url, asked_at)
    session.add(asked)
    await session.flush()
    async with Publishers(allow_private_addresses=False, contact="") as publishers:
        await LookUp(sessions, publishers, Parser()).answer(str(asked.id))
    await session.refresh(asked)
    return asked.answer


@pytest.mark.parametrize(
    "url, says",
    [
        ("http://127.0.0.1:8080/", "public internet"),
        ("http://localhost/", "public internet"),
        ("http://169.254.169.254/latest/meta-data/", "public internet"),
        ("http://[::1]/", "public internet"),
        ("https://news.example:5432/", "Port 5432"),
        ("file:///etc/passwd", "https://"),
        ("nonsense", "https://"),
        ("http://a\x07b/", "not an address"),
    ],
)
async def test_addresses_inside_the_house_are_not_looked_at(
    session: AsyncSession, own_sessions: Sessions, url: str, says: str
) -> None:
    link = await looked_up(session, own_sessions, Kind.LINK, url, datetime.now(UTC))
    assert (link["status"], link["ok"]) == (None, False)
    assert says in link["sentence"]
    feed = await looked_up(session, own_sessions, Kind.FEED, url, datetime.now(UTC))
    assert says in feed["trouble"]
    assert (feed["entries"], feed["count"]) == ([], 0)


async def test_what_nobody_waits_for_any_more_is_not_asked(session: AsyncSession, own_sessions: Sessions) -> None:
    long_ago = datetime.now(UTC) - timedelta(minutes=2)
    assert await looked_up(session, own_sessions, Kind.LINK, "http://127.0.0.1/", long_ago) is None
