"""`./newsbell alert send` for scripts: what was done is said first, it is done once, and watching cannot fail it."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest
from sqlalchemy.engine import make_url

from app.database import Sessions
from tests.terminal import Ended, Terminal
from tests.test_poll import until
from worker.plan import plan_alert

SEND = ["alert", "send", "--title", "Ceasefire agreed", "--url", "https://news.example/1", "--topic", "ukraine"]


@pytest.fixture
def desk(terminal: Terminal) -> Terminal:
    terminal.said("topic", "add", "ukraine", "--name", "Ukraine")
    return terminal


@pytest.fixture
def other_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread


def alerts(url: str) -> list[tuple[UUID, str]]:
    with psycopg.connect(url) as db:
        return db.execute("SELECT id, level FROM alerts ORDER BY created_at").fetchall()


async def sent(desk: Terminal, sessions: Sessions, database_url: str, *more: str) -> Ended:
    """With a worker that plans each alert; nobody follows the topic."""
    command = asyncio.create_task(asyncio.to_thread(desk.run, *SEND, *more))
    planned: set[UUID] = set()
    while not command.done():
        for id_, _ in alerts(database_url):
            if id_ not in planned:
                planned.add(id_)
                await plan_alert(sessions, id_)
        await asyncio.sleep(0.05)
    return await command


async def test_an_alert_is_normal_unless_it_is_said_to_be_breaking(
    desk: Terminal, sessions: Sessions, database_url: str
) -> None:
    first = await sent(desk, sessions, database_url)
    second = await sent(desk, sessions, database_url, "--level", "breaking")
    (one, normal), (other, breaking) = alerts(database_url)
    assert (normal, breaking) == ("normal", "breaking")
    assert first.said.splitlines()[0] == f"{one}  Released as normal."
    assert second.said.splitlines()[0] == (
        f"{other}  Released as breaking: it rings through quiet hours and daily limits."
    )
    assert (first.code, second.code) == (0, 0)


async def test_who_tries_again_with_the_same_key_rings_once(
    desk: Terminal, sessions: Sessions, database_url: str
) -> None:
    first, again = [await sent(desk, sessions, database_url, "--idempotency-key", "storm 7") for _ in range(2)]
    [(only, _)] = alerts(database_url)
    assert first.said.splitlines()[0] == f"{only}  Released as normal."
    assert again.said.splitlines()[0].startswith(f"{only}  Sent before")
    assert (
        first.said.splitlines()[-1]
        == again.said.splitlines()[-1]
        == "Nobody follows these topics yet, so nobody got it."
    )
    told = desk.json(*SEND, "--idempotency-key", "storm 7")
    assert (told["id"], told["state"], told["replayed"]) == (str(only), "finished", True)
    assert "another request" in desk.refused(*SEND, "--level", "breaking", "--idempotency-key", "storm 7")
    assert "1 to 255" in desk.refused(*SEND, "--idempotency-key", "")
    assert len(alerts(database_url)) == 1


def test_a_refused_command_leaves_its_key_free(desk: Terminal, database_url: str) -> None:
    wrong = [*SEND[:-1], "nowhere", "--idempotency-key", "storm 8"]
    assert "no topic" in desk.refused(*wrong)
    assert "no topic" in desk.refused(*wrong)
    with psycopg.connect(database_url) as db:
        assert db.execute("SELECT count(*) FROM answered_requests").fetchone() == (0,)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_database_that_goes_away_while_it_watches_is_no_failure(
    as_json: bool, desk: Terminal, other_thread: ThreadPoolExecutor, server: str, database_url: str
) -> None:
    command = other_thread.submit(desk.run, *SEND, *(["--json"] if as_json else []))
    until(lambda: len(alerts(database_url)) == 1)
    [(released, _)] = alerts(database_url)
    name = make_url(database_url).database
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        ended = command.result(timeout=30)
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
    assert ended.code == 0, ended
    told = "released; its progress cannot be followed at the moment"
    if as_json:
        assert f'"id": "{released}"' in ended.said and told in ended.complained
    else:
        first, last = ended.said.splitlines()
        assert first == f"{released}  Released as normal."
        assert last == f"{told}: ./newsbell alert show {str(released)[:8]}"


def test_a_database_that_goes_away_before_it_is_done_is_said_with_the_way_out(
    desk: Terminal, other_thread: ThreadPoolExecutor, database_url: str
) -> None:
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(database_url) as busy, psycopg.connect(database_url, autocommit=True) as admin:
        busy.execute("LOCK TABLE alerts")
        command = other_thread.submit(desk.refused, *SEND)
        until(lambda: admin.execute(waiting).fetchone() is not None)
        admin.execute(f"SELECT pg_terminate_backend(pid) FROM ({waiting}) AS them".encode())
        said = command.result(timeout=30)
    assert "went away" in said and "alert list" in said and "--idempotency-key" in said
