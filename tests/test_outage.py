"""A database that goes away in the middle of an alert, with real workers that are started again as `up` does it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen

import httpx
import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.sink import Sink
from tests.test_fanout import Desk, db, desk, many_readers, sink
from tests.test_poll import killed, number, until
from tests.web import web
from worker.__main__ import PLACES

__all__ = ["db", "desk", "sink"]


@contextmanager
def away(server: str, database_url: str) -> Iterator[None]:
    """Nobody can connect, and nobody is connected."""
    name = make_url(database_url).database
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (name,),
        )
        try:
            yield
        finally:
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())


class Keeper:
    """Starts a worker again when it ends, as the supervisor does."""

    def __init__(self, database_url: str, folder: Path, alive: ExitStack) -> None:
        self.database_url, self.folder, self.alive = database_url, folder, alive
        self.process: Popen[bytes] | None = None

    def tend(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.process = self.alive.enter_context(killed(self.database_url, self.folder))


@pytest.fixture
def keeper(database_url: str, tmp_path: Path) -> Iterator[Keeper]:
    with ExitStack() as alive:
        yield Keeper(database_url, tmp_path, alive)


async def test_an_alert_outlives_its_database(
    desk: Desk, db: psycopg.Connection, sink: Sink, server: str, database_url: str, keeper: Keeper
) -> None:
    many_readers(db, sink.url, 3000)
    sink.delay = 0.1
    alert_id = await desk.ring()
    keeper.tend()
    await asyncio.to_thread(until, lambda: sink.accepted.total() >= 500)
    with away(server, database_url):
        before = sink.accepted.total()
        await asyncio.sleep(1)
    with psycopg.connect(database_url, autocommit=True) as again:
        end = time.monotonic() + 60
        while number(again, "SELECT count(*) FROM alerts WHERE state = 'finished'") == 0:
            assert time.monotonic() < end, "the alert does not end"
            keeper.tend()
            await asyncio.sleep(0.05)
    assert await desk.counts(alert_id) == {"accepted": 3000}
    assert len(sink.accepted) == 3000
    assert before < 3000  # it really was in the middle
    assert max(sink.accepted.values()) <= 2


async def test_a_database_that_is_away_is_said_in_one_line_and_so_is_its_return(
    server: str,
    database_url: str,
    tmp_path: Path,
    desk: Desk,
    db: psycopg.Connection,
    sink: Sink,
    capfd: pytest.CaptureFixture[str],
) -> None:
    many_readers(db, sink.url, 20)
    db.close()
    with web(database_url, tmp_path) as (site, _), killed(database_url, tmp_path) as worker:
        with psycopg.connect(database_url, autocommit=True) as looking:
            await asyncio.to_thread(
                until, lambda: number(looking, "SELECT count(*) FROM procrastinate_workers") == len(PLACES)
            )
        capfd.readouterr()
        async with httpx.AsyncClient(base_url=site, timeout=10) as reader:
            with away(server, database_url):
                end = time.monotonic() + 6
                while time.monotonic() < end:
                    assert (await reader.get("/api/site")).status_code == 503
                    assert (await reader.get("/readyz")).status_code == 503
                    await asyncio.sleep(0.1)
            await asyncio.to_thread(until, lambda: httpx.get(f"{site}/readyz").status_code == 200)
            assert (await reader.get("/api/site")).status_code == 200
        await desk.ring()
        await asyncio.to_thread(until, lambda: sink.accepted.total() == 20)
        assert worker.poll() is None
        said = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
    of_the_database = [line for line in said if "atabase" in line]
    assert sum("does not answer" in line and "Jobs wait" in line for line in said) == 1, said
    assert sum("does not answer" in line and "answered 503" in line for line in said) == 1, said
    assert sum("answers again, after" in line for line in said) == 2, said
    assert len(of_the_database) == 4 and not any("Traceback" in line for line in said), said
    assert len(said) <= 4 + 3, said  # what the worker says of the alert
