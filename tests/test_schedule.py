"""When an alert goes out: clocks on walls, and workers that wait for the second, are stopped, or die."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from app import queue
from app.database import transaction
from app.domain import decisions
from app.domain.alerts import Alert, AlertState, Level, alert_by_id, an_alert
from app.domain.moments import FURTHEST, moment, now_of
from app.domain.refusals import Refusal
from app.domain.topics import topics_named
from app.release import enqueue_due
from tests.sink import Sink
from tests.test_fanout import Desk, a_reader, db, desk, many_readers, sink
from tests.test_poll import killed, number, until, worker
from worker.plan import release_alert
from worker.tidy import mend

__all__ = ["db", "desk", "sink"]

# Moments

SPRING, OCT, AUTUMN = (datetime(2026, *day, tzinfo=UTC) for day in ((3, 20), (10, 1), (10, 20)))


@pytest.mark.parametrize(
    "text, zone, utc",
    [
        ("2026-03-28T07:30", "Europe/Kyiv", "2026-03-28T05:30"),  # before the change
        ("2026-03-29T02:59", "Europe/Kyiv", "2026-03-29T00:59"),  # the last minute before it
        ("2026-03-29T04:00", "Europe/Kyiv", "2026-03-29T01:00"),  # the first after it
        ("2026-03-29T07:30", "Europe/Kyiv", "2026-03-29T04:30"),
        ("2026-03-29 07:30:15", "Europe/Kyiv", "2026-03-29T04:30:15"),
        ("2026-03-29T07:30+05:45", None, "2026-03-29T01:45"),
        ("2026-03-29T07:30:00.250Z", "Europe/Kyiv", "2026-03-29T07:30:00.250"),  # what has an offset needs no zone
        ("2026-03-29t07:30z", None, "2026-03-29T07:30"),
    ],
)
def test_a_time_is_what_a_clock_on_the_wall_shows(text: str, zone: str | None, utc: str) -> None:
    assert moment(text, zone, SPRING) == datetime.fromisoformat(utc + "+00:00")


@pytest.mark.parametrize(
    "text, zone, now, happens, choices",
    [
        ("2026-03-29T03:30", "Europe/Kyiv", SPRING, "is skipped", "2026-03-29T02:30+02:00 or 2026-03-29T04:30+03:00"),
        ("2026-03-29T03:00", "Europe/Kyiv", SPRING, "is skipped", "2026-03-29T02:00+02:00 or 2026-03-29T04:00+03:00"),
        ("2026-10-25T03:30", "Europe/Kyiv", AUTUMN, "comes twice", "2026-10-25T03:30+03:00 or 2026-10-25T03:30+02:00"),
        ("2026-11-01T01:00", "US/Eastern", AUTUMN, "comes twice", "2026-11-01T01:00-04:00 or 2026-11-01T01:00-05:00"),
        # Where the change is half an hour.
        (
            "2026-10-04T02:15",
            "Australia/LHI",
            OCT,
            "is skipped",
            "2026-10-04T01:45+10:30 or 2026-10-04T02:45+11:00",
        ),
    ],
)
def test_a_time_that_daylight_saving_skips_or_repeats_is_refused_with_both_choices(
    text: str, zone: str, now: datetime, happens: str, choices: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        moment(text, zone, now)
    sentence = str(refusal.value)
    assert zone in sentence
    assert f"{text[11:]} {happens}" in sentence
    assert sentence.endswith(f"{choices}.")
    for choice in choices.split(" or "):  # as it stands there, it is taken
        assert moment(choice, zone, now) > now


@pytest.mark.parametrize(
    "text, zone, because",
    [
        ("2026-03-19T23:59Z", None, "has passed"),
        ("2026-03-20T00:00Z", None, "has passed"),
        ("2026-04-19T00:01Z", None, "30 days ahead"),
        ("2026-03-28T07:30", None, "time zone"),
        ("2026-03-28T07:30", "", "time zone"),
        ("2026-03-28T07:30", "Kyiv", "“Kyiv” is not a time zone"),
        ("2026-03-28T07:30", "../../etc/passwd", "not a time zone"),
        ("2026-03-28T07:30", "\0", "not a time zone"),
        ("2026-02-30T07:30Z", None, "Write the time as"),
        ("2026-03-28", "Europe/Kyiv", "Write the time as"),
        ("28.03.2026 07:30", "Europe/Kyiv", "Write the time as"),
        ("2026-03-28T07:30:60Z", None, "Write the time as"),
        ("2026-W13-6T07:30Z", None, "Write the time as"),
        ("٢٠٢٦-03-28T07:30Z", None, "Write the time as"),
        ("", "Europe/Kyiv", "Write the time as"),
        ("0001-01-01T00:00+01:00", None, "calendars"),
        ("9999-12-31T23:59", "America/New_York", "calendars"),
    ],
)
def test_any_other_time_is_refused(text: str, zone: str | None, because: str) -> None:
    with pytest.raises(Refusal, match=because):
        moment(text, zone, SPRING)


@pytest.mark.parametrize(
    "text, zone, sentence",
    [
        ("2026-03-19T23:59", "Europe/Kyiv", "Thursday 19 March at 23:59 (Europe/Kyiv) has passed."),
        ("2026-03-19T23:59Z", "America/New_York", "Thursday 19 March at 19:59 (America/New York) has passed."),
        ("2026-03-19T23:59:30Z", None, "Thursday 19 March at 23:59:30 (UTC) has passed."),
        ("2026-03-19T23:59+05:45", None, "Thursday 19 March at 23:59 (UTC+05:45) has passed."),
        ("2026-12-01T02:57", "Asia/Tokyo", "Tuesday 1 December at 02:57 (Asia/Tokyo) is more than 30 days ahead."),
    ],
)
def test_times_are_said_in_words(text: str, zone: str | None, sentence: str) -> None:
    with pytest.raises(Refusal) as refusal:
        moment(text, zone, SPRING)
    assert str(refusal.value) == sentence


def test_thirty_days_ahead_is_not_too_far() -> None:
    assert moment((SPRING + FURTHEST).isoformat(), None, SPRING) == SPRING + FURTHEST


# Workers


async def schedule(desk: Desk, due_in: float, *, level: Level = Level.BREAKING) -> tuple[UUID, datetime]:
    """As the desk does it: the alert and its work in one transaction."""
    async with transaction(desk.sessions) as session:
        now = await now_of(session)
        topics = await topics_named(session, ["ukraine"])
        alert = an_alert(title="Title", url="https://news.example/1", topics=topics, level=level, now=now)
        session.add(alert)
        due_at = now + timedelta(seconds=due_in)
        decisions.schedule(alert, by="editor@news.example", at=due_at)
        await enqueue_due(session, alert)
    return alert.id, due_at


async def change(desk: Desk, alert_id: UUID, change: Callable[[Alert], None]) -> None:
    async with transaction(desk.sessions) as session:
        change(await alert_by_id(session, alert_id, lock=True))


A_WHILE = 8  # seconds, within which a busy machine gets everything done that is to be done before the time has come
HELD = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'release_alert' AND status = 'doing'"


def have_workers_wait(db: psycopg.Connection) -> None:
    """Earlier than usual: from now until the time has come."""
    db.execute("UPDATE procrastinate_jobs SET scheduled_at = now() WHERE task_name = 'release_alert'")


async def until_at_work(db: psycopg.Connection) -> None:
    await asyncio.to_thread(
        until, lambda: number(db, "SELECT count(*) FROM procrastinate_workers") == len(queue.QUEUES)
    )


async def until_finished(desk: Desk, db: psycopg.Connection, alert_id: UUID) -> Alert:
    query = "SELECT count(*) FROM alerts WHERE id = %s AND state = 'finished'"
    await asyncio.to_thread(until, lambda: number(db, query, alert_id))
    return await desk.alert(alert_id)


async def test_a_scheduled_alert_goes_out_at_its_time_and_not_before(
    desk: Desk, db: psycopg.Connection, sink: Sink, database_url: str, tmp_path: Path
) -> None:
    many_readers(db, sink.url, 20)
    with worker(database_url, tmp_path):
        soon, soon_due = await schedule(desk, 4)
        late, _ = await schedule(desk, 3600)
        low, low_due = await schedule(desk, 5, level=Level.LOW)
        ended, ended_low = await until_finished(desk, db, soon), await until_finished(desk, db, low)
    assert ended.released_at is not None and ended.released_at >= soon_due
    assert ended_low.released_at is not None and ended_low.released_at >= low_due
    assert (ended.recipients, set(sink.accepted.values())) == (20, {2})
    assert (await desk.alert(late)).state is AlertState.SCHEDULED


async def test_what_is_taken_back_or_moved_in_the_last_moment_does_not_go_out(
    desk: Desk, db: psycopg.Connection, sink: Sink, database_url: str, tmp_path: Path
) -> None:
    a_reader(db, f"{sink.url}/one")
    with worker(database_url, tmp_path):
        await until_at_work(db)
        undone, _ = await schedule(desk, A_WHILE)
        moved, due_at = await schedule(desk, A_WHILE)
        have_workers_wait(db)
        await asyncio.to_thread(until, lambda: number(db, HELD) == 2)  # a worker waits for the second
        await change(desk, undone, decisions.undo)
        await change(desk, moved, lambda alert: decisions.schedule(alert, by="x", at=due_at + timedelta(hours=1)))
        await asyncio.to_thread(until, lambda: number(db, HELD) == 0)
    assert (await desk.alert(undone)).state is AlertState.DRAFT
    assert (await desk.alert(moved)).state is AlertState.SCHEDULED
    assert sink.received == {}


async def test_an_undo_and_the_release_at_the_same_moment_agree(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    a_reader(db, f"{sink.url}/one")
    for _ in range(20):
        alert_id, due_at = await schedule(desk, 0.05)

        async def take_back(alert_id: UUID = alert_id) -> None:
            await asyncio.sleep(0.05)
            await change(desk, alert_id, decisions.undo)

        _, undone = await asyncio.gather(
            release_alert(desk.sessions, asyncio.Event(), alert_id, due_at), take_back(), return_exceptions=True
        )
        alert = await desk.alert(alert_id)
        if isinstance(undone, Refusal):
            assert (alert.state, alert.recipients) == (AlertState.SENDING, 1)
        else:
            assert (alert.state, alert.recipients, alert.released_at) == (AlertState.DRAFT, 0, None)


async def test_releasing_and_writing_down_whom_it_goes_to_is_one_step(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 30)
    alert_id, due_at = await schedule(desk, 0)
    await release_alert(desk.sessions, asyncio.Event(), alert_id, due_at)
    alert = await desk.alert(alert_id)
    assert (alert.state, alert.recipients) == (AlertState.SENDING, 30)
    assert number(db, "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'send_shard'") == 1
    assert number(db, "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'plan_alert'") == 0
    await release_alert(desk.sessions, asyncio.Event(), alert_id, due_at)  # told again by a queue that was not sure
    assert (await desk.alert(alert_id)).recipients == 30


async def test_the_time_is_the_databases(desk: Desk, db: psycopg.Connection) -> None:
    """A machine whose clock is an hour off waits as long as any other."""
    alert_id, due_at = await schedule(desk, 3600)
    waiting = asyncio.create_task(release_alert(desk.sessions, stop := asyncio.Event(), alert_id, due_at))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    stop.set()
    await waiting


async def test_a_worker_that_is_stopped_gives_the_alert_back(
    desk: Desk, db: psycopg.Connection, sink: Sink, database_url: str, tmp_path: Path
) -> None:
    a_reader(db, f"{sink.url}/one")
    with ExitStack() as others:
        with killed(database_url, tmp_path) as process:
            alert_id, due_at = await schedule(desk, 30)
            have_workers_wait(db)
            await asyncio.to_thread(until, lambda: number(db, HELD) == 1)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 10) == 0
        [(status, at)] = db.execute(
            "SELECT status, scheduled_at FROM procrastinate_jobs WHERE task_name = 'release_alert'"
        ).fetchall()
        assert (status, at) == ("todo", due_at - timedelta(seconds=2))
        await change(desk, alert_id, lambda alert: decisions.schedule(alert, by="x", at=datetime.now(UTC)))
        await mend(desk.sessions)  # nobody enqueued it when its time was changed here
        others.enter_context(worker(database_url, tmp_path))
        await until_finished(desk, db, alert_id)
    assert sink.accepted == {"one": 1}


async def test_a_worker_that_dies_while_it_waits_loses_nothing(
    desk: Desk, db: psycopg.Connection, sink: Sink, database_url: str, tmp_path: Path
) -> None:
    a_reader(db, f"{sink.url}/one")
    with killed(database_url, tmp_path):
        alert_id, due_at = await schedule(desk, A_WHILE)
        have_workers_wait(db)
        await asyncio.to_thread(until, lambda: number(db, HELD) == 1)
    assert (await desk.alert(alert_id)).state is AlertState.SCHEDULED
    with worker(database_url, tmp_path):
        ended = await until_finished(desk, db, alert_id)
    assert ended.released_at is not None and ended.released_at >= due_at
    assert sink.accepted == {"one": 1}


async def test_a_scheduled_alert_whose_job_was_lost_gets_another(desk: Desk, db: psycopg.Connection) -> None:
    jobs = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'release_alert'"
    alert_id, _ = await schedule(desk, 3600)
    await mend(desk.sessions)
    assert number(db, jobs) == 1
    db.execute("DELETE FROM procrastinate_jobs")
    await mend(desk.sessions)
    await mend(desk.sessions)
    assert number(db, jobs) == 1
    await change(desk, alert_id, decisions.undo)
    db.execute("DELETE FROM procrastinate_jobs")
    await mend(desk.sessions)
    assert number(db, jobs) == 0
