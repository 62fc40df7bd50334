from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import RowMapping, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Sessions, transaction
from app.domain.alerts import Alert, AlertState, Level
from app.domain.decisions import schedule, undo
from app.domain.feeds import Feed
from app.domain.refusals import Refusal
from app.polling import enqueue_poll, poll_now, without_poll
from app.release import enqueue_due, release, widen, without_release
from tests.makers import NOW, a_feed_row, a_topic_row, an_alert_row, some_alert

HOUR = timedelta(hours=1)


async def jobs(session: AsyncSession) -> Sequence[RowMapping]:
    return (await session.execute(text("SELECT * FROM procrastinate_jobs ORDER BY id"))).mappings().all()


async def job(session: AsyncSession) -> dict[str, Any]:
    [only] = await jobs(session)
    return dict(only)


# Releasing an alert


async def test_a_release_brings_its_work_along(session: AsyncSession) -> None:
    alert = await an_alert_row(session, await a_topic_row(session))
    await release(session, alert, NOW)
    assert (alert.state, alert.released_at) == (AlertState.RELEASED, NOW)
    work = await job(session)
    assert (work["task_name"], work["queue_name"], work["args"]) == (
        "plan_alert",
        "alerts",
        {"alert_id": str(alert.id)},
    )
    assert (work["status"], work["scheduled_at"], work["lock"]) == ("todo", None, f"alert:{alert.id}")


async def test_an_alert_and_its_work_are_written_together_or_not_at_all(sessions: Sessions) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        async with transaction(sessions) as session:
            alert = await an_alert_row(session, await a_topic_row(session))
            await release(session, alert, NOW)
            assert await jobs(session)
            raise RuntimeError("power cut")
    async with transaction(sessions) as session:
        assert await jobs(session) == []
        assert (await session.scalars(select(Alert))).all() == []


async def test_an_alert_that_is_released_twice_is_planned_once(session: AsyncSession) -> None:
    alert = await an_alert_row(session, await a_topic_row(session))
    await release(session, alert, NOW)
    with pytest.raises(Refusal, match="not sent twice"):
        await release(session, alert, NOW)
    assert len(await jobs(session)) == 1


async def test_breaking_news_overtakes_and_planning_overtakes_sending(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    for level in (Level.LOW, Level.BREAKING, Level.NORMAL):
        alert = some_alert(topic, level=level)
        session.add(alert)
        await release(session, alert, NOW)
    low, breaking, normal = (work["priority"] for work in await jobs(session))
    assert breaking > Level.BREAKING.priority > normal > Level.NORMAL.priority > low > Level.LOW.priority


# Widening it


async def test_a_draft_that_gains_a_topic_waits_for_a_person(session: AsyncSession) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    alert = await an_alert_row(session, russia)
    await widen(session, alert, [russia, ukraine])
    assert alert.topics == [russia, ukraine]
    assert await jobs(session) == []


@pytest.mark.parametrize("state", [AlertState.RELEASED, AlertState.SENDING, AlertState.FINISHED])
async def test_an_alert_on_its_way_that_gains_a_topic_is_planned_again(
    session: AsyncSession, state: AlertState
) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    alert = await an_alert_row(session, russia, state=state)
    await widen(session, alert, [ukraine])
    assert alert.topics == [russia, ukraine]
    assert (await job(session))["lock"] == f"alert:{alert.id}"


@pytest.mark.parametrize("who", [{"made_by": "editor@news.example"}, {"proposed_by": "editor@news.example"}])
@pytest.mark.parametrize("state", [AlertState.DRAFT, AlertState.SCHEDULED, AlertState.FINISHED])
async def test_an_alert_whose_topics_a_person_chose_stays_theirs(
    session: AsyncSession, state: AlertState, who: dict[str, str]
) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    alert = await an_alert_row(session, russia, state=state)
    for name, value in who.items():
        setattr(alert, name, value)
    await widen(session, alert, [ukraine])
    assert alert.topics == [russia]
    assert await jobs(session) == []


# Scheduling one


@pytest.mark.parametrize(
    "level, queue", [(Level.BREAKING, "breaking"), (Level.NORMAL, "alerts"), (Level.LOW, "alerts")]
)
async def test_a_scheduled_alert_is_in_a_workers_hands_before_its_time(
    session: AsyncSession, level: Level, queue: str
) -> None:
    alert = some_alert(await a_topic_row(session), level=level)
    schedule(alert, by="editor@news.example", at=NOW + HOUR, zone="Europe/Kyiv")
    session.add(alert)
    await enqueue_due(session, alert)
    work = await job(session)
    assert (work["task_name"], work["queue_name"], work["lock"]) == ("release_alert", queue, None)
    assert work["scheduled_at"] == NOW + HOUR - timedelta(seconds=2)
    assert work["args"] == {"alert_id": str(alert.id), "due_at": (NOW + HOUR).isoformat()}
    assert work["priority"] > level.priority + 10
    assert await without_release(session) == []


@pytest.mark.parametrize(
    "status, lost", [("todo", False), ("doing", False), ("failed", True), ("aborted", True), ("cancelled", True)]
)
async def test_a_scheduled_alert_whose_job_ended_for_good_is_without_a_release(
    session: AsyncSession, status: str, lost: bool
) -> None:
    alert = some_alert(await a_topic_row(session))
    schedule(alert, by="editor@news.example", at=NOW + HOUR)
    session.add(alert)
    await enqueue_due(session, alert)
    await session.execute(
        text("UPDATE procrastinate_jobs SET status = CAST(:status AS procrastinate_job_status)"), {"status": status}
    )
    assert await without_release(session) == ([alert.id] if lost else [])
    schedule(alert, by="editor@news.example", at=NOW + 2 * HOUR)  # the job is of another time
    await session.flush()
    assert await without_release(session) == [alert.id]
    undo(alert)
    await session.flush()
    assert await without_release(session) == []


# Polling a feed


async def test_a_feed_has_one_next_poll(session: AsyncSession) -> None:
    feed = await a_feed_row(session)
    await enqueue_poll(session, feed, at=NOW + HOUR)
    await enqueue_poll(session, feed, at=NOW + 2 * HOUR)
    await enqueue_poll(session, feed)
    work = await job(session)
    assert (work["task_name"], work["queue_name"], work["args"]) == ("poll_feed", "feeds", {"feed_id": feed.id})
    assert (work["scheduled_at"], work["lock"]) == (NOW + HOUR, f"feed:{feed.id}")


async def test_a_feed_that_is_not_stored_yet_can_have_its_first_poll(session: AsyncSession) -> None:
    feed = Feed(url="https://publisher.example/rss", created_at=NOW)
    session.add(feed)
    await enqueue_poll(session, feed)
    assert (await job(session))["args"] == {"feed_id": feed.id}


async def test_a_person_may_ask_for_a_poll_now_and_asking_twice_is_asking_once(session: AsyncSession) -> None:
    feed = await a_feed_row(session)
    await enqueue_poll(session, feed, at=NOW + HOUR)
    await poll_now(session, feed)
    await poll_now(session, feed)
    later, now = await jobs(session)
    assert (later["scheduled_at"], now["scheduled_at"]) == (NOW + HOUR, None)
    assert now["priority"] > later["priority"]
    assert now["lock"] == later["lock"]  # never two at a time


async def test_asking_again_does_not_undo_what_the_transaction_did_before(session: AsyncSession) -> None:
    feed = await a_feed_row(session)
    await enqueue_poll(session, feed)
    feed.title = "Changed"
    await enqueue_poll(session, feed)
    await session.refresh(feed)
    assert feed.title == "Changed"


@pytest.mark.parametrize(
    "status, silent",
    [("todo", False), ("doing", False), ("failed", True), ("succeeded", True), ("cancelled", True), ("aborted", True)],
)
async def test_a_feed_whose_job_ended_for_good_is_without_a_poll(
    session: AsyncSession, status: str, silent: bool
) -> None:
    feed = await a_feed_row(session)
    await enqueue_poll(session, feed)
    await session.execute(
        text("UPDATE procrastinate_jobs SET status = CAST(:status AS procrastinate_job_status)"), {"status": status}
    )
    assert await without_poll(session) == ([feed.id] if silent else [])


async def test_a_feed_without_any_job_is_without_a_poll(session: AsyncSession) -> None:
    silent, polled = await a_feed_row(session), await a_feed_row(session)
    await enqueue_poll(session, polled)
    assert await without_poll(session) == [silent.id]
