"""Alerts at the desk over HTTP: writing them, and what becomes of them before they go out."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, text, update

from app.database import transaction
from app.domain import audit
from app.domain.alerts import Alert, AlertState
from app.domain.audit import AuditEntry
from app.domain.editors import Editor, Role
from app.domain.outcomes import Outcome
from app.domain.own_browsers import EditorBrowser
from app.domain.shards import Shard
from app.domain.sign_ins import make_link
from app.domain.topics import a_topic, topics_named
from tests.desk import Desk, a_database, a_desk, desk
from tests.makers import MOZILLA, a_reader, a_story_row, an_editor_row, an_entry, signed_in
from tests.test_api import explained

__all__ = ["desk"]

PASSWORD = "nine lanterns over Lisbon"
_number = count(1)
Json = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
async def topics(desk: Desk) -> None:
    await add_topics(desk)


async def add_topics(desk: Desk) -> None:
    async with transaction(desk.sessions) as session:
        session.add_all(a_topic(slug, slug.title()) for slug in ("russia", "ukraine", "science"))


@pytest.fixture
async def editor(desk: Desk) -> httpx.AsyncClient:
    return await desk.somebody(Role.EDITOR)


@pytest.fixture
async def writer(desk: Desk) -> httpx.AsyncClient:
    return await desk.somebody(Role.WRITER)


def words(**more: Any) -> Json:
    """Of an alert that no other test has."""
    number = next(_number)
    return {"title": f"News {number}", "url": f"https://news.example/{number}", "topics": ["ukraine"]} | more


async def a_draft(client: httpx.AsyncClient, **more: Any) -> Json:
    return done(await client.post("/api/alerts", json=words(**more)), 201)


def done(answer: httpx.Response, status: int = 200) -> Json:
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


async def told(client: httpx.AsyncClient, alert: Json, what: str, **said: Any) -> Json:
    """One decision about an alert."""
    return done(await client.post(f"/api/alerts/{alert['id']}/{what}", json=said), 201 if what == "correct" else 200)


async def refused(client: httpx.AsyncClient, alert: Json, what: str, status: int, **said: Any) -> str:
    return explained(await client.post(f"/api/alerts/{alert['id']}/{what}", json=said), status)


async def now(client: httpx.AsyncClient, alert: Json) -> Json:
    return done(await client.get(f"/api/alerts/{alert['id']}"))


async def audited(desk: Desk, subject: object) -> list[str]:
    async with transaction(desk.sessions) as session:
        query = select(AuditEntry.action).where(AuditEntry.subject == str(subject)).order_by(AuditEntry.id)
        return list((await session.scalars(query)).all())


async def jobs(desk: Desk, alert: Json) -> list[tuple[str, datetime | None]]:
    async with transaction(desk.sessions) as session:
        rows = await session.execute(
            text("SELECT queue_name, scheduled_at FROM procrastinate_jobs WHERE args->>'alert_id' = :id ORDER BY id"),
            {"id": alert["id"]},
        )
        return [(name, at) for name, at in rows]


def at(moment: str | None) -> datetime:
    assert moment
    return datetime.fromisoformat(moment)


# Writing


async def test_an_alert_begins_as_a_draft(desk: Desk, writer: httpx.AsyncClient) -> None:
    said = words(body="More of it", level="low", topics=["russia", "ukraine"], ttl=3600)
    alert = await a_draft(writer, **said)
    assert {name: alert[name] for name in said} == said
    assert (alert["state"], alert["made_by"][:7], alert["warnings"], alert["recipients"]) == ("draft", "writer-", [], 0)
    assert set(alert["outcomes"].values()) == {0}
    assert [alert[name] for name in ("due_at", "released_at", "finished_at", "story_id", "corrects")] == [None] * 5
    assert await now(writer, alert) == alert
    assert await audited(desk, alert["id"]) == ["alert.make"]


@pytest.mark.parametrize(
    "wrong, because",
    [
        ({"title": " "}, "needs a title"),
        ({"title": "\u200b\u2060 \u00ad"}, "needs a title"),
        ({"topics": []}, "at least one topic"),
        ({"topics": ["gardening"]}, "no topic “gardening”"),
        ({"url": "news.example"}, "address starts with https"),
        ({"image": "javascript:alert(1)"}, "picture's address"),
        ({"ttl": 59}, "ttl: "),
        ({"title": "News\0"}, "title: "),
        ({"level": "shouting"}, "level: "),
        ({"story_id": 0}, "story_id: "),
        ({"colour": "red"}, "colour: "),
    ],
)
async def test_what_cannot_be_an_alert_is_refused(writer: httpx.AsyncClient, wrong: Json, because: str) -> None:
    answer = await writer.post("/api/alerts", json=words(**wrong))
    assert because in answer.json()["detail"]
    assert answer.status_code == 422


async def test_a_draft_can_be_changed_and_says_what_to_mind(desk: Desk, writer: httpx.AsyncClient) -> None:
    alert = await a_draft(writer, image="https://news.example/1.jpg")
    path = f"/api/alerts/{alert['id']}"
    change = {"title": "CEASEFIRE AGREED", "topics": ["russia"], "level": "breaking", "image": None, "ttl": 120}
    changed = done(await writer.patch(path, json=change))
    assert {name: changed[name] for name in change} == change
    assert changed["url"] == alert["url"]
    assert [one["code"] for one in changed["warnings"]] == ["capitals"]
    assert "gardening" in explained(await writer.patch(path, json={"topics": ["gardening"]}), 422)
    assert await now(writer, alert) == changed
    assert await audited(desk, alert["id"]) == ["alert.make", "alert.edit"]


async def test_a_draft_can_be_thrown_away(desk: Desk, editor: httpx.AsyncClient, writer: httpx.AsyncClient) -> None:
    alert = await a_draft(writer)
    assert "role editor" in explained(await writer.delete(f"/api/alerts/{alert['id']}"), 403)
    assert (await editor.delete(f"/api/alerts/{alert['id']}")).status_code == 204
    assert "no such alert" in explained(await editor.get(f"/api/alerts/{alert['id']}"), 404)
    assert await audited(desk, alert["id"]) == ["alert.make", "alert.delete"]


async def test_a_story_has_one_alert(desk: Desk, writer: httpx.AsyncClient) -> None:
    async with transaction(desk.sessions) as session:
        story = await a_story_row(session, entry=an_entry(title="Kyiv reopens its metro"))
    answers = await asyncio.gather(*(writer.post("/api/alerts", json=words(story_id=story.id)) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    first = next(answer.json() for answer in answers if answer.status_code == 201)
    assert first["story_id"] == story.id
    for answer in answers:
        if answer.status_code == 409:
            assert f"“{first['title']}” (draft, {first['id']})" in explained(answer, 409)
    assert "no such story" in explained(await writer.post("/api/alerts", json=words(story_id=10**9)), 404)


async def test_advice_is_given_as_one_types(writer: httpx.AsyncClient) -> None:
    alert = await a_draft(writer)
    said = {"title": alert["title"], "url": "http://news.example/1", "level": "normal", "id": alert["id"]}
    [warning] = done(await writer.post("/api/advice", json=said))["warnings"]
    assert warning["code"] == "plain_link"
    assert "http://" in warning["text"]
    assert done(await writer.post("/api/advice", json={}))["warnings"][0]["code"] == "no_link"


# Looking


async def test_a_list_goes_on_page_by_page_and_by_state(editor: httpx.AsyncClient) -> None:
    made = [(await a_draft(editor))["id"] for _ in range(5)]
    found: list[str] = []
    after = None
    while len(found) < 5:
        page = done(await editor.get("/api/alerts", params={"limit": 2} | ({"after": after} if after else {})))
        found += [one["id"] for one in page["items"]]
        after = page["next"]
    assert found[:5] == made[::-1]
    await told(editor, {"id": made[0]}, "release")
    items = done(await editor.get("/api/alerts", params={"state": "scheduled"}))["items"]
    assert items[0]["id"] == made[0]
    assert {one["state"] for one in items} == {"scheduled"}
    assert "page" in explained(await editor.get("/api/alerts", params={"after": "x"}), 422)
    assert "state" in explained(await editor.get("/api/alerts", params={"state": "x"}), 422)


# Releasing


async def test_a_release_goes_out_in_ten_seconds_and_can_be_undone(desk: Desk, editor: httpx.AsyncClient) -> None:
    alert = await a_draft(editor, level="breaking")
    before = datetime.now(UTC)
    alert = await told(editor, alert, "release", recipients_seen=12)
    assert alert["state"] == "scheduled"
    assert timedelta(seconds=9) < at(alert["due_at"]) - before < timedelta(seconds=15)
    assert alert["due_in"] == 10
    assert alert["proposed_by"] == alert["made_by"]
    assert await jobs(desk, alert) == [("breaking", at(alert["due_at"]) - timedelta(seconds=2))]
    undone = await told(editor, alert, "undo")
    assert (undone["state"], undone["due_at"], undone["due_in"], undone["proposed_by"]) == ("draft", None, None, None)
    assert "nothing to take back" in await refused(editor, alert, "undo", 409)
    assert await audited(desk, alert["id"]) == ["alert.make", "alert.release", "alert.undo"]


async def test_what_is_on_its_way_is_neither_changed_nor_released_again(editor: httpx.AsyncClient) -> None:
    alert = await told(editor, await a_draft(editor), "release")
    assert "goes out on" in await refused(editor, alert, "release", 409)
    assert "Take it back first" in explained(await editor.patch(f"/api/alerts/{alert['id']}", json={"body": "x"}), 409)
    assert "Take it back first" in explained(await editor.delete(f"/api/alerts/{alert['id']}"), 409)
    assert "still to go out" in await refused(editor, alert, "correct", 409, title="Right")
    recalled = await told(editor, alert, "recall")
    assert (recalled["state"], recalled["finished_at"] is not None) == ("recalled", True)
    assert "was recalled already" in await refused(editor, alert, "release", 409)
    assert "Too late" in await refused(editor, alert, "undo", 409)
    assert "recalled already" in await refused(editor, alert, "recall", 409)


async def set_state(desk: Desk, alert: Json, state: AlertState, minutes_ago: float = 0) -> None:
    async with transaction(desk.sessions) as session:
        row = await session.get_one(Alert, UUID(alert["id"]))
        row.state, row.released_at = state, datetime.now(UTC) - timedelta(minutes=minutes_ago)


async def test_a_correction_is_another_alert_in_its_place(desk: Desk, editor: httpx.AsyncClient) -> None:
    wrong = await a_draft(editor, level="breaking")
    await set_state(desk, wrong, AlertState.SENDING)
    assert "what is to be read instead" in await refused(editor, wrong, "correct", 422)
    assert "what is to be read instead" in await refused(editor, wrong, "correct", 422, title=wrong["title"])
    right = await told(editor, wrong, "correct", title="Right", image="", version=wrong["version"])
    assert (right["title"], right["url"], right["corrects"]) == ("Right", wrong["url"], wrong["id"])
    assert right["state"] == "scheduled"
    assert right["warnings"] == []
    wrong = await now(editor, wrong)
    assert (wrong["corrected_by"], wrong["state"]) == (right["id"], "recalled")
    assert f"delete it: {right['id']}" in await refused(editor, wrong, "correct", 409, title="Again")
    assert "still to go out" in await refused(editor, right, "correct", 409, title="Again")
    await set_state(desk, right, AlertState.FINISHED)
    assert f"correct the correction: {right['id']}" in await refused(editor, wrong, "correct", 409, title="Again")
    assert "what is to be read instead" in await refused(editor, right, "correct", 422)
    assert await audited(desk, wrong["id"]) == ["alert.make", "alert.correct"]
    assert await audited(desk, right["id"]) == ["alert.make", "alert.release"]


async def test_a_correction_goes_as_every_alert_does_and_what_it_stopped_stays_stopped(
    desk: Desk, editor: httpx.AsyncClient
) -> None:
    wrong = await a_draft(editor)
    await set_state(desk, wrong, AlertState.SENDING)
    right = await told(editor, wrong, "correct", title="Right", url="https://elsewhere.example/1")
    assert (right["state"], right["due_in"]) == ("scheduled", 10)
    assert await jobs(desk, right) == [("alerts", at(right["due_at"]) - timedelta(seconds=2))]

    right = await told(editor, right, "undo")
    assert (right["state"], (await now(editor, wrong))["state"]) == ("draft", "recalled")
    path = f"/api/alerts/{right['id']}"
    assert "topics, level" in explained(await editor.patch(path, json={"topics": ["russia"]}), 422)
    assert "topics, level" in explained(await editor.patch(path, json={"level": "breaking"}), 422)
    right = done(await editor.patch(path, json={"title": "RIGHT AFTER ALL", "url": wrong["url"]}))
    assert [one["code"] for one in right["warnings"]] == ["capitals"]
    assert (await told(editor, right, "release", version=right["version"]))["state"] == "scheduled"

    await told(editor, right, "undo")
    assert (await editor.delete(path)).status_code == 204
    assert (await now(editor, wrong))["corrected_by"] is None
    assert (await told(editor, wrong, "correct", title="Another"))["state"] == "scheduled"


async def test_a_correction_that_is_only_written_stops_nothing(desk: Desk, editor: httpx.AsyncClient) -> None:
    wrong, other = await a_draft(editor), await desk.somebody()
    await set_state(desk, wrong, AlertState.SENDING)
    draft = await told(editor, wrong, "correct", draft=True)
    assert (draft["state"], draft["title"], draft["corrects"]) == ("draft", wrong["title"], wrong["id"])
    assert (await now(editor, wrong))["state"] == "sending"
    assert "a draft. Send that one" in await refused(other, wrong, "correct", 409, title="Mine")
    assert "what is to be read instead" in await refused(editor, draft, "release", 422)
    assert (await now(editor, wrong))["state"] == "sending"
    await editor.patch(f"/api/alerts/{draft['id']}", json={"body": "Otherwise"})
    assert (await told(editor, draft, "release"))["state"] == "scheduled"
    assert (await now(editor, wrong))["state"] == "recalled"


async def test_only_what_was_read_is_corrected(desk: Desk, editor: httpx.AsyncClient) -> None:
    wrong = await a_draft(editor)
    await set_state(desk, wrong, AlertState.FINISHED)
    assert "changed meanwhile" in await refused(editor, wrong, "correct", 409, title="Right", version="0")


async def test_who_would_get_a_correction_are_those_who_got_the_wrong_one(
    desk: Desk, editor: httpx.AsyncClient
) -> None:
    wrong = await a_draft(editor, topics=["science"])
    await reach(desk, wrong, 2)
    found = done(await editor.get("/api/audience", params={"corrects": wrong["id"]}))
    assert (found["readers"], found["rings"], sum(found["lanes"].values())) == (2, 2, 2)
    key = await desk.key(topics=["ukraine"])
    assert "may not touch" in explained(await key.get("/api/audience", params={"corrects": wrong["id"]}), 403)
    assert "at least one topic" in explained(await editor.get("/api/audience"), 422)


async def reach(desk: Desk, alert: Json, readers: int) -> None:
    """As if it had gone out to so many new readers."""
    async with transaction(desk.sessions) as session:
        [topic] = await topics_named(session, alert["topics"])
        told = [(await a_reader(session, topic)).id for _ in range(readers)]
        session.add(
            Shard(
                alert_id=UUID(alert["id"]),
                lane=f"https://{MOZILLA}",
                subscription_ids=told,
                outcomes=bytes([Outcome.ACCEPTED]) * readers,
                accepted=readers,
            )
        )
    await set_state(desk, alert, AlertState.FINISHED)


# The same story twice


@pytest.mark.parametrize(
    "alike", [{"title": "“The  SAME” news {}"}, {"url": "https://www.news.example/same/{}/?utm_source=x"}]
)
async def test_the_same_story_within_half_an_hour_is_asked_about(
    desk: Desk, editor: httpx.AsyncClient, alike: dict[str, str]
) -> None:
    number = next(_number)
    first = await a_draft(editor, title=f"The same news {number}", url=f"https://news.example/same/{number}")
    twin = await a_draft(editor, **{name: text.format(number) for name, text in alike.items()})
    await told(editor, first, "release")
    sentence = await refused(editor, twin, "release", 409)
    assert "goes out in" in sentence
    assert first["id"] in sentence
    assert [one["code"] for one in (await now(editor, twin))["warnings"]] == ["told_soon"]

    await set_state(desk, first, AlertState.FINISHED, 23)
    assert "went out 23 minutes ago" in await refused(editor, twin, "release", 409)
    assert "23 minutes ago" in (await now(editor, twin))["warnings"][0]["text"]
    later = datetime.now(UTC) + timedelta(minutes=20)
    await told(editor, twin, "schedule", at=later.isoformat())  # 43 minutes after the first
    await told(editor, twin, "undo")
    assert (await told(editor, twin, "release", again=True))["state"] == "scheduled"
    await told(editor, twin, "undo")
    await set_state(desk, first, AlertState.FINISHED, 31)
    assert (await told(editor, twin, "release"))["state"] == "scheduled"


async def test_what_waits_for_approval_past_its_time_counts_as_going_out_now(careful: Desk, desk: Desk) -> None:
    one, other = await careful.somebody(), await careful.somebody()
    number = next(_number)
    alike = {"title": f"Overdue {number}", "url": f"https://news.example/overdue/{number}"}
    late, twin = await a_draft(one, level="breaking", **alike), await a_draft(other, **alike)
    await told(one, late, "schedule", at=(datetime.now(UTC) + timedelta(hours=2)).isoformat())
    async with transaction(careful.sessions) as session:
        due = datetime.now(UTC) - timedelta(hours=2)
        await session.execute(update(Alert).where(Alert.id == UUID(late["id"])).values(due_at=due))
    assert "waits for a second person" in await refused(other, twin, "release", 409)


async def test_only_what_was_read_goes_out(desk: Desk, editor: httpx.AsyncClient, writer: httpx.AsyncClient) -> None:
    alert = await a_draft(editor)
    changed = done(await writer.patch(f"/api/alerts/{alert['id']}", json={"body": "Otherwise"}))
    assert changed["version"] != alert["version"]
    for what, said in (("release", {}), ("schedule", {"at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()})):
        assert "changed meanwhile" in await refused(editor, alert, what, 409, version=alert["version"], **said)
    assert (await now(editor, alert))["state"] == "draft"
    same = done(await writer.patch(f"/api/alerts/{alert['id']}", json={"body": ""}))
    assert same["version"] == alert["version"]
    assert (await told(editor, alert, "release", version=alert["version"]))["state"] == "scheduled"


async def test_only_what_was_read_is_approved(careful: Desk) -> None:
    one, other = await careful.somebody(), await careful.somebody()
    first = await told(one, await a_draft(one, level="breaking"), "release")
    await told(one, first, "undo")
    await one.patch(f"/api/alerts/{first['id']}", json={"title": "Something else"})
    await told(one, first, "release")
    assert "changed meanwhile" in await refused(other, first, "approve", 409, version=first["version"])
    assert "changed meanwhile" in await refused(one, first, "release", 409, version=first["version"], override="Me")
    assert (await now(one, first))["state"] == "proposed"


async def test_alerts_that_lead_to_the_front_page_are_not_the_same(editor: httpx.AsyncClient) -> None:
    for _ in range(2):
        await told(editor, await a_draft(editor, url="https://news.example/"), "release")


# Schedules


async def test_an_alert_is_scheduled_by_the_clock_on_a_wall_and_moved(desk: Desk, editor: httpx.AsyncClient) -> None:
    alert = await a_draft(editor)
    day = (datetime.now(UTC) + timedelta(days=3)).date()
    alert = await told(editor, alert, "schedule", at=f"{day}T07:30", time_zone="Asia/Tokyo")
    assert (alert["state"], alert["time_zone"]) == ("scheduled", "Asia/Tokyo")
    assert at(alert["due_at"]) == datetime.fromisoformat(f"{day}T07:30+09:00")
    moved = await told(editor, alert, "schedule", at=f"{day}T07:30:00-05:00")
    assert (at(moved["due_at"]), moved["time_zone"]) == (datetime.fromisoformat(f"{day}T12:30Z"), "")
    assert len(await jobs(desk, alert)) == 2  # the first will find that the time is another
    assert await audited(desk, alert["id"]) == ["alert.make", "alert.schedule", "alert.schedule"]


@pytest.mark.parametrize(
    "said, because",
    [
        ({"at": "2020-01-01T00:00Z"}, "has passed"),
        ({"at": "2090-01-01T00:00Z"}, "30 days ahead"),
        ({"at": "2026-12-01T07:30"}, "time zone"),
        ({"at": "tomorrow", "time_zone": "Europe/Kyiv"}, "Write the time as"),
        ({"at": "2026-12-01T07:30", "time_zone": "Europe/Atlantis"}, "not a time zone"),
        ({"at": "0001-01-01T00:00:00Z", "time_zone": "America/New_York"}, "has passed"),
        ({"at": "9999-12-31T23:59:59Z", "time_zone": "Asia/Tokyo"}, "30 days ahead"),
    ],
)
async def test_a_time_that_cannot_be_meant_is_refused(editor: httpx.AsyncClient, said: Json, because: str) -> None:
    assert because in await refused(editor, await a_draft(editor), "schedule", 422, **said)


# Two people


@pytest.fixture(scope="module")
async def careful(server: str, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """A newsroom where breaking news and large audiences take two."""
    with a_database(server, "careful") as url:
        rules = {"two_people_levels": ("breaking",), "two_people_audience": 3}
        async with a_desk(url, tmp_path_factory.mktemp("careful"), **rules) as made:
            await add_topics(made)
            yield made


async def with_browser(
    desk: Desk, role: Role = Role.EDITOR, *, disabled: bool = False
) -> tuple[int, httpx.AsyncClient]:
    """An editor with a browser of their own."""
    async with transaction(desk.sessions) as session:
        editor = await an_editor_row(session, role)
        reader = await a_reader(session, *await topics_named(session, ["russia"]))
        session.add(EditorBrowser(editor_id=editor.id, subscription_id=reader.id, name="", added_at=reader.created_at))
        secret = await signed_in(session, editor)
        editor.disabled_at = datetime.now(UTC) if disabled else None
        return editor.id, desk.browser(secret)


async def private(desk: Desk, start: str) -> list[Alert]:
    async with transaction(desk.sessions) as session:
        query = select(Alert).where(Alert.for_editor_id.is_not(None), Alert.title.startswith(start))
        return list((await session.scalars(query.order_by(Alert.for_editor_id))).all())


async def test_with_the_two_person_rule_another_editor_approves(careful: Desk) -> None:
    (_, one), (other_id, other) = await with_browser(careful), await with_browser(careful, Role.OWNER)
    await with_browser(careful, Role.WRITER)
    await with_browser(careful, disabled=True)
    alert = await told(one, await a_draft(one, level="breaking"), "release")
    assert (alert["state"], alert["due_at"], alert["approved_by"]) == ("proposed", None, None)
    [asked] = await private(careful, f"Approve? {alert['title']}")
    assert asked.for_editor_id == other_id
    assert asked.url == f"https://news.example/desk#/alerts/{alert['id']}"
    assert (asked.state, asked.level) == (AlertState.RELEASED, "breaking")
    assert await jobs(careful, alert) == []

    assert "another person" in await refused(one, alert, "approve", 403)
    assert "Only a person can approve" in await refused(await careful.key(), alert, "approve", 403)
    assert "another person's word" in await refused(other, alert, "release", 409)
    assert "another person's word" in explained(await one.patch(f"/api/alerts/{alert['id']}", json={"body": "x"}), 409)
    approved = await told(other, alert, "approve")
    assert approved["state"] == "scheduled"
    assert 9 < approved["due_in"] <= 10
    assert approved["approved_by"].startswith("owner-")
    assert len(await jobs(careful, alert)) == 1
    assert await audited(careful, alert["id"]) == ["alert.make", "alert.propose", "alert.approve"]
    assert "goes out on" in await refused(other, alert, "approve", 409)


async def test_what_is_proposed_can_be_taken_back_and_is_then_nobodys_to_approve(careful: Desk) -> None:
    one, other = await careful.somebody(), await careful.somebody()
    alert = await told(one, await a_draft(one, level="breaking"), "release")
    assert (await told(other, alert, "undo"))["state"] == "draft"
    assert "taken back" in await refused(other, alert, "approve", 409)


async def test_a_schedule_takes_two_as_well_and_keeps_its_time(careful: Desk) -> None:
    one, other = await careful.somebody(), await careful.somebody()
    alert, later = await a_draft(one, level="breaking"), datetime.now(UTC) + timedelta(hours=3)
    alert = await told(one, alert, "schedule", at=later.isoformat())
    assert (alert["state"], at(alert["due_at"])) == ("proposed", later)
    approved = await told(other, alert, "approve")
    assert (approved["state"], at(approved["due_at"])) == ("scheduled", later)
    moved = await told(one, alert, "schedule", at=(later + timedelta(hours=1)).isoformat())
    assert (moved["state"], moved["approved_by"]) == ("proposed", None)


async def test_a_large_audience_takes_two_whatever_the_level(careful: Desk) -> None:
    editor = await careful.somebody()
    alert = await a_draft(editor, topics=["science"])
    async with transaction(careful.sessions) as session:
        [science] = await topics_named(session, ["science"])
        for _ in range(2):
            await a_reader(session, science)
    assert (await told(editor, alert, "release"))["state"] == "scheduled"
    await told(editor, alert, "undo")
    async with transaction(careful.sessions) as session:
        await a_reader(session, science)
    assert (await told(editor, alert, "release"))["state"] == "proposed"


async def test_an_audience_is_as_large_as_it_will_be_then(careful: Desk) -> None:
    editor = await careful.somebody()
    async with transaction(careful.sessions) as session:
        night = a_topic("night", "Night")
        session.add(night)
        await session.flush()
        then = datetime.now(UTC) + timedelta(hours=12)
        for _ in range(3):
            asleep = await a_reader(session, night)
            asleep.time_zone = "UTC"
            asleep.quiet_from, asleep.quiet_to = ((then + timedelta(hours=h)).time() for h in (6, -6))
    alert = await a_draft(editor, topics=["night"])
    assert (await told(editor, alert, "release"))["state"] == "scheduled"
    await told(editor, alert, "undo")
    assert (await told(editor, alert, "schedule", at=then.isoformat()))["state"] == "proposed"


async def test_one_person_may_do_without_the_other_and_it_is_loud(
    careful: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    editor, key = await careful.somebody(), await careful.key()
    alert = await a_draft(editor, level="breaking")
    assert "only a person" in await refused(key, alert, "release", 403, override="We are a CMS")
    with caplog.at_level(logging.ERROR, "newsbell.desk"):
        released = await told(editor, alert, "release", override="Nobody else is in")
    assert (released["state"], released["approved_by"]) == ("scheduled", None)
    assert "Nobody else is in" in caplog.text
    assert await audited(careful, alert["id"]) == ["alert.make", "alert.override", "alert.release"]

    proposed = await told(key, await a_draft(key, level="breaking"), "release")
    assert proposed["proposed_by"].startswith("key ")
    assert "only a person" in await refused(key, proposed, "release", 403, override="We are a CMS")
    assert (await told(editor, proposed, "release", override="Nobody answers"))["state"] == "scheduled"
    assert len(await jobs(careful, proposed)) == 1


async def test_an_override_that_nothing_asked_for_is_none(careful: Desk) -> None:
    editor = await careful.somebody()
    alert = await told(editor, await a_draft(editor, level="low"), "release", override="To be safe")
    assert alert["state"] == "scheduled"
    assert await audited(careful, alert["id"]) == ["alert.make", "alert.release"]


# Two people, and corrections


async def test_a_correction_of_what_took_two_takes_two(careful: Desk) -> None:
    one, other = await careful.somebody(), await careful.somebody()
    wrong = await a_draft(one, level="breaking")
    await set_state(careful, wrong, AlertState.SENDING)
    key = await careful.key()
    assert "only a person" in await refused(key, wrong, "correct", 403, title="Any text", override="A CMS")
    assert (await now(one, wrong))["state"] == "sending"

    right = await told(one, wrong, "correct", title="Any text", url="https://anywhere.example/1")
    assert (right["state"], right["proposed_by"], right["due_at"]) == ("proposed", wrong["made_by"], None)
    assert (await now(one, wrong))["state"] == "recalled"  # which cannot wait
    assert "another person" in await refused(one, right, "approve", 403)
    assert (await told(other, right, "approve", version=right["version"]))["state"] == "scheduled"
    assert await audited(careful, right["id"]) == ["alert.make", "alert.propose", "alert.approve"]
    async with transaction(careful.sessions) as session:
        noted = await session.scalar(
            select(AuditEntry.detail).where(AuditEntry.action == "alert.correct", AuditEntry.subject == wrong["id"])
        )
    assert noted and noted["link"] == [wrong["url"], "https://anywhere.example/1"]


async def test_a_correction_of_what_was_approved_takes_two_whatever_the_rule_says_now(desk: Desk) -> None:
    one = await desk.somebody()  # in a newsroom without any rule
    wrong = await a_draft(one)
    await set_state(desk, wrong, AlertState.FINISHED)
    async with transaction(desk.sessions) as session:
        (await session.get_one(Alert, UUID(wrong["id"]))).approved_by = "other@news.example"
    assert (await told(one, wrong, "correct", title="Right"))["state"] == "proposed"


async def test_a_changed_link_takes_two_wherever_there_is_a_rule(careful: Desk, desk: Desk) -> None:
    for newsroom, state in ((careful, "proposed"), (desk, "scheduled")):
        editor = await newsroom.somebody()
        wrong = await a_draft(editor, level="low")
        await set_state(newsroom, wrong, AlertState.FINISHED)
        right = await told(editor, wrong, "correct", title="Right")
        assert right["state"] == "scheduled"
        await told(editor, right, "undo")  # the words first, and then the link
        await editor.patch(f"/api/alerts/{right['id']}", json={"url": "https://elsewhere.example/1"})
        assert (await told(editor, right, "release"))["state"] == state


async def test_a_correction_that_nobody_got_is_no_way_around_the_second_person(careful: Desk) -> None:
    """Recalled before it went out, it would have been what the next one's link is compared with."""
    editor = await careful.somebody()
    wrong = await a_draft(editor, level="low")
    await set_state(careful, wrong, AlertState.FINISHED)
    first = await told(editor, wrong, "correct", draft=True, url="https://elsewhere.example/1")
    assert "Take it back and delete it" in await refused(editor, first, "recall", 409)
    await editor.patch(f"/api/alerts/{first['id']}", json={"url": wrong["url"], "title": "Right"})
    assert (await told(editor, first, "release"))["state"] == "scheduled"
    assert "Take it back and delete it" in await refused(editor, first, "recall", 409)
    await told(editor, first, "undo")
    assert (await editor.delete(f"/api/alerts/{first['id']}")).status_code == 204
    assert (await told(editor, wrong, "correct", url="https://elsewhere.example/1"))["state"] == "proposed"


async def test_what_was_recalled_before_it_went_out_has_no_correction(editor: httpx.AsyncClient) -> None:
    alert = await told(editor, await a_draft(editor), "recall")
    assert "nothing to correct" in await refused(editor, alert, "correct", 409, title="Right")


async def test_without_a_second_person_it_goes_out_at_the_time_that_was_said_with_it(careful: Desk) -> None:
    one, other = await careful.somebody(), await careful.somebody()
    day = (datetime.now(UTC) + timedelta(days=2)).date()
    alert = await told(one, await a_draft(one, level="breaking"), "release")
    alert = await told(other, alert, "schedule", at=f"{day}T07:30", time_zone="Europe/Kyiv", override="Nobody is in")
    assert (alert["state"], alert["time_zone"]) == ("scheduled", "Europe/Kyiv")
    assert at(alert["due_at"]) == datetime.fromisoformat(f"{day}T07:30+02:00")
    await told(one, alert, "undo")
    await told(one, alert, "schedule", at=f"{day}T07:30Z")
    alert = await told(other, alert, "release", override="Nobody is in")  # no other time was said
    assert at(alert["due_at"]) == datetime.fromisoformat(f"{day}T07:30Z")
    copy = await told(one, await a_draft(one, level="breaking", title=alert["title"], url=alert["url"]), "release")
    said = {"at": f"{day}T07:40Z", "override": "Nobody is in"}
    assert "Is it to be told again?" in await refused(one, copy, "schedule", 409, **said)
    assert (await told(one, copy, "schedule", **said, again=True))["state"] == "scheduled"


async def test_a_correction_takes_two_if_as_many_got_what_it_corrects(careful: Desk) -> None:
    editor = await careful.somebody()
    for readers, state in ((2, "scheduled"), (3, "proposed")):
        wrong = await a_draft(editor, topics=["ukraine"])
        await reach(careful, wrong, readers)
        right = await told(editor, wrong, "correct", title="Right")
        assert right["state"] == state
        await set_state(careful, right, AlertState.FINISHED)  # missed by all
        assert (await told(editor, right, "correct", title="Right indeed"))["state"] == state


async def test_one_person_may_correct_without_the_other_and_it_is_loud(
    careful: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    editor = await careful.somebody()
    wrong = await a_draft(editor, level="breaking")
    await set_state(careful, wrong, AlertState.SENDING)
    with caplog.at_level(logging.ERROR, "newsbell.desk"):
        right = await told(editor, wrong, "correct", title="Right", override="It names the wrong man")
    assert (right["state"], right["approved_by"]) == ("scheduled", None)
    assert "It names the wrong man" in caplog.text
    assert await audited(careful, right["id"]) == ["alert.make", "alert.override", "alert.release"]


# Two people are two


async def test_a_key_counts_as_its_maker(careful: Desk) -> None:
    owner, other = await careful.somebody(Role.OWNER), await careful.somebody()
    key = done(await owner.post("/api/keys", json={"name": f"CMS of one {next(_number)}", "role": "editor"}), 201)
    cms = careful.program(key["key"])
    alert = await told(cms, await a_draft(cms, level="breaking"), "release")
    assert alert["state"] == "proposed"
    assert f"{alert['proposed_by']} counts as you" in await refused(owner, alert, "approve", 403)
    assert (await owner.delete(f"/api/keys/{key['id']}")).status_code == 204
    assert "counts as you" in await refused(owner, alert, "approve", 403)
    assert (await told(other, alert, "approve"))["state"] == "scheduled"


async def through(desk: Desk, link: str, **more: str) -> httpx.AsyncClient:
    """The browser of whoever has opened a sign-in link."""
    browser = desk.browser()
    done(await browser.post("/api/session", json={"link": link.rpartition("=")[2], **more}))
    return browser


async def test_who_made_a_link_for_somebody_is_no_second_person_with_them(careful: Desk) -> None:
    owner = await careful.somebody(Role.OWNER)
    colleague_id, colleague = await with_browser(careful)
    email = done(await colleague.get("/api/session"))["editor"]["email"]
    made = done(await owner.patch(f"/api/editors/{colleague_id}", json={"sign_in_link": True}))
    puppet = await through(careful, made["sign_in_link"])

    alert = await told(owner, await a_draft(owner, level="breaking"), "release")
    assert "You came in by a sign-in link" in await refused(puppet, alert, "approve", 403)
    assert (await told(colleague, alert, "approve"))["approved_by"] == email  # where they had signed in themselves
    alert = await told(puppet, await a_draft(puppet, level="breaking"), "release")
    assert f"{email} counts as you" in await refused(owner, alert, "approve", 403)

    # The colleague is told, on their own browsers and at their desk; the owner is not, and other owners see it.
    told_them = [one.title for one in await private(careful, "") if one.for_editor_id == colleague_id]
    assert [title for title in told_them if "made a sign-in link for you" in title]
    assert "made a sign-in link for you" in await notes(colleague)
    another = await careful.somebody(Role.OWNER)
    assert f"made a sign-in link for {email}" in await notes(another)
    assert email not in await notes(owner)


async def test_the_link_of_the_first_owner_is_no_news_to_them(careful: Desk) -> None:
    async with transaction(careful.sessions) as session:
        audit.note(session, datetime.now(UTC), actor="command line", action="link.made", first_owner=True)
    owner = await careful.somebody(Role.OWNER)
    assert "link for :" not in await notes(owner)


async def notes(client: httpx.AsyncClient) -> str:
    """What stands at somebody's desk about who was let in."""
    return " ".join(note["text"] for note in done(await client.get("/api/session"))["notes"])


async def test_a_password_counts_as_theirs_who_knew_it_for_a_day(careful: Desk) -> None:
    owner = await careful.somebody(Role.OWNER)
    by_link, typed = (f"new-{next(_number)}@news.example" for _ in range(2))
    made = done(await owner.post("/api/editors", json={"email": by_link, "role": "editor"}), 201)
    await through(careful, made["sign_in_link"], password=PASSWORD)
    said = {"email": typed, "role": "editor", "password": PASSWORD}
    done(await owner.post("/api/editors", json=said), 201)
    alert = await told(owner, await a_draft(owner, level="breaking"), "release")

    for email in (by_link, typed):
        puppet = await with_password(careful, email)
        assert "a password not yet a day old" in await refused(puppet, alert, "approve", 403)
        # Whoever knows it may be the one who changes it.
        changed = {"old": PASSWORD, "new": f"{PASSWORD} indeed"}
        assert (await puppet.post("/api/session/password", json=changed)).status_code == 204
        puppet = await with_password(careful, email, f"{PASSWORD} indeed")
        assert "a password not yet a day old" in await refused(puppet, alert, "approve", 403)
    async with transaction(careful.sessions) as session:
        long_ago = Editor.password_set_at - timedelta(days=1)
        await session.execute(update(Editor).where(Editor.email == by_link).values(password_set_at=long_ago))
    colleague = await with_password(careful, by_link, f"{PASSWORD} indeed")
    assert (await told(colleague, alert, "approve"))["approved_by"] == by_link


async def with_password(desk: Desk, email: str, password: str = PASSWORD) -> httpx.AsyncClient:
    browser = desk.browser()
    done(await browser.post("/api/session", json={"email": email, "password": password}))
    return browser


async def test_a_link_from_the_command_line_is_nobodys(careful: Desk) -> None:
    owner = await careful.somebody(Role.OWNER)
    alert = await told(owner, await a_draft(owner, level="breaking"), "release")
    async with transaction(careful.sessions) as session:
        colleague = await an_editor_row(session)
        link = await make_link(session, colleague, datetime.now(UTC))
    by_link = await through(careful, f"#link={link}", password=PASSWORD)
    other_browser = await with_password(careful, colleague.email)
    assert (await told(by_link, alert, "approve"))["state"] == "scheduled"
    alert = await told(owner, await a_draft(owner, level="breaking"), "release")
    assert (await told(other_browser, alert, "approve"))["state"] == "scheduled"


async def test_a_puppets_puppets_and_keys_are_no_second_person_either(careful: Desk) -> None:
    owner = await careful.somebody(Role.OWNER)
    alert = await told(owner, await a_draft(owner, level="breaking"), "release")
    made = done(await owner.post("/api/editors", json={"email": f"p-{next(_number)}@x.example", "role": "owner"}), 201)
    puppet = await through(careful, made["sign_in_link"])
    made = done(await puppet.post("/api/editors", json={"email": f"p-{next(_number)}@x.example", "role": "owner"}), 201)
    second = await through(careful, made["sign_in_link"])
    assert "You came in by a sign-in link" in await refused(second, alert, "approve", 403)
    key = done(await second.post("/api/keys", json={"name": f"CMS of none {next(_number)}", "role": "editor"}), 201)
    cms = careful.program(key["key"])
    alert = await told(cms, await a_draft(cms, level="breaking"), "release")
    assert "counts as you" in await refused(owner, alert, "approve", 403)


# Tests on one's own browser


async def test_a_test_goes_to_ones_own_browsers_and_is_in_no_list(desk: Desk) -> None:
    editor_id, writer = await with_browser(desk, Role.WRITER)
    alert = await a_draft(writer, level="breaking", image="https://news.example/1.jpg")
    sent = done(await writer.post(f"/api/alerts/{alert['id']}/test"), 201)
    assert sent["browsers"] == 1
    [copy] = await private(desk, f"Test: {alert['title']}")
    assert (str(copy.id), copy.for_editor_id, copy.state) == (sent["id"], editor_id, AlertState.RELEASED)
    assert (copy.url, copy.image, copy.level) == (alert["url"], alert["image"], "breaking")
    assert (await now(writer, alert))["state"] == "draft"
    assert sent["id"] not in {one["id"] for one in done(await writer.get("/api/alerts"))["items"]}
    assert await audited(desk, alert["id"]) == ["alert.make", "alert.test"]

    editor = await desk.somebody()
    assert (await told(editor, alert, "release"))["state"] == "scheduled"  # its test is not the same story told twice
    assert (await now(editor, sent))["title"].startswith("Test: ")
    for what in ("release", "recall", "correct", "undo", "test"):
        assert "own browsers only" in await refused(editor, sent, what, 422)


async def test_a_test_needs_a_browser(desk: Desk, writer: httpx.AsyncClient) -> None:
    alert = await a_draft(writer)
    assert "no browser of your own" in await refused(writer, alert, "test", 422)
    assert "A key has no browser" in await refused(await desk.key(), alert, "test", 422)


# Who may


DECISIONS = ("release", "schedule", "approve", "undo", "recall", "correct")
BODY: dict[str, Json] = {"schedule": {"at": "2090-01-01T00:00Z"}}


@pytest.mark.parametrize("what", DECISIONS)
async def test_a_writer_decides_nothing(writer: httpx.AsyncClient, what: str) -> None:
    alert = await a_draft(writer)
    assert "takes the role editor" in await refused(writer, alert, what, 403, **BODY.get(what, {}))
    assert (await now(writer, alert))["state"] == "draft"


@pytest.mark.parametrize("what", [*DECISIONS, "test"])
async def test_what_is_not_there_is_said_so(editor: httpx.AsyncClient, what: str) -> None:
    assert "no such alert" in await refused(editor, {"id": uuid4()}, what, 404, **BODY.get(what, {}))


async def test_a_key_reaches_alerts_of_its_topics_and_levels_only(desk: Desk, editor: httpx.AsyncClient) -> None:
    key = await desk.key(topics=["ukraine"], levels=["normal", "low"])
    assert "topic russia" in explained(await key.post("/api/alerts", json=words(topics=["ukraine", "russia"])), 403)
    assert "level breaking" in explained(await key.post("/api/alerts", json=words(level="breaking")), 403)
    own = await a_draft(key)
    assert own["made_by"].startswith("key CMS")
    other, loud = await a_draft(editor, topics=["ukraine", "russia"]), await a_draft(editor, level="breaking")
    for alert in (other, loud):
        assert "may not touch" in explained(await key.get(f"/api/alerts/{alert['id']}"), 403)
        assert "may not touch" in explained(await key.patch(f"/api/alerts/{alert['id']}", json={"body": "x"}), 403)
        assert "may not touch" in explained(await key.delete(f"/api/alerts/{alert['id']}"), 403)
        for what in (*DECISIONS, "test"):
            assert "may not touch" in await refused(key, alert, what, 403, **BODY.get(what, {}))
    assert "topic russia" in explained(await key.patch(f"/api/alerts/{own['id']}", json={"topics": ["russia"]}), 403)
    assert "level breaking" in explained(await key.patch(f"/api/alerts/{own['id']}", json={"level": "breaking"}), 403)
    seen = {one["id"] for one in done(await key.get("/api/alerts"))["items"]}
    assert seen & {own["id"], other["id"], loud["id"]} == {own["id"]}
    assert (await told(key, own, "release"))["state"] == "scheduled"
