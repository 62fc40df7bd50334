"""Held back: an alert rings for nobody who does not want it now, and the books say for whom it did not."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Sessions
from app.domain.alerts import Alert, AlertState, Level, alert_by_id, an_alert
from app.domain.outcomes import Outcome
from app.domain.own_browsers import keep
from app.domain.shards import COUNTED, Shard, audience, plan, plan_correction, plan_for_editor, progress
from app.domain.subscriptions import Subscription
from app.domain.topics import Topic
from app.release import release
from tests.makers import (
    GOOGLE,
    NOW,
    a_reader,
    a_topic_row,
    an_alert_row,
    an_editor_row,
    an_endpoint,
    some_alert,
    some_browser,
)
from worker.plan import plan_alert

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
DAY = 24 * HOUR


@pytest.fixture
async def topic(session: AsyncSession) -> Topic:
    return await a_topic_row(session, "ukraine")


async def one_who(
    session: AsyncSession, *topics: Topic, quiet: str = "", zone: str = "Europe/Kyiv", **wants: Any
) -> Subscription:
    """quiet: such as 22:00-07:00, by the clock in `zone`."""
    reader = await a_reader(session, *topics, browser=wants.pop("browser", None))
    reader.time_zone = zone
    if quiet:
        reader.quiet_from, reader.quiet_to = map(time.fromisoformat, quiet.split("-"))
    for name, value in wants.items():
        setattr(reader, name, value)
    await session.flush()
    return reader


async def ring(
    session: AsyncSession, topic: Topic, *, at: datetime = NOW, level: Level = Level.NORMAL
) -> tuple[list[int], list[int]]:
    """For whom it rings and who is held back, by the ledger; its sums, and what the desk was shown before, agree."""
    shown = await audience(session, [topic.id], level, at)
    alert = await an_alert_row(session, topic)
    planned = await plan(session, alert.id, [topic.id], at, level=level)
    rings, held = await of_outcome(session, alert, Outcome.WAITING), await of_outcome(session, alert, Outcome.HELD)
    assert await progress(session, alert.id) == dict.fromkeys(COUNTED, 0) | {"waiting": len(rings), "held": len(held)}
    assert sum(shard.size for shard in planned) == len(rings) + len(held)
    assert sum(shard.waiting for shard in planned) == len(rings) == shown.rings == sum(shown.lanes.values())
    assert shown.level + shown.quiet_hours + shown.daily_limit == len(held)
    assert shown.readers == len(rings) + len(held) + shown.paused
    return rings, held


async def of_outcome(session: AsyncSession, alert: Alert, outcome: Outcome) -> list[int]:
    pages = await session.scalars(select(Shard).where(Shard.alert_id == alert.id))
    return sorted(
        reader
        for page in pages
        for reader, its in zip(page.subscription_ids, page.outcomes, strict=True)
        if its == outcome
    )


async def told(
    session: AsyncSession,
    topic: Topic,
    readers: Sequence[Subscription],
    at: datetime,
    *,
    outcome: Outcome = Outcome.ACCEPTED,
    level: Level = Level.NORMAL,
    **more: Any,
) -> Alert:
    """An alert that was released then, and what came of it for each of them."""
    alert = an_alert(title="Told before", url="https://news.example/0", topics=[topic], level=level, now=at)
    alert.state, alert.released_at = AlertState.FINISHED, at
    for name, value in more.items():
        setattr(alert, name, value)
    tally = dict.fromkeys(COUNTED, 0) | {outcome.label: len(readers)}
    ids, outcomes = [reader.id for reader in readers], bytes([outcome]) * len(readers)
    page = Shard(alert_id=alert.id, lane="https://any", subscription_ids=ids, outcomes=outcomes, **tally)
    session.add(alert)
    await session.flush()
    session.add(page)
    await session.flush()
    return alert


# Quiet hours


async def test_a_zone_that_this_machine_does_not_know_costs_its_readers_quiet_hours_and_nothing_else(
    session: AsyncSession, topic: Topic
) -> None:
    odd = await one_who(session, topic, quiet="00:00-23:59", zone="Mars/Olympus")
    other = await one_who(session, topic)
    asleep = await one_who(session, topic, quiet="00:00-23:59")
    assert await ring(session, topic) == ([odd.id, other.id], [asleep.id])


NIGHT, NAP = "22:00-07:00", "13:00-15:00"
NEW_YORK, KYIV = "America/New_York", "Europe/Kyiv"


@pytest.mark.parametrize(
    "quiet, zone, at, is_quiet",
    [
        # A night passes midnight; its first minute is quiet and its last is not. Kyiv's summer is UTC+3.
        (NIGHT, KYIV, "2026-08-01T18:59:59", False),
        (NIGHT, KYIV, "2026-08-01T19:00", True),
        (NIGHT, KYIV, "2026-08-01T21:00", True),  # midnight
        (NIGHT, KYIV, "2026-08-02T03:59:59.999999", True),
        (NIGHT, KYIV, "2026-08-02T04:00", False),
        (NAP, KYIV, "2026-08-01T09:59", False),
        (NAP, KYIV, "2026-08-01T10:00", True),
        (NAP, KYIV, "2026-08-01T12:00", False),
        (NAP, KYIV, "2026-08-01T21:00", False),
        ("00:00-23:59", KYIV, "2026-08-01T20:58", True),
        ("00:00-23:59", KYIV, "2026-08-01T20:59", False),
        # The same moment elsewhere.
        (NIGHT, "Asia/Kathmandu", "2026-08-01T16:14", False),  # UTC+5:45
        (NIGHT, "Asia/Kathmandu", "2026-08-01T16:15", True),
        (NIGHT, "Pacific/Kiritimati", "2026-08-01T08:00", True),  # UTC+14: there it is tomorrow
        (NIGHT, "Pacific/Kiritimati", "2026-08-01T17:00", False),
        (NIGHT, "UTC", "2026-08-01T22:00", True),
        # Clocks go forward at two on 8 March: the half past two of this night is never.
        ("01:30-03:30", NEW_YORK, "2026-03-08T06:29", False),
        ("01:30-03:30", NEW_YORK, "2026-03-08T06:30", True),
        ("01:30-03:30", NEW_YORK, "2026-03-08T07:29", True),  # 03:29
        ("01:30-03:30", NEW_YORK, "2026-03-08T07:30", False),
        ("02:00-03:00", NEW_YORK, "2026-03-08T06:59", False),
        ("02:00-03:00", NEW_YORK, "2026-03-08T07:00", False),  # 03:00 comes right after 01:59
        # They go back at two on 1 November: half past one is twice, and both are quiet.
        ("01:15-01:45", NEW_YORK, "2026-11-01T05:30", True),
        ("01:15-01:45", NEW_YORK, "2026-11-01T05:59", False),
        ("01:15-01:45", NEW_YORK, "2026-11-01T06:00", False),  # 01:00 again
        ("01:15-01:45", NEW_YORK, "2026-11-01T06:30", True),
        # A night over either change begins and ends by the clock on the wall.
        (NIGHT, KYIV, "2026-03-28T19:59", False),  # 21:59, UTC+2
        (NIGHT, KYIV, "2026-03-28T20:00", True),
        (NIGHT, KYIV, "2026-03-29T03:59", True),  # 06:59, UTC+3
        (NIGHT, KYIV, "2026-03-29T04:00", False),
        (NIGHT, KYIV, "2026-10-24T19:00", True),  # 22:00, UTC+3
        (NIGHT, KYIV, "2026-10-25T04:59", True),  # 06:59, UTC+2
        (NIGHT, KYIV, "2026-10-25T05:00", False),
    ],
)
async def test_quiet_hours_are_by_the_clock_on_the_readers_wall(
    session: AsyncSession, topic: Topic, quiet: str, zone: str, at: str, is_quiet: bool
) -> None:
    reader = await one_who(session, topic, quiet=quiet, zone=zone)
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert await ring(session, topic, at=moment) == (([], [reader.id]) if is_quiet else ([reader.id], []))


async def test_each_reader_sleeps_where_they_are(session: AsyncSession, topic: Topic) -> None:
    kyiv, tokyo, lisbon = [
        await one_who(session, topic, quiet=NIGHT, zone=zone) for zone in (KYIV, "Asia/Tokyo", "Europe/Lisbon")
    ]
    awake = await one_who(session, topic, zone="Asia/Tokyo")
    assert await ring(session, topic, at=NOW) == ([kyiv.id, tokyo.id, lisbon.id, awake.id], [])  # 15, 21 and 13 o'clock
    assert await ring(session, topic, at=NOW + HOUR) == ([kyiv.id, lisbon.id, awake.id], [tokyo.id])


async def test_breaking_news_passes_quiet_hours(session: AsyncSession, topic: Topic) -> None:
    reader = await one_who(session, topic, quiet="00:00-23:59")
    assert await ring(session, topic, level=Level.LOW) == ([], [reader.id])
    assert await ring(session, topic, level=Level.BREAKING) == ([reader.id], [])


# Levels


@pytest.mark.parametrize(
    "levels, level, rings",
    [
        (None, Level.LOW, True),
        (["breaking"], Level.BREAKING, True),
        (["breaking"], Level.NORMAL, False),
        (["breaking", "normal"], Level.LOW, False),
        (["normal", "low"], Level.NORMAL, True),
        (["normal", "low"], Level.BREAKING, False),  # their own word passes even that
    ],
)
async def test_a_level_that_a_reader_does_not_want_does_not_ring(
    session: AsyncSession, topic: Topic, levels: list[str] | None, level: Level, rings: bool
) -> None:
    reader = await one_who(session, topic, levels=levels)
    assert await ring(session, topic, level=level) == (([reader.id], []) if rings else ([], [reader.id]))


# The daily limit


async def test_a_daily_limit_is_how_many_alerts_ring_in_any_24_hours(session: AsyncSession, topic: Topic) -> None:
    two, three, any_number = [await one_who(session, topic, daily_limit=limit) for limit in (2, 3, None)]
    everybody = [two, three, any_number]
    assert (await ring(session, topic))[1] == []
    await told(session, topic, everybody, NOW - 23 * HOUR)
    assert (await ring(session, topic))[1] == []
    await told(session, topic, everybody, NOW - MINUTE)
    assert await ring(session, topic) == ([three.id, any_number.id], [two.id])
    assert (await audience(session, [topic.id], Level.NORMAL, NOW)).daily_limit == 1
    await told(session, topic, everybody, NOW)
    assert await ring(session, topic) == ([any_number.id], [two.id, three.id])
    assert (await ring(session, topic, level=Level.BREAKING))[1] == []


async def test_a_limit_counts_the_last_24_hours_and_no_calendar_day(session: AsyncSession, topic: Topic) -> None:
    reader = await one_who(session, topic, daily_limit=1)
    await told(session, topic, [reader], NOW)
    for later, held in ((SECOND, True), (DAY - SECOND, True), (DAY, False), (DAY + SECOND, False)):
        assert bool((await ring(session, topic, at=NOW + later))[1]) is held


async def test_a_limit_counts_what_rang_for_any_topic(session: AsyncSession, topic: Topic) -> None:
    other = await a_topic_row(session, "russia")
    reader = await one_who(session, topic, other, daily_limit=1)
    await told(session, other, [reader], NOW - HOUR)
    assert await ring(session, topic) == ([], [reader.id])


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.ACCEPTED])
async def test_what_did_not_ring_does_not_count(session: AsyncSession, topic: Topic, outcome: Outcome) -> None:
    reader, other = await one_who(session, topic, daily_limit=1), await one_who(session, topic, daily_limit=1)
    alert = await told(session, topic, [reader], NOW - HOUR, outcome=outcome)
    more = {"subscription_ids": [other.id], "outcomes": bytes([Outcome.ACCEPTED]), "accepted": 1}
    session.add(Shard(alert_id=alert.id, lane="https://any", **more))
    await session.flush()
    assert await ring(session, topic) == ([reader.id], [other.id])


@pytest.mark.parametrize("what", ["a test", "a correction", "breaking"])
async def test_what_does_not_count_towards_a_limit(session: AsyncSession, topic: Topic, what: str) -> None:
    reader = await one_who(session, topic, daily_limit=1)
    editor = await an_editor_row(session)
    more: dict[str, dict[str, Any]] = {
        "a test": {"for_editor_id": editor.id},
        "a correction": {"thread_id": uuid4()},
        "breaking": {"level": Level.BREAKING},
    }
    await told(session, topic, [reader], NOW - HOUR, **more[what])
    assert await ring(session, topic) == ([reader.id], [])
    await told(session, topic, [reader], NOW - HOUR)
    assert await ring(session, topic) == ([], [reader.id])


async def test_a_correction_and_a_test_pass_every_limit(session: AsyncSession, topic: Topic) -> None:
    limits: dict[str, Any] = {"quiet": "00:00-23:59", "daily_limit": 1, "levels": ["low"]}
    reader = await one_who(session, topic, **limits)
    wrong = await told(session, topic, [reader], NOW - HOUR)
    right, test = await an_alert_row(session, topic), await an_alert_row(session, topic)
    [planned] = await plan_correction(session, right.id, [wrong.id], NOW)
    assert (planned.size, planned.waiting) == (1, 1)
    editor = await an_editor_row(session)
    await keep(session, editor.id, reader, name="Firefox", now=NOW)
    [planned] = await plan_for_editor(session, test.id, editor.id, NOW)
    assert (planned.size, planned.waiting) == (1, 1)


async def test_who_was_held_back_gets_no_correction_of_what_did_not_ring(session: AsyncSession, topic: Topic) -> None:
    await one_who(session, topic, levels=["low"])
    rang = await one_who(session, topic)
    wrong, right = await an_alert_row(session, topic), await an_alert_row(session, topic)
    await plan(session, wrong.id, [topic.id], NOW, level=Level.NORMAL)
    await session.execute(text("UPDATE shards SET outcomes = '\\x01', waiting = 0, accepted = 1 WHERE waiting = 1"))
    await plan_correction(session, right.id, [wrong.id], NOW)
    assert await of_outcome(session, right, Outcome.WAITING) == [rang.id]


# The books


async def test_whoever_has_several_reasons_is_held_back_once(session: AsyncSession, topic: Topic) -> None:
    both = await a_topic_row(session, "russia")
    sated = await one_who(session, topic, both, quiet="00:00-23:59", daily_limit=1, levels=["low"])
    await told(session, topic, [sated], NOW - HOUR)
    asleep = await one_who(session, topic, quiet="00:00-23:59", daily_limit=1)
    away = await one_who(session, topic, quiet="00:00-23:59", paused_until=NOW + HOUR)
    awake = await one_who(session, topic, browser=some_browser(an_endpoint(GOOGLE)))
    found = await audience(session, [topic.id, both.id], Level.NORMAL, NOW)
    assert (found.readers, found.rings, found.lanes) == (4, 1, {f"https://{GOOGLE}": 1})
    assert (found.paused, found.level, found.quiet_hours, found.daily_limit) == (1, 1, 1, 0)
    rings, held = await ring(session, topic)
    assert (rings, held) == ([awake.id], [sated.id, asleep.id])
    assert away.id not in rings + held  # told nothing at all, so in no book


async def test_a_page_of_the_ledger_either_rings_or_is_held_back(session: AsyncSession, topic: Topic) -> None:
    for number in range(7):
        await one_who(session, topic, levels=["low"] if number % 2 else None)
    alert = await an_alert_row(session, topic)
    planned = await plan(session, alert.id, [topic.id], NOW, level=Level.NORMAL, size=2)
    assert sorted((shard.size, shard.waiting) for shard in planned) == [(1, 0), (2, 0), (2, 2), (2, 2)]


async def test_one_more_topic_does_not_wake_who_was_held_back(session: AsyncSession, topic: Topic) -> None:
    other = await a_topic_row(session, "russia")
    asleep = await one_who(session, topic, other, quiet=NIGHT)
    alert = await an_alert_row(session, topic)
    await plan(session, alert.id, [topic.id], NOW + 10 * HOUR)  # an hour after midnight there
    assert await plan(session, alert.id, [topic.id, other.id], NOW + 24 * HOUR) == []
    assert await of_outcome(session, alert, Outcome.HELD) == [asleep.id]


async def test_an_alert_that_rings_for_nobody_is_over_at_once(
    session: AsyncSession, own_sessions: Sessions, topic: Topic
) -> None:
    for _ in range(3):
        await one_who(session, topic, levels=["breaking"])
    alert = await released(session, topic)
    await plan_alert(own_sessions, alert.id)
    alert = await alert_by_id(session, alert.id)
    await session.refresh(alert)
    assert (alert.state, alert.recipients, alert.finished_at is not None) == (AlertState.FINISHED, 3, True)
    assert await progress(session, alert.id) == dict.fromkeys(COUNTED, 0) | {"held": 3}
    assert await to_send(session) == 0


async def test_only_for_whom_it_rings_there_is_something_to_send(
    session: AsyncSession, own_sessions: Sessions, topic: Topic
) -> None:
    await one_who(session, topic, levels=["breaking"])
    await one_who(session, topic)
    alert = await released(session, topic)
    await plan_alert(own_sessions, alert.id)
    await session.refresh(alert)
    assert (alert.state, alert.recipients, alert.finished_at) == (AlertState.SENDING, 2, None)
    assert await to_send(session) == 1


async def released(session: AsyncSession, topic: Topic) -> Alert:
    alert = some_alert(topic)
    session.add(alert)
    await release(session, alert, datetime.now(UTC))
    await session.flush()
    return alert


async def to_send(session: AsyncSession) -> int:
    query = text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'send_shard'")
    return int(await session.scalar(query) or 0)
