"""Clocks that are wrong: the database's time decides, whatever a machine says, and somebody is told."""

import asyncio
import base64
import secrets
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import httpx
import psycopg
import pytest

from app.clock import Clock
from tests.sink import Sink
from tests.test_fanout import POINT, Desk, db, desk, many_readers, sink
from tests.test_poll import killed, number, until
from tests.web import web

__all__ = ["db", "desk", "sink"]

LIBFAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def an_hour(way: str) -> dict[str, str]:
    """An environment in which the clock is an hour ahead (`+`) or behind (`-`)."""
    assert LIBFAKETIME, "install faketime (Debian: apt-get install faketime), as ./newsbell test does"
    return {"LD_PRELOAD": str(LIBFAKETIME[0]), "FAKETIME": f"{way}3600", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


class Machine:
    """A machine whose clock and whose stopwatch a test turns by hand."""

    def __init__(self) -> None:
        self.says, self.stopwatch = 1_000_000.0, 50.0
        self.clock = Clock(lambda: self.says, lambda: self.stopwatch)

    def passes(self, seconds: float) -> None:
        self.says, self.stopwatch = self.says + seconds, self.stopwatch + seconds


def test_time_goes_on_from_the_databases_answer_whatever_the_machine_says() -> None:
    machine = Machine()
    assert machine.clock.now().timestamp() == 1_000_000  # never asked
    machine.clock.learn(2_000_000, asked=50, answered=50.2)
    machine.passes(10)
    assert machine.clock.now().timestamp() == pytest.approx(2_000_009.9)
    machine.says = 5  # somebody sets the machine's clock
    assert machine.clock.now().timestamp() == pytest.approx(2_000_009.9)
    assert machine.clock.is_wrong


def test_a_slow_answer_does_not_make_the_time_jump() -> None:
    machine = Machine()
    machine.clock.learn(2_000_000, asked=50, answered=50.002)
    before = machine.clock.now()
    machine.passes(10)
    machine.clock.learn(2_000_010.9, asked=60, answered=62)  # true at some moment within these two seconds
    assert machine.clock.now() - before == timedelta(seconds=10)


def test_a_database_whose_time_is_set_is_followed() -> None:
    machine = Machine()
    machine.clock.learn(2_000_000, asked=50, answered=50)
    machine.passes(10)
    machine.clock.learn(2_003_610, asked=60, answered=60)
    assert machine.clock.now().timestamp() == 2_003_610


@pytest.mark.parametrize("ahead, wrong", [(4.9, False), (5.1, True), (-4.9, False), (-5.1, True)])
def test_a_machine_may_differ_by_five_seconds(ahead: float, wrong: bool) -> None:
    machine = Machine()
    machine.clock.learn(machine.says - ahead, asked=50, answered=50)
    assert machine.clock.ahead == pytest.approx(ahead)
    assert machine.clock.is_wrong is wrong


async def test_an_hour_ahead_and_an_hour_behind_nobody_expires_early_or_late_and_no_lane_closes_for_long(
    desk: Desk, db: psycopg.Connection, sink: Sink, database_url: str, tmp_path: Path
) -> None:
    many_readers(db, sink.url, 6000)
    busy_until = time.monotonic() + 1e9
    sink.answer = lambda name, times: "503 Busy" if time.monotonic() < busy_until else "201 Created"
    with ExitStack() as stack:
        for way in "+-":
            stack.enter_context(killed(database_url, tmp_path, **an_hour(way)))
        url, _ = stack.enter_context(web(database_url, tmp_path, **an_hour("+")))
        await asyncio.to_thread(until, lambda: number(db, "SELECT count(*) FROM wrong_clocks") == 3)
        short = await desk.ring(ttl=timedelta(minutes=1))
        db.execute("UPDATE alerts SET ttl = 4")  # less than a person may ask for, so that the test need not wait
        await asyncio.to_thread(until, lambda: number(db, "SELECT count(*) FROM lanes WHERE open_at IS NOT NULL") == 1)
        closed = "SELECT extract(epoch FROM max(open_at) - now()) FROM lanes"
        assert number(db, closed) <= 60  # LONGEST_BREAK; an hour where a worker's own clock decided
        finished = f"SELECT count(*) FROM alerts WHERE id = '{short}' AND finished_at IS NOT NULL"
        await asyncio.to_thread(until, lambda: number(db, finished) == 1)
        late = "SELECT extract(epoch FROM finished_at - released_at) - 4 FROM alerts WHERE finished_at IS NOT NULL"
        assert 0 <= number(db, late) <= 2  # a queue looks for what has become due once a second
        assert await desk.counts(short) == {"expired": 6000}

        busy_until = time.monotonic()
        db.execute("DELETE FROM lanes")  # the service has recovered, and is not approached gently: that takes its time
        long = await desk.ring(ttl=timedelta(hours=1))
        done = f"SELECT count(*) FROM alerts WHERE id = '{long}' AND finished_at IS NOT NULL"
        await asyncio.to_thread(until, lambda: number(db, done) == 1)
        assert await desk.counts(long) == {"accepted": 6000}

        async with httpx.AsyncClient(base_url=url) as client:
            await client.post("/api/subscriptions", json=a_subscription())
            warnings = (await client.get("/readyz")).json()["warnings"]
    differs = "SELECT abs(extract(epoch FROM seen_at - now())) FROM subscriptions ORDER BY id DESC LIMIT 1"
    assert number(db, differs) < 60
    assert len(warnings) == 2
    assert "60 minutes ahead of" in warnings[0] + warnings[1] and "60 minutes behind" in warnings[0] + warnings[1]


def a_subscription() -> dict[str, object]:
    keys = {"p256dh": _base64url(POINT), "auth": _base64url(secrets.token_bytes(16))}
    endpoint = f"https://fcm.googleapis.com/fcm/send/{secrets.token_urlsafe(16)}"
    subscription = {"endpoint": endpoint, "keys": keys}
    return {"subscription": subscription, "topics": ["ukraine"], "time_zone": "Europe/Kyiv", "language": "uk"}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
