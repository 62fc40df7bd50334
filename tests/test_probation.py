"""Probation: what strangers store hurts nobody, and a new reader loses nothing."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from app import clock, release
from app.database import transaction
from app.domain import probation
from app.domain.alerts import AlertState, forget_welcomes, latest_alerts
from app.domain.lanes import CREDIT, HANDFUL, TokenRecord
from app.domain.probation import OWN_LANES, Standing
from app.domain.shards import VARIOUS
from app.domain.subscriptions import Subscription, note_vain, recipients
from app.vapid import Signer
from tests.makers import NOW
from tests.sink import Sink
from tests.test_fanout import Desk, a_reader, db, desk, many_readers, sink
from tests.test_poll import until, worker
from worker import plan
from worker.fanout import Fanout
from worker.pace import Pace
from worker.push import HTTP1_CONNECTIONS, PROBATION_WINDOW, SETBACK
from worker.tidy import mend

__all__ = ["db", "desk", "sink"]

DAY = timedelta(days=1)
REFUSALS = ["401 Unauthorized", "403 Forbidden", "410 Gone", "429 Too Many Requests", "503 Oh", "418 Teapot", "415 No"]


def number(db: psycopg.Connection, query: str) -> int:
    row = db.execute(query).fetchone()
    assert row
    return int(row[0])


async def rung(desk: Desk) -> dict[str, int]:
    """An alert, sent until nobody waits or all that the rules allow has been tried."""
    alert_id = await desk.ring()
    for _ in range(probation.TRIES + 1):
        counts = await desk.send(alert_id)
        await desk.pace.look(NOW)
        if "waiting" not in counts:
            break
    return counts


def last_name_is(sink: Sink, answer: str) -> None:
    sink.answer = lambda name, times: answer if name.startswith("x") else "201 Created"


@pytest.mark.parametrize("answer", REFUSALS)
async def test_whatever_strangers_endpoints_answer_is_no_matter_of_the_lane(
    desk: Desk, db: psycopg.Connection, sink: Sink, answer: str
) -> None:
    many_readers(db, sink.url, 300)
    many_readers(db, sink.url, 60, prefix="x", proven=False)
    last_name_is(sink, answer)
    for _ in range(2):  # the next alert, and the one that follows
        assert (await rung(desk))["accepted"] == 300
    assert number(db, "SELECT count(*) FROM lanes") == 0
    assert sink.accepted.total() == 600
    assert number(db, "SELECT count(*) FROM subscriptions WHERE ended_at IS NOT NULL AND proven_at IS NOT NULL") == 0


async def test_five_proven_readers_who_are_refused_for_reasons_of_their_own_do_not_pause_the_lane(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 5, prefix="x")  # the first of their shard
    many_readers(db, sink.url, 295)
    last_name_is(sink, "401 Unauthorized")
    for _ in range(2):
        assert await rung(desk) == {"accepted": 295, "refused": 5}
    assert number(db, "SELECT count(*) FROM lanes WHERE paused_at IS NOT NULL") == 0


async def test_a_tenth_that_is_refused_again_with_a_fresh_token_does_not_pause_the_lane_in_any_worker(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    """They alone are in that pass, so that nobody's acceptance made up for them."""
    many_readers(db, sink.url, 1000)
    sink.answer = lambda name, times: "401 Unauthorized" if name.endswith("0") else "201 Created"
    alert_id = await desk.ring()
    assert await desk.send(alert_id) == {"accepted": 900, "waiting": 100}
    other_pace = Pace(desk.sessions, desk.pusher, desk.fanout.draining)
    other_signer = Signer(desk.signer.key, "mailto:desk@news.example")
    other = Fanout(desk.sessions, desk.pusher, other_signer, other_pace, desk.fanout.draining)
    for fanout in (desk.fanout, other, other):
        found = db.execute(
            "SELECT args FROM procrastinate_jobs WHERE task_name = 'send_shard' ORDER BY id DESC"
        ).fetchone()
        assert found
        await fanout.send_shard(**found[0])
    assert await desk.counts(alert_id) == {"accepted": 900, "refused": 100}
    assert number(db, "SELECT count(*) FROM lanes WHERE paused_at IS NOT NULL") == 0
    assert await desk.send(await desk.ring()) == {"accepted": 900, "refused": 100}


async def test_where_all_are_refused_a_first_handful_decides(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    many_readers(db, sink.url, 20_000)
    sink.answer = lambda name, times: "401 Unauthorized"
    alert_id = await desk.ring()
    for _ in range(3):  # with the token, with a fresh one, and when the lane is paused
        await asyncio.gather(*map(desk.send_shard, await desk.plan(alert_id)))
    assert number(db, "SELECT count(*) FROM lanes WHERE paused_at IS NOT NULL") == 1
    assert len({headers["authorization"] for sent in sink.headers.values() for headers in sent}) == 2
    assert sink.received.total() < 300
    assert await desk.counts(alert_id) == {"waiting": 20_000}


async def test_where_all_are_refused_from_one_moment_on_a_few_hundred_decide(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 5_000)
    sink.answer = lambda name, times: "201 Created" if sink.received.total() < 2000 else "401 Unauthorized"
    alert_id = await desk.ring()
    for _ in range(3):
        await asyncio.gather(*map(desk.send_shard, await desk.plan(alert_id)))
    assert number(db, "SELECT count(*) FROM lanes WHERE paused_at IS NOT NULL") == 1
    assert sink.received.total() - sink.accepted.total() < 500


def test_acceptances_make_up_for_refusals_a_few_at_a_time() -> None:
    record = TokenRecord()
    record.note(taken=0, refused=HANDFUL - 1)
    assert not record.is_refused
    record.note(taken=0, refused=1)
    assert record.is_refused
    record.forgive()
    assert not record.is_refused
    record.note(taken=10_000, refused=1_000)  # a tenth
    record.note(taken=0, refused=CREDIT + HANDFUL - 1)
    assert not record.is_refused
    record.note(taken=0, refused=1)
    assert record.is_refused


async def test_new_readers_of_a_large_alert_are_due_when_the_proven_are_about_done(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 5_000)
    many_readers(db, sink.url, 10, prefix="x", proven=False)
    await desk.plan(await desk.ring())
    wait = "extract(epoch FROM scheduled_at - now())"
    due = f"SELECT args->>'standing', {wait} FROM procrastinate_jobs WHERE task_name = 'send_shard'"
    waits = sorted((standing or "0", wait) for standing, wait in db.execute(due).fetchall())
    assert [standing for standing, _ in waits] == ["0", "0", "1"]
    assert [wait is None for _, wait in waits] == [True, True, False]
    assert 0 < waits[-1][1] <= 2
    assert [probation.starts_after(proven).seconds for proven in (0, 2_499, 10_000, 10**6)] == [0, 0, 4, 10]


async def test_made_up_hosts_share_a_few_pages_behind_the_proven(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 30)
    for n in range(60):
        a_reader(db, f"https://a{n}.notify.windows.example/x", proven=False)
    a_reader(db, f"{sink.url}/new", proven=False)
    a_reader(db, f"{sink.url}/doubted", proven=False)
    db.execute("UPDATE subscriptions SET strikes = 1 WHERE endpoint LIKE '%/doubted'")
    await desk.plan(await desk.ring())
    pages = db.execute(
        "SELECT lane, standing, cardinality(subscription_ids), priority FROM shards"
        " JOIN procrastinate_jobs ON (args->>'shard_id')::bigint = shards.id"
        " ORDER BY priority DESC, procrastinate_jobs.id"
    ).fetchall()
    assert pages[0] == (sink.url, Standing.PROVEN, 30, 100)
    assert pages[-1] == (sink.url, Standing.DOUBTED, 1, -1900)
    new = {lane: count for lane, standing, count, _ in pages if standing == Standing.NEW}
    assert len(new) == OWN_LANES + 1
    assert (new[sink.url], new[VARIOUS]) == (1, 60 - (OWN_LANES - 1))
    assert pages[-2][0] == VARIOUS


async def test_readers_at_many_services_on_one_page_get_the_alert_each_with_a_token_for_theirs(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    port = sink.url.rpartition(":")[2]
    for n in range(OWN_LANES + 5):
        a_reader(db, f"http://h{n}.localhost:{port}/{n}", proven=False)
    assert await rung(desk) == {"accepted": OWN_LANES + 5}
    assert len({sent[0]["authorization"] for sent in sink.headers.values()}) == OWN_LANES + 5
    assert number(db, "SELECT count(*) FROM subscriptions WHERE proven_at IS NULL") == 0


async def test_the_first_alert_is_the_proof(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    many_readers(db, sink.url, 1200, proven=False)
    last_name_is(sink, "503 Service Unavailable")
    a_reader(db, f"{sink.url}/x", proven=False)
    alert_id = await desk.ring()
    assert await desk.send(alert_id) == {"accepted": 1200, "waiting": 1}
    assert number(db, "SELECT count(*) FROM subscriptions WHERE proven_at IS NULL AND strikes = 1") == 1
    last_name_is(sink, "201 Created")  # it was a bad minute of the service
    assert await desk.send(alert_id) == {"accepted": 1201}
    assert number(db, "SELECT count(*) FROM subscriptions WHERE proven_at IS NULL OR strikes > 0") == 0
    await desk.plan(await desk.ring())
    assert number(db, "SELECT count(*) FROM shards WHERE standing > 0 AND waiting > 0") == 0


async def test_a_proven_reader_who_takes_an_endpoint_that_refuses_us_does_not_keep_an_alert_from_its_end(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 5)
    reader = a_reader(db, f"{sink.url}/mine")
    alert_id = await desk.ring()
    [page] = await desk.plan(alert_id)
    db.execute("UPDATE subscriptions SET endpoint = %s, proven_at = NULL WHERE id = %s", (f"{sink.url}/x", reader))
    last_name_is(sink, "401 Unauthorized")
    for _ in range(probation.TRIES):
        await desk.send_shard(page)
    assert await desk.counts(alert_id) == {"accepted": 5, "refused": 1}
    assert (await desk.alert(alert_id)).state is AlertState.FINISHED


async def test_who_is_never_accepted_is_tried_a_few_times_and_the_alert_ends(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    a_reader(db, f"{sink.url}/x", proven=False)
    last_name_is(sink, "503 Service Unavailable\r\nRetry-After: 86400")
    assert await rung(desk) == {"failed": 1}
    assert sink.received == {"x": probation.TRIES}
    waits = db.execute(
        "SELECT extract(epoch FROM scheduled_at - now())::int FROM procrastinate_jobs"
        " WHERE task_name = 'send_shard' AND scheduled_at IS NOT NULL ORDER BY id"
    ).fetchall()
    assert len(waits) == len(probation.WAITS)
    for (left,), wait in zip(waits, probation.WAITS, strict=True):
        assert wait.total_seconds() - 5 < left <= wait.total_seconds() * 1.25


async def test_alerts_in_vain_end_a_subscription_after_some_days_and_no_sooner(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    reader = a_reader(db, f"{sink.url}/x", proven=False)

    async def in_vain(after: timedelta) -> tuple[int, str] | None:
        async with transaction(desk.sessions) as session:
            found = await recipients(session, [reader])
            await note_vain(session, found.values(), NOW + after)
        return db.execute("SELECT strikes, ended_because FROM subscriptions").fetchone()

    assert await in_vain(0 * DAY) == (1, "")
    assert await in_vain(4 * DAY) == (2, "")  # two alerts are few, however long
    db.execute("UPDATE subscriptions SET struck_at = struck_at + interval '3 days'")
    assert await in_vain(4 * DAY) == (3, "")
    assert await in_vain(7 * DAY) == (4, "never_accepted")


async def test_a_hanging_stranger_has_a_small_window_and_others_their_own(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 200, prefix="x", proven=False)
    many_readers(db, sink.url, 40)
    sink.delay = 1.0
    alert_id = await desk.ring()
    strangers, proven = sorted(await desk.plan(alert_id), reverse=True)
    sending = asyncio.create_task(desk.send_shard(strangers))
    await asyncio.sleep(0.4)
    assert sum(name.startswith("x") for name in sink.received) == min(PROBATION_WINDOW, HTTP1_CONNECTIONS)
    await desk.send_shard(proven)
    taken = Counter(name[0] == "x" for name in sink.accepted)
    assert taken[False] == 40 and taken[True] < 200
    await sending


async def test_new_readers_who_are_accepted_are_soon_sent_to_as_fast_as_others(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 100, proven=False)
    assert await rung(desk) == {"accepted": 100}
    lane = desk.pusher._lane(sink.url, on_probation=True)
    assert lane.earned == PROBATION_WINDOW + 100
    a_reader(db, f"{sink.url}/x", proven=False)
    last_name_is(sink, "418 Teapot")
    await rung(desk)
    assert lane.earned == PROBATION_WINDOW + 100 - SETBACK


async def test_a_worker_reaches_a_new_reader_at_once_while_strangers_hang(
    desk: Desk, db: psycopg.Connection, sink: Sink, database_url: str, tmp_path: Path
) -> None:
    many_readers(db, sink.url, 500)
    port = sink.url.rpartition(":")[2]
    for n in range(60):
        a_reader(db, f"http://192.0.2.{n}:{port}/x", proven=False)  # an address that nobody answers at
    a_reader(db, f"{sink.url}/new", proven=False)
    with worker(database_url, tmp_path):
        await desk.ring()
        await asyncio.to_thread(until, lambda: sink.accepted.total() == 501, 10)
    assert sink.accepted["new"] == 1


async def test_newcomers_are_welcomed_together_each_with_their_topics_and_that_is_their_proof(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    topics = {"one": ["ukraine"], "two": ["ukraine"], "both": ["russia", "ukraine"]}
    ids = [a_reader(db, f"{sink.url}/{name}", *slugs, proven=False) for name, slugs in topics.items()]
    a_reader(db, f"{sink.url}/old", proven=False)
    for id_ in ids:
        async with transaction(desk.sessions) as session:
            await release.welcome(session, await session.get_one(Subscription, id_), NOW)
    assert number(db, "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'welcome'") == 1
    for _ in range(2):  # the second time there is nobody
        await plan.welcome(desk.sessions, "The Bell", "https://news.example")
    told = db.execute("SELECT id, title, body, recipients FROM alerts ORDER BY recipients DESC").fetchall()
    assert [row[1:] for row in told] == [
        ("The Bell", "You will hear from us about Ukraine.", 2),
        ("The Bell", "You will hear from us about Ukraine and Russia.", 1),
    ]
    for page in db.execute("SELECT id FROM shards").fetchall():
        await desk.send_shard(page[0])
    assert set(sink.accepted) == set(topics)
    assert number(db, "SELECT count(*) FROM subscriptions WHERE proven_at IS NOT NULL") == 3
    assert number(db, "SELECT count(*) FROM alerts WHERE state = 'finished'") == 2
    async with transaction(desk.sessions) as session:
        assert await latest_alerts(session, limit=10) == []
        await forget_welcomes(session, clock.now() + DAY)
    assert number(db, "SELECT count(*) FROM alerts") == 0


async def test_a_newcomer_who_came_while_the_job_was_being_taken_is_welcomed_all_the_same(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    """The job was there when they enqueued it, and did not see them, who were not committed yet."""
    jobs = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'welcome'"
    await mend(desk.sessions)
    assert number(db, jobs) == 0
    a_reader(db, f"{sink.url}/late")
    db.execute("UPDATE subscriptions SET is_to_welcome = true")
    await mend(desk.sessions)
    await mend(desk.sessions)
    assert number(db, jobs) == 1


async def test_a_flood_of_newcomers_is_a_few_welcomes(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    count = plan.WELCOMES + 10
    for n in range(count):
        slug = f"topic-{n}"
        db.execute("INSERT INTO topics (slug, name, description, synonyms) VALUES (%s, %s, '', '{}')", (slug, slug))
        a_reader(db, f"{sink.url}/{n}", slug, proven=False)
    db.execute("UPDATE subscriptions SET is_to_welcome = true")
    await plan.welcome(desk.sessions, "The Bell", "https://news.example")
    assert number(db, "SELECT count(*) FROM alerts") == plan.WELCOMES + 1
    general = "You will hear from us about the topics that you chose."
    assert db.execute("SELECT recipients FROM alerts WHERE body = %s", (general,)).fetchone() == (10,)
