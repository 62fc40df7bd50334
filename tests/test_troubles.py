"""Why some have not got an alert, in words."""

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain import shards
from app.domain.alerts import AlertState
from app.domain.lanes import Lane, a_lane
from app.domain.outcomes import Outcome
from app.domain.troubles import lanes_in_the_way, standing, troubles
from tests.makers import GOOGLE, MOZILLA, NOW, a_reader, a_topic_row, an_alert_row, an_endpoint, some_browser

NONE = dict.fromkeys((outcome.label for outcome in Outcome), 0)


def a_lane_with(**trouble: object) -> Lane:
    lane = a_lane(f"https://{MOZILLA}", NOW)
    for name, value in trouble.items():
        setattr(lane, name, value)
    return lane


def test_all_is_well_without_a_word() -> None:
    assert troubles(NONE | {"waiting": 10, "accepted": 10, "recalled": 3}, [], NOW) == []


@pytest.mark.parametrize(
    "outcome, sentence",
    [
        ("refused", "Push services refused our key or signature for 1,200 readers; a person must look."),
        ("failed", "Push services did not take the message for 1,200 readers, or dropped it."),
        ("expired", "The time to live ran out before it reached 1,200 readers."),
        ("gone", "No longer there: 1,200 readers."),
        ("held", "Held back by quiet hours, daily limits or levels: 1,200 readers."),
    ],
)
def test_failures_are_said_in_words(outcome: str, sentence: str) -> None:
    assert troubles(NONE | {outcome: 1200}, [], NOW) == [sentence]
    assert troubles(NONE | {outcome: 1}, [], NOW) == [sentence.replace("1,200 readers", "one reader")]


@pytest.mark.parametrize(
    "trouble, sentences",
    [
        ({}, []),
        ({"rate": 50.0}, [f"{MOZILLA} takes 50 messages a second at present."]),
        ({"open_at": NOW + timedelta(seconds=7.4)}, [f"{MOZILLA} wants a rest; it is tried again in 7 s."]),
        (
            {"paused_at": NOW, "alarm": "Our token is refused."},
            [f"{MOZILLA}: Our token is refused.", f"{MOZILLA} is paused until a person resumes it."],
        ),
        ({"alarm": "Many subscribed with another key."}, [f"{MOZILLA}: Many subscribed with another key."]),
    ],
)
def test_a_push_service_in_trouble_is_named(trouble: dict[str, object], sentences: list[str]) -> None:
    assert troubles(NONE, [a_lane_with(**trouble)], NOW) == sentences


async def test_only_where_somebody_waits_is_a_push_service_in_the_way(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await a_reader(session, topic)
    await a_reader(session, topic, browser=some_browser(an_endpoint(GOOGLE)))
    alert = await an_alert_row(session, topic, state=AlertState.SENDING)
    planned = await shards.plan(session, alert.id, [topic.id], NOW)
    mozilla = a_lane_with()
    session.add_all([mozilla, a_lane("https://nobody.example", NOW)])
    await session.flush()
    assert await lanes_in_the_way(session, alert.id) == [mozilla]
    [shard] = [shard for shard in planned if MOZILLA in shard.lane]
    await shards.record(session, shard.id, 0, bytes([Outcome.ACCEPTED]), 1)
    assert await lanes_in_the_way(session, alert.id) == []


async def test_what_waits_for_a_person_is_said_until_one_has_seen_to_it(session: AsyncSession) -> None:
    session.add_all([a_lane_with(alarm="It refuses our key."), a_lane(f"https://{GOOGLE}", NOW)])
    await session.flush()
    assert await standing(session) == [f"{MOZILLA}: It refuses our key."]
