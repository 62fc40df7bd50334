"""A database that goes away in the middle of an alert, with real workers that are started again as `up` does it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.sink import Sink
from tests.test_fanout import Desk, db, desk, many_readers, sink
from tests.test_poll import killed, number, until

__all__ = ["db", "desk", "sink"]


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
    name = make_url(database_url).database
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (name,),
        )
        before = sink.accepted.total()
        await asyncio.sleep(1)
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
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
