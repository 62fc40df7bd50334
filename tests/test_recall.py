"""Recall and correct: what was not sent never is, and who got the wrong text gets the right one, once."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from app import release
from app.database import transaction
from app.domain.alerts import Alert, AlertState, alert_by_id
from app.domain.refusals import Refusal
from tests.sink import Sink
from tests.terminal import Terminal
from tests.test_fanout import Desk, a_reader, db, desk, many_readers, sink
from tests.test_poll import number, until, worker
from worker.plan import plan_alert

__all__ = ["db", "desk", "sink"]

LATER = "429 Too Many Requests\r\nRetry-After: 600"


async def recall(desk: Desk, alert_id: UUID) -> Alert:
    async with transaction(desk.sessions) as session:
        alert = await alert_by_id(session, alert_id, lock=True)
        await release.recall(session, alert, datetime.now(UTC))
    return alert


async def correct(desk: Desk, wrong_id: UUID, title: str = "The right title") -> UUID:
    async with transaction(desk.sessions) as session:
        wrong = await alert_by_id(session, wrong_id, lock=True)
        return (await release.correct(session, wrong, datetime.now(UTC), title=title)).id


async def over(desk: Desk, db: psycopg.Connection, alert_id: UUID) -> Alert:
    """The alert once a worker process has brought it to its end."""
    query = "SELECT count(*) FROM alerts WHERE id = %s AND finished_at IS NOT NULL"
    await asyncio.to_thread(until, lambda: number(db, query, alert_id) == 1)
    return await desk.alert(alert_id)


def under_way(db: psycopg.Connection, shard_id: int, *, is_so: bool = True) -> None:
    """As if a worker process were (no longer) at the shard's job."""
    db.execute(
        "UPDATE procrastinate_jobs SET status = %s WHERE task_name = 'send_shard' AND args->>'shard_id' = %s",
        ("doing" if is_so else "todo", str(shard_id)),
    )


def ledger(db: psycopg.Connection, alert_id: UUID) -> dict[int, int]:
    """Outcome by subscription, byte by byte."""
    rows = db.execute("SELECT subscription_ids, outcomes FROM shards WHERE alert_id = %s", (alert_id,)).fetchall()
    return {reader: outcome for ids, outcomes in rows for reader, outcome in zip(ids, outcomes, strict=True)}


# Recall


async def test_a_recall_in_mid_send_stops_it_and_the_books_say_exactly_who_got_it(
    desk: Desk, db: psycopg.Connection, sink: Sink, database_url: str, tmp_path: Path
) -> None:
    many_readers(db, sink.url, 3000)
    sink.delay = 0.3
    alert_id = await desk.ring()
    with worker(database_url, tmp_path):
        await asyncio.to_thread(until, lambda: sink.accepted.total() > 200)
        await recall(desk, alert_id)
        ended = await over(desk, db, alert_id)
        accepted = sink.accepted.total()
        assert await desk.counts(alert_id) == {"accepted": accepted, "recalled": 3000 - accepted}
        await asyncio.sleep(1)  # nothing comes after
        assert sink.received.total() == sink.accepted.total() == accepted < 3000
    assert (ended.state, ended.recipients) == (AlertState.RECALLED, 3000)
    assert set(sink.accepted.values()) == {1}


async def test_what_no_worker_is_sending_is_recalled_at_once(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    answers = {"ok": "201 Created", "gone": "410 Gone", "busy": LATER, "big": "413 Payload Too Large", "slow": LATER}
    readers = {name: a_reader(db, f"{sink.url}/{name}") for name in answers}
    other = a_reader(db, "https://other.example/never-tried")
    sink.answer = lambda name, times: answers[name]
    alert_id = await desk.ring()
    [tried] = [shard for shard in await desk.plan(alert_id) if number(db, LANE, shard, sink.url)]
    await desk.send_shard(tried)
    assert await desk.counts(alert_id) == {"accepted": 1, "gone": 1, "failed": 1, "waiting": 3}

    alert = await recall(desk, alert_id)
    assert (alert.state, alert.finished_at is not None) == (AlertState.RECALLED, True)
    assert ledger(db, alert_id) == {other: 7} | {
        readers[name]: outcome for name, outcome in {"ok": 1, "gone": 2, "busy": 7, "big": 4, "slow": 7}.items()
    }
    await desk.send_shard(tried)  # its next try comes all the same
    assert sink.received == dict.fromkeys(answers, 1)
    assert number(db, AGAIN, f"alert:{alert_id}:again") == 0  # nothing is left to look at


LANE = "SELECT count(*) FROM shards WHERE id = %s AND lane = %s"
AGAIN = "SELECT count(*) FROM procrastinate_jobs WHERE queueing_lock = %s AND scheduled_at IS NOT NULL"


async def test_a_plan_that_comes_after_the_recall_writes_nobody(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    a_reader(db, f"{sink.url}/one")
    alert_id = await desk.ring()
    alert = await recall(desk, alert_id)
    assert alert.finished_at is not None
    assert await desk.send(alert_id) == {}
    ended = await desk.alert(alert_id)
    assert (ended.state, ended.recipients, ended.finished_at) == (AlertState.RECALLED, 0, alert.finished_at)


async def test_a_recall_and_a_plan_at_the_same_moment_leave_nobody_waiting(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 2500)
    for _ in range(5):
        alert_id = await desk.ring()
        await asyncio.gather(plan_alert(desk.sessions, alert_id), recall(desk, alert_id))
        counts, ended = await desk.counts(alert_id), await desk.alert(alert_id)
        assert counts in ({}, {"recalled": 2500})
        assert (ended.state, ended.recipients) == (AlertState.RECALLED, counts.get("recalled", 0))
        assert ended.finished_at is not None


async def test_a_shard_that_a_worker_gives_back_at_that_moment_is_recalled_when_we_look_again(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    a_reader(db, f"{sink.url}/busy")
    sink.answer = lambda name, times: LATER
    alert_id = await desk.ring()
    [shard_id] = await desk.plan(alert_id)
    await desk.send_shard(shard_id)
    under_way(db, shard_id)  # the job ends a moment after the pass

    assert (await recall(desk, alert_id)).finished_at is None
    await plan_alert(desk.sessions, alert_id)
    assert await desk.counts(alert_id) == {"waiting": 1}
    assert number(db, AGAIN, f"alert:{alert_id}:again") == 1  # not one for each look

    under_way(db, shard_id, is_so=False)
    await plan_alert(desk.sessions, alert_id)
    assert await desk.counts(alert_id) == {"recalled": 1}
    assert (await desk.alert(alert_id)).finished_at is not None


async def test_a_worker_that_was_thought_dead_and_sends_still_says_who_got_it(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    many_readers(db, sink.url, 900)
    sink.delay = 0.3
    alert_id = await desk.ring()
    [shard_id] = await desk.plan(alert_id)
    sending = asyncio.create_task(desk.send_shard(shard_id))  # its job was handed on: nobody seems to be at it
    await asyncio.to_thread(until, lambda: sink.accepted)
    await recall(desk, alert_id)
    await sending
    accepted = sink.accepted.total()
    assert await desk.counts(alert_id) == {"accepted": accepted, "recalled": 900 - accepted}
    assert sink.received.total() == accepted < 900


async def test_a_draft_can_be_recalled_and_a_finished_alert_cannot(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    a_reader(db, f"{sink.url}/one")
    alert_id = await desk.ring()
    await desk.send(alert_id)
    with pytest.raises(Refusal, match=r"Everybody has this alert already.*correct it"):
        await recall(desk, alert_id)
    db.execute("UPDATE alerts SET state = 'draft', released_at = NULL, finished_at = NULL")
    alert = await recall(desk, alert_id)
    assert (alert.state, alert.finished_at is not None) == (AlertState.RECALLED, True)
    with pytest.raises(Refusal, match="recalled already"):
        await recall(desk, alert_id)


# Correct


async def test_a_correction_in_mid_send_reaches_exactly_those_who_got_the_wrong_one(
    desk: Desk, db: psycopg.Connection, sink: Sink, database_url: str, tmp_path: Path
) -> None:
    many_readers(db, sink.url, 3000)
    sink.delay = 1.0
    wrong_id = await desk.ring()
    with worker(database_url, tmp_path):
        await asyncio.to_thread(until, lambda: sink.accepted.total() > 100)
        before = sink.accepted.total()
        right_id = await correct(desk, wrong_id)
        right, wrong = await over(desk, db, right_id), await over(desk, db, wrong_id)
    assert (right.state, wrong.state) == (AlertState.FINISHED, AlertState.RECALLED)
    told = [reader for reader, outcome in ledger(db, wrong_id).items() if outcome == 1]
    assert before < len(told) < 3000  # some were in flight when the correction was planned first
    assert ledger(db, right_id) == dict.fromkeys(told, 1)
    assert right.recipients == len(told)
    assert await desk.counts(wrong_id) == {"accepted": len(told), "recalled": 3000 - len(told)}
    assert len(sink.accepted) == len(told)
    assert set(sink.accepted.values()) == set(sink.received.values()) == {2}
    assert len({headers["topic"] for of_one in sink.headers.values() for headers in of_one}) == 1


async def test_a_correction_goes_to_who_got_it_whatever_they_follow_since(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    names = ("stays", "unfollows", "pauses", "stops", "is-forgotten", "refuses")
    readers = {name: a_reader(db, f"{sink.url}/{name}") for name in names}
    sink.answer = lambda name, times: "413 Payload Too Large" if name == "refuses" else "201 Created"
    wrong_id = await desk.ring()
    await desk.send(wrong_id)
    db.execute("DELETE FROM follows WHERE subscription_id = %s", (readers["unfollows"],))
    db.execute("UPDATE subscriptions SET paused_until = 'infinity' WHERE id = %s", (readers["pauses"],))
    db.execute("UPDATE subscriptions SET ended_at = now() WHERE id = %s", (readers["stops"],))
    db.execute("DELETE FROM subscriptions WHERE id = %s", (readers["is-forgotten"],))
    a_reader(db, f"{sink.url}/comes")

    right_id = await correct(desk, wrong_id)
    assert await desk.send(right_id) == {"accepted": 3}
    assert await desk.send(right_id) == {"accepted": 3}
    assert sink.received == dict.fromkeys(names, 1) | dict.fromkeys(("stays", "unfollows", "pauses"), 2)
    right, wrong = await desk.alert(right_id), await desk.alert(wrong_id)
    assert (right.state, right.corrects_id, right.level) == (AlertState.FINISHED, wrong_id, wrong.level)
    assert (right.title, right.url, right.ttl) == ("The right title", wrong.url, wrong.ttl)
    assert wrong.state is AlertState.FINISHED


async def test_a_correction_of_a_correction_takes_the_first_ones_place_for_all_who_have_a_wrong_text(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    a_reader(db, f"{sink.url}/all")
    a_reader(db, f"{sink.url}/missed-one")
    sink.answer = lambda name, times: LATER if (name, times) == ("missed-one", 2) else "201 Created"
    first = await desk.ring()
    await desk.send(first)
    second = await correct(desk, first)
    assert await desk.send(second) == {"accepted": 1, "waiting": 1}
    third = await correct(desk, second, "The very title")
    assert await desk.counts(second) == {"accepted": 1, "recalled": 1}
    assert await desk.send(third) == {"accepted": 2}
    assert sink.received == {"all": 3, "missed-one": 3}
    assert len({headers["topic"] for of_one in sink.headers.values() for headers in of_one}) == 1
    assert [(await desk.alert(one)).thread for one in (first, second, third)] == [first] * 3
    assert (await desk.alert(second)).state is AlertState.RECALLED


async def test_nobody_gets_a_correction_before_what_it_corrects(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    """Else what arrives last, and stays on the screen, would be the wrong one."""
    early, late = a_reader(db, f"{sink.url}/early"), a_reader(db, f"{sink.url}/late")
    first = await desk.ring()
    await desk.send(first)
    second = await correct(desk, first)
    [shard_id] = await desk.plan(second)
    under_way(db, shard_id)  # a worker is at it: the early one has it, to the late one it is on its way
    db.execute(
        "UPDATE shards SET claim = 1, outcomes = %s, waiting = 1, accepted = 1 WHERE id = %s",
        (bytes(reader == early for reader in sorted((early, late))), shard_id),
    )
    third = await correct(desk, second)
    assert await desk.send(third) == {"accepted": 1}
    assert ledger(db, third) == {early: 1}
    assert (await desk.alert(third)).state is AlertState.SENDING  # more may come

    db.execute("UPDATE shards SET outcomes = '\\x0101', waiting = 0, accepted = 2 WHERE id = %s", (shard_id,))
    await plan_alert(desk.sessions, second)
    assert await desk.send(third) == {"accepted": 2}
    assert (await desk.alert(third)).state is AlertState.FINISHED


async def test_the_correction_of_an_alert_that_nobody_got_ends_with_nobody(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    a_reader(db, f"{sink.url}/one")
    unplanned, planned, recalled = [await desk.ring() for _ in range(3)]
    await desk.plan(planned)
    await recall(desk, recalled)
    for wrong_id in (unplanned, planned, recalled):
        right_id = await correct(desk, wrong_id)
        assert await desk.send(right_id) == {}
        right, wrong = await desk.alert(right_id), await desk.alert(wrong_id)
        assert (right.state, right.recipients, wrong.state) == (AlertState.FINISHED, 0, AlertState.RECALLED)
        assert right.finished_at is not None
        assert wrong.finished_at is not None
    assert not sink.received


async def test_a_wrong_alert_is_corrected_once_and_reaches_nobody_new(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    a_reader(db, f"{sink.url}/ukraine")
    wrong_id = await desk.ring()
    await desk.send(wrong_id)
    right_id = await correct(desk, wrong_id)
    with pytest.raises(Refusal, match=f"correct the correction: {right_id}"):
        await correct(desk, wrong_id)
    a_reader(db, f"{sink.url}/russia", "russia")
    db.execute("INSERT INTO alert_topics SELECT %s, id FROM topics WHERE slug = 'russia'", (wrong_id,))
    assert await desk.send(wrong_id) == {"accepted": 1}  # its story turned out to be about Russia, too
    assert sink.received == {"ukraine": 1}


async def test_a_correction_that_is_only_written_keeps_nobody_from_the_alert(
    desk: Desk, db: psycopg.Connection, sink: Sink
) -> None:
    a_reader(db, f"{sink.url}/one")
    wrong_id = await desk.ring()
    async with transaction(desk.sessions) as session:
        wrong = await alert_by_id(session, wrong_id, lock=True)
        await release.draft_correction(session, wrong, datetime.now(UTC), unwritten=True)
    assert await desk.send(wrong_id) == {"accepted": 1}


async def test_of_two_editors_who_correct_at_once_one_is_told(desk: Desk, db: psycopg.Connection, sink: Sink) -> None:
    a_reader(db, f"{sink.url}/one")
    wrong_id = await desk.ring()
    await desk.send(wrong_id)
    done = await asyncio.gather(*(correct(desk, wrong_id) for _ in range(4)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["Conflict", "Conflict", "Conflict", "UUID"]


# The commands


@pytest.fixture
def commands(terminal: Terminal) -> Terminal:
    return terminal.of("alert")


async def test_an_editor_recalls_corrects_and_looks_at_what_became_of_it(
    desk: Desk, db: psycopg.Connection, sink: Sink, commands: Terminal, database_url: str, tmp_path: Path
) -> None:
    a_reader(db, f"{sink.url}/quick")
    a_reader(db, f"{sink.url}/busy")
    sink.answer = lambda name, times: LATER if name == "busy" else "201 Created"
    wrong_id = await desk.ring()
    await desk.send(wrong_id)
    recalled = commands.json("recall", str(wrong_id)[:6])
    assert {name: recalled[name] for name in ("id", "state", "recipients", "accepted", "recalled", "waiting")} == {
        "id": str(wrong_id), "state": "recalled", "recipients": 2, "accepted": 1, "recalled": 1, "waiting": 0,
    }  # fmt: skip
    with worker(database_url, tmp_path):
        said = commands.said("correct", str(wrong_id).upper(), "--title", "[Right] & true", "--body", "Sorry")
    assert re.search(r"1 recipients in [\d.]+ s: 1 handed over\.\n1 had not got the wrong alert yet", said)
    assert sink.received == {"quick": 2, "busy": 1}

    right, wrong = commands.json("list")
    assert (right["title"], right["state"], right["outcomes"]["accepted"]) == ("[Right] & true", "finished", 1)
    assert (wrong["id"], wrong["outcomes"]["recalled"], wrong["level"]) == (str(wrong_id), 1, "breaking")
    assert right["released_at"] <= right["finished_at"]
    table = commands.said("list")
    assert table.index("[Right] & true") < table.index("1 handed over, 1 recalled")

    shown = commands.json("show", right["id"])
    assert (shown["body"], shown["url"], shown["corrects"]) == ("Sorry", "https://news.example/1", str(wrong_id))
    assert right["id"] in commands.said("show", wrong_id)  # corrected by


async def test_commands_say_in_one_sentence_what_cannot_be(
    desk: Desk, db: psycopg.Connection, sink: Sink, commands: Terminal
) -> None:
    a_reader(db, f"{sink.url}/one")
    alert_id = await desk.ring()
    await desk.send(alert_id)
    assert "correct it" in commands.refused("recall", alert_id)
    assert "Its first six characters are enough" in commands.refused("correct", str(alert_id)[:5], "--title", "Right")


async def test_a_correction_for_nobody_says_so(
    desk: Desk, db: psycopg.Connection, sink: Sink, commands: Terminal, database_url: str, tmp_path: Path
) -> None:
    a_reader(db, f"{sink.url}/one")
    alert_id = await desk.ring()
    await recall(desk, alert_id)
    with worker(database_url, tmp_path):
        assert "Nobody has got the wrong alert" in commands.said("correct", alert_id, "--title", "Right")
