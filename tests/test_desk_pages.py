"""Every page and state of the desk, and the readers' pages: what axe-core says of them, and that they fit.

Each is looked at twice: light on a laptop, dark on a phone.
"""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from sqlalchemy.ext.asyncio import AsyncSession

from app.context import STATIC, session_cookie
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
from tests.browser import until
from tests.chromium import Chromium
from tests.crowd import a_crowd
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
from tests.push_service import PushService
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


def follows(at: AtChromium, key: str) -> None:
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
        key,
    )


def test_a_pause_lasts_as_long_as_it_says_whatever_the_readers_clock_says(
    newsroom: Newsroom, somebody: AtChromium
) -> None:
    follows(somebody, newsroom.reader)
    somebody.chromium.with_page(lambda page: page.add_init_script(SLOW_CLOCK))
    somebody.open("/preferences?slow")
    somebody.until_shown("#pause")
    assert somebody.look("return Date.now()") < datetime.now(UTC).timestamp() * 1000 - 2 * 86_400_000
    somebody.click("For 1 hour")
    somebody.until_text("Paused until", "#paused")
    somebody.until_text("Saved.", "#said")
    me = {"Authorization": f"Bearer {newsroom.reader}"}
    end = httpx.get(f"{newsroom.url}/api/subscriptions/me", headers=me).json()["paused_until"]
    assert timedelta(minutes=55) < datetime.fromisoformat(end) - datetime.now(UTC) < timedelta(minutes=61)
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
    "topics": ("#/feeds/topics", "main table", nothing),
    "topic-adding": ("#/feeds/topics", "main table", clicks("Add a topic")),
    "topic-changing": ("#/feeds/topics", "main table", clicks("Change Ukraine")),
    "topic-deleting": ("#/feeds/topics", "main table", clicks("Delete Ukraine")),
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


# With much of everything


@pytest.fixture(scope="module")
async def crowded(
    server: str, migrated: str, push_service_process: PushService, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Newsroom]:
    """60 topics, 40 feeds, 600 stories, 300 alerts; some in Arabic, some with a word that is longer than a phone."""
    with a_database(server, "desk_pages_crowded") as database_url:
        engine = connect(database_url, pool_size=1)
        now = datetime.now(UTC)
        async with transaction(sessions_of(engine)) as session:
            topics = await a_crowd(session, now)
            _, reader = await a_reader_with_key(session, topics[40], now=now)
            owner = await an_editor_row(session, Role.OWNER, now=now)
            secrets = {Role.OWNER: await signed_in(session, owner)}
        await engine.dispose()
        hosts = {
            "NEWSBELL_PUSH_HOSTS": push_service_process.origin.removeprefix("http://"),
            "NEWSBELL_ALLOW_PRIVATE_ADDRESSES": "1",
        }
        with web(database_url, tmp_path_factory.mktemp("crowded"), **hosts) as (url, _):
            yield Newsroom(url, secrets, {}, reader)


@pytest.fixture
def among_many(crowded: Newsroom, chromium: Chromium) -> AtChromium:
    chromium.site = crowded.url
    return AtChromium(chromium)


SHIFTS = """
  return new Promise((done) => {
    const found = [];
    const watch = new PerformanceObserver((list) => found.push(...list.getEntries()));
    watch.observe({ type: "layout-shift", buffered: true });
    const named = ({ value, sources }) => [value, ...sources.map(({ node }) => node?.outerHTML?.slice(0, 80))];
    setTimeout(() => done(found.map(named)), 500);
  });
"""


@pytest.mark.parametrize("width, height", [(390, 844), (1280, 900)])
def test_nothing_moves_while_the_front_page_loads_and_ok_is_in_sight(
    width: int, height: int, among_many: AtChromium
) -> None:
    at = among_many
    at.chromium.set_size(width, height)
    at.open("/")
    at.until_shown("#latest article")
    at.until_shown("#ok")
    assert at.look("return document.querySelector('#ok').getBoundingClientRect().bottom") < height
    assert at.look(SHIFTS) == []
    asked = at.look("return performance.getEntriesByType('resource').map(({ name }) => new URL(name).pathname)")
    assert sorted(path for path in asked if path.startswith("/api/")) == ["/api/front", "/api/site"]

    # The same for whoever follows something.
    at.chromium.will_allow()
    at.choose("topic", "topic-5")
    at.click("OK")
    at.until_text("You follow Topic of the day 0.", "#prompt")
    at.open("/")
    at.until_shown("#latest article")
    at.until_text("You follow Topic of the day 0.", "#prompt")
    assert at.look(SHIFTS) == []


def test_the_way_from_a_few_topics_to_all(crowded: Newsroom, among_many: AtChromium) -> None:
    at = among_many
    at.open("/")
    at.until_shown("#ok")
    shown = "return [...document.querySelectorAll('.prompt .choice')].filter((e) => e.checkVisibility()).length"
    assert at.look(shown) == 6
    at.click("All 60 topics")
    assert at.look(shown) == 60
    at.fill("Search topics", "day 41")
    until(lambda: at.look(shown) == 1, "what was searched for")
    at.choose("topic", "topic-46")
    at.fill("Search topics", "")
    at.click("Fewer topics")
    assert at.look(shown) == 6  # the ticked one is the first
    assert at.look("return document.querySelector('.prompt .choice input').checked")

    at.until_shown("#latest .all-topics")
    at.click("أخبار العالم")
    at.until_text("The latest of all topics", "#latest")
    assert at.look("return location.search") == "?topic=topic-0"
    assert at.look("return document.querySelectorAll('#latest article').length") == 20


def test_what_is_written_in_arabic_is_read_from_the_right(crowded: Newsroom, among_many: AtChromium) -> None:
    """Also among what is not: the line of facts stays in its order."""
    at = among_many
    come_in(at, crowded, Role.OWNER)
    starts = """
      const found = [...document.querySelectorAll(arguments[0])].filter((e) => e.textContent.includes("اتفاق"));
      return found.slice(0, 3).map((e) => [getComputedStyle(e).direction, getComputedStyle(e).textAlign]);
    """
    for path, place in (("/", "#latest h3"), ("/desk#/", ".headline"), ("/desk#/alerts", "tbody th")):
        at.open(path)
        at.until_text("اتفاق", "main")
        assert at.look(starts, place) == [["rtl", "start"]] * 3, path
    at.open("/")
    at.until_shown("#latest .facts")
    bare = """
      const texts = document.createTreeWalker(document.querySelector(arguments[0]), NodeFilter.SHOW_TEXT);
      const found = [];
      while (texts.nextNode()) {
        const { data, parentElement: e } = texts.currentNode;
        const isolated = data.includes("\u2068");
        if (/[\u0600-\u06ff]/.test(data) && !isolated && !e.closest("bdi, [dir=auto], option")) found.push(e.outerHTML);
      }
      return found;
    """
    assert at.look(bare, "body") == []
    for part in ("#/", "#/alerts", "#/feeds", "#/feeds/topics", "#/reports", "#/new"):
        at.open(f"/desk{part}")
        at.until_shown("main h1")
        until(lambda: at.look("return !document.querySelector('[aria-busy=true]')"), "the part")
        assert at.look(bare, "main") == [], part


MANY: dict[str, tuple[str, str, Steps]] = {
    "front": ("/", "#latest article", nothing),
    "all-topics": ("/", "#ok", clicks("All 60 topics")),
    "stories": ("/desk#/", ".wire li", nothing),
    "new": ("/desk#/new", ".composer .picker", nothing),
    "alerts": ("/desk#/alerts", "main table", nothing),
    "feeds": ("/desk#/feeds", ".feeds li", clicks("Show all 40 feeds")),
    "topics": ("/desk#/feeds/topics", "main table", clicks("Show all 60")),
    "reports": ("/desk#/reports", ".scale", nothing),
}


@pytest.mark.parametrize("name", MANY)
def test_a_page_with_much_on_it_is_accessible_and_fits(name: str, crowded: Newsroom, among_many: AtChromium) -> None:
    path, sign, steps = MANY[name]
    come_in(among_many, crowded, Role.OWNER)
    look_at(among_many, path, sign, steps)


def test_lists_are_searched_and_what_is_wanted_stands_in_the_address(crowded: Newsroom, among_many: AtChromium) -> None:
    at = among_many
    come_in(at, crowded, Role.OWNER)

    at.open("/desk#/feeds")
    at.until_shown(".feeds li")
    names = "return [...document.querySelectorAll('.feeds h3')].map((e) => e.textContent)"
    assert at.look(names)[:2] == ["Publisher 20", "Publisher 33"]  # in trouble
    assert len(at.look(names)) == 20
    at.fill("Search feeds", "publisher 3")
    until(lambda: len(at.look(names)) == 10, "what was searched for")
    at.pick("state", "trouble")
    until(lambda: at.look(names) == ["Publisher 33"], "what was searched for")
    assert at.hash() == "#/feeds?q=publisher+3&state=trouble"
    at.open(f"/desk{at.hash()}")
    until(lambda: at.look(names) == ["Publisher 33"], "the same again")

    rows = "return document.querySelectorAll('tbody tr').length"
    at.open("/desk#/alerts?is=waiting&q=kyiv")
    until(lambda: at.look(rows) == 15, "drafts")
    at.until_value("Search alerts", "kyiv")
    at.pick("topic", "topic-55")
    until(lambda: at.look(rows) == 5, "those of one topic")

    at.open("/desk#/?q=kyiv&topic=topic-7")
    until(lambda: at.look("return document.querySelectorAll('.wire .story').length") == 10, "stories")
    at.look("document.querySelector('.headline').click()")
    at.until_text("Draft", ".pane h1")
    assert at.hash().endswith("?q=kyiv&topic=topic-7")


def test_a_phone_names_one_thing_once(crowded: Newsroom, among_many: AtChromium) -> None:
    """Not two rows of tabs that both say "Stories"."""
    at = among_many
    come_in(at, crowded, Role.OWNER)
    at.chromium.set_size(390, 844)
    at.open("/desk#/")
    at.until_shown(".wire li")
    called = """
      const all = [...document.querySelectorAll("a, button")].filter((e) => e.checkVisibility());
      return all.filter((e) => e.innerText === "Stories").length;
    """
    assert at.look(called) == 1
    at.click("Write an alert")
    at.until_shown(".composer")
    at.click("Back to the list")
    at.until_shown(".wire li")
    at.click("Back to the alert")
    at.until_shown(".composer")


@pytest.mark.parametrize("path", ["/", "/preferences", "/desk", "/docs"])
def test_without_javascript_a_page_says_what_it_takes_and_promises_nothing(
    path: str, newsroom: Newsroom, somebody: AtChromium
) -> None:
    def seen(page: Page) -> str:
        session = page.context.new_cdp_session(page)
        session.send("Emulation.setScriptExecutionDisabled", {"value": True})
        page.goto(newsroom.url + path)
        text = str(page.inner_text("body"))
        session.send("Emulation.setScriptExecutionDisabled", {"value": False})
        session.detach()
        return text

    text = somebody.chromium.with_page(seen)
    assert "take JavaScript" in text or "takes JavaScript" in text
    assert "…\n" not in text.replace("nb_…", "")
    assert not re.search("Looking up|Fetching|Opening|One moment", text)


@pytest.mark.parametrize(
    "granted, says", [(True, "It does so in private windows"), (False, "In a private window it can’t")]
)
def test_a_private_window_is_told_what_it_is(
    granted: bool, says: str, newsroom: Newsroom, somebody: AtChromium
) -> None:
    """Where Chromium has no notifications, and says of itself that it can have them."""

    def told(page: Page) -> str:
        page.check("input[name=topic][value=ukraine]")
        page.click("#ok")
        page.wait_for_selector("#prompt:is([data-state=denied], [data-state=unreachable])")
        return str(page.inner_text("#prompt"))

    assert says in somebody.chromium.in_private_window("/", told, granted=granted)


# How quickly a page stands


def modules(entry: str, seen: dict[str, None] | None = None) -> dict[str, None]:
    """A module and all that it needs, by name, in the order in which they are come to."""
    seen = {} if seen is None else seen
    if entry not in seen:
        seen[entry] = None
        for name in re.findall(r'^(?:import|export) [^;]*?"\./([\w-]+\.js)";', (STATIC / entry).read_text(), re.M):
            modules(name, seen)
    return seen


# What a page opens with, beside the scripts that it names: the part of the desk that comes first.
OPENS_WITH = {"index": [], "preferences": [], "docs": [], "desk": ["desk-stories.js"]}


@pytest.mark.parametrize("page", OPENS_WITH)
def test_a_page_names_all_the_modules_that_it_needs(page: str) -> None:
    """So that a browser asks for them all at once, instead of one import after the other: two rounds, not nine."""
    text = (STATIC / f"{page}.html").read_text()
    scripts = re.findall(r'<script type="module" src="/static/([\w-]+\.js)">', text)
    wanted: dict[str, None] = {}
    for entry in (*scripts, *OPENS_WITH[page]):
        modules(entry, wanted)
    named = re.findall(r'<link rel="modulepreload" href="/static/([\w-]+\.js)">', text)
    needed = sorted(set(wanted) - set(scripts))
    lines = "\n".join(f'    <link rel="modulepreload" href="/static/{name}">' for name in needed)
    assert sorted(named) == needed, f"These belong into {page}.html:\n{lines}"
