"""What the ledger, its beats and the receipts say of an alert, a day and a week."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.alerts import Alert, AlertState
from app.domain.outcomes import Outcome
from app.domain.reports import by_lane, per_second, seconds_to
from app.domain.shards import Beat, plan, record
from app.domain.topics import Topic
from tests.makers import GOOGLE, MOZILLA, NOW, a_topic_row, an_alert_row, many_readers

GOOGLES, MOZILLAS = f"https://{GOOGLE}", f"https://{MOZILLA}"
SECOND = timedelta(seconds=1)


async def an_alert(session: AsyncSession, topic: Topic, *, size: int = 100) -> tuple[Alert, dict[str, int]]:
    """Released at NOW and planned: the alert, and a page of each lane."""
    alert = await an_alert_row(session, topic, state=AlertState.SENDING)
    planned = await plan(session, alert.id, [topic.id], NOW, size=size)
    return alert, {page.lane: page.id for page in planned}


async def told(session: AsyncSession, shard_id: int, outcomes: Sequence[int], at: datetime) -> None:
    """A checkpoint, as if it had been written then."""
    assert await record(session, shard_id, 0, bytes(outcomes), 0)
    await session.execute(update(Beat).where(Beat.shard_id == shard_id, Beat.at > NOW + 60 * SECOND).values(at=at))


def page(size: int, *, accepted: int, **others: int) -> list[int]:
    counts = {"accepted": accepted, **others}
    counts["waiting"] = size - sum(counts.values())
    return [outcome for outcome in Outcome for _ in range(counts.get(outcome.label, 0))]


# Seconds to


async def test_an_alert_reached_so_many_percent_at_the_beat_that_completes_them(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 100)
    alert, pages = await an_alert(session, topic)
    assert await seconds_to(session, alert) == {50: None, 90: None, 99: None}
    for accepted, after in ((49, 1), (50, 2), (89, 3), (95, 4), (98, 5), (99, 6), (100, 7)):
        await told(session, pages[MOZILLAS], page(100, accepted=accepted), NOW + after * SECOND)
    assert await seconds_to(session, alert) == {50: 2.0, 90: 4.0, 99: 6.0}


async def test_who_is_held_back_is_not_waited_for_and_who_is_gone_is(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 10)
    alert, pages = await an_alert(session, topic)
    await told(session, pages[MOZILLAS], page(10, accepted=3, held=5, gone=1), NOW + SECOND)
    assert await seconds_to(session, alert) == {50: 1.0, 90: None, 99: None}


async def test_an_alert_that_rings_for_nobody_reaches_nobody(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 2)
    alert, pages = await an_alert(session, topic)
    await told(session, pages[MOZILLAS], page(2, accepted=0, held=2), NOW + SECOND)
    assert await seconds_to(session, alert) == {50: None, 90: None, 99: None}


# By lane


async def test_each_push_service_has_its_own_counts_and_times(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 30, lane=GOOGLES)
    await many_readers(session, topic, 10, lane=MOZILLAS)
    alert, pages = await an_alert(session, topic)
    await told(session, pages[GOOGLES], page(30, accepted=15, failed=1), NOW + SECOND)
    await told(session, pages[MOZILLAS], page(10, accepted=10), NOW + 2 * SECOND)
    google, mozilla = await by_lane(session, alert.id)
    assert (google.lane, google.recipients, google.outcomes["accepted"], google.outcomes["failed"]) == (
        *(GOOGLES, 30, 15, 1),
    )
    assert google.seconds_to == {50: 1.0, 90: None, 99: None}
    assert (mozilla.lane, mozilla.recipients, mozilla.outcomes["waiting"]) == (MOZILLAS, 10, 0)
    assert mozilla.seconds_to == {50: 2.0, 90: 2.0, 99: 2.0}
    assert await seconds_to(session, alert) == {50: 2.0, 90: None, 99: None}


async def test_an_alert_without_pages_has_no_lanes(session: AsyncSession) -> None:
    alert, _ = await an_alert(session, await a_topic_row(session))
    assert await by_lane(session, alert.id) == []


# Speed


@pytest.mark.parametrize("after, speed", [(0, 0.0), (1, 4.0), (4, 6.0), (5, 2.0), (60, 0.0)])
async def test_the_speed_is_of_the_last_three_seconds(session: AsyncSession, after: int, speed: float) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 30)
    alert, pages = await an_alert(session, topic)
    for accepted, at in ((12, 1), (24, 2), (30, 4)):
        await told(session, pages[MOZILLAS], page(30, accepted=accepted), NOW + at * SECOND)
    assert await per_second(session, alert.id, NOW + after * SECOND) == speed
