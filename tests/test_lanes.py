"""Lanes: a service that is busy, dead, slow or wrong about us costs nobody else anything, and a person is asked."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import select

from app.database import Sessions, transaction
from app.domain.alerts import AlertState, alert_by_id
from app.domain.lanes import (
    GROWTH,
    LONGEST_BREAK,
    PROBE,
    UNLIMITED,
    Lane,
    Tally,
    a_lane,
    every_lane,
    too_many_endings,
    weigh,
)
from app.domain.shards import Planned
from app.domain.subscriptions import end_those_gone
from app.queue import lanes_due
from app.release import recall
from tests.sink import Sink, a_sink
from tests.test_fanout import Desk, a_reader, db, desk, many_readers, sink
from worker.pace import PATIENCE, SHARDS_AT_ONCE, Road
from worker.plan import by_turns

__all__ = ["db", "desk", "sink"]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORIGIN = "https://push.example"


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@pytest.fixture
def other_sink() -> Iterator[Sink]:
    with a_sink() as made:
        yield made


def test_too_many_halves_the_speed_and_good_answers_bring_it_back_bit_by_bit() -> None:
    lane = a_lane(ORIGIN, NOW)
    assert lane.allowed(NOW) is None
    weigh(lane, Tally(accepted=500, throttled=50), 1000.0, NOW)
    assert lane.allowed(NOW) == 500
    assert lane.allowed(NOW + seconds(3)) == 500 + 3 * GROWTH
    weigh(lane, Tally(accepted=500, throttled=50), 800.0, NOW + seconds(3))
    assert lane.allowed(NOW + seconds(3)) == 400
    assert lane.allowed(NOW + seconds(UNLIMITED / GROWTH)) is None


def test_answers_to_what_was_under_way_do_not_halve_it_again() -> None:
    lane = a_lane(ORIGIN, NOW)
    for tenth in range(5):
        weigh(lane, Tally(throttled=5), 1000.0, NOW + seconds(tenth / 10))
    assert lane.rate == 500


def test_what_one_reader_is_asked_to_wait_for_does_not_close_the_lane_and_what_many_are_does() -> None:
    lane = a_lane(ORIGIN, NOW)
    weigh(lane, Tally(accepted=100, throttled=10, asked=seconds(900)), 100.0, NOW)
    assert lane.closed_until(NOW) is None
    weigh(lane, Tally(accepted=100, throttled=40, asked=seconds(900)), 100.0, NOW)
    assert lane.closed_until(NOW) == NOW + seconds(900)
    assert lane.closed_until(NOW + seconds(901)) is None


def test_a_service_that_fails_is_left_alone_longer_each_time_and_tried_again_gently() -> None:
    lane, now, pauses = a_lane(ORIGIN, NOW), NOW, []
    for _ in range(8):
        weigh(lane, Tally(accepted=10, failed=90), 100.0, now)
        until = lane.closed_until(now)
        assert until
        pauses.append((until - now).total_seconds())
        now = until
        assert lane.allowed(now) == PROBE
    assert pauses == [2, 4, 8, 16, 32, *[LONGEST_BREAK.total_seconds()] * 3]
    weigh(lane, Tally(accepted=5), 100.0, now)
    assert lane.breaks == 0


@pytest.mark.parametrize(
    ("tally", "breaks"),
    [
        (Tally(failed=19), 0),  # too few to mean anything
        (Tally(failed=20), 1),
        (Tally(accepted=80, failed=20), 0),
        (Tally(accepted=79, failed=21), 1),
    ],
)
def test_the_breaker_wants_enough_failures(tally: Tally, breaks: int) -> None:
    lane = a_lane(ORIGIN, NOW)
    weigh(lane, tally, 100.0, NOW)
    assert lane.breaks == breaks


@pytest.mark.parametrize(
    ("ended", "recipients", "too_many"), [(50, 60, False), (51, 60, True), (100, 1000, False), (101, 1000, True)]
)
def test_endings_are_too_many_beyond_fifty_and_a_tenth(ended: int, recipients: int, too_many: bool) -> None:
    assert too_many_endings(ended, recipients) is too_many


@pytest.fixture
async def looking(desk: Desk) -> AsyncIterator[Desk]:
    task = asyncio.create_task(desk.pace.run())
    yield desk
    task.cancel()


async def lane_of(sessions: Sessions) -> Lane:
    async with transaction(sessions) as session:
        return (await session.scalars(select(Lane))).one()


async def test_a_dead_service_is_left_alone_and_others_readers_do_not_wait(
    looking: Desk, db: psycopg.Connection, sink: Sink, other_sink: Sink
) -> None:
    many_readers(db, sink.url, 300)
    a_reader(db, f"{other_sink.url}/elsewhere")
    sink.answer = lambda name, times: "503 Service Unavailable"
    alert_id = await looking.ring()
    counts = await looking.send(alert_id)
    assert counts == {"accepted": 1, "waiting": 300}
    assert other_sink.received == {"elsewhere": 1}
    await looking.pace.look(datetime.now(UTC))
    lane = await lane_of(looking.sessions)
    assert (lane.origin, lane.breaks) == (sink.url, 1)
    # While it is closed nothing is sent there, and the work waits in the queue.
    before = sink.received.total()
    await looking.send(alert_id)
    assert sink.received.total() == before
    # It comes back by itself.
    sink.answer = lambda name, times: "201 Created"
    db.execute("UPDATE lanes SET open_at = now()")
    await looking.pace.look(datetime.now(UTC))
    assert await looking.send(alert_id) == {"accepted": 301}


async def test_a_hanging_service_keeps_its_own_places_only(
    desk: Desk, db: psycopg.Connection, sink: Sink, other_sink: Sink
) -> None:
    many_readers(db, sink.url, 50)
    a_reader(db, f"{other_sink.url}/elsewhere")
    sink.delay = 2
    shard_ids = await desk.plan(await desk.ring())
    assert len(shard_ids) == 2
    sending = [asyncio.create_task(desk.send_shard(shard_id)) for shard_id in shard_ids]
    while not other_sink.accepted:  # noqa: ASYNC110 - the sink runs on a thread of its own
        await asyncio.sleep(0.01)
    assert not sink.accepted
    await asyncio.gather(*sending)
    assert sink.accepted.total() == 50


def test_single_readers_limits_do_not_slow_the_lane() -> None:
    lane = a_lane(ORIGIN, NOW)
    weigh(lane, Tally(accepted=980, throttled=10, failed=10, asked=seconds(60)), 3000.0, NOW)
    assert (lane.rate, lane.open_at, lane.breaks) == (None, None, 0)


async def test_shards_without_a_place_wait_and_make_room_when_another_lane_has_work(desk: Desk) -> None:
    async with AsyncExitStack() as taken:
        for _ in range(SHARDS_AT_ONCE):
            last = await taken.enter_async_context(desk.pace.place("https://a.example", urgent=True))
        assert last
        one_more = asyncio.create_task(enter(desk, "https://a.example"))
        await asyncio.sleep(PATIENCE + 0.3)
        assert not one_more.done()
        assert await enter(desk, "https://b.example")
        assert await enter(desk, "https://a.example", urgent=False)  # its own places
        desk.pace.due = [Road("https://a.example", urgent=True), Road("https://b.example", urgent=False)]
        await asyncio.sleep(PATIENCE)
        assert not one_more.done()
        desk.pace.due = [Road("https://b.example", urgent=True)]
        assert await asyncio.wait_for(one_more, PATIENCE) is False
        next_one = asyncio.create_task(enter(desk, "https://a.example"))
        await asyncio.sleep(0)
        last.leave()
        assert await asyncio.wait_for(next_one, PATIENCE) is True
    assert not desk.pace.under_way.total()


async def enter(desk: Desk, lane: str, *, urgent: bool = True) -> bool:
    async with desk.pace.place(lane, urgent=urgent) as place:
        return place is not None


async def test_what_waits_in_the_queue_is_known_by_lane(desk: Desk, db: psycopg.Connection) -> None:
    for lane in ("a", "a", "b"):
        a_reader(db, f"https://{lane}.example/1" + secrets.token_hex(4))
    await desk.plan(await desk.ring())
    async with transaction(desk.sessions) as session:
        assert sorted(await lanes_due(session)) == [("https://a.example", True), ("https://b.example", True)]


def test_lanes_take_turns_in_the_queue() -> None:
    planned = [Planned(n, lane, 1, 1) for n, lane in enumerate("aaaabbc")]
    assert "".join(shard.lane for shard in by_turns(planned)) == "abcabaa"


async def test_a_limited_lane_is_sent_to_no_faster(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    many_readers(db, sink.url, 120)
    desk.pace.throttle.pace(sink.url, 60.0)
    began = asyncio.get_running_loop().time()
    assert await desk.send(await desk.ring()) == {"accepted": 120}
    assert asyncio.get_running_loop().time() - began > 1.5


@pytest.mark.parametrize("refusal", ["401 Unauthorized", "403 Forbidden"])
async def test_a_refused_authorisation_pauses_the_lane_loses_nobody_and_asks(
    desk: Desk, db: psycopg.Connection, sink: Sink, caplog: pytest.LogCaptureFixture, refusal: str
) -> None:
    many_readers(db, sink.url, 40)
    sink.answer = lambda name, times: refusal
    alert_id = await desk.ring()
    for _ in range(2):  # with the token, and with a fresh one
        assert await desk.send(alert_id) == {"waiting": 40}
    lane = await lane_of(desk.sessions)
    assert lane.paused_at
    assert "NEWSBELL_VAPID_SUBJECT" in lane.alarm
    assert sum("ALARM" in record.getMessage() for record in caplog.records) == 1
    tokens = {headers["authorization"] for sent in sink.headers.values() for headers in sent}
    assert len(tokens) == 2
    before = sink.received.total()
    await desk.send(alert_id)
    assert sink.received.total() == before
    assert db.execute("SELECT count(*) FROM subscriptions WHERE ended_at IS NOT NULL").fetchone() == (0,)
    # A person puts it right.
    sink.answer = lambda name, times: "201 Created"
    db.execute("UPDATE lanes SET paused_at = NULL")
    await desk.pace.look(datetime.now(UTC))
    assert await desk.send(alert_id) == {"accepted": 40}
    assert (await desk.alert(alert_id)).state is AlertState.FINISHED


async def test_readers_of_another_key_are_kept_and_a_person_is_asked(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 40)
    body = "the VAPID credentials in the authorization header do not correspond to the credentials used"
    refusal = f"403 Forbidden\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    sink.answer = lambda name, times: refusal if int(name) <= 10 else "201 Created"
    assert await desk.send(await desk.ring()) == {"accepted": 30, "refused": 10}
    lane = await lane_of(desk.sessions)
    assert "another VAPID key" in lane.alarm
    assert not lane.paused_at
    assert db.execute("SELECT count(*) FROM subscriptions WHERE ended_at IS NOT NULL").fetchone() == (0,)


async def test_an_implausible_share_of_endings_stops_them_and_asks(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 200)
    sink.answer = lambda name, times: "410 Gone" if int(name) <= 120 else "201 Created"
    assert await desk.send(await desk.ring()) == {"accepted": 80, "gone": 120}
    ended = db.execute("SELECT count(*) FROM subscriptions WHERE ended_at IS NOT NULL").fetchone()
    assert ended and ended[0] <= 50
    lane = await lane_of(desk.sessions)
    assert lane.endings_stopped_at
    assert "120 of 200" in lane.alarm
    db.execute("UPDATE subscriptions SET seen_at = seen_at - interval '1 day'")
    db.execute("UPDATE subscriptions SET seen_at = now() + interval '1 second' WHERE endpoint LIKE '%/7'")
    async with transaction(desk.sessions) as session:
        await end_those_gone(session, sink.url, datetime.now(UTC))
    left = db.execute("SELECT count(*) FROM subscriptions WHERE ended_at IS NULL").fetchone()
    assert left and left[0] in (80, 81)  # the reader who came back since stays


async def test_three_strikes_over_more_than_a_day_end_a_subscription_and_a_good_answer_forgives(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    for name in ("strange", "moody"):
        a_reader(db, f"{sink.url}/{name}")
    sink.answer = lambda name, times: "201 Created" if name == "moody" and times == 2 else "418 I'm a teapot"

    def strikes() -> dict[str, tuple[int, bool]]:
        rows = db.execute("SELECT endpoint, strikes, ended_at IS NOT NULL FROM subscriptions").fetchall()
        return {endpoint.rpartition("/")[2]: (count, ended) for endpoint, count, ended in rows}

    await desk.send(await desk.ring())
    assert strikes() == {"strange": (1, False), "moody": (1, False)}
    await desk.send(await desk.ring())
    assert strikes() == {"strange": (2, False), "moody": (0, False)}
    await desk.send(await desk.ring())
    assert strikes()["strange"] == (3, False)  # all within a day
    db.execute("UPDATE subscriptions SET struck_at = struck_at - interval '25 hours'")
    await desk.send(await desk.ring())
    assert strikes()["strange"] == (4, True)
    assert strikes()["moody"][1] is False


async def test_all_workers_hear_of_it(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    many_readers(db, sink.url, 30)
    sink.answer = lambda name, times: "429 Too Many Requests\r\nRetry-After: 60"
    await desk.send(await desk.ring())
    await desk.pace.look(datetime.now(UTC))
    async with transaction(desk.sessions) as session:
        [lane] = await every_lane(session)
    assert lane.rate is not None
    assert lane.closed_until(datetime.now(UTC))


async def test_an_answer_that_nobody_can_explain_for_all_ends_nobody_and_asks(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 40)
    sink.answer = lambda name, times: "418 I'm a teapot"
    for _ in range(4):
        await desk.send(await desk.ring())
    assert db.execute("SELECT max(strikes) FROM subscriptions").fetchone() == (0,)
    assert "proxy" in (await lane_of(desk.sessions)).alarm


async def test_what_is_wrong_with_all_our_requests_ends_nobody_and_asks(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 40)
    sink.answer = lambda name, times: "415 Unsupported Media Type"
    assert await desk.send(await desk.ring()) == {"failed": 40}
    assert db.execute("SELECT max(strikes) FROM subscriptions").fetchone() == (0,)
    assert "form of many of our requests" in (await lane_of(desk.sessions)).alarm


async def test_a_name_that_leads_inside_ends_nobody_and_asks(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    many_readers(db, sink.url, 40)
    desk.pusher._schemes = ("https://",)  # as if the guard had refused where it leads
    assert await desk.send(await desk.ring()) == {"failed": 40}
    assert db.execute("SELECT max(strikes) FROM subscriptions").fetchone() == (0,)
    assert "DNS" in (await lane_of(desk.sessions)).alarm
    assert not sink.received


async def test_one_readers_long_wait_is_nobody_elses(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    many_readers(db, sink.url, 40)
    asked = "429 Too Many Requests\r\nRetry-After: 86400"
    sink.answer = lambda name, times: asked if name == "1" else "500 Oh" if int(name) <= 11 else "201 Created"
    alert_id = await desk.ring()
    assert await desk.send(alert_id) == {"accepted": 29, "waiting": 11}
    query = "SELECT max(scheduled_at) < now() + interval '10 minutes' FROM procrastinate_jobs WHERE status = 'todo'"
    assert db.execute(query + " AND task_name = 'send_shard' AND scheduled_at IS NOT NULL").fetchone() == (True,)


async def test_a_recall_stops_what_a_slow_service_has_not_answered(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 100)
    sink.delay = 2
    alert_id = await desk.ring()
    [shard_id] = await desk.plan(alert_id)
    watching = asyncio.create_task(desk.fanout.watch())
    sending = asyncio.create_task(desk.send_shard(shard_id))
    while not sink.received:  # noqa: ASYNC110 - a thread counts
        await asyncio.sleep(0.02)
    async with transaction(desk.sessions) as session:
        await recall(session, await alert_by_id(session, alert_id, lock=True), datetime.now(UTC))
    await sending
    watching.cancel()
    under_way = sink.received.total()
    assert under_way < 100
    assert await desk.counts(alert_id) == {"accepted": under_way, "recalled": 100 - under_way}


def test_silence_opens_the_breaker_once_there_is_enough_of_it() -> None:
    assert Tally(failed=16).is_silence
    assert not Tally(failed=16, accepted=1).is_silence
    assert not Tally(failed=20).is_silence
    assert not Tally().is_silence
