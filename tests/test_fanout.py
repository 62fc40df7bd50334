"""Fan-out on a real database, through the real pusher, to push services that answer as told."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select, update

from app import database
from app.database import Sessions, transaction
from app.domain import shards
from app.domain.alerts import Alert, AlertState, Level, alert_by_id, an_alert
from app.domain.marks import Happening, marked
from app.domain.outcomes import judge
from app.domain.reports import by_lane, seconds_to
from app.domain.shards import Shard
from app.domain.subscriptions import hash_of
from app.domain.topics import topics_named
from app.release import recall, release
from app.vapid import Signer, load_key, make_key
from tests.sink import Sink, a_sink
from tests.test_poll import killed, number, until, worker
from worker.fanout import Fanout
from worker.pace import Pace
from worker.plan import plan_alert
from worker.push import Pusher
from worker.shard_run import Run

POINT = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with a_sink() as made:
        yield made


@pytest.fixture
def db(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO topics (slug, name, description, synonyms)"
            " VALUES ('ukraine', 'Ukraine', '', '{}'), ('russia', 'Russia', '', '{}')"
        )
        yield connection


def a_reader(db: psycopg.Connection, endpoint: str, *slugs: str, p256dh: bytes = POINT, proven: bool = True) -> int:
    lane = "/".join(endpoint.split("/")[:3])
    row = db.execute(
        """INSERT INTO subscriptions (endpoint, endpoint_hash, lane, p256dh, auth, key_hash, vapid_key_id, time_zone,
             language, created_at, seen_at, ended_because, proven_at)
           VALUES (%s, %s, %s, %s, %s, %s, 'k', 'UTC', '', now(), now(), '', CASE WHEN %s THEN now() END)
           RETURNING id""",
        (endpoint, hash_of(endpoint), lane, p256dh, secrets.token_bytes(16), secrets.token_bytes(32), proven),
    ).fetchone()
    assert row
    db.execute(
        "INSERT INTO follows (subscription_id, topic_id) SELECT %s, id FROM topics WHERE slug = ANY(%s)",
        (row[0], list(slugs) or ["ukraine"]),
    )
    return int(row[0])


def many_readers(db: psycopg.Connection, origin: str, count: int, *, prefix: str = "", proven: bool = True) -> None:
    db.execute(
        """INSERT INTO subscriptions (endpoint, endpoint_hash, lane, p256dh, auth, key_hash, vapid_key_id, time_zone,
             language, created_at, seen_at, ended_because, proven_at)
           SELECT base || n, sha256((base || n)::bytea), %(origin)s, %(point)s, decode(repeat('07', 16), 'hex'),
             sha256(('k' || base || n)::bytea), 'k', 'UTC', '', now(), now(), '', CASE WHEN %(proven)s THEN now() END
           FROM (VALUES (%(origin)s || '/' || %(prefix)s)) AS its (base), generate_series(1, %(count)s) AS n""",
        {"origin": origin, "point": POINT, "prefix": prefix, "count": count, "proven": proven},
    )
    db.execute(
        "INSERT INTO follows (subscription_id, topic_id) SELECT s.id, t.id FROM subscriptions s, topics t"
        " WHERE t.slug = 'ukraine' ON CONFLICT DO NOTHING"
    )


class Desk:
    """Rings an alert and works its jobs off in this process, one pass at a time."""

    def __init__(self, sessions: Sessions, pusher: Pusher, key_file: Path) -> None:
        self.sessions, self.pusher = sessions, pusher
        self.signer = Signer(load_key(key_file), "mailto:desk@news.example")
        draining = asyncio.Event()
        self.pace = Pace(sessions, pusher, draining)
        self.fanout = Fanout(sessions, pusher, self.signer, self.pace, draining)

    async def ring(self, *slugs: str, ttl: timedelta = timedelta(hours=1), level: Level = Level.BREAKING) -> UUID:
        async with transaction(self.sessions) as session:
            alert = an_alert(
                title="A title",
                url="https://news.example/1",
                topics=await topics_named(session, slugs or ["ukraine"]),
                level=level,
                ttl=ttl,
                now=datetime.now(UTC),
            )
            session.add(alert)
            await release(session, alert, datetime.now(UTC))
        return alert.id

    async def plan(self, alert_id: UUID) -> list[int]:
        await plan_alert(self.sessions, alert_id)
        async with transaction(self.sessions) as session:
            return list(await shards.open_shards(session, alert_id))

    async def send(self, alert_id: UUID) -> dict[str, int]:
        for shard_id in await self.plan(alert_id):
            await self.send_shard(shard_id)
        return await self.counts(alert_id)

    async def send_shard(self, shard_id: int) -> None:
        async with transaction(self.sessions) as session:
            shard = await session.get_one(Shard, shard_id)
        await self.fanout.send_shard(shard_id, shard.lane, Level.BREAKING, shard.standing)

    async def counts(self, alert_id: UUID) -> dict[str, int]:
        async with transaction(self.sessions) as session:
            counts = await shards.progress(session, alert_id)
        return {label: count for label, count in counts.items() if count}

    async def alert(self, alert_id: UUID) -> Alert:
        async with transaction(self.sessions) as session:
            return await alert_by_id(session, alert_id)


@pytest.fixture
async def desk(sessions: Sessions, tmp_path: Path) -> AsyncIterator[Desk]:
    key_file = tmp_path / "vapid.pem"
    make_key(key_file)
    pusher = Pusher(allow_private_addresses=True, timeout=3)
    pusher.start()
    yield Desk(sessions, pusher, key_file)
    await pusher.aclose(5)


async def test_every_recipient_has_an_outcome_and_only_the_gone_are_ended(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    answers = {"ok": "201 Created", "gone": "410 Gone", "lost": "404 Not Found", "ours": "403 Forbidden"}
    answers |= {"also-ours": "401 Unauthorized", "big": "413 Payload Too Large", "busy": "503 Service Unavailable"}
    for name in answers:
        a_reader(db, f"{sink.url}/{name}")
    sink.answer = lambda name, times: answers[name]
    alert_id = await desk.ring()
    # A refused authorisation is tried once more with a fresh token.
    assert await desk.send(alert_id) == {"accepted": 1, "gone": 2, "failed": 1, "waiting": 3}
    ended = db.execute("SELECT endpoint FROM subscriptions WHERE ended_at IS NOT NULL ORDER BY 1").fetchall()
    assert ended == [(f"{sink.url}/gone",), (f"{sink.url}/lost",)]
    alert = await desk.alert(alert_id)
    assert (alert.recipients, alert.state) == (7, AlertState.SENDING)

    answers["busy"] = "201 Created"
    assert await desk.send(alert_id) == {"accepted": 2, "gone": 2, "refused": 2, "failed": 1}
    assert (await desk.alert(alert_id)).state is AlertState.FINISHED
    assert sink.received == {name: 2 if name in ("busy", "ours", "also-ours") else 1 for name in answers}


async def test_what_a_service_wants_another_way_is_sent_that_way_once(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    topic = '{"reason":"BadWebPushTopic"}'
    refusals = {
        "big": "413 Payload Too Large",
        "topic": f"400 Bad Request\r\nContent-Length: {len(topic)}\r\n\r\n{topic}",
        "never": "413 Payload Too Large",
    }
    for name in ("ok", *refusals):
        a_reader(db, f"{sink.url}/{name}")
    sink.answer = lambda name, times: (
        refusals[name] if name == "never" or (name in refusals and times == 1) else "201 Created"
    )
    alert_id = await desk.ring()
    db.execute("UPDATE alerts SET body = repeat('word ', 300)")
    assert await desk.send(alert_id) == {"accepted": 3, "failed": 1}
    assert sink.received == {"ok": 1, "big": 2, "topic": 2, "never": 2}
    sizes = [int(headers["content-length"]) for headers in sink.headers["big"]]
    assert sizes[0] > 1500 > 1200 > sizes[1]
    assert ["topic" in headers for headers in sink.headers["topic"]] == [True, False]
    assert ["topic" in headers for headers in sink.headers["big"]] == [True, True]


async def test_microsoft_is_sent_a_longer_life_once_if_it_asks(
    desk: Desk, db: psycopg.Connection, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fanout.judge", lambda host, *of: judge("par02p.notify.windows.com", *of))
    a_reader(db, f"{sink.url}/edge")
    refusal = "400 Bad Request\r\nX-WNS-Error-Description: Ttl value conflicts with X-WNS-Cache-Policy."
    sink.answer = lambda name, times: refusal if times == 1 else "201 Created"
    alert_id = await desk.ring(ttl=timedelta(seconds=60))
    db.execute("UPDATE alerts SET released_at = released_at - interval '40 seconds'")
    assert await desk.send(alert_id) == {"accepted": 1}
    first, second = (int(headers["ttl"]) for headers in sink.headers["edge"])
    assert first <= 20 < second == 60


@pytest.mark.parametrize("status", ["200 OK", "201 Created"])
async def test_what_microsoft_says_it_dropped_is_not_delivered(
    desk: Desk, db: psycopg.Connection, sink: Sink, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setattr("worker.fanout.judge", lambda host, *of: judge(host.removesuffix(".localhost"), *of))
    for name in ("dropped", "channelthrottled", "received"):
        a_reader(db, f"http://par02p.notify.windows.com.localhost:{sink.url.rpartition(':')[2]}/{name}", proven=False)
    sink.answer = lambda name, times: f"{status}\r\nX-WNS-Status: {name}"
    assert await desk.send(await desk.ring()) == {"accepted": 1, "failed": 1, "waiting": 1}
    proven = db.execute("SELECT endpoint FROM subscriptions WHERE proven_at IS NOT NULL").fetchall()
    assert [endpoint.rpartition("/")[2] for (endpoint,) in proven] == ["received"]


async def test_a_recall_also_stops_what_would_be_sent_another_way(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    for name in ("one", "two", "three"):
        a_reader(db, f"{sink.url}/{name}")
    sink.answer = lambda name, times: "413 Payload Too Large"
    alert_id = await desk.ring()
    db.execute("UPDATE alerts SET body = repeat('word ', 300)")
    await desk.plan(alert_id)
    taking = desk.fanout._checkpoint

    async def recalled_meanwhile(run: Run) -> bool:
        db.execute("UPDATE alerts SET state = 'recalled'")
        return await taking(run)

    desk.fanout._checkpoint = recalled_meanwhile  # type: ignore[method-assign]
    assert await desk.send(alert_id) == {"recalled": 3}
    assert sink.received.total() == 3


async def test_a_follower_of_two_of_its_topics_gets_an_alert_once(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    a_reader(db, f"{sink.url}/both", "ukraine", "russia")
    alert_id = await desk.ring("ukraine", "russia")
    assert await desk.send(alert_id) == {"accepted": 1}
    assert sink.received == {"both": 1}


async def test_a_repeat_replaces_and_lives_no_longer_than_the_alert(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    a_reader(db, f"{sink.url}/late")
    sink.answer = lambda name, times: "201 Created" if times > 1 else "429 Too Many Requests\r\nRetry-After: 7"
    alert_id = await desk.ring(ttl=timedelta(seconds=600))
    assert await desk.send(alert_id) == {"waiting": 1}
    row = db.execute(
        "SELECT extract(epoch FROM scheduled_at - now()) FROM procrastinate_jobs"
        " WHERE task_name = 'send_shard' AND scheduled_at IS NOT NULL"
    ).fetchone()
    assert row and row[0] > 5  # what it asked for
    await asyncio.sleep(1.1)
    assert await desk.send(alert_id) == {"accepted": 1}
    first, second = sink.headers["late"]
    assert first["topic"] == second["topic"]
    assert len(first["topic"]) == 32
    assert 0 < int(second["ttl"]) < int(first["ttl"]) <= 600
    assert first["urgency"] == "high"
    assert first["content-encoding"] == "aes128gcm"


async def test_what_comes_too_late_expires_unsent(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    a_reader(db, f"{sink.url}/asleep")
    alert_id = await desk.ring()
    db.execute("UPDATE alerts SET released_at = released_at - interval '2 hours'")
    assert await desk.send(alert_id) == {"expired": 1}
    assert not sink.received
    assert (await desk.alert(alert_id)).state is AlertState.FINISHED


async def test_who_stopped_since_the_plan_gets_nothing(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    a_reader(db, f"{sink.url}/stays")
    leaves = a_reader(db, f"{sink.url}/leaves")
    alert_id = await desk.ring()
    await desk.plan(alert_id)
    db.execute("DELETE FROM subscriptions WHERE id = %s", (leaves,))
    assert await desk.send(alert_id) == {"accepted": 1, "gone": 1}
    assert sink.received == {"stays": 1}


async def test_one_wrong_key_costs_nobody_else_anything(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    for n in range(3):
        a_reader(db, f"{sink.url}/good{n}")
    a_reader(db, f"{sink.url}/bad", p256dh=b"\x04" + bytes(64))
    assert await desk.send(await desk.ring()) == {"accepted": 3, "failed": 1}


async def test_an_endpoint_that_was_renewed_meanwhile_is_not_ended_by_the_old_ones_answer(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    reader = a_reader(db, f"{sink.url}/old")

    def renewed(name: str, times: int) -> str:
        new = f"{sink.url}/new"
        db.execute("UPDATE subscriptions SET endpoint = %s, endpoint_hash = %s", (new, hash_of(new)))
        return "410 Gone"

    sink.answer = renewed
    assert await desk.send(await desk.ring()) == {"gone": 1}
    assert db.execute("SELECT id FROM subscriptions WHERE ended_at IS NULL").fetchall() == [(reader,)]


async def test_a_recalled_alert_stops_in_the_middle(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    many_readers(db, sink.url, 900)
    sink.delay = 0.3
    alert_id = await desk.ring()
    shard_ids = await desk.plan(alert_id)
    sending = asyncio.create_task(desk.send_shard(shard_ids[0]))
    await asyncio.to_thread(until, lambda: sink.accepted)
    async with transaction(desk.sessions) as session:
        await session.execute(update(Alert).values(state=AlertState.RECALLED))
    await sending
    counts = await desk.counts(alert_id)
    assert counts["recalled"] > 0
    assert counts["accepted"] == sink.accepted.total()
    assert counts["accepted"] + counts["recalled"] == 900


async def test_a_worker_that_was_thought_dead_can_no_longer_write(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    a_reader(db, f"{sink.url}/slow")
    sink.delay = 0.5
    alert_id = await desk.ring()
    [shard_id] = await desk.plan(alert_id)
    old = asyncio.create_task(desk.send_shard(shard_id))
    await asyncio.to_thread(until, lambda: sink.received)
    async with transaction(desk.sessions) as session:
        await shards.take(session, shard_id)
    await old
    assert await desk.counts(alert_id) == {"waiting": 1}


async def test_a_topic_that_a_story_gains_later_rings_only_for_who_was_not_reached(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    a_reader(db, f"{sink.url}/ukraine", "ukraine")
    a_reader(db, f"{sink.url}/both", "ukraine", "russia")
    a_reader(db, f"{sink.url}/russia", "russia")
    alert_id = await desk.ring("ukraine")
    assert await desk.send(alert_id) == {"accepted": 2}
    db.execute("INSERT INTO alert_topics SELECT %s, id FROM topics WHERE slug = 'russia'", (alert_id,))
    assert await desk.send(alert_id) == {"accepted": 3}
    assert sink.received == {"ukraine": 1, "both": 1, "russia": 1}
    alert = await desk.alert(alert_id)
    assert (alert.recipients, alert.state) == (3, AlertState.FINISHED)


async def test_a_killed_worker_loses_nobody_and_repeats_little(
    desk: Desk, db: psycopg.Connection, sink: Sink, database_url: str, tmp_path: Path
) -> None:
    many_readers(db, sink.url, 4000)
    sink.delay = 0.05
    alert_id = await desk.ring()
    with killed(database_url, tmp_path) as first:
        await asyncio.to_thread(until, lambda: sink.accepted.total() > 1500)
        before = sink.accepted.total()
        first.kill()
        first.wait()
    with worker(database_url, tmp_path):
        await asyncio.to_thread(until, lambda: number(db, "SELECT count(*) FROM alerts WHERE state = 'finished'") == 1)
    assert await desk.counts(alert_id) == {"accepted": 4000}
    assert len(sink.accepted) == 4000
    assert sink.accepted.total() - 4000 <= before  # each at most twice, and not the whole alert again
    assert max(sink.accepted.values()) <= 2


async def test_breaking_news_overtakes_what_is_being_sent(
    desk: Desk, db: psycopg.Connection, sink: Sink, database_url: str, tmp_path: Path
) -> None:
    many_readers(db, sink.url, 6000)  # two full shards and one more, all in the same lane
    a_reader(db, f"{sink.url}/urgent", "russia")
    sink.delay = 0.05
    normal = await desk.ring(level=Level.NORMAL)
    with worker(database_url, tmp_path):
        await asyncio.to_thread(until, lambda: sink.accepted.total() > 500)
        await desk.ring("russia")
        await asyncio.to_thread(until, lambda: sink.accepted["urgent"] == 1)
        assert sink.accepted.total() < 4000
        assert (await desk.alert(normal)).state is AlertState.SENDING
        async with transaction(desk.sessions) as session:
            await recall(session, await alert_by_id(session, normal, lock=True), datetime.now(UTC))
        await asyncio.to_thread(until, lambda: number(db, "SELECT count(*) FROM alerts WHERE finished_at IS NULL") == 0)
    counts = await desk.counts(normal)
    assert counts["accepted"] + counts["recalled"] == 6000
    assert counts["accepted"] == sink.accepted.total() - 1


async def test_a_full_connection_pool_delays_and_loses_nothing(
    db: psycopg.Connection, sink: Sink, database_url: str, tmp_path: Path
) -> None:
    make_key(tmp_path / "vapid.pem")
    engine = database.connect(database_url, pool_size=1)
    pusher = Pusher(allow_private_addresses=True)
    pusher.start()
    desk = Desk(database.sessions_of(engine), pusher, tmp_path / "vapid.pem")
    many_readers(db, sink.url, 300)
    alert_id = await desk.ring()
    async with transaction(desk.sessions) as session:
        topics = [topic.id for topic in await topics_named(session, ["ukraine"])]
        await shards.plan(session, alert_id, topics, datetime.now(UTC), size=5)
    shard_ids = await desk.plan(alert_id)
    assert len(shard_ids) == 60
    await asyncio.gather(*map(desk.send_shard, shard_ids))
    assert await desk.counts(alert_id) == {"accepted": 300}
    assert set(sink.accepted.values()) == {1}
    assert (await desk.alert(alert_id)).state is AlertState.FINISHED
    await pusher.aclose(1)
    await engine.dispose()


async def test_a_stopped_worker_hands_the_rest_back_and_nobody_gets_it_twice(
    desk: Desk, db: psycopg.Connection, sink: Sink, database_url: str, tmp_path: Path
) -> None:
    many_readers(db, sink.url, 3000)
    sink.delay = 0.1
    alert_id = await desk.ring()
    with killed(database_url, tmp_path) as first:
        await asyncio.to_thread(until, lambda: sink.accepted.total() > 500)
        os.kill(first.pid, signal.SIGTERM)
        assert first.wait(6) == 0
    assert sink.accepted.total() < 3000
    counts = await desk.counts(alert_id)
    assert counts["accepted"] == sink.accepted.total()
    with worker(database_url, tmp_path):
        await asyncio.to_thread(until, lambda: number(db, "SELECT count(*) FROM alerts WHERE state = 'finished'") == 1)
    assert set(sink.accepted.values()) == {1}
    assert len(sink.accepted) == 3000


async def test_the_books_balance_whatever_a_program_does(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    a_reader(db, f"{sink.url}/one")
    await desk.plan(await desk.ring())
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute("UPDATE shards SET accepted = accepted + 1")
    async with transaction(desk.sessions) as session:
        shard = (await session.scalars(select(Shard))).one()
    assert shard.outcomes == b"\0"


async def test_the_beats_of_an_alert_add_up_to_whom_it_has_reached(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 2600)
    sink.delay = 0.02
    sink.answer = lambda name, times: "410 Gone" if name == "7" else "201 Created"
    alert_id = await desk.ring()
    assert await desk.send(alert_id) == {"accepted": 2599, "gone": 1}
    beats = db.execute("SELECT accepted FROM beats").fetchall()
    assert sum(accepted for (accepted,) in beats) == 2599
    assert len(beats) > 2  # more than one of the larger shard
    async with transaction(desk.sessions) as session:
        after = await seconds_to(session, await alert_by_id(session, alert_id))
        [lane] = await by_lane(session, alert_id)
    assert after[50] is not None and after[90] is not None and after[99] is not None
    assert 0 < after[50] <= after[90] <= after[99]
    assert (lane.lane, lane.recipients, lane.seconds_to) == (sink.url, 2600, after)


async def test_how_often_a_push_service_said_too_many_is_known_afterwards(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 30)
    sink.answer = lambda name, times: "429 Too Many Requests" if times == 1 else "201 Created"
    began = datetime.now(UTC)
    alert_id = await desk.ring()
    for expected in ({"waiting": 30}, {"accepted": 30}):
        assert await desk.send(alert_id) == expected
        await desk.pace.look(datetime.now(UTC))
    async with transaction(desk.sessions) as session:
        assert await marked(session, Happening.THROTTLED, began) == {sink.url: 30}
