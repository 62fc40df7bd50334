"""No gap in the audit: what changes something at the desk or by a command is written down, or is listed here as not.

Who adds a route or a command is asked by these tests what it writes.
"""

import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
import typer.main
from sqlalchemy import func, select

from app.cli import cli
from app.database import transaction
from app.domain.audit import AuditEntry
from app.domain.editors import Role, editor_by_id
from tests.desk import Desk, a_database, a_desk
from tests.makers import a_push_subscription, a_topic_row, signed_in
from tests.terminal import Terminal
from tests.test_guards import operations

Json = dict[str, Any]
IN_AN_HOUR = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"

# What a person or a program asks at the desk, and nothing is different afterwards.
CHANGE_NOTHING = {"POST /api/advice", "POST /api/feeds/preview", "POST /api/links/check"}


@pytest.fixture(scope="module")
async def desk(server: str, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """Where breaking alerts take two people."""
    with a_database(server, "audit_gaps") as url:
        async with a_desk(url, tmp_path_factory.mktemp("audit_gaps"), two_people_levels="breaking") as made:
            yield made


@dataclass
class Work:
    """A day at the desk of somebody who owns it, with a colleague."""

    desk: Desk
    owner: httpx.AsyncClient
    colleague: httpx.AsyncClient

    async def alert(self, **more: Any) -> str:
        words = {"title": f"Truce {time.monotonic_ns()}", "url": f"https://a.example/{time.monotonic_ns()}"}
        answer = await self.owner.post("/api/alerts", json={"topics": ["ukraine"]} | words | more)
        return str(answer.json()["id"])

    async def released(self, **more: Any) -> str:
        id = await self.alert(**more)
        await self.owner.post(f"/api/alerts/{id}/release", json={"again": True})
        return id

    async def out(self) -> str:
        """Released, and its ten seconds are over."""
        id = await self.released()
        with psycopg.connect(self.desk.site.settings.database_url) as db:
            db.execute("UPDATE alerts SET state = 'sending', released_at = now() WHERE id = %s", [id])
        return id

    async def feed(self) -> int:
        url = f"https://publisher.example/{time.monotonic_ns()}"
        return int((await self.owner.post("/api/feeds", json={"url": url, "topics": ["ukraine"]})).json()["id"])

    async def topic(self) -> str:
        slug = f"topic-{time.monotonic_ns()}"
        await self.owner.post("/api/topics", json={"slug": slug, "name": slug})
        return slug

    async def editor(self) -> int:
        email = f"e{time.monotonic_ns()}@news.example"
        answer = await self.owner.post("/api/editors", json={"email": email, "role": "writer"})
        return int(answer.json()["id"])

    async def key(self) -> int:
        answer = await self.owner.post("/api/keys", json={"name": f"CMS {time.monotonic_ns()}", "role": "writer"})
        return int(answer.json()["id"])

    async def browser(self) -> int:
        wish = {"subscription": a_push_subscription()}
        return int((await self.owner.post("/api/session/browsers", json=wish)).json()["id"])

    async def other_session(self) -> int:
        async with transaction(self.desk.sessions) as session:
            me = (await self.owner.get("/api/session")).json()["editor"]["id"]
            await signed_in(session, await editor_by_id(session, me))
        sessions = (await self.owner.get("/api/sessions")).json()["items"]
        return int(next(one["id"] for one in sessions if not one["current"]))


Asked = tuple[str, Json | None]  # where, and with what
Ask = Callable[[Work], Awaitable[Asked]]


def at(path: str, make: Callable[[Work], Awaitable[object]], body: Json | None = None) -> Ask:
    """With the thing that is made for it before."""

    async def ask(work: Work) -> Asked:
        return path.format(await make(work)), body

    return ask


def just(path: str, body: Json | None = None) -> Ask:
    async def ask(work: Work) -> Asked:
        return path, body

    return ask


CHANGES: dict[str, Ask] = {
    "DELETE /api/session": just("/api/session"),
    "DELETE /api/sessions/{id}": at("/api/sessions/{}", Work.other_session),
    "POST /api/session/password": just("/api/session/password", {"new": "nine lanterns over Lisbon"}),
    "POST /api/session/browsers": just("/api/session/browsers", {"subscription": a_push_subscription()}),
    "DELETE /api/session/browsers/{id}": at("/api/session/browsers/{}", Work.browser),
    "POST /api/editors": just("/api/editors", {"email": "new@news.example", "role": "writer"}),
    "PATCH /api/editors/{id}": at("/api/editors/{}", Work.editor, {"name": "Nell"}),
    "DELETE /api/editors/{id}/sessions": at("/api/editors/{}/sessions", Work.editor),
    "POST /api/keys": just("/api/keys", {"name": "the CMS", "role": "writer"}),
    "DELETE /api/keys/{id}": at("/api/keys/{}", Work.key),
    "POST /api/alerts": just("/api/alerts", {"title": "T", "url": "https://a.example/1", "topics": ["ukraine"]}),
    "PATCH /api/alerts/{id}": at("/api/alerts/{}", Work.alert, {"title": "Another"}),
    "DELETE /api/alerts/{id}": at("/api/alerts/{}", Work.alert),
    "POST /api/alerts/{id}/release": at("/api/alerts/{}/release", Work.alert, {"again": True}),
    "POST /api/alerts/{id}/schedule": at("/api/alerts/{}/schedule", Work.alert, {"at": IN_AN_HOUR}),
    "POST /api/alerts/{id}/approve": at("/api/alerts/{}/approve", lambda work: work.released(level="breaking")),
    "POST /api/alerts/{id}/undo": at("/api/alerts/{}/undo", Work.released),
    "POST /api/alerts/{id}/recall": at("/api/alerts/{}/recall", Work.out),
    "POST /api/alerts/{id}/correct": at("/api/alerts/{}/correct", Work.out, {"title": "No truce"}),
    "POST /api/alerts/{id}/test": at("/api/alerts/{}/test", Work.alert),
    "POST /api/feeds": just("/api/feeds", {"url": "https://publisher.example/new", "topics": ["ukraine"]}),
    "PATCH /api/feeds/{id}": at("/api/feeds/{}", Work.feed, {"policy": "draft"}),
    "DELETE /api/feeds/{id}": at("/api/feeds/{}", Work.feed),
    "POST /api/feeds/{id}/poll": at("/api/feeds/{}/poll", Work.feed),
    "POST /api/topics": just("/api/topics", {"slug": "sport", "name": "Sport"}),
    "PATCH /api/topics/{slug}": at("/api/topics/{}", Work.topic, {"name": "Another"}),
    "DELETE /api/topics/{slug}": at("/api/topics/{}", Work.topic),
}
BY_THE_COLLEAGUE = {"POST /api/alerts/{id}/approve"}


async def entries(desk: Desk) -> int:
    async with transaction(desk.sessions) as session:
        return await session.scalar(select(func.count()).select_from(AuditEntry)) or 0


async def test_every_request_that_changes_something_at_the_desk_is_audited(desk: Desk) -> None:
    changing = {
        operation.name for operation, _ in operations(desk) if operation.role and operation.method not in ("GET",)
    }
    assert changing - CHANGE_NOTHING == CHANGES.keys(), "say in this file how the new one is asked, or why not"
    async with transaction(desk.sessions) as session:
        await a_topic_row(session, "ukraine")
    unaudited = []
    for name, ask in CHANGES.items():
        # A new one each time: some of it signs them out.
        work = Work(desk, await desk.somebody(Role.OWNER), await desk.somebody(Role.EDITOR))
        if name.endswith("/test"):
            await work.browser()
        path, body = await ask(work)
        before = await entries(desk)
        who = work.colleague if name in BY_THE_COLLEAGUE else work.owner
        answer = await who.request(name.partition(" ")[0], path, json=body)
        assert answer.is_success, f"{name}: {answer.text}"
        if await entries(desk) <= before:
            unaudited.append(name)
    assert unaudited == []


# Commands

# They read, or keep something running, or their work is on this machine and in no database.
WRITE_NOTHING = {"up", "web", "worker", "migrate", "vapid new", "vapid show"}
READ = {"list", "show"}
BENCH = "bench"  # on databases of its own

COMMANDS: dict[str, list[str]] = {
    "topic add": ["russia", "--name", "Russia"],
    "feed add": ["https://publisher.example/2", "--topic", "ukraine"],
    "feed poll": ["https://publisher.example/1"],
    "feed pause": ["https://publisher.example/1"],
    "feed resume": ["https://publisher.example/1"],
    "feed remove": ["https://publisher.example/1"],
    "alert send": ["--title", "Truce", "--url", "https://a.example/1", "--topic", "ukraine"],
    "alert recall": ["111111"],
    "alert correct": ["222222", "--title", "No truce"],
    "editor add": ["grace@desk.example"],
    "editor link": ["grace@desk.example"],
    "editor disable": ["grace@desk.example"],
    "lane resume": ["https://push.example"],
    "lane confirm": ["https://push.example"],
    "lane dismiss": ["https://push.example"],
}


def commands(group: Any, *before: str) -> Iterator[str]:
    if not hasattr(group, "commands"):
        yield " ".join(before)
        return
    for name, command in group.commands.items():
        yield from commands(command, *before, name)


@contextmanager
def all_is_sent_and_polled(url: str) -> Iterator[None]:
    """In place of a worker, which the commands would wait for: what there is to do counts as done at once."""
    over = threading.Event()

    def work() -> None:
        with psycopg.connect(url, autocommit=True) as db:
            while not over.wait(0.05):
                db.execute(
                    "UPDATE alerts SET finished_at = now(), state = CASE WHEN state = 'recalled' THEN state"
                    " ELSE 'finished' END WHERE released_at IS NOT NULL AND finished_at IS NULL AND title <> 'Out'"
                )
                db.execute("UPDATE feeds SET polled_at = now() + interval '1 minute'")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_every_command_that_changes_something_is_audited(terminal: Terminal, database_url: str) -> None:
    there = {name for name in commands(typer.main.get_command(cli)) if not name.startswith(BENCH)}
    changing = {name for name in there - WRITE_NOTHING if name.split()[-1] not in READ}
    assert changing == COMMANDS.keys(), "say in this file how the new one is given, or why it is not audited"
    terminal.said("topic", "add", "ukraine", "--name", "Ukraine")
    terminal.said("feed", "add", "https://publisher.example/1", "--topic", "ukraine")
    with psycopg.connect(database_url, autocommit=True) as db:
        for digit in "12":
            db.execute(
                "INSERT INTO alerts (id, title, body, url, level, ttl, state, recipients, created_at, released_at)"
                " VALUES (%s, 'Out', '', 'https://a.example/', 'normal', 600, 'sending', 0, now(), now())",
                [f"{digit * 8}-1111-1111-1111-111111111111"],
            )
        db.execute("INSERT INTO lanes (origin, since, breaks, alarm) VALUES ('https://push.example', now(), 0, 'Look')")
        with all_is_sent_and_polled(database_url):
            for name, arguments in COMMANDS.items():
                [(before,)] = db.execute("SELECT count(*) FROM audit").fetchall()
                terminal.said(*name.split(), *arguments)
                noted = db.execute("SELECT actor, action FROM audit ORDER BY id OFFSET %s", [before]).fetchall()
                assert noted and {actor for actor, _ in noted} == {"command line"}, name
        [(confirmed,)] = db.execute("SELECT detail FROM audit WHERE action = 'lane.resume'").fetchall()
        assert confirmed == {"alarm": "Look"}
