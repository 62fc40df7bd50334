"""Receipts: what browsers tell of an alert, and readers who leave because of it."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain import receipts
from app.domain.alerts import Alert, AlertState
from app.domain.marks import Happening, forget, mark, marked
from app.domain.messages import message
from app.domain.outcomes import Outcome
from app.domain.proofs import BLANK, Proofs
from app.domain.receipts import Event, Receipt, SpentProof, an_origin, estimate, sample, told
from app.domain.shards import plan, record
from app.domain.subscriptions import Subscription
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
    an_endpoint,
    many_readers,
    some_browser,
    some_receipts,
)

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
GOOGLES, MOZILLAS = f"https://{GOOGLE}", f"https://{MOZILLA}"


async def an_alert(
    session: AsyncSession,
    *topics: Topic,
    at: datetime = NOW,
    outcome: Outcome = Outcome.ACCEPTED,
    size: int = 3,
    ttl: timedelta = 12 * HOUR,
) -> Alert:
    """Released then, and every reader's outcome is this."""
    alert = await an_alert_row(session, *topics, state=AlertState.FINISHED, ttl=ttl)
    alert.released_at = at
    await session.flush()
    for page in await plan(session, alert.id, [topic.id for topic in topics], at, size=size):
        assert await record(session, page.id, 0, bytes([outcome] * page.size), 0)
    return alert


async def kept(session: AsyncSession) -> Sequence[tuple[UUID, Event, str, datetime, int]]:
    found = await session.scalars(select(Receipt).order_by(Receipt.minute, Receipt.event, Receipt.lane))
    return [(row.alert_id, row.event, row.lane, row.minute, row.count) for row in found]


# What browsers tell


async def test_receipts_are_counted_by_the_minute_the_event_and_the_push_service(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await a_reader(session, topic)
    alert = await an_alert(session, topic)
    later = NOW + MINUTE
    for told_so in (
        some_receipts(3, alert.id, Event.SHOWN, MOZILLAS, NOW)
        + some_receipts(1, alert.id, Event.CLICKED, MOZILLAS, NOW),
        some_receipts(4, alert.id, Event.SHOWN, MOZILLAS, NOW + 59 * SECOND)
        + some_receipts(5, alert.id, Event.SHOWN, None, later),
    ):
        await receipts.add(session, told_so)
    assert await kept(session) == [
        (alert.id, Event.CLICKED, MOZILLAS, NOW, 1),
        (alert.id, Event.SHOWN, MOZILLAS, NOW, 7),
        (alert.id, Event.SHOWN, "", later, 5),
    ]


async def test_a_push_service_that_the_alert_did_not_go_to_is_not_named(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await a_reader(session, topic)
    alert = await an_alert(session, topic)
    for service in (GOOGLES, "https://evil.example", None):
        await receipts.add(session, some_receipts(1, alert.id, Event.CLICKED, service, NOW))
    assert await kept(session) == [(alert.id, Event.CLICKED, "", NOW, 3)]


@pytest.mark.parametrize("ttl", [MINUTE, 12 * HOUR])
async def test_what_comes_later_than_two_days_after_the_end_is_dropped(session: AsyncSession, ttl: timedelta) -> None:
    alert = await an_alert(session, await a_topic_row(session), ttl=ttl)
    last = NOW + ttl + 2 * DAY
    for at in (last, last + MINUTE):
        await receipts.add(session, some_receipts(1, alert.id, Event.CLICKED, None, at))
    assert await kept(session) == [(alert.id, Event.CLICKED, "", last, 1)]


async def test_tests_drafts_and_alerts_that_there_are_not_have_no_receipts(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    draft, test = await an_alert_row(session, topic), await an_alert(session, topic)
    test.for_editor_id = (await an_editor_row(session)).id
    await session.flush()
    for id_ in (draft.id, test.id, uuid4()):
        await receipts.add(session, some_receipts(1, id_, Event.SHOWN, None, NOW))
    assert await kept(session) == []


async def test_receipts_are_forgotten_with_their_alert(session: AsyncSession) -> None:
    alert = await an_alert(session, await a_topic_row(session))
    await receipts.add(session, some_receipts(1, alert.id, Event.SHOWN, None, NOW))
    await session.execute(delete(Alert))
    assert await kept(session) == []


@pytest.mark.parametrize(
    "address, origin",
    [
        ("https://fcm.googleapis.com", "https://fcm.googleapis.com"),
        ("https://fcm.googleapis.com/fcm/send/secret", "https://fcm.googleapis.com"),
        ("http://127.0.0.1:8123/push/secret", "http://127.0.0.1:8123"),
        ("https://wns2-par02p.notify.windows.com/w/?token=secret", "https://wns2-par02p.notify.windows.com"),
        ("https://user:secret@fcm.googleapis.com/", ""),
        ("javascript:alert(1)", ""),
        ("https://" + "a" * 254, ""),
        ("https://fcm.googleapis.com?secret", ""),
        ("=cmd()", ""),
        ("", ""),
    ],
)
def test_of_an_endpoint_nothing_is_kept_but_the_push_services_origin(address: str, origin: str) -> None:
    assert an_origin(address) == origin


# Proofs


def stamped(alert_id: UUID, title: str = "Ceasefire agreed", proofs: Proofs = PROOFS) -> str:
    """The proof in a message of this alert, as a browser finds it."""
    clear = message(alert=alert_id, title=title, body="", url="https://a.example/", image=None, level="normal")
    text = proofs.stamper(clear, alert_id)()
    assert len(text) == len(clear)
    proof = json.loads(text)["notification"]["data"]["proof"]
    assert json.loads(clear) == json.loads(text.replace(proof.encode(), BLANK.encode()))
    return str(proof)


def test_each_message_has_a_proof_of_its_own_that_is_good_for_its_alert_only() -> None:
    alert, other = uuid4(), uuid4()
    proofs = {stamped(alert) for _ in range(100)}
    assert len(proofs) == 100 and BLANK not in proofs
    for proof in proofs:
        assert PROOFS.number(alert, proof)
        assert PROOFS.number(other, proof) is None
        assert Proofs(b"another site").number(alert, proof) is None


@pytest.mark.parametrize("title", ['"proof":"' + BLANK + '"', BLANK, "proof", "\\" * 9 + '"proof":"' + BLANK])
def test_no_title_takes_the_place_of_the_proof(title: str) -> None:
    alert = uuid4()
    assert PROOFS.number(alert, stamped(alert, title))


@pytest.mark.parametrize("made_up", ["", BLANK, "x" * 24, "é" * 24, "\0" * 24, "A" * 24, "A" * 48])
def test_what_is_made_up_is_no_proof(made_up: str) -> None:
    assert PROOFS.number(uuid4(), made_up) is None


async def test_six_hundred_clicks_of_three_deliveries_are_three(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 3)
    alert = await an_alert(session, topic)
    deliveries = [number for _ in range(3) if (number := PROOFS.number(alert.id, stamped(alert.id)))]
    for n in range(200):
        at = NOW + n * SECOND
        await receipts.add(session, [told(alert.id, Event.CLICKED, one, MOZILLAS, at) for one in deliveries])
    await receipts.add(session, [told(alert.id, Event.SHOWN, one, MOZILLAS, NOW) for one in deliveries])
    assert sum(count for _, event, _, _, count in await kept(session) if event is Event.CLICKED) == 3
    assert sum(count for _, event, _, _, count in await kept(session) if event is Event.SHOWN) == 3


async def test_what_was_spent_names_nobody_and_is_forgotten_with_the_last_receipt(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    reader = await a_reader(session, topic)
    alert = await an_alert(session, topic, ttl=HOUR)
    await receipts.add(session, some_receipts(2, alert.id, Event.SHOWN, MOZILLAS, NOW))
    await receipts.gave_up(session, PROOFS, reader.id, reader.lane, [topic.id], NOW + SECOND)
    spent = (await session.scalars(select(SpentProof.number).where(SpentProof.event == Event.TOPIC_OFF))).all()
    assert spent == [PROOFS.of_reader(alert.id, reader.id)] != [Proofs(b"x").of_reader(alert.id, reader.id)]
    await receipts.forget(session, NOW + HOUR + 2 * DAY)
    assert await session.scalar(text("SELECT count(*) FROM spent_proofs")) == 3
    await receipts.forget(session, NOW + HOUR + 2 * DAY + SECOND)
    assert await session.scalar(text("SELECT count(*) FROM spent_proofs")) == 0
    assert len(await kept(session)) == 2


async def test_a_reader_who_gives_a_topic_up_sixty_times_counts_once(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    readers = [await a_reader(session, topic) for _ in range(2)]
    alert = await an_alert(session, topic)
    for n in range(60):
        for reader in readers:
            await receipts.gave_up(session, PROOFS, reader.id, reader.lane, [topic.id], NOW + n * SECOND + SECOND)
    assert await kept(session) == [(alert.id, Event.TOPIC_OFF, MOZILLAS, NOW, 2)]


# The sample


@pytest.mark.parametrize(
    "recipients, share", [(0, 1.0), (1, 1.0), (10_000, 1.0), (10_001, 1.0), (20_000, 0.5), (1_000_000, 0.01)]
)
def test_about_ten_thousand_browsers_tell_that_they_have_shown_an_alert(recipients: int, share: float) -> None:
    assert sample(recipients) == share


@pytest.mark.parametrize("recipients", [10_050, 123_456, 7_654_321, 10**9])
def test_an_estimate_is_as_exact_as_its_sample(recipients: int) -> None:
    tellers = round(recipients * sample(recipients))
    assert abs(tellers - 10_000) <= 50
    assert abs(estimate(tellers, recipients, recipients) - recipients) <= 1 / sample(recipients)


def test_no_more_have_shown_it_than_have_got_it() -> None:
    assert estimate(9_990, 20_000, 15_000) == 15_000
    assert estimate(0, 0, 0) == 0


# Readers who leave


async def test_the_newest_alert_that_reached_a_reader_within_a_day_is_why_they_stop(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 10)
    readers = (await session.scalars(select(Subscription.id).order_by(Subscription.id))).all()
    await an_alert(session, topic, at=NOW - 3 * HOUR)
    blamed = await an_alert(session, topic, at=NOW - 2 * HOUR)
    await an_alert(session, topic, at=NOW - HOUR, outcome=Outcome.HELD)
    await an_alert(session, topic, at=NOW + SECOND)
    for reader in readers:
        await receipts.stopped(session, PROOFS, reader, MOZILLAS, NOW - DAY, NOW)
    assert await kept(session) == [(blamed.id, Event.STOPPED, MOZILLAS, NOW, 10)]
    assert await marked(session, Happening.STOPPED, NOW) == {MOZILLAS: 10}


async def test_of_readers_in_one_page_those_are_meant_who_got_it(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    got, refused, waiting = [await a_reader(session, topic) for _ in range(3)]
    alert = await an_alert_row(session, topic, state=AlertState.SENDING)
    [page] = await plan(session, alert.id, [topic.id], NOW)
    assert await record(session, page.id, 0, bytes([Outcome.ACCEPTED, Outcome.REFUSED, Outcome.WAITING]), 0)
    for reader in (refused, waiting):
        await receipts.stopped(session, PROOFS, reader.id, reader.lane, NOW - DAY, NOW + SECOND)
    assert await kept(session) == []
    await receipts.stopped(session, PROOFS, got.id, got.lane, NOW - DAY, NOW + SECOND)
    assert await kept(session) == [(alert.id, Event.STOPPED, MOZILLAS, NOW, 1)]


@pytest.mark.parametrize("ago, counts", [(DAY, False), (DAY - SECOND, True)])
async def test_an_alert_is_why_for_a_day(session: AsyncSession, ago: timedelta, counts: bool) -> None:
    topic = await a_topic_row(session)
    reader = await a_reader(session, topic)
    await an_alert(session, topic, at=NOW - ago)
    await receipts.stopped(session, PROOFS, reader.id, reader.lane, NOW - DAY, NOW)
    assert bool(await kept(session)) is counts


async def test_a_test_is_not_why(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    reader = await a_reader(session, topic)
    alert = await an_alert(session, topic)
    alert.for_editor_id = (await an_editor_row(session)).id
    await session.flush()
    await receipts.stopped(session, PROOFS, reader.id, reader.lane, NOW - DAY, NOW)
    assert await kept(session) == []


async def test_a_topic_is_given_up_because_of_the_newest_alert_of_that_topic(session: AsyncSession) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    reader = await a_reader(session, russia, ukraine, browser=some_browser(an_endpoint(GOOGLE)))
    await an_alert(session, russia, at=NOW - 3 * HOUR)
    of_russia = await an_alert(session, russia, at=NOW - 2 * HOUR)
    of_ukraine = await an_alert(session, ukraine, at=NOW - HOUR)
    await receipts.gave_up(session, PROOFS, reader.id, reader.lane, [russia.id], NOW)
    await receipts.gave_up(session, PROOFS, reader.id, reader.lane, [ukraine.id, russia.id], NOW + MINUTE)
    await receipts.gave_up(session, PROOFS, reader.id, reader.lane, [], NOW + MINUTE)
    await receipts.gave_up(session, PROOFS, reader.id, reader.lane, [(await a_topic_row(session, "sport")).id], NOW)
    assert await kept(session) == [
        (of_russia.id, Event.TOPIC_OFF, GOOGLES, NOW, 1),
        (of_ukraine.id, Event.TOPIC_OFF, GOOGLES, NOW + MINUTE, 1),
    ]
    assert await marked(session, Happening.STOPPED, NOW - DAY) == {}


async def test_who_comes_and_goes_within_a_day_is_counted_as_that(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    for stayed in (DAY, DAY - SECOND, SECOND):
        reader = await a_reader(session, topic, now=NOW - stayed)
        await receipts.stopped(session, PROOFS, reader.id, reader.lane, reader.created_at, NOW)
    assert await marked(session, Happening.STOPPED, NOW) == {MOZILLAS: 3}
    assert await marked(session, Happening.VISITED, NOW) == {MOZILLAS: 2}


# Marks


async def test_marks_are_counted_by_the_hour_and_forgotten(session: AsyncSession) -> None:
    for at in (NOW, NOW + 59 * MINUTE, NOW + HOUR):
        await mark(session, Happening.THROTTLED, GOOGLES, at, 5)
    await mark(session, Happening.THROTTLED, MOZILLAS, NOW)
    assert await marked(session, Happening.THROTTLED, NOW) == {GOOGLES: 15, MOZILLAS: 1}
    assert await marked(session, Happening.THROTTLED, NOW + 59 * MINUTE) == {GOOGLES: 15, MOZILLAS: 1}
    assert await marked(session, Happening.THROTTLED, NOW + HOUR) == {GOOGLES: 5}
    await forget(session, NOW + HOUR)
    assert await session.scalar(text("SELECT count(*) FROM marks")) == 1
