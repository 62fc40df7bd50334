"""What the ledger, its beats and the receipts say of an alert, a day and a week."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain import receipts
from app.domain.alerts import Alert, AlertState
from app.domain.outcomes import Outcome
from app.domain.push_services import service_name
from app.domain.receipts import Event
from app.domain.reports import (
    Results,
    by_day,
    by_lane,
    minutes,
    per_second,
    released,
    results,
    seconds_to,
    told_by_lane,
)
from app.domain.shards import Beat, plan, record
from app.domain.topics import Topic
from app.report_shapes import lane_out
from tests.makers import (
    GOOGLE,
    MOZILLA,
    NOW,
    a_topic_row,
    an_alert_row,
    an_editor_row,
    many_readers,
    some_alert,
    some_receipts,
)

GOOGLES, MOZILLAS = f"https://{GOOGLE}", f"https://{MOZILLA}"
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


async def an_alert(session: AsyncSession, topic: Topic, *, size: int = 100) -> tuple[Alert, dict[str, int]]:
    """Released at NOW and planned: the alert, and a page of each lane."""
    alert = await an_alert_row(session, topic, state=AlertState.SENDING)
    planned = await plan(session, alert.id, [topic.id], NOW, size=size)
    return alert, {page.lane: page.id for page in planned}


async def told_to(session: AsyncSession, shard_id: int, outcomes: Sequence[int], at: datetime) -> None:
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
        await told_to(session, pages[MOZILLAS], page(100, accepted=accepted), NOW + after * SECOND)
    assert await seconds_to(session, alert) == {50: 2.0, 90: 4.0, 99: 6.0}


async def test_who_is_held_back_is_not_waited_for_and_who_is_gone_is(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 10)
    alert, pages = await an_alert(session, topic)
    await told_to(session, pages[MOZILLAS], page(10, accepted=3, held=5, gone=1), NOW + SECOND)
    assert await seconds_to(session, alert) == {50: 1.0, 90: None, 99: None}


async def test_an_alert_that_rings_for_nobody_reaches_nobody(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 2)
    alert, pages = await an_alert(session, topic)
    await told_to(session, pages[MOZILLAS], page(2, accepted=0, held=2), NOW + SECOND)
    assert await seconds_to(session, alert) == {50: None, 90: None, 99: None}


# By lane


async def test_each_push_service_has_its_own_counts_and_times(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 30, lane=GOOGLES)
    await many_readers(session, topic, 10, lane=MOZILLAS)
    alert, pages = await an_alert(session, topic)
    await told_to(session, pages[GOOGLES], page(30, accepted=15, failed=1), NOW + SECOND)
    await told_to(session, pages[MOZILLAS], page(10, accepted=10), NOW + 2 * SECOND)
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
        await told_to(session, pages[MOZILLAS], page(30, accepted=accepted), NOW + at * SECOND)
    assert await per_second(session, alert.id, NOW + after * SECOND) == speed


# What browsers told


async def test_results_are_what_the_ledger_and_the_receipts_say(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 10)
    first, pages = await an_alert(session, topic)
    other, _ = await an_alert(session, topic)
    first.recipients = 10
    await told_to(session, pages[MOZILLAS], page(10, accepted=8, gone=2), NOW + SECOND)
    counts = {Event.SHOWN: 6, Event.CLICKED: 5, Event.CLOSED: 4, Event.STOPPED: 3, Event.TOPIC_OFF: 2}
    for event, count in counts.items():
        await receipts.add(session, some_receipts(count, first.id, event, MOZILLAS, NOW))
    await receipts.add(session, some_receipts(1, first.id, Event.CLICKED, None, NOW + MINUTE))
    found = await results(session, [first, other])
    assert found == {
        first.id: Results(8, shown=6, estimated=6, clicked=6, closed=4, stopped=3, topic_off=2),
        other.id: Results(0, shown=0, estimated=0, clicked=0, closed=0, stopped=0, topic_off=0),
    }
    by_service = await told_by_lane(session, first.id)
    assert by_service == {MOZILLAS: counts, "": {Event.CLICKED: 1}}


async def test_a_sample_is_scaled_up(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 100)
    alert, pages = await an_alert(session, topic)
    alert.recipients = 20_000  # as far as the sample knows
    await told_to(session, pages[MOZILLAS], page(100, accepted=100), NOW + SECOND)
    for counted, estimated in ((30, 60), (30, 100)):
        await receipts.add(session, some_receipts(counted, alert.id, Event.SHOWN, MOZILLAS, NOW))
        assert (await results(session, [alert]))[alert.id].estimated == estimated


async def test_no_figure_is_above_what_was_delivered(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 3)
    alert, pages = await an_alert(session, topic)
    alert.recipients = 3
    await told_to(session, pages[MOZILLAS], page(3, accepted=2, gone=1), NOW + SECOND)
    for event in Event:
        await receipts.add(session, some_receipts(600, alert.id, event, MOZILLAS, NOW))
    found = (await results(session, [alert]))[alert.id]
    assert found == Results(2, shown=2, estimated=2, clicked=2, closed=2, stopped=2, topic_off=2)
    [lane] = await by_lane(session, alert.id)
    shown = lane_out(alert, lane, (await told_by_lane(session, alert.id))[MOZILLAS])
    assert (shown.shown.counted, shown.clicked, shown.closed, shown.stopped, shown.topic_off) == (2, 2, 2, 2, 2)


# Minutes


async def test_the_minutes_of_the_first_day_in_which_something_happened(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 10)
    alert, pages = await an_alert(session, topic)
    await told_to(session, pages[MOZILLAS], page(10, accepted=4), NOW + SECOND)
    await told_to(session, pages[MOZILLAS], page(10, accepted=7), NOW + 59 * SECOND)
    await told_to(session, pages[MOZILLAS], page(10, accepted=10), NOW + 60 * SECOND)
    events = ((Event.SHOWN, NOW, 3), (Event.CLICKED, NOW + 5 * MINUTE, 2), (Event.CLOSED, NOW + 6 * MINUTE, 1))
    late = ((Event.CLICKED, NOW + DAY, 9),)
    for event, at, count in (*events, *late):
        await receipts.add(session, some_receipts(count, alert.id, event, None, at))
    assert await minutes(session, alert) == [
        (NOW, 7, 3, 0),
        (NOW + MINUTE, 3, 0, 0),
        (NOW + 5 * MINUTE, 0, 0, 2),
    ]
    assert await minutes(session, await an_alert_row(session, topic)) == []


# Days


async def test_a_period_has_what_went_out_in_it_to_readers(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    made = []
    for at in (NOW - 2 * DAY, NOW - DAY, NOW - HOUR, NOW, NOW + SECOND):
        alert, _ = await an_alert(session, topic)
        alert.released_at = at
        made.append(alert)
    test, _ = await an_alert(session, topic)
    test.for_editor_id = (await an_editor_row(session)).id
    await an_alert_row(session, topic)
    await session.flush()
    assert list(await released(session, NOW - DAY, NOW)) == [made[3], made[2]]


def test_days_are_the_newsrooms_and_one_without_alerts_is_there_too() -> None:
    kyiv = ZoneInfo("Europe/Kyiv")  # three hours ahead
    alerts = [some_alert() for _ in range(3)]
    for alert, hours in zip(alerts, (0, 10, 57), strict=True):
        alert.released_at = NOW - hours * HOUR
    of = {alert.id: Results(10, 5, 6, 4, 3, 2, 1) for alert in alerts}
    assert by_day(alerts, of, NOW - 3 * DAY, NOW, kyiv) == [
        (date(2026, 7, 29), 0, 0, 0, 0, 0, 0, 0),
        (date(2026, 7, 30), 1, 10, 6, 4, 3, 2, 1),
        (date(2026, 7, 31), 0, 0, 0, 0, 0, 0, 0),
        (date(2026, 8, 1), 2, 20, 12, 8, 6, 4, 2),
    ]


# Names


@pytest.mark.parametrize(
    "lane, name",
    [
        (GOOGLES, "Google (Chrome, Opera, Samsung Internet, …)"),
        (MOZILLAS, "Mozilla (Firefox)"),
        ("https://web.push.apple.com", "Apple (Safari)"),
        ("https://wns2-par02p.notify.windows.com", "Microsoft (Edge)"),
        ("https://jmt17.google.com", "Google (Chromium)"),
        ("https://push.news.example:8443", "push.news.example:8443"),
        ("https://fcm.googleapis.com.evil.example", "fcm.googleapis.com.evil.example"),
    ],
)
def test_push_services_have_names_that_people_know(lane: str, name: str) -> None:
    assert service_name(lane) == name
