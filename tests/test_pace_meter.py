"""How close the site is to what Chrome calls disruptive."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain import receipts
from app.domain.alerts import Alert, AlertState
from app.domain.marks import Happening, mark
from app.domain.outcomes import Outcome
from app.domain.pace_meter import Pace, Verdict, pace, verdict
from app.domain.receipts import Event
from app.domain.shards import plan, record
from app.domain.topics import Topic
from tests.makers import (
    GOOGLE,
    MOZILLA,
    NOW,
    PROOFS,
    a_reader,
    a_topic_row,
    an_alert_row,
    an_editor_row,
    many_readers,
    some_receipts,
)

GOOGLES, MOZILLAS = f"https://{GOOGLE}", f"https://{MOZILLA}"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CALM = Pace(
    alerts_today=3,
    alerts_7d=20,
    delivered=20_000,
    clicked=600,
    closed=2_000,
    clicked_last=0.031,
    throttled={GOOGLES: 5},
    sent={GOOGLES: 500, MOZILLAS: 500},
    lost=3,
    won=5,
)

# The verdict


def test_no_share_is_above_the_whole() -> None:
    forged = replace(CALM, clicked=200 * CALM.delivered, closed=2 * CALM.delivered)
    assert (forged.clicked_share, forged.closed_share) == (1.0, 1.0)


@pytest.mark.parametrize(
    "change, said, words",
    [
        (
            {},
            Verdict.CALM,
            "Third alert today; 3.1\u00a0% clicked the last one. Chrome slows down sites that ring often",
        ),
        ({"alerts_today": 4}, Verdict.CALM, "this one is far from it."),
        ({"alerts_today": 5}, Verdict.BUSY, "Fifth alert today; "),
        ({"alerts_today": 10}, Verdict.BUSY, "publishers send 4 a day on average."),
        ({"alerts_today": 11}, Verdict.CLOSE, "11th alert today; "),
        ({"clicked": 199}, Verdict.BUSY, "Chrome takes the permission back from sites that hardly anybody reacts to."),
        ({"clicked": 149}, Verdict.BUSY, "Of this week's messages 0.74\u00a0% were clicked: "),
        ({"clicked": 200}, Verdict.CALM, ""),
        ({"clicked_last": 0.311}, Verdict.CALM, "; 31\u00a0% clicked the last one."),
        ({"clicked_last": 0.999}, Verdict.CALM, "; 100\u00a0% clicked the last one."),
        ({"clicked_last": 1.0}, Verdict.CALM, "; 100\u00a0% clicked the last one."),
        ({"clicked": 0, "delivered": 999}, Verdict.CALM, ""),
        ({"clicked": 0, "delivered": 0, "clicked_last": None}, Verdict.CALM, "Third alert today. Chrome"),
        ({"alerts_today": 5, "clicked": 10}, Verdict.CLOSE, ""),
        ({"throttled": {GOOGLES: 26}}, Verdict.CALM, ""),
        ({"throttled": {GOOGLES: 27}}, Verdict.CLOSE, "Google (Chrome, Opera, Samsung Internet, …) sent 27 messages"),
        ({"throttled": {MOZILLAS: 27}, "alerts_today": 6}, Verdict.CLOSE, "Mozilla (Firefox) sent 27 messages back"),
        ({"throttled": {MOZILLAS: 1}, "sent": {}}, Verdict.CLOSE, ""),
        ({"lost": 10, "won": 5}, Verdict.CALM, ""),
        ({"lost": 11, "won": 5}, Verdict.BUSY, "More readers left than came in the last 24 hours: 11 and 5."),
        ({"lost": 150, "won": 100}, Verdict.CALM, ""),
        ({"lost": 1510, "won": 1000}, Verdict.BUSY, "1,510 and 1,000."),
        ({"lost": 151, "won": 100, "alerts_today": 5}, Verdict.CLOSE, ""),
        ({"alerts_today": 0}, Verdict.CALM, "No alert yet today; 3.1\u00a0% clicked the last one."),
    ],
)
def test_what_stands_out_makes_the_pace_busy_and_two_such_things_bring_it_close_to_the_line(
    change: dict[str, object], said: Verdict, words: str
) -> None:
    verdict_is, sentence = verdict(replace(CALM, **change))  # type: ignore[arg-type]
    assert verdict_is is said
    assert words in sentence


@pytest.mark.parametrize(
    "number, word", [(1, "First"), (10, "Tenth"), (11, "11th"), (13, "13th"), (21, "21st"), (22, "22nd"), (33, "33rd")]
)
def test_alerts_are_counted_in_words(number: int, word: str) -> None:
    assert verdict(replace(CALM, alerts_today=number))[1].startswith(f"{word} alert today")


# What it is told from


async def an_alert(session: AsyncSession, topic: Topic, at: datetime, **changes: object) -> Alert:
    """Everybody has it."""
    alert = await an_alert_row(session, topic, state=AlertState.FINISHED)
    await session.flush()
    await session.execute(update(Alert).where(Alert.id == alert.id).values(released_at=at, **changes))
    for page in await plan(session, alert.id, [topic.id], at):
        assert await record(session, page.id, 0, bytes([Outcome.ACCEPTED] * page.size), 0)
    return alert


async def test_alerts_clicks_and_limits_of_a_week_are_counted(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 50, lane=GOOGLES)
    early = await an_alert(session, topic, NOW - 6 * DAY)
    await an_alert(session, topic, NOW - 7 * DAY)
    last = await an_alert(session, topic, NOW - HOUR)
    correction = await an_alert(session, topic, NOW - HOUR / 2, thread_id=last.id)
    await an_alert(session, topic, NOW - HOUR / 3, for_editor_id=(await an_editor_row(session)).id)
    for alert in (early, last, correction):
        await receipts.add(session, some_receipts(10, alert.id, Event.CLICKED, GOOGLES, NOW))
    await receipts.add(session, some_receipts(25, early.id, Event.CLOSED, None, NOW - 5 * DAY))
    await mark(session, Happening.THROTTLED, GOOGLES, NOW - HOUR, 7)
    await mark(session, Happening.THROTTLED, GOOGLES, NOW - 2 * DAY, 100)

    found = await pace(session, NOW, UTC)
    assert (found.alerts_today, found.alerts_7d, found.delivered) == (1, 2, 100)
    assert (found.clicked_share, found.closed_share, found.clicked_last) == (0.2, 0.25, 0.2)
    assert (found.throttled, found.sent) == ({GOOGLES: 7}, {GOOGLES: 100})


async def test_today_begins_at_midnight_where_the_newsroom_is(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await an_alert(session, topic, datetime(2026, 7, 31, 22, 30, tzinfo=UTC))
    assert (await pace(session, NOW, UTC)).alerts_today == 0
    assert (await pace(session, NOW, ZoneInfo("Europe/Kyiv"))).alerts_today == 1


async def test_readers_who_come_and_go_are_counted(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await a_reader(session, topic, now=NOW - 3 * DAY)
    await a_reader(session, topic, now=NOW - 2 * DAY, ended_at=NOW - 2 * DAY)
    await a_reader(session, topic, now=NOW - 2 * DAY, ended_at=NOW - HOUR)  # lost
    await a_reader(session, topic, now=NOW - HOUR)  # won
    await a_reader(session, topic, now=NOW - HOUR, ended_at=NOW)  # won and lost
    for came in (NOW - 2 * DAY, NOW - HOUR):  # lost; won and lost
        reader = await a_reader(session, topic, now=came)
        await receipts.stopped(session, PROOFS, reader.id, reader.lane, reader.created_at, NOW)
        await session.delete(reader)
    found = await pace(session, NOW, UTC)
    assert (found.lost, found.won) == (4, 3)


async def test_a_site_without_alerts_and_readers_is_calm(session: AsyncSession) -> None:
    found = await pace(session, NOW, UTC)
    assert verdict(found) == (
        Verdict.CALM,
        "No alert yet today. Chrome slows down sites that ring often and are opened little; this one is far from it.",
    )
