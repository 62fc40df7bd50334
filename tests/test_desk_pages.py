"""Every page and state of the desk, and the readers' pages: what axe-core says of them, and that they fit.

Each is looked at twice: light on a laptop, dark on a phone.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from sqlalchemy.ext.asyncio import AsyncSession

from app.context import session_cookie
from app.database import connect, sessions_of, transaction
from app.domain import audit, receipts
from app.domain.alerts import Alert, AlertState, Level, an_alert
from app.domain.editors import Role
from app.domain.feeds import Policy
from app.domain.lanes import a_lane
from app.domain.outcomes import Outcome
from app.domain.receipts import Event
from app.domain.shards import plan, record
from app.domain.topics import Topic, topics_named
from app.settings import Settings
from tests.chromium import Chromium
from tests.desk import a_database
from tests.editor import AtChromium
from tests.makers import (
    GOOGLE,
    MOZILLA,
    a_feed_row,
    a_reader_with_key,
    a_story_row,
    a_topic_row,
    an_api_key_row,
    an_editor_row,
    an_entry,
    many_readers,
    signed_in,
    some_receipts,
)
from tests.web import web

Steps = Callable[[AtChromium], None]
LANES = (f"https://{GOOGLE}", f"https://{MOZILLA}")


@dataclass(frozen=True)
class Newsroom:
    """A desk with a bit of everything on it."""

    url: str
    secrets: dict[Role, str]  # of sessions
    alerts: dict[str, str]  # ids, by state
    reader: str  # the key of a reader


@pytest.fixture(scope="module")
async def newsroom(server: str, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Newsroom]:
    with a_database(server, "desk_pages") as database_url:
        engine = connect(database_url, pool_size=1)
        async with transaction(sessions_of(engine)) as session:
            secrets, alerts = await furnish(session)
            [russia] = await topics_named(session, ["russia"])
            _, reader = await a_reader_with_key(session, russia, now=datetime.now(UTC))
        await engine.dispose()
        folder = tmp_path_factory.mktemp("pages")
        with web(database_url, folder, NEWSBELL_TWO_PEOPLE_LEVELS="breaking") as (url, _):
            yield Newsroom(url, secrets, alerts, reader)


async def furnish(session: AsyncSession) -> tuple[dict[Role, str], dict[str, str]]:
    now = datetime.now(UTC)
    ukraine, russia = await a_topic_row(session, "ukraine"), await a_topic_row(session, "russia", "Kremlin")
    for lane in LANES:
        await many_readers(session, ukraine, 20, lane=lane)
    working = await a_feed_row(session, ukraine, url="https://courier.example/rss", now=now)
    working.polled_at, working.title = now, "The Loopback Courier"
    await a_feed_row(session, russia, url="https://gone.example/atom", policy=Policy.STORE, now=now)
    for title in ("A comet over Lviv", "Kyiv reopens its metro", "<b>Bold</b> & <script>alert(1)</script>"):
        await a_story_row(session, ukraine, entry=an_entry(title=title, summary="It has landed."), now=now)
    alarmed = a_lane(LANES[0], now)
    alarmed.alarm = "It refuses our key."
    session.add(alarmed)
    editors = {role: await an_editor_row(session, role, now=now) for role in Role}
    await an_editor_row(session, Role.WRITER, "away@news.example", now=now)
    await an_api_key_row(session, topics=["ukraine"], now=now)
    audit.note(
        session, now, actor="owner@news.example", action="feed.add", subject="1", url="https://courier.example/rss"
    )
    audit.note(session, now, actor="other@news.example", action="link.made", subject=editors[Role.OWNER].email)
    states = {
        "draft": await written(session, ukraine, "CEASEFIRE AGREED IN GENEVA", level=Level.BREAKING),
        "proposed": await written(session, ukraine, "The dam holds"),
        "scheduled": await written(session, ukraine, "The library opens"),
        "soon": await written(session, ukraine, "The bridge is open"),
        "sending": await out(session, ukraine, "The mayor resigns", told=25),
        "finished": await out(session, ukraine, "The strike ends", told=40, state=AlertState.FINISHED),
        "recalled": await out(session, ukraine, "The king abdicates", told=30, state=AlertState.RECALLED),
    }
    proposed, scheduled, soon = states["proposed"], states["scheduled"], states["soon"]
    proposed.state, proposed.proposed_by = AlertState.PROPOSED, "editor@news.example"
    scheduled.state, scheduled.due_at, scheduled.time_zone = (
        AlertState.SCHEDULED,
        now + timedelta(days=2),
        "Europe/Kyiv",
    )
    soon.state, soon.due_at = AlertState.SCHEDULED, now + timedelta(hours=1)
    await session.flush()
    secrets = {role: await signed_in(session, editor) for role, editor in editors.items()}
    return secrets, {name: str(alert.id) for name, alert in states.items()}


async def written(session: AsyncSession, topic: Topic, title: str, *, level: Level = Level.NORMAL) -> Alert:
    now = datetime.now(UTC)
    alert = an_alert(
        title=title, body="It begins at midnight.", url="https://news.example/1", topics=[topic], level=level, now=now
    )
    session.add(alert)
    await session.flush()
    return alert


async def out(
    session: AsyncSession, topic: Topic, title: str, *, told: int, state: AlertState = AlertState.SENDING
) -> Alert:
    """Released four minutes ago; `told` of the readers have it, and one of them has gone."""
    alert = await written(session, topic, title)
    released = datetime.now(UTC) - timedelta(minutes=4)
    alert.release(released)
    alert.state = state
    alert.finished_at = None if state is AlertState.SENDING else released + timedelta(minutes=3)
    pages = await plan(session, alert.id, [topic.id], released)
    alert.recipients = sum(page.size for page in pages)
    rest = Outcome.WAITING if state is AlertState.SENDING else Outcome.RECALLED
    outcomes = [Outcome.GONE, *[Outcome.ACCEPTED] * (told - 1), *[rest] * (alert.recipients - told)]
    for page in pages:
        mine, outcomes = outcomes[: page.size], outcomes[page.size :]
        await record(session, page.id, 0, bytes(mine), 0)
    for event, count in {Event.SHOWN: 20, Event.CLICKED: 8, Event.STOPPED: 1}.items():
        await receipts.add(session, some_receipts(count, alert.id, event, LANES[0], released + timedelta(minutes=1)))
    return alert


@pytest.fixture
def somebody(newsroom: Newsroom, chromium: Chromium) -> AtChromium:
    chromium.site = newsroom.url
    return AtChromium(chromium)


def come_in(at: AtChromium, newsroom: Newsroom, role: Role) -> None:
    cookie = {"name": session_cookie(Settings(site_url=newsroom.url)), "value": newsroom.secrets[role], "url": at.site}
    at.chromium.with_page(lambda page: page.context.add_cookies([cookie]))


# What a rule finds anew where the page is dark and narrow. All others depend on its elements only.
BY_LOOKS = [
    "color-contrast",
    "link-in-text-block",
    "page-has-heading-one",
    "scrollable-region-focusable",
    "target-size",
]


def violations(at: AtChromium, **options: Any) -> list[str]:
    """What axe-core finds, each with the elements that it means."""

    def found(page: Page) -> Sequence[dict[str, Any]]:
        return list(Axe().run(page, options={"resultTypes": ["violations"]} | options).response["violations"])

    return [
        f"{rule['id']} ({rule['impact']}): {[node['html'][:120] for node in rule['nodes']]}"
        for rule in at.chromium.with_page(found)
    ]


def must_be_good(at: AtChromium) -> None:
    assert violations(at) == []
    must_fit(at, 1280)
    at.chromium.prefer("dark")
    at.chromium.set_size(375, 812)
    assert violations(at, runOnly=BY_LOOKS) == []
    must_fit(at, 375)


def must_fit(at: AtChromium, width: int) -> None:
    wide = at.look("return document.documentElement.scrollWidth")
    assert wide <= width, f"{wide} px of content on {width} px"


def nothing(at: AtChromium) -> None:
    """The page as it opens."""


def clicks(*words: str) -> Steps:
    def steps(at: AtChromium) -> None:
        for each in words:
            at.click(each)

    return steps


def names_of_push_services(at: AtChromium) -> None:
    at.until_text("Google (Chrome", ".progress table")
    at.until_text(f"{GOOGLE}: It refuses our key.", "#standing")


def a_correction(at: AtChromium) -> None:
    at.click("Correct")
    at.until_text("It takes the place of “The strike ends”", ".corrects")
    at.until_text("39 readers, once each.", ".audience")
    at.until_text("other@news.example made a sign-in link for you", "#notes")


def an_added_person(at: AtChromium) -> None:
    at.click("Add a person")
    at.fill("E-mail address", "nina@courier.example")
    at.click("Add this person")


STRANGERS: dict[str, tuple[str, str, Steps]] = {
    "front": ("/", "main", nothing),
    "preferences": ("/preferences", "main", nothing),
    "docs": ("/docs", "main section", nothing),
    "sign-in": ("/desk", ".entrance form", nothing),
    "sign-in-refused": ("/desk", ".entrance form", clicks("Sign in")),
    "link": ("/desk#link=abc", ".entrance form", nothing),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_page_for_everybody_is_accessible(name: str, somebody: AtChromium) -> None:
    path, sign, steps = STRANGERS[name]
    look_at(somebody, path, sign, steps)


# As if the reader's clock were three days behind.
SLOW_CLOCK = """(() => {
  if (!location.search.includes("slow")) return;
  const True = Date;
  const off = 3 * 86_400_000;
  globalThis.Date = class extends True {
    constructor(...given) { given.length ? super(...given) : super(True.now() - off); }
    static now() { return True.now() - off; }
  };
})()"""


def follows(at: AtChromium, newsroom: Newsroom) -> None:
    """A reader, who has the key of a subscription."""
    at.open("/healthz")
    at.look(
        """
        const opening = indexedDB.open("newsbell", 1);
        opening.onupgradeneeded = () => opening.result.createObjectStore("reader");
        await new Promise((done) => (opening.onsuccess = done));
        const change = opening.result.transaction("reader", "readwrite");
        change.objectStore("reader").put({ key: arguments[0] }, "me");
        await new Promise((done) => (change.oncomplete = done));
        opening.result.close();
        """,
        newsroom.reader,
    )


def test_a_pause_lasts_as_long_as_it_says_whatever_the_readers_clock_says(
    newsroom: Newsroom, somebody: AtChromium
) -> None:
    follows(somebody, newsroom)
    somebody.chromium.with_page(lambda page: page.add_init_script(SLOW_CLOCK))
    somebody.open("/preferences?slow")
    somebody.until_shown("#pause")
    assert somebody.look("return Date.now()") < datetime.now(UTC).timestamp() * 1000 - 2 * 86_400_000
    somebody.click("For 1 hour")
    somebody.until_text("Paused until", "#paused")
    somebody.until_text("Saved.", "#said")
    me = {"Authorization": f"Bearer {newsroom.reader}"}
    until = httpx.get(f"{newsroom.url}/api/subscriptions/me", headers=me).json()["paused_until"]
    assert timedelta(minutes=55) < datetime.fromisoformat(until) - datetime.now(UTC) < timedelta(minutes=61)
    somebody.click("Resume notifications now")
    somebody.until_shown("#pause")


def test_later_is_by_the_servers_clock_whatever_the_editors_says(newsroom: Newsroom, somebody: AtChromium) -> None:
    come_in(somebody, newsroom, Role.EDITOR)
    somebody.chromium.with_page(lambda page: page.add_init_script(SLOW_CLOCK))
    somebody.open("/desk?slow#/new")
    somebody.until_shown(".composer")
    assert somebody.look("return Date.now()") < datetime.now(UTC).timestamp() * 1000 - 2 * 86_400_000
    somebody.choose("when", "later")
    proposed = datetime.fromisoformat(somebody.look("return document.getElementsByName('at')[0].value"))
    assert timedelta(minutes=58) < proposed.replace(tzinfo=UTC) - datetime.now(UTC) <= timedelta(hours=1)


DESK: dict[str, tuple[str, str, Steps]] = {
    "stories": ("#/", ".wire article, .wire li", nothing),
    "new": ("#/new", ".composer", nothing),
    "draft": ("#/alerts/{draft}", ".warnings li", nothing),
    "asked": ("#/alerts/{draft}", ".composer", clicks("Send to 40 readers")),
    "deleting": ("#/alerts/{draft}", ".composer", clicks("Delete the draft")),
    "proposed": ("#/alerts/{proposed}", ".told", nothing),
    "scheduled": ("#/alerts/{scheduled}", ".told", clicks("Move")),
    "soon": ("#/alerts/{soon}", ".told", nothing),
    "sending": ("#/alerts/{sending}", ".progress table", names_of_push_services),
    "stopping": ("#/alerts/{sending}", ".progress table", clicks("Stop")),
    "finished": ("#/alerts/{finished}", ".report", nothing),
    "correcting": ("#/alerts/{finished}", ".report", a_correction),
    "recalled": ("#/alerts/{recalled}", ".report", nothing),
    "missing": ("#/alerts/00000000-0000-0000-0000-000000000000", ".pane .note, .pane .problem, .pane button", nothing),
    "alerts": ("#/alerts", "main table, main li", nothing),
    "reports": ("#/reports", ".scale", nothing),
    "feeds": ("#/feeds", ".feeds li", nothing),
    "feed-adding": ("#/feeds", ".feeds li", clicks("Add a feed")),
    "topic-adding": ("#/feeds", ".feeds li", clicks("Add a topic")),
    "topic-changing": ("#/feeds", ".feeds li", clicks("Change Ukraine")),
    "topic-deleting": ("#/feeds", ".feeds li", clicks("Delete Ukraine")),
    "people": ("#/people", "main table", nothing),
    "person-adding": ("#/people", "main table", clicks("Add a person")),
    "person-added": ("#/people", "main table", an_added_person),
    "keys": ("#/people/keys", "main table", nothing),
    "key-making": ("#/people/keys", "main table", clicks("Make a key")),
    "audit": ("#/people/audit", "main table", nothing),
    "account": ("#/people/me", "main table", nothing),
}


@pytest.mark.parametrize("name", DESK)
def test_a_page_of_the_desk_is_accessible(name: str, newsroom: Newsroom, somebody: AtChromium) -> None:
    path, sign, steps = DESK[name]
    come_in(somebody, newsroom, Role.OWNER)
    look_at(somebody, f"/desk{path.format(**newsroom.alerts)}", sign, steps)


@pytest.mark.parametrize("name", ["draft", "feeds", "people"])
def test_a_page_is_accessible_for_a_writer(name: str, newsroom: Newsroom, somebody: AtChromium) -> None:
    path, sign, _ = DESK[name]
    come_in(somebody, newsroom, Role.WRITER)
    look_at(somebody, f"/desk{path.format(**newsroom.alerts)}", sign, nothing)


def look_at(at: AtChromium, path: str, sign: str, steps: Steps) -> None:
    at.open(path)
    at.until_shown(sign)
    steps(at)
    must_be_good(at)
