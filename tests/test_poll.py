"""Polling through the real worker process: real documents, the baseline, conditional requests, crashes."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import psycopg
import pytest

from app import clock
from app.database import Sessions, transaction
from app.domain.feeds import Feed, Policy, feed_for_change
from app.settings import Settings
from app.sources import add_feed, resume_feed
from app.vapid import make_key
from worker.fetch import Publishers
from worker.parse import Parsed, Unreadable
from worker.parser_process import Parser
from worker.poll import Poller

PROJECT = Path(__file__).parent.parent
# One item stands twice in each of these, under the same address: one story.
TWICE = {"bbc-news-2026-04.xml": 1, "suspilne-ua-2023.xml": 1}


class Newsstand:
    """A publisher on loopback: documents by path, as they are now."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.requests: list[tuple[str, int]] = []
        self.forgetful = False  # It sends everything again, whatever one has already.
        self.on_request: Callable[[], None] = lambda: None
        stand = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = stand.documents.get(unquote(self.path).lstrip("/"))
                etag = f'"{hash(body)}"'
                known = self.headers["If-None-Match"] == etag and not stand.forgetful
                status = 404 if body is None else 304 if known else 200
                stand.requests.append((self.path, status))
                stand.on_request()
                self.send_response(status)
                self.send_header("ETag", etag)
                self.send_header("Content-Length", str(len(body or b"") if status == 200 else 0))
                self.end_headers()
                if status == 200 and body:
                    self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def newsstand() -> Iterator[Newsstand]:
    stand = Newsstand()
    yield stand
    stand.server.shutdown()
    stand.server.server_close()


@pytest.fixture
def db(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO topics (slug, name, description, synonyms) VALUES ('ukraine', 'Ukraine', '', '{}'),"
            " ('russia', 'Russia', '', '{}'), ('world-news', 'World News', '', '{}')"
        )
        yield connection


@contextmanager
def worker(database_url: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process that ends in peace."""
    with killed(database_url, folder) as process:
        yield process
        process.terminate()
        assert process.wait(10) == 0


@contextmanager
def killed(database_url: str, folder: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process that nobody says good-bye to."""
    key = folder / "vapid.pem"
    if not key.exists():
        make_key(key)
    environment = os.environ | {
        "NEWSBELL_DATABASE_URL": database_url,
        "NEWSBELL_DATA_DIR": str(folder),
        "NEWSBELL_ALLOW_PRIVATE_ADDRESSES": "1",
        "NEWSBELL_POLL_FLOOR": "0.2",
    }
    process = subprocess.Popen([sys.executable, "-m", "worker"], cwd=PROJECT, env=environment | more)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def follow(db: psycopg.Connection, url: str, *slugs: str, policy: str = "auto") -> int:
    row = db.execute(
        "INSERT INTO feeds (url, title, policy, misses, trouble, created_at) VALUES (%s, '', %s, 0, '', now())"
        " RETURNING id",
        (url, policy),
    ).fetchone()
    assert row
    db.execute("INSERT INTO feed_topics SELECT %s, id FROM topics WHERE slug = ANY(%s)", (row[0], list(slugs)))
    return int(row[0])


def until(condition: Callable[[], object], limit: float = 60) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.1)


def number(db: psycopg.Connection, query: str, *arguments: object) -> int:
    row = db.execute(query, arguments).fetchone()
    assert row
    return int(row[0])


def rss(*titles: str, tag: str = "Ukraine") -> bytes:
    items = "".join(
        f"<item><title>{t}</title><link>https://news.example/{t.replace(' ', '-')}</link><guid>{t}</guid>"
        f"<category>{tag}</category></item>"
        for t in titles
    )
    return f"<rss version='2.0'><channel><title>The Stand</title>{items}</channel></rss>".encode()


def test_every_item_of_real_publishers_documents_becomes_a_story_with_a_readable_title(
    real_feeds: Path, newsstand: Newsstand, db: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    documents = {file.name: file.read_bytes() for file in real_feeds.iterdir() if file.suffix != ".md"}
    assert len(documents) >= 20
    newsstand.documents = documents
    feeds = {name: follow(db, f"{newsstand.url}/{name}", "world-news") for name in documents}
    with worker(database_url, tmp_path):
        until(lambda: not number(db, "SELECT count(*) FROM feeds WHERE polled_at IS NULL"))
    assert db.execute("SELECT url, trouble FROM feeds WHERE trouble <> ''").fetchall() == []
    found = {
        name: number(db, "SELECT count(*) FROM story_feeds WHERE feed_id = %s", feed) for name, feed in feeds.items()
    }
    items = {name: len(re.findall(rb"<(?:item|entry)[\s>]", body)) for name, body in documents.items()}
    assert found == {name: count - TWICE.get(name, 0) for name, count in items.items()}
    for (title,) in db.execute("SELECT title FROM stories").fetchall():
        assert title.strip()
        assert not re.search(r"\N{REPLACEMENT CHARACTER}|&(?:amp|lt|quot|#\d+);|</?(?:p|b|i|a|br)\b|Ð|Ñ", title), title
    assert number(db, "SELECT count(*) FROM alerts") == 0  # a first poll only remembers


def test_a_backlog_is_remembered_and_only_what_comes_after_it_rings(
    newsstand: Newsstand, db: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    newsstand.documents["a.xml"] = rss("old news", "older news")
    follow(db, f"{newsstand.url}/a.xml", "ukraine")
    with worker(database_url, tmp_path):
        until(lambda: number(db, "SELECT count(*) FROM stories") == 2)
        newsstand.documents["a.xml"] = rss("new news", "old news", "older news")
        until(lambda: number(db, "SELECT count(*) FROM alerts WHERE state = 'finished'") == 1)
        until(lambda: ("/a.xml", 304) in newsstand.requests)
    assert db.execute("SELECT title, state FROM alerts").fetchall() == [("new news", "finished")]


def test_a_draft_feed_waits_for_a_person_and_a_stored_one_stays_silent(
    newsstand: Newsstand, db: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    newsstand.documents |= {"draft.xml": rss("d one"), "store.xml": rss("s one")}
    follow(db, f"{newsstand.url}/draft.xml", "ukraine", policy="draft")
    follow(db, f"{newsstand.url}/store.xml", "ukraine", policy="store")
    with worker(database_url, tmp_path):
        until(lambda: number(db, "SELECT count(*) FROM stories") == 2)
        newsstand.documents |= {"draft.xml": rss("d two", "d one"), "store.xml": rss("s two", "s one")}
        until(lambda: number(db, "SELECT count(*) FROM stories") == 4)
    assert db.execute("SELECT title, state FROM alerts").fetchall() == [("d two", "draft")]


def test_one_story_in_two_feeds_is_one_story_with_both_topics_and_one_alert(
    newsstand: Newsstand, db: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    newsstand.documents |= {"r.xml": rss("x", tag=""), "u.xml": rss("x", tag="")}
    follow(db, f"{newsstand.url}/r.xml", "russia")
    follow(db, f"{newsstand.url}/u.xml", "ukraine")
    with worker(database_url, tmp_path):
        until(lambda: number(db, "SELECT count(*) FROM feeds WHERE baseline_at IS NOT NULL") == 2)
        newsstand.documents |= {"r.xml": rss("both", "x", tag=""), "u.xml": rss("both", "x", tag="")}
        until(lambda: number(db, "SELECT count(*) FROM alert_topics") == 2)
    assert number(db, "SELECT count(*) FROM alerts") == 1
    assert number(db, "SELECT count(*) FROM stories WHERE title = 'both'") == 1


def test_workers_killed_at_the_worst_moments_lose_no_story_and_ring_each_once(
    newsstand: Newsstand, db: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    newsstand.documents["k.xml"] = rss("start")
    follow(db, f"{newsstand.url}/k.xml", "ukraine")
    with worker(database_url, tmp_path):
        until(lambda: number(db, "SELECT count(*) FROM feeds WHERE baseline_at IS NOT NULL") == 1)

    # While the document is being fetched: nothing is committed yet.
    newsstand.documents["k.xml"] = rss("one", "start")
    with killed(database_url, tmp_path) as process:
        newsstand.on_request = process.kill
        process.wait(60)
    newsstand.on_request = lambda: None
    assert number(db, "SELECT count(*) FROM stories") == 1

    # Just after the commit: the job is done and nobody could say so.
    with killed(database_url, tmp_path) as process:
        until(lambda: number(db, "SELECT count(*) FROM stories") == 2)
        process.kill()
    newsstand.documents["k.xml"] = rss("two", "one", "start")
    with worker(database_url, tmp_path):
        until(lambda: number(db, "SELECT count(*) FROM alerts WHERE state = 'finished'") == 2)
    assert db.execute("SELECT title FROM alerts ORDER BY title").fetchall() == [("one",), ("two",)]
    assert number(db, "SELECT count(*) FROM stories") == 3


async def test_a_paused_feed_is_silent_from_that_moment_and_begins_anew(
    newsstand: Newsstand, db: psycopg.Connection, database_url: str, sessions: Sessions, tmp_path: Path
) -> None:
    newsstand.documents["p.xml"] = rss("old")
    feed = follow(db, f"{newsstand.url}/p.xml", "ukraine")

    def pause() -> None:
        db.execute("UPDATE feeds SET paused_at = now() WHERE id = %s", [feed])

    doing = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'poll_feed' AND status IN ('todo', 'doing')"
    with worker(database_url, tmp_path):
        until(lambda: number(db, "SELECT count(*) FROM feeds WHERE baseline_at IS NOT NULL") == 1)

        # It is paused while its publisher is being asked.
        newsstand.on_request = pause
        until(lambda: number(db, "SELECT count(*) FROM feeds WHERE paused_at IS NOT NULL") == 1)
        newsstand.documents["p.xml"] = rss("meanwhile", "old")
        until(lambda: number(db, doing) == 0)
        newsstand.on_request = lambda: None
        asked = len(newsstand.requests)
        assert number(db, "SELECT count(*) FROM stories") == 1

        async with transaction(sessions) as session:
            await resume_feed(session, await feed_for_change(session, feed))
        until(lambda: number(db, "SELECT count(*) FROM stories") == 2)
        assert len(newsstand.requests) > asked
        assert number(db, "SELECT count(*) FROM alerts") == 0  # what came out meanwhile is remembered only
        newsstand.documents["p.xml"] = rss("after", "meanwhile", "old")
        until(lambda: number(db, "SELECT count(*) FROM alerts WHERE state = 'finished'") == 1)
    assert db.execute("SELECT title FROM alerts").fetchall() == [("after",)]


def test_a_feed_says_why_it_is_asked_when(
    newsstand: Newsstand, db: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    newsstand.documents["w.xml"] = rss("news")
    well = follow(db, f"{newsstand.url}/w.xml", "ukraine")
    lost = follow(db, f"{newsstand.url}/lost.xml", "ukraine")
    because = "SELECT count(*) FROM feeds WHERE id = %s AND next_poll_because LIKE %s"
    with worker(database_url, tmp_path):
        until(lambda: number(db, because, well, "Every 1 second."))
        until(lambda: number(db, because, lost, "It failed 2 times in a row, so%"))


# Who hangs


async def test_publishers_who_hang_keep_nobody_waiting(
    newsstand: Newsstand, db: psycopg.Connection, sessions: Sessions, database_url: str, tmp_path: Path
) -> None:
    """Sixty feeds of thirty-one servers that take a connection and say nothing; then somebody adds one that is well."""
    with ExitStack() as hanging:
        servers = [hanging.enter_context(socket.create_server(("127.0.0.1", 0), backlog=99)) for _ in range(31)]
        ports = [server.getsockname()[1] for server in servers]
        for count, port in enumerate(ports + ports[:1] * 29):
            follow(db, f"http://127.0.0.1:{port}/{count}.xml", "russia")
        newsstand.documents["new.xml"] = rss("news")
        under_way = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing' AND task_name = 'poll_feed'"
        with worker(database_url, tmp_path):
            until(lambda: number(db, under_way) >= 8)
            await asyncio.sleep(1)
            async with transaction(sessions) as session:
                await add_feed(session, f"{newsstand.url}/new.xml", ["ukraine"], Policy.AUTO, clock.now())
            added = time.monotonic()
            until(lambda: newsstand.requests)
            assert time.monotonic() - added < 4  # On an idle machine it is asked at once.


# What reading costs


class CountingParser(Parser):
    """The real one; `asked` is how often."""

    asked = 0

    async def parse(
        self, body: bytes, *, content_type: str | None, url: str, takes_long: bool = False
    ) -> Parsed | Unreadable:
        self.asked += 1
        return await super().parse(body, content_type=content_type, url=url, takes_long=takes_long)


@pytest.fixture
async def poller(sessions: Sessions, tmp_path: Path) -> AsyncIterator[Poller]:
    async with Publishers(allow_private_addresses=True, contact="") as publishers:
        parser = CountingParser(quick=0.2, costly=0.5)
        yield Poller(sessions, publishers, parser, Settings(data_dir=tmp_path))
        await parser.aclose()


async def the_feed(sessions: Sessions, feed_id: int) -> Feed:
    async with transaction(sessions) as session:
        return await feed_for_change(session, feed_id)


async def test_a_document_that_costs_too_much_is_read_once_and_its_feed_is_asked_rarely(
    newsstand: Newsstand, db: psycopg.Connection, sessions: Sessions, poller: Poller
) -> None:
    assert isinstance(poller.parser, CountingParser)
    newsstand.documents["h.xml"] = rss("start")
    feed_id = follow(db, f"{newsstand.url}/h.xml", "ukraine")
    await poller.poll_feed(feed_id)
    newsstand.documents["h.xml"] = b"<rss version='2.0'><channel>" + b'<a href="' * 300_000
    for _ in range(3):
        await poller.poll_feed(feed_id)
        feed = await the_feed(sessions, feed_id)
        assert feed.trouble == "Reading this feed takes more than 0.5 s of computing, so it was given up."
        assert feed.next_poll_because == "Reading it costs too much, so it is left alone for 6 hours."
        assert feed.polled_at and feed.next_poll_at and feed.next_poll_at - feed.polled_at >= timedelta(hours=6)
    assert poller.parser.asked == 2  # The second and third time it was the same document.
    newsstand.documents["h.xml"] = rss("news", "start")
    await poller.poll_feed(feed_id)
    feed = await the_feed(sessions, feed_id)
    assert (feed.trouble, feed.next_poll_because) == ("", "Every 3 minutes.")
    assert db.execute("SELECT title FROM alerts").fetchall() == [("news",)]


async def test_the_same_document_is_not_read_again(
    newsstand: Newsstand, db: psycopg.Connection, sessions: Sessions, poller: Poller
) -> None:
    assert isinstance(poller.parser, CountingParser)
    newsstand.documents["a.xml"], newsstand.forgetful = rss("start"), True
    feed_id = follow(db, f"{newsstand.url}/a.xml", "ukraine")
    for _ in range(3):
        await poller.poll_feed(feed_id)
    assert (poller.parser.asked, len(newsstand.requests)) == (1, 3)
    assert (await the_feed(sessions, feed_id)).trouble == ""
    newsstand.documents["a.xml"] = rss("news", "start")
    await poller.poll_feed(feed_id)
    assert db.execute("SELECT title FROM alerts").fetchall() == [("news",)]
