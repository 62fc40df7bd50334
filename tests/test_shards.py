import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Sessions, transaction
from app.domain.alerts import Alert, AlertState
from app.domain.outcomes import Outcome
from app.domain.shards import (
    COUNTED,
    SIZE,
    Beat,
    Shard,
    audience,
    claims,
    counts,
    open_shards,
    plan,
    plan_correction,
    progress,
    progress_of,
    recall,
    record,
    take,
)
from app.domain.subscriptions import Subscription
from app.domain.topics import Topic
from tests.makers import (
    GOOGLE,
    MOZILLA,
    NOW,
    a_reader,
    a_topic_row,
    an_alert_row,
    an_endpoint,
    many_readers,
    some_browser,
)

MINUTE = timedelta(minutes=1)


async def pages(session: AsyncSession, alert: Alert) -> Sequence[Shard]:
    query = select(Shard).where(Shard.alert_id == alert.id).order_by(Shard.id)
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


async def written_down(session: AsyncSession, alert: Alert) -> list[int]:
    return [reader for page in await pages(session, alert) for reader in page.subscription_ids]


def ids(*topics: Topic) -> list[int]:
    return [topic.id for topic in topics]


# Who is written down


async def test_each_reader_is_written_down_once_however_many_topics_they_follow(session: AsyncSession) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    sport = await a_topic_row(session, "sport")
    of_both = await a_reader(session, russia, ukraine)
    of_one = await a_reader(session, ukraine, sport)
    await a_reader(session, sport)
    alert = await an_alert_row(session, russia, ukraine)
    [planned] = await plan(session, alert.id, ids(russia, ukraine), NOW)
    assert planned.size == 2
    assert await written_down(session, alert) == [of_both.id, of_one.id]


async def test_a_reader_who_paused_or_ended_is_not_written_down(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await a_reader(session, topic, paused_until=NOW + MINUTE)
    await a_reader(session, topic, ended_at=NOW - MINUTE)
    back = await a_reader(session, topic, paused_until=NOW)
    long_back = await a_reader(session, topic, paused_until=NOW - MINUTE)
    alert = await an_alert_row(session, topic)
    await plan(session, alert.id, ids(topic), NOW)
    assert await written_down(session, alert) == [back.id, long_back.id]


async def test_nobody_to_tell_is_no_shard(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    alert = await an_alert_row(session, topic)
    assert await plan(session, alert.id, ids(topic), NOW) == []
    assert await plan(session, alert.id, [], NOW) == []
    assert await progress(session, alert.id) == dict.fromkeys(COUNTED, 0)


async def test_planning_twice_adds_nobody(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    reader = await a_reader(session, topic)
    alert = await an_alert_row(session, topic)
    await plan(session, alert.id, ids(topic), NOW)
    assert await plan(session, alert.id, ids(topic), NOW) == []
    assert await written_down(session, alert) == [reader.id]


async def test_one_more_topic_adds_only_readers_whom_the_alert_has_not_reached(session: AsyncSession) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    first, both = await a_reader(session, russia), await a_reader(session, russia, ukraine)
    later = await a_reader(session, ukraine)
    alert = await an_alert_row(session, russia)
    await plan(session, alert.id, ids(russia), NOW)
    [added] = await plan(session, alert.id, ids(russia, ukraine), NOW)
    assert added.size == 1
    assert await written_down(session, alert) == [first.id, both.id, later.id]


async def test_another_alert_reaches_the_same_readers(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    reader = await a_reader(session, topic)
    for alert in [await an_alert_row(session, topic) for _ in range(2)]:
        await plan(session, alert.id, ids(topic), NOW)
        assert await written_down(session, alert) == [reader.id]


# How the audience is cut


@pytest.mark.parametrize(
    "readers, size, sizes", [(1, 3, [1]), (3, 3, [3]), (4, 3, [1, 3]), (7, 3, [1, 3, 3]), (3, 1, [1, 1, 1])]
)
async def test_shards_are_cut_at_their_size(session: AsyncSession, readers: int, size: int, sizes: list[int]) -> None:
    topic = await a_topic_row(session)
    alert = await an_alert_row(session, topic)
    everybody = [(await a_reader(session, topic)).id for _ in range(readers)]
    planned = await plan(session, alert.id, ids(topic), NOW, size=size)
    assert sorted(shard.size for shard in planned) == sizes
    assert sorted(await written_down(session, alert)) == everybody


async def test_a_shard_is_of_one_lane(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    alert = await an_alert_row(session, topic)
    for _ in range(3):
        await a_reader(session, topic, browser=some_browser(an_endpoint(GOOGLE)))
        await a_reader(session, topic, browser=some_browser(an_endpoint(MOZILLA)))
    await plan(session, alert.id, ids(topic), NOW, size=2)
    found = await pages(session, alert)
    assert sorted((page.lane, page.waiting) for page in found) == [
        (f"https://{GOOGLE}", 1),
        (f"https://{GOOGLE}", 2),
        (f"https://{MOZILLA}", 1),
        (f"https://{MOZILLA}", 2),
    ]
    lanes = dict((await session.execute(select(Subscription.id, Subscription.lane))).all())
    assert all({lanes[reader] for reader in page.subscription_ids} == {page.lane} for page in found)


async def test_a_new_shard_waits_for_everybody(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    alert = await an_alert_row(session, topic)
    await many_readers(session, topic, 5)
    await plan(session, alert.id, ids(topic), NOW)
    [page] = await pages(session, alert)
    assert (page.outcomes, page.claim, page.tries) == (bytes(5), 0, 0)
    assert {name: getattr(page, name) for name in COUNTED} == dict.fromkeys(COUNTED, 0) | {"waiting": 5}


@pytest.fixture
async def believed_empty(session: AsyncSession) -> AsyncIterator[None]:
    """The database's statistics are of the moment after everybody had left."""
    await many_readers(session, await a_topic_row(session, "left"), 10_000)
    await session.execute(delete(Subscription))
    await session.execute(text("ANALYZE subscriptions, follows"))
    yield
    await session.execute(text("ANALYZE subscriptions, follows"))  # Taking all back does not take back statistics.


@pytest.mark.usefixtures("believed_empty")
async def test_ten_thousand_readers_are_planned_and_planned_wider_quickly(session: AsyncSession) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    await many_readers(session, russia, 10_000)
    await many_readers(session, ukraine, 3_000, lane=f"https://{GOOGLE}")
    alert = await an_alert_row(session, russia)
    started = time.monotonic()
    planned = await plan(session, alert.id, ids(russia), NOW)
    wider = await plan(session, alert.id, ids(russia, ukraine), NOW)
    counted = await audience(session, ids(russia, ukraine), "normal", NOW)
    assert time.monotonic() - started < 8  # 0.1 s on an idle machine; comparing each with each takes half a minute
    assert [shard.size for shard in planned] == [SIZE] * 4
    assert sorted(shard.size for shard in wider) == [500, SIZE]
    assert counted.readers == 13_000
    assert (await progress(session, alert.id))["waiting"] == 13_000
    everybody = await written_down(session, alert)
    assert len(everybody) == len(set(everybody))


async def test_an_alert_that_is_planned_by_two_workers_at_once_has_each_reader_once(sessions: Sessions) -> None:
    """The alert's row is locked first, as worker/plan.py does."""
    async with transaction(sessions) as session:
        topic = await a_topic_row(session)
        alert = await an_alert_row(session, topic)
        await many_readers(session, topic, SIZE + 500)

    async def work() -> int:
        async with transaction(sessions) as session:
            await session.execute(select(Alert).where(Alert.id == alert.id).with_for_update())
            return len(await plan(session, alert.id, ids(topic), NOW))

    assert sorted(await asyncio.gather(work(), work(), work())) == [0, 0, 2]


# The page of the ledger


async def a_page(session: AsyncSession, readers: int = 3) -> tuple[Alert, int]:
    topic = await a_topic_row(session)
    await many_readers(session, topic, readers)
    alert = await an_alert_row(session, topic, state=AlertState.SENDING)
    [planned] = await plan(session, alert.id, ids(topic), NOW)
    return alert, planned.id


async def test_only_the_last_who_took_a_shard_may_write_it(session: AsyncSession) -> None:
    alert, shard_id = await a_page(session)
    first = await take(session, shard_id)
    assert first
    old_claim = first.claim
    second = await take(session, shard_id)
    assert second
    assert second.claim > old_claim
    assert not await record(session, shard_id, old_claim, bytes([Outcome.FAILED] * 3), 9)
    assert (await progress(session, alert.id))["waiting"] == 3
    assert await record(session, shard_id, second.claim, bytes([Outcome.ACCEPTED] * 3), 1)
    assert not await record(session, shard_id, old_claim, bytes([Outcome.FAILED] * 3), 9)
    assert not await record(session, shard_id, second.claim + 1, bytes([Outcome.FAILED] * 3), 9)
    [page] = await pages(session, alert)
    assert (page.outcomes, page.tries, page.accepted) == (b"\1\1\1", 1, 3)


async def test_workers_that_take_a_shard_at_once_have_different_claims_and_one_writes(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        _, shard_id = await a_page(session)

    async def claim() -> int:
        async with transaction(sessions) as session:
            shard = await take(session, shard_id)
            assert shard
            return shard.claim

    async def write(number: int) -> bool:
        async with transaction(sessions) as session:
            return None is not await record(session, shard_id, number, bytes([Outcome.ACCEPTED] * 3), 1)

    claims = await asyncio.gather(*(claim() for _ in range(5)))
    assert sorted(claims) == [1, 2, 3, 4, 5]
    assert await asyncio.gather(*map(write, claims)) == [number == 5 for number in claims]


async def test_a_shard_that_is_gone_cannot_be_taken_or_written(session: AsyncSession) -> None:
    alert, shard_id = await a_page(session)
    await session.execute(delete(Alert).where(Alert.id == alert.id))
    assert await take(session, shard_id) is None
    assert not await record(session, shard_id, 0, bytes(3), 0)


async def test_progress_is_exact(session: AsyncSession) -> None:
    alert, shard_id = await a_page(session, readers=20)
    shard = await take(session, shard_id)
    assert shard
    outcomes = bytearray(20)
    for outcome in Outcome:
        outcomes[0 : outcome + 1] = [outcome] * (outcome + 1)  # one stays of each but the last
        assert await record(session, shard_id, shard.claim, outcomes, 0)
        expected = {label: outcomes.count(number) for number, label in enumerate(COUNTED)}
        assert await progress(session, alert.id) == expected == counts(outcomes)
        assert sum(expected.values()) == 20
    assert await progress(session, uuid4()) == dict.fromkeys(COUNTED, 0)


async def test_progress_counts_every_shard_of_the_alert_and_of_no_other(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 7)
    one, other = await an_alert_row(session, topic), await an_alert_row(session, topic)
    planned = await plan(session, one.id, ids(topic), NOW, size=3)
    await plan(session, other.id, ids(topic), NOW, size=3)
    for shard in planned[:2]:
        await record(session, shard.id, 0, bytes([Outcome.ACCEPTED] * shard.size), 1)
    accepted = sum(shard.size for shard in planned[:2])
    assert await progress(session, one.id) == counts(bytes([1] * accepted + [0] * (7 - accepted)))
    assert (await progress(session, other.id))["waiting"] == 7
    nobody = uuid4()
    assert await progress_of(session, [one.id, nobody]) == {
        one.id: await progress(session, one.id),
        nobody: dict.fromkeys(COUNTED, 0),
    }


async def test_a_shard_is_open_while_somebody_waits(session: AsyncSession) -> None:
    alert, shard_id = await a_page(session)
    assert await open_shards(session, alert.id) == [shard_id]
    await record(session, shard_id, 0, b"\1\0\2", 1)
    assert await open_shards(session, alert.id) == [shard_id]
    await record(session, shard_id, 0, b"\1\1\2", 2)
    assert await open_shards(session, alert.id) == []


# Recalled


async def test_a_recall_leaves_what_is_final_and_balances(session: AsyncSession) -> None:
    alert, shard_id = await a_page(session, readers=20)
    outcomes = bytes([0, 1, 0, 2, 3, 4, 5, 6, 7, 1, 0, 0, 1, 2, 0, 6, 7, 0, 1, 0])
    assert await record(session, shard_id, 0, outcomes, 2)
    await recall(session, await claims(session, alert.id))
    [page] = await pages(session, alert)
    assert page.outcomes == outcomes.replace(b"\0", b"\7")
    assert {name: getattr(page, name) for name in COUNTED} == counts(page.outcomes)
    assert (page.claim, page.tries) == (0, 2)
    assert await claims(session, alert.id) == {}


async def test_a_shard_that_is_taken_in_between_is_left_to_who_took_it(session: AsyncSession) -> None:
    alert, shard_id = await a_page(session)
    seen = await claims(session, alert.id)
    taken = await take(session, shard_id)
    assert taken
    await recall(session, seen)
    assert (await progress(session, alert.id))["waiting"] == 3
    assert await record(session, shard_id, taken.claim, b"\1\7\7", 1)
    await recall(session, {})


async def test_who_sends_without_a_job_knows_better_than_a_recall(session: AsyncSession) -> None:
    alert, shard_id = await a_page(session)
    taken = await take(session, shard_id)
    assert taken
    await recall(session, await claims(session, alert.id))
    assert (await progress(session, alert.id))["recalled"] == 3
    assert await record(session, shard_id, taken.claim, b"\1\0\0", 0)
    assert await record(session, shard_id, taken.claim, b"\1\7\7", 1)
    assert await progress(session, alert.id) == counts(b"\1\7\7")


async def test_a_shard_that_is_recalled_while_it_is_taken_is_one_or_the_other(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        alert, shard_id = await a_page(session)

    async def take_back() -> None:
        async with transaction(sessions) as session:
            await recall(session, await claims(session, alert.id))

    async def claim() -> int:
        async with transaction(sessions) as session:
            taken = await take(session, shard_id)
            assert taken
            return taken.waiting

    _, waiting = await asyncio.gather(take_back(), claim())
    async with transaction(sessions) as session:
        assert (await progress(session, alert.id))["recalled"] == 3 - waiting


# Corrected


async def test_a_correction_is_for_those_whom_the_ledger_knows_to_have_got_it(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    readers = [(await a_reader(session, topic)).id for _ in Outcome]
    wrong, right = await an_alert_row(session, topic), await an_alert_row(session, topic)
    for planned in await plan(session, wrong.id, ids(topic), NOW, size=len(readers) - 3):
        page = await session.get_one(Shard, planned.id)
        outcomes = bytes(readers.index(reader) for reader in page.subscription_ids)
        await record(session, planned.id, 0, outcomes, 1)
    [planned] = await plan_correction(session, right.id, [wrong.id], NOW)
    assert await written_down(session, right) == [readers[Outcome.ACCEPTED]]
    assert await plan_correction(session, right.id, [wrong.id], NOW) == []


async def test_a_correction_ends_at_who_ended_and_passes_over_pauses(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    readers = [await a_reader(session, topic) for _ in range(3)]
    wrong, right = await an_alert_row(session, topic), await an_alert_row(session, topic)
    [planned] = await plan(session, wrong.id, ids(topic), NOW)
    await record(session, planned.id, 0, b"\1\1\1", 1)
    readers[0].paused_until, readers[1].ended_at = NOW + MINUTE, NOW
    await plan_correction(session, right.id, [wrong.id], NOW)
    assert await written_down(session, right) == [readers[0].id, readers[2].id]


async def test_who_got_several_wrong_ones_gets_one_correction(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await many_readers(session, topic, 2 * SIZE + 500)
    one, other, right = [await an_alert_row(session, topic) for _ in range(3)]
    for wrong in (one, other):
        for planned in await plan(session, wrong.id, ids(topic), NOW):
            await record(session, planned.id, 0, bytes([Outcome.ACCEPTED]) * planned.size, 1)
    planned_now = await plan_correction(session, right.id, [one.id, other.id], NOW)
    assert sorted(shard.size for shard in planned_now) == [500, SIZE, SIZE]
    assert sorted(await written_down(session, right)) == sorted(await written_down(session, one))
    assert await plan_correction(session, right.id, [], NOW) == []


# The books balance, whatever a program does


@pytest.mark.parametrize(
    "change",
    [
        "accepted = 1",
        "waiting = 2",
        "waiting = 0, gone = 2",
        "waiting = 4, recalled = -1, held = 1",
        "outcomes = '\\x0000'",
        "outcomes = '\\x00000000', waiting = 4",
        "subscription_ids = subscription_ids || 1::bigint",
        "subscription_ids = '{}'",
    ],
)
async def test_the_database_refuses_a_page_that_does_not_balance(session: AsyncSession, change: str) -> None:
    _, shard_id = await a_page(session)
    with pytest.raises(IntegrityError, match="ck_shards_balance"):
        async with session.begin_nested():
            await session.execute(text(f"UPDATE shards SET {change} WHERE id = {shard_id}"))


@pytest.mark.parametrize("outcomes", [b"", b"\0\0", b"\1\1\1\1"])
async def test_nobody_can_be_lost_or_invented_by_recording(session: AsyncSession, outcomes: bytes) -> None:
    alert, shard_id = await a_page(session)
    with pytest.raises(IntegrityError, match="ck_shards_balance"):
        async with session.begin_nested():
            await record(session, shard_id, 0, outcomes, 1)
    assert (await progress(session, alert.id))["waiting"] == 3


async def test_an_outcome_that_there_is_not_cannot_be_recorded(session: AsyncSession) -> None:
    _, shard_id = await a_page(session)
    with pytest.raises(DBAPIError):
        async with session.begin_nested():
            await record(session, shard_id, 0, b"\1\1\x63", 1)


async def test_the_ledger_stays_when_a_reader_leaves(session: AsyncSession) -> None:
    alert, _ = await a_page(session)
    await session.execute(delete(Subscription))
    assert (await progress(session, alert.id))["waiting"] == 3
    assert await session.scalar(select(func.count()).select_from(Subscription)) == 0


async def test_every_outcome_has_its_column_and_is_counted() -> None:
    assert tuple(outcome.label for outcome in sorted(Outcome)) == COUNTED
    assert set(COUNTED) <= set(Shard.__table__.columns.keys())
    assert counts(bytes(range(len(Outcome)))) == dict.fromkeys(COUNTED, 1)


async def test_old_claims_stay_old_after_a_change_elsewhere(session: AsyncSession) -> None:
    _, shard_id = await a_page(session)
    taken = await take(session, shard_id)
    assert taken
    await session.execute(update(Shard).where(Shard.id == shard_id).values(tries=5))
    assert await record(session, shard_id, taken.claim, bytes(3), 6)


# The beat of a page


async def beats(session: AsyncSession, shard_id: int) -> Sequence[int]:
    return (await session.scalars(select(Beat.accepted).where(Beat.shard_id == shard_id).order_by(Beat.id))).all()


async def test_each_checkpoint_says_how_many_more_have_it_and_when(session: AsyncSession) -> None:
    _, shard_id = await a_page(session, readers=4)
    for outcomes in (b"\1\0\0\0", b"\1\0\0\0", b"\1\1\1\0", b"\1\1\1\2"):
        assert await record(session, shard_id, 0, outcomes, 0)
    assert await beats(session, shard_id) == [1, 2]
    first, last = (await session.scalars(select(Beat.at).order_by(Beat.id))).all()
    assert first < last < (await session.execute(select(func.clock_timestamp()))).scalar_one()


async def test_who_may_not_write_a_page_leaves_no_beat(session: AsyncSession) -> None:
    _, shard_id = await a_page(session)
    assert not await record(session, shard_id, 7, b"\1\1\1", 1)
    assert await beats(session, shard_id) == []


async def test_who_overwrites_a_recall_adds_only_whom_the_page_had_not(session: AsyncSession) -> None:
    alert, shard_id = await a_page(session)
    assert await record(session, shard_id, 0, b"\1\0\0", 0)
    await recall(session, await claims(session, alert.id))
    assert await record(session, shard_id, 0, b"\1\1\7", 0)
    assert await beats(session, shard_id) == [1, 1]


async def test_beats_are_forgotten_with_their_alert(session: AsyncSession) -> None:
    alert, shard_id = await a_page(session)
    assert await record(session, shard_id, 0, b"\1\1\1", 0)
    await session.execute(delete(Alert).where(Alert.id == alert.id))
    assert await session.scalar(select(func.count()).select_from(Beat)) == 0


async def test_a_checkpoint_does_not_wait_for_who_decides_about_the_alert(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        alert, shard_id = await a_page(session)
    async with transaction(sessions) as session:
        await session.execute(select(Alert).where(Alert.id == alert.id).with_for_update())
        async with transaction(sessions) as worker:
            await worker.execute(text("SET LOCAL lock_timeout = '5s'"))
            assert await record(worker, shard_id, 0, b"\1\1\1", 0)
