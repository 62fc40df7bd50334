"""What came of it, over HTTP: receipts, reports, their CSV, the pace."""

import asyncio
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.engine import make_url

from app.database import Sessions, transaction
from app.domain.alerts import Alert, AlertState
from app.domain.editors import Role
from app.domain.messages import message
from app.domain.outcomes import Outcome
from app.domain.proofs import BLANK
from app.domain.receipts import Event, Receipt
from app.domain.shards import plan, record
from app.domain.topics import Topic
from app.receipt_box import MOST
from tests.desk import Desk, a_desk, desk
from tests.makers import (
    GOOGLE,
    MOZILLA,
    a_push_subscription,
    a_topic_row,
    an_alert_row,
    an_editor_row,
    some_receipts,
)
from tests.makers import many_readers as readers
from tests.test_api import explained

__all__ = ["desk"]

GOOGLES, MOZILLAS = f"https://{GOOGLE}", f"https://{MOZILLA}"
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
Json = dict[str, Any]


@pytest.fixture(scope="module")
async def topic(desk: Desk) -> Topic:
    async with transaction(desk.sessions) as session:
        found = await a_topic_row(session, "ukraine")
        await a_topic_row(session, "russia")
        await readers(session, found, 6, lane=GOOGLES)
        await readers(session, found, 4, lane=MOZILLAS)
        return found


@pytest.fixture
async def alert(desk: Desk, topic: Topic) -> Alert:
    """Out for a minute and a half: Google has its six, Mozilla three of four."""
    async with transaction(desk.sessions) as session:
        await session.execute(delete(Alert))  # what other tests have left
    return await an_alert(desk.sessions, topic)


async def an_alert(
    sessions: Sessions, topic: Topic, *, ago: timedelta = 1.5 * MINUTE, title: str = "Ceasefire agreed"
) -> Alert:
    async with transaction(sessions) as session:
        made = await an_alert_row(session, topic, state=AlertState.SENDING)
        made.released_at, made.title = datetime.now(UTC) - ago, title
        pages = await plan(session, made.id, [topic.id], made.released_at)
        made.recipients = sum(page.size for page in pages)
        for page in pages:
            left = [] if page.lane == GOOGLES else [Outcome.GONE]
            await record(session, page.id, 0, bytes([Outcome.ACCEPTED] * (page.size - len(left)) + left), 0)
    return made


@pytest.fixture
def reader(desk: Desk) -> httpx.AsyncClient:
    """A browser that nobody knows, on a page that nobody allowed."""
    return desk.browser(origin="https://anywhere.example")


def delivered(desk: Desk, alert: Alert | UUID) -> str:
    """The proof in a message of this alert, another one each time."""
    id = alert if isinstance(alert, UUID) else alert.id
    clear = message(alert=id, title="T", body="", url="https://a.example/", image=None, level="normal")
    return str(json.loads(desk.site.proofs.stamper(clear, id)())["notification"]["data"]["proof"])


async def tells(
    desk: Desk,
    client: httpx.AsyncClient,
    alert: Alert | UUID,
    event: str,
    service: str | None = None,
    proof: str | None = None,
) -> None:
    """Of a delivery of its own, unless it is said of which."""
    said = {"alert": str(alert if isinstance(alert, UUID) else alert.id), "event": event}
    said["proof"] = delivered(desk, alert) if proof is None else proof
    answer = await client.post("/api/receipts", json=said | ({"service": service} if service else {}))
    assert (answer.status_code, answer.content) == (204, b"")


async def kept(desk: Desk) -> list[tuple[Event, str, int]]:
    """All that browsers told, once it is written."""
    await desk.site.receipts.empty(desk.sessions)
    query = select(Receipt.event, Receipt.lane, func.sum(Receipt.count)).group_by(Receipt.event, Receipt.lane)
    async with transaction(desk.sessions) as session:
        found = await session.execute(query.order_by(Receipt.event, Receipt.lane))
        return [(event, lane, int(count)) for event, lane, count in found]


async def got(client: httpx.AsyncClient, path: str) -> Json:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def lines(client: httpx.AsyncClient, path: str) -> list[dict[str, str]]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    text = answer.content.decode("utf-8-sig")
    assert text.count("\n") == text.count("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


# Receipts


async def test_anybody_may_tell_what_became_of_an_alert(desk: Desk, reader: httpx.AsyncClient, alert: Alert) -> None:
    await tells(desk, reader, alert, "shown", GOOGLES)
    await tells(desk, reader, alert, "shown", f"{MOZILLAS}/wpush/v2/whose")
    await tells(desk, reader, alert, "clicked", MOZILLAS)
    await tells(desk, reader, alert, "closed", "https://other.example")
    await tells(desk, reader, alert, "closed")
    assert await kept(desk) == [
        (Event.CLICKED, MOZILLAS, 1),
        (Event.CLOSED, "", 2),
        (Event.SHOWN, GOOGLES, 1),
        (Event.SHOWN, MOZILLAS, 1),
    ]


async def test_receipts_for_no_alert_an_old_one_or_a_test_are_dropped_without_a_word(
    desk: Desk, reader: httpx.AsyncClient, topic: Topic, alert: Alert
) -> None:
    old = await an_alert(desk.sessions, topic, ago=timedelta(days=2, hours=12, minutes=2))
    test = await an_alert(desk.sessions, topic)
    async with transaction(desk.sessions) as session:
        editor = await an_editor_row(session)
        await session.execute(update(Alert).where(Alert.id == test.id).values(for_editor_id=editor.id))
    for which in (uuid4(), old, test):
        await tells(desk, reader, which, "clicked", MOZILLAS)
    assert await kept(desk) == []


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"alert": "1", "event": "shown"},
        {"alert": str(uuid4()), "event": "stopped"},
        {"alert": str(uuid4()), "event": "topic_off"},
        {"alert": str(uuid4()), "event": "shown", "service": "x" * 2049},
        {"alert": str(uuid4()), "event": "shown", "reader": "me"},
        {"alert": str(uuid4()), "event": "shown", "proof": "x" * 65},
        [],
    ],
)
async def test_what_is_no_receipt_is_refused(desk: Desk, reader: httpx.AsyncClient, said: Any) -> None:
    assert explained(await reader.post("/api/receipts", json=said), 422)
    assert not desk.site.receipts.waiting


async def test_a_site_that_embeds_the_prompt_may_tell(database_url: str, tmp_path: Path) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    async with a_desk(database_url, tmp_path, origins="https://www.news.example") as here:
        for origin, may in (("https://www.news.example", True), ("https://evil.example", False)):
            browser = here.browser(origin=origin)
            answer = await browser.options("/api/receipts", headers=asked)
            assert (answer.headers.get("access-control-allow-origin") == origin) is may


async def test_two_thousand_receipts_at_once_are_counted_exactly(
    desk: Desk, reader: httpx.AsyncClient, alert: Alert
) -> None:
    async def some(number: int) -> None:
        for n in range(20):
            await tells(desk, reader, alert, ("shown", "clicked")[n % 2], (GOOGLES, MOZILLAS)[number % 2])

    await asyncio.gather(*(some(number) for number in range(100)))
    counted = {(event, lane): 500 for event in (Event.CLICKED, Event.SHOWN) for lane in (GOOGLES, MOZILLAS)}
    assert {(event, lane): count for event, lane, count in await kept(desk)} == counted


async def test_what_is_counted_when_the_server_stops_is_written(
    sessions: Sessions, database_url: str, tmp_path: Path
) -> None:
    async with transaction(sessions) as session:
        made = await an_alert_row(session, await a_topic_row(session), state=AlertState.SENDING)
        made.released_at = datetime.now(UTC)
    async with a_desk(database_url, tmp_path) as here:
        await tells(here, here.browser(), made, "clicked")
    async with transaction(sessions) as session:
        assert await session.scalar(select(func.sum(Receipt.count))) == 1


async def test_receipts_wait_while_the_database_is_away(
    desk: Desk, reader: httpx.AsyncClient, alert: Alert, server: str
) -> None:
    name = make_url(desk.site.settings.database_url).database
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            await tells(desk, reader, alert, "clicked", GOOGLES)
            await desk.site.receipts.empty(desk.sessions)
            assert len(desk.site.receipts.waiting) == 1
        finally:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
    await tells(desk, reader, alert, "clicked", GOOGLES)
    assert await kept(desk) == [(Event.CLICKED, GOOGLES, 2)]


async def test_made_up_receipts_are_not_kept_and_the_memory_has_an_end(
    desk: Desk, reader: httpx.AsyncClient, alert: Alert
) -> None:
    box = desk.site.receipts
    for made_up in ("", BLANK, "A" * 24, delivered(desk, uuid4())):
        await tells(desk, reader, alert, "clicked", GOOGLES, made_up)
    assert not box.waiting
    for one in some_receipts(MOST + 10, alert.id, Event.SHOWN, None, datetime.now(UTC)):
        box.put(one)
    assert len(box.waiting) == MOST
    box.waiting.clear()


async def test_a_delivery_counts_once_for_each_event_however_often_it_is_told(
    desk: Desk, reader: httpx.AsyncClient, alert: Alert
) -> None:
    proofs = [delivered(desk, alert) for _ in range(3)]
    for _ in range(3):
        for proof in proofs * 20:
            await tells(desk, reader, alert, "clicked", GOOGLES, proof)
        assert await kept(desk) == [(Event.CLICKED, GOOGLES, 3)]
    await tells(desk, reader, alert, "closed", GOOGLES, proofs[0])
    assert await kept(desk) == [(Event.CLICKED, GOOGLES, 3), (Event.CLOSED, GOOGLES, 1)]
    report = await got(await desk.somebody(), f"/api/alerts/{alert.id}/report")
    assert (report["clicked"], report["closed"]) == (3, 1)


async def test_a_topic_given_up_sixty_times_is_given_up_once(desk: Desk, alert: Alert) -> None:
    browser = await a_reader_who_got_it(desk, alert)
    for topics in [["ukraine"], []] * 60:
        assert (await browser.patch("/api/subscriptions/me", json={"topics": topics})).status_code == 200
    assert await kept(desk) == [(Event.TOPIC_OFF, MOZILLAS, 1)]


# Readers who leave


async def a_reader_who_got_it(desk: Desk, alert: Alert) -> httpx.AsyncClient:
    """Who follows both topics."""
    browser = desk.browser()
    wish = {"subscription": a_push_subscription(), "topics": ["ukraine", "russia"]}
    answer = await browser.post("/api/subscriptions", json=wish)
    assert answer.status_code == 201
    async with transaction(desk.sessions) as session:
        topics = (await session.scalars(select(Topic.id).where(Topic.slug == "ukraine"))).all()
        for page in await plan(session, alert.id, topics, datetime.now(UTC)):
            await record(session, page.id, 0, bytes([Outcome.ACCEPTED] * page.size), 0)
    browser.headers["Authorization"] = f"Bearer {answer.json()['key']}"
    return browser


async def test_a_reader_who_stops_counts_for_the_alert_that_reached_them_last(desk: Desk, alert: Alert) -> None:
    browser = await a_reader_who_got_it(desk, alert)
    assert (await browser.delete("/api/subscriptions/me")).status_code == 204
    assert await kept(desk) == [(Event.STOPPED, MOZILLAS, 1)]
    editor = await desk.somebody()
    assert (await got(editor, f"/api/alerts/{alert.id}/report"))["stopped"] == 1
    pace = await got(editor, "/api/pace")
    assert pace["readers_lost_24h"] == 1
    assert pace["readers_won_24h"] >= 1


async def test_a_reader_who_gives_up_its_topic_counts_and_another_topic_does_not(desk: Desk, alert: Alert) -> None:
    browser = await a_reader_who_got_it(desk, alert)
    for topics in (["ukraine"], ["ukraine", "russia"]):
        await browser.patch("/api/subscriptions/me", json={"topics": topics})
        await browser.patch("/api/subscriptions/me", json={"time_zone": "Europe/Kyiv"})
    assert await kept(desk) == []
    assert (await browser.patch("/api/subscriptions/me", json={"topics": []})).status_code == 200
    assert await kept(desk) == [(Event.TOPIC_OFF, MOZILLAS, 1)]


# The report of an alert


async def test_the_report_of_an_alert_says_what_came_of_it(desk: Desk, reader: httpx.AsyncClient, alert: Alert) -> None:
    for event, service in (("shown", GOOGLES), ("shown", MOZILLAS), ("clicked", GOOGLES), ("closed", None)):
        await tells(desk, reader, alert, event, service)
    await kept(desk)
    writer = await desk.somebody(Role.WRITER)
    report = await got(writer, f"/api/alerts/{alert.id}/report")
    whole = {"delivered": 9, "clicked": 1, "closed": 1, "stopped": 0, "topic_off": 0}
    assert {name: report[name] for name in whole} == whole
    assert report["shown"] == {"counted": 2, "estimated": 2, "sample": 1.0}
    assert report["alert"]["id"] == str(alert.id)
    assert report["alert"]["recipients"] == 10
    assert report["alert"]["topics"] == ["ukraine"]
    assert 80 < report["seconds_to"]["50"] <= report["seconds_to"]["90"]
    assert report["seconds_to"]["99"] is None

    google, mozilla = report["lanes"]
    assert (google["lane"], google["service"]) == (GOOGLES, "Google (Chrome, Opera, Samsung Internet, …)")
    assert (google["recipients"], google["accepted"], google["gone"], google["clicked"]) == (6, 6, 0, 1)
    assert (mozilla["recipients"], mozilla["accepted"], mozilla["gone"], mozilla["clicked"]) == (4, 3, 1, 0)
    assert mozilla["shown"] == {"counted": 1, "estimated": 1, "sample": 1.0}
    assert (google["seconds_to"]["99"], mozilla["seconds_to"]["99"]) == (report["seconds_to"]["50"], None)

    assert sum(minute["accepted"] for minute in report["minutes"]) == 9
    assert sum(minute["shown"] for minute in report["minutes"]) == 2
    assert sum(minute["clicked"] for minute in report["minutes"]) == 1
    assert all(minute["minute"].endswith(":00Z") for minute in report["minutes"])


async def test_a_draft_has_a_report_that_says_nothing_yet(desk: Desk, topic: Topic) -> None:
    async with transaction(desk.sessions) as session:
        draft = await an_alert_row(session, topic)
    report = await got(await desk.somebody(), f"/api/alerts/{draft.id}/report")
    assert (report["delivered"], report["lanes"], report["minutes"]) == (0, [], [])
    assert report["seconds_to"] == {"50": None, "90": None, "99": None}


async def test_as_csv_it_has_a_line_for_each_push_service_and_one_for_all(desk: Desk, alert: Alert) -> None:
    found = await lines(await desk.somebody(), f"/api/alerts/{alert.id}/report.csv")
    assert [line["service"] for line in found] == [
        "Google (Chrome, Opera, Samsung Internet, …)",
        "Mozilla (Firefox)",
        "All",
    ]
    assert [line["recipients"] for line in found] == ["6", "4", "10"]
    assert [line["accepted"] for line in found] == ["6", "3", "9"]
    assert [line["gone"] for line in found] == ["0", "1", "1"]
    assert [bool(line["seconds_to_90"]) for line in found] == [True, False, True]


# The day and the week


async def test_the_day_and_the_week_list_their_alerts_and_sum_them_up_by_day(
    desk: Desk, reader: httpx.AsyncClient, topic: Topic, alert: Alert
) -> None:
    older = await an_alert(desk.sessions, topic, ago=25 * HOUR)
    await an_alert(desk.sessions, topic, ago=24 * 8 * HOUR)
    await tells(desk, reader, alert, "clicked")
    await kept(desk)
    editor = await desk.somebody()
    day, week = await got(editor, "/api/reports?days=1"), await got(editor, "/api/reports?days=7")
    assert [item["alert"]["id"] for item in day["items"]] == [str(alert.id)]
    assert [item["alert"]["id"] for item in week["items"]] == [str(alert.id), str(older.id)]
    assert [(item["delivered"], item["clicked"]) for item in week["items"]] == [(9, 1), (9, 0)]
    assert len(week["days"]) == 8
    assert {one["day"]: one["alerts"] for one in week["days"] if one["alerts"]} == {
        f"{at:%Y-%m-%d}": 1 for at in (alert.released_at, older.released_at) if at
    }
    for name in ("delivered", "clicked"):
        assert sum(one[name] for one in week["days"]) == sum(item[name] for item in week["items"])


async def test_a_title_that_a_spreadsheet_would_run_is_only_text_in_the_csv(desk: Desk, topic: Topic) -> None:
    async with transaction(desk.sessions) as session:
        await session.execute(delete(Alert))
    titles = {
        '=HYPERLINK("https://evil.example";"Open")': '\'=HYPERLINK("https://evil.example";"Open")',
        **{f"{sign}SUM(1)": f"'{sign}SUM(1)" for sign in "+-@＝＋－＠﹦﹢﹫﹣⁼⁺⁻−"},
        "\u200b\ufeff =1": "'\u200b\ufeff =1",
        "Kyiv; =1;＝2": "Kyiv;' =1;'＝2",  # a separator where the comma is a decimal sign
        **{title: title for title in ('Київ: "так", сказала вона', "1=1", "Kyiv; Lviv", "Temperatures: -5 °C")},
    }
    made = {(await an_alert(desk.sessions, topic, title=title)).id: title for title in titles}
    found = await lines(await desk.somebody(), "/api/reports.csv?days=1")
    shown = {made[UUID(line["alert"])]: line["title"] for line in found}
    assert shown == titles
    assert {(line["topics"], line["recipients"], line["handed_over"]) for line in found} == {("ukraine", "10", "9")}
    assert all(datetime.fromisoformat(line["released_at"]).tzinfo for line in found)


# Who may read


PATHS = ("/api/alerts/{id}/report", "/api/alerts/{id}/report.csv", "/api/reports", "/api/reports.csv", "/api/pace")


async def test_reports_are_for_the_desk_only(desk: Desk, alert: Alert) -> None:
    for path in (path.format(id=alert.id) for path in PATHS):
        assert explained(await desk.browser().get(path), 401)
        for client in (await desk.somebody(Role.WRITER), await desk.key(Role.WRITER)):
            assert (await client.get(path)).status_code == 200


async def test_a_key_sees_reports_of_its_own_topics_and_levels_only(desk: Desk, alert: Alert) -> None:
    for limits in ({"topics": ["russia"]}, {"levels": ["breaking"]}):
        program = await desk.key(Role.EDITOR, **limits)
        for path in PATHS[:2]:
            assert explained(await program.get(path.format(id=alert.id)), 403)
        assert (await got(program, "/api/reports"))["items"] == []
        assert await lines(program, "/api/reports.csv") == []
    program = await desk.key(Role.EDITOR, topics=["ukraine"], levels=["normal"])
    assert len((await got(program, "/api/reports"))["items"]) == 1


@pytest.mark.parametrize("path", [f"/api/alerts/{UUID(int=7)}/report", f"/api/alerts/{UUID(int=7)}/report.csv"])
async def test_an_alert_that_there_is_not_has_no_report(desk: Desk, path: str) -> None:
    assert explained(await (await desk.somebody()).get(path), 404)


@pytest.mark.parametrize("days", ["0", "32", "x"])
async def test_a_period_is_a_day_to_a_month(desk: Desk, days: str) -> None:
    editor = await desk.somebody()
    for path in ("/api/reports", "/api/reports.csv"):
        assert explained(await editor.get(path, params={"days": days}), 422)


# The pace


async def test_the_pace_says_how_close_it_is_and_why(desk: Desk, reader: httpx.AsyncClient, alert: Alert) -> None:
    await tells(desk, reader, alert, "clicked", GOOGLES)
    await kept(desk)
    pace = await got(await desk.somebody(Role.WRITER), "/api/pace")
    assert (pace["alerts_7d"], pace["verdict"], pace["throttled"]) == (1, "calm", {})
    assert (round(pace["clicked_share"], 2), pace["closed_share"]) == (0.11, 0)
    assert "11\u00a0% clicked the last one." in pace["sentence"]
