"""A real reader: Firefox, the push service it is connected to, and the whole product started as its operator does."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psycopg
import pytest
from sqlalchemy.engine import make_url

from app.database import connect, sessions_of, transaction
from app.domain.feeds import Policy
from app.sources import add_feed, add_topic
from tests.publisher import Publisher
from tests.push_service import PushService, served
from tests.terminal import Terminal

T = TypeVar("T")

PROJECT = Path(__file__).parent.parent
BINARIES = (
    "/usr/lib/firefox-esr/firefox-esr",
    "firefox-esr",
    "firefox",
    "/Applications/Firefox.app/Contents/MacOS/firefox",
)
PATIENCE = 30.0  # seconds; a machine may be busy
START_LIMIT = 90.0  # seconds until the product answers: it brings six processes and all their libraries
# Seconds. Newsbell gives its processes four before it uses force, which is noticed; the rest is for a busy machine.
STOP_LIMIT = 10.0

# The windows of notifications, once they have something to read.
ALERTS = """[...Services.wm.getEnumerator("alert:alert")]
  .map((w) => ({ w, part: (id) => w.closed ? null : w.document.getElementById(id) }))
  .filter(({ part }) => part("alertTitleLabel")?.value)
  .map(({ w, part }) => ({ w, part, title: part("alertTitleLabel").value, body: part("alertTextLabel").textContent }))
"""
PREFERENCES = {
    "dom.push.testing.allowInsecureServerURL": True,  # ws: instead of wss:
    "dom.push.connection.enabled": True,  # automation switches it off
    "dom.push.retryBaseInterval": 200,  # milliseconds
    "alerts.useSystemBackend": False,  # windows of Firefox's own: they can be read and clicked
    "alerts.disableSlidingEffect": True,
}
# What tells one control from the others.
NAMED = "(e) => e.id || e.getAttribute('href') || e.dataset.pause || e.value || e.localName"
# With a worker and a VAPID key, as any script of a site may.
SUBSCRIBE = """
  await navigator.serviceWorker.register(args[0]);
  const { pushManager } = await navigator.serviceWorker.ready;
  const asking = () => pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: args[1] });
  const late = () => new Promise((_, reject) => setTimeout(reject, 3000));
  return (await Promise.race([asking(), late()]).catch(asking)).toJSON();  // Firefox may lose the first one.
"""
CLOSE_ALERTS = "for (const w of Services.wm.getEnumerator('alert:alert')) w.close();"


def until(condition: Callable[[], T], what: str | Callable[[], str] = "", *, limit: float = PATIENCE) -> T:
    """Wait for a condition to hold; what it gave. `what` may be asked for only when it was in vain."""
    end, pause = time.monotonic() + limit, 0.02
    while not (value := condition()):
        if time.monotonic() >= end:
            told = (what() if callable(what) else what) or "see the condition"
            raise AssertionError(f"waited {limit:.0f} s in vain: {told}; it is {value!r}")
        time.sleep(pause)
        pause = min(1.3 * pause, 0.25)  # A look costs a browser more than the product needs to get there.
    return value


class Shown(NamedTuple):
    """A notification on the screen."""

    title: str
    body: str


class Driver:
    """The only place that speaks Marionette, which has no types. Scripts run in the page or in Firefox (`chrome`)."""

    def __init__(self, *, push_server: str, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # mozrunner: telnetlib, an escape in a string
            warnings.simplefilter("ignore", ResourceWarning)  # marionette-driver: sockets it looks for the port with
            from marionette_driver.by import By
            from marionette_driver.marionette import Marionette

            self._by = By
            self._marionette: Any = Marionette(
                app="fxdesktop",
                bin=find_firefox(),
                headless=True,
                port=0,
                workspace=str(folder),
                gecko_log=str(folder / "firefox.log"),
                prefs=PREFERENCES | {"dom.push.serverURL": push_server},
            )
            self._marionette.start_session()
        self._marionette.timeout.script = PATIENCE

    def quit(self) -> None:
        self._marionette.quit()
        self._marionette.cleanup()
        del self._marionette  # or its profile complains when the interpreter ends

    def navigate(self, url: str) -> None:
        self._marionette.navigate(url)

    def page(self, script: str, *arguments: object) -> Any:
        return self._marionette.execute_script(script, script_args=arguments)

    def page_async(self, body: str, *arguments: object) -> Any:
        return self._settled(body, arguments)

    def chrome(self, script: str, *arguments: object) -> Any:
        with self._marionette.using_context("chrome"):
            return self._marionette.execute_script(script, script_args=arguments)

    def chrome_async(self, body: str, *arguments: object) -> Any:
        with self._marionette.using_context("chrome"):
            return self._settled(body, arguments)

    def _settled(self, body: str, arguments: Sequence[object]) -> Any:
        script = (
            "const [...args] = arguments; const done = args.pop();"
            f"(async (...args) => {{ {body} }})(...args).then((v) => done([true, v]), (e) => done([false, String(e)]));"
        )
        fine, value = self._marionette.execute_async_script(script, script_args=arguments)
        assert fine, value
        return value

    def click(self, selector: str) -> None:
        self._marionette.find_element(self._by.CSS_SELECTOR, selector).click()

    def click_what(self, script: str, *arguments: object) -> None:
        """Click the element that a script finds; wait for it, as long as it is redrawn meanwhile."""

        def clicked(element: Any) -> None:
            # As somebody would who sees that something sticks over it.
            self.page("arguments[0].scrollIntoView({ block: 'center' })", element)
            element.click()

        self._with_found(script, arguments, clicked)

    def type_into(self, script: str, argument: str, text: str) -> None:
        """Instead of what stands there."""

        def typed(element: Any) -> None:
            element.clear()
            element.send_keys(text)

        self._with_found(script, [argument], typed)

    def _with_found(self, script: str, arguments: Sequence[object], act: Callable[[Any], None]) -> None:
        from marionette_driver.errors import ElementClickInterceptedException, StaleElementException

        def done() -> bool:
            element = self._marionette.execute_script(script, script_args=arguments)
            try:
                if element is not None:
                    act(element)
            except (ElementClickInterceptedException, StaleElementException):
                return False
            return element is not None

        until(done, f"{arguments} on the page")

    def set_permission(self, name: str, state: str) -> None:
        """Of the page that is open."""
        self._marionette.set_permission({"name": name}, state)

    def press(self, key: str, *, shift: bool = False) -> None:
        actions = self._marionette.actions.sequence("key", "keyboard")
        if shift:
            actions.key_down("\ue008")
        actions.key_down(key).key_up(key)
        if shift:
            actions.key_up("\ue008")
        actions.perform()

    def accessible(self, selector: str) -> list[tuple[str, str]]:
        """Role and name, as assistive technology gets them, of the elements that are on the page or its open dialog."""
        script = "return [...(document.querySelector('dialog:modal') ?? document).querySelectorAll(arguments[0])]"
        found = self._marionette.execute_script(script, script_args=[selector])
        return [(e.computed_role, e.computed_label) for e in found if e.is_displayed()]

    def windows(self) -> list[str]:
        return list(self._marionette.window_handles)

    def switch_to(self, window: str) -> None:
        self._marionette.switch_to_window(window)

    def open_window(self) -> str:
        """A tab beside the one at hand, which stays in front."""
        return str(self._marionette.open(type="tab", focus=False)["handle"])

    def close_window(self) -> None:
        self._marionette.close()


class Firefox:
    """A reader at a browser. `site` is where the pages are that `open` names by their path."""

    TAB, ENTER, SPACE, ESCAPE = "\ue004", "\ue007", " ", "\ue00c"

    def __init__(self, driver: Driver, push_service: PushService) -> None:
        self.driver, self.push_service = driver, push_service
        self.site = ""

    # Pages.

    def open(self, path: str) -> None:
        self.driver.navigate(self.site + path)

    def until_at(self, path: str) -> None:
        """Wait until a link has led there."""
        there = "return gBrowser.currentURI.spec === arguments[0] && !gBrowser.selectedTab.hasAttribute('busy')"
        until(lambda: self.driver.chrome(there, self.site + path), f"the page {path}")

    def reload(self) -> None:
        self.driver.navigate(self.driver.page("return location.href"))

    def click(self, name: str) -> None:
        """By the element's id."""
        self.driver.click(f"#{name}")

    def tick(self, topic: str) -> None:
        """Tick the box of a topic, or take the tick away."""
        self.driver.click(f"input[name=topic][value={topic}]")

    def ticked(self) -> list[str]:
        return list(
            self.driver.page("return [...document.querySelectorAll('input[name=topic]:checked')].map((b) => b.value)")
        )

    def text(self, selector: str = "body") -> str:
        """What is to be read there; empty when there is no such thing."""
        return str(self.driver.page("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def shows(self, selector: str) -> bool:
        return bool(
            self.driver.page("return document.querySelector(arguments[0])?.checkVisibility() ?? false", selector)
        )

    def height(self, selector: str) -> float:
        """In CSS pixels."""
        return float(
            self.driver.page("return document.querySelector(arguments[0]).getBoundingClientRect().height", selector)
        )

    def state(self) -> str:
        """How the prompt (on the front page) or the page (of preferences) stands."""
        return str(self.driver.page("return document.querySelector('[data-state]')?.dataset.state ?? ''"))

    def until_state(self, wanted: str) -> None:
        until(lambda: self.state() == wanted, f"the state “{wanted}”")

    def until_text(self, wanted: str, selector: str = "body") -> None:
        until(lambda: wanted in self.text(selector), f"“{wanted}” in {selector}")

    def press(self, key: str, *, shift: bool = False) -> None:
        self.driver.press(key, shift=shift)

    # The browser's own prompt.

    def allow(self) -> None:
        self._answer("button")

    def block(self) -> None:
        self._answer("secondaryButton")

    def asks(self) -> bool:
        return bool(self.driver.chrome("return document.getElementById('notification-popup')?.state === 'open'"))

    def _answer(self, button: str) -> None:
        until(self.asks, "the browser's own question")
        self.driver.chrome(f"document.getElementById('notification-popup').firstElementChild.{button}.click()")
        until(lambda: not self.asks(), "the end of the browser's own question")

    def will_allow(self) -> None:
        """As if its question had been answered before; a page of the site is open."""
        self.driver.set_permission("notifications", "granted")

    def permission(self) -> str:
        return str(self.driver.page("return Notification.permission"))

    def take_permission_back(self) -> None:
        """In the browser's settings."""
        self.driver.chrome(
            "Services.perms.addFromPrincipal("
            "gBrowser.contentPrincipal, 'desktop-notification', Services.perms.DENY_ACTION)"
        )

    # Notifications.

    def notifications(self) -> list[Shown]:
        """What is on the screen now."""
        return [
            Shown(*pair) for pair in self.driver.chrome(f"return {ALERTS}.map(({{ title, body }}) => [title, body])")
        ]

    def titles(self) -> list[str]:
        return sorted(shown.title for shown in self.notifications())

    def until_notified(self, *titles: str) -> None:
        """Exactly these are on the screen."""
        until(lambda: set(titles) <= set(self.titles()), f"notifications {titles}")
        assert self.titles() == sorted(titles)

    def click_notification(self, title: str) -> None:
        """And wait until it has left the screen."""
        self.driver.chrome(
            f"{ALERTS}.find(({{ title }}) => title === arguments[0]).part('alertNotification').click()", title
        )
        until(lambda: title not in self.titles(), f"the end of the notification “{title}”")

    def close_notification(self, title: str) -> None:
        """By its cross."""
        script = f"{ALERTS}.find(({{ title }}) => title === arguments[0]).part('alert-close').click()"
        self.driver.chrome(script, title)
        until(lambda: title not in self.titles(), f"the end of the notification “{title}”")

    def tabs(self) -> list[str]:
        """The addresses of all tabs."""
        return list(self.driver.chrome("return gBrowser.tabs.map((tab) => tab.linkedBrowser.currentURI.spec)"))

    # The page as somebody gets it who does not see it, or has no mouse.

    def focused(self) -> str:
        """The element that has the focus: its id, or its address, or the value of its box."""
        return str(self.driver.page(f"return ({NAMED})(document.activeElement)"))

    def focusable(self) -> list[str]:
        """What Tab should come to, in the order of the page."""
        script = f"""
          return [...document.querySelectorAll("a[href], button, input, select")]
            .filter((e) => e.checkVisibility() && !e.matches(":disabled")).map({NAMED})"""
        return list(self.driver.page(script))

    def to_the_top(self) -> None:
        """Where Tab begins on a page that has just been opened."""
        self.driver.page("document.activeElement.blur(); getSelection().collapse(document.body, 0)")

    def tab_to(self, name: str) -> None:
        """Press Tab from the top of the page until that control has the focus; see `focused`."""
        self.to_the_top()
        for _ in self.focusable():
            self.press(self.TAB)
            if self.focused() == name:
                return
        pytest.fail(f"Tab does not come to {name}.")

    # The browser's circumstances.

    def go_offline(self) -> None:
        self.driver.chrome("Services.io.offline = true")
        until(lambda: not self.push_service.connected, "the end of the connection to the push service")

    def go_online(self) -> None:
        self.driver.chrome("Services.io.offline = false")
        until(lambda: self.push_service.connected, "a connection to the push service")

    def endpoint(self) -> str:
        """Of the site's subscription; empty when there is none."""
        return str(
            self.driver.page_async(
                "const worker = await navigator.serviceWorker.getRegistration();"
                "return (await worker?.pushManager.getSubscription())?.endpoint ?? ''"
            )
        )

    def lose_stored_key(self) -> None:
        """As when a browser clears a site's data but keeps its push subscription."""
        self.driver.page_async(
            "const opening = indexedDB.open('newsbell', 1); await new Promise((done) => { opening.onsuccess = done; });"
            "const change = opening.result.transaction('reader', 'readwrite'); change.objectStore('reader').clear();"
            "await new Promise((done) => { change.oncomplete = done; }); opening.result.close();"
        )

    @contextmanager
    def without_indexed_db(self) -> Iterator[None]:
        name = "dom.indexedDB.enabled"
        self.driver.chrome("Services.prefs.setBoolPref(arguments[0], false)", name)
        yield
        self.driver.chrome("Services.prefs.clearUserPref(arguments[0])", name)

    def prefer(self, scheme: str) -> None:
        """`light` or `dark`, as the reader's system says."""
        self.driver.chrome("gBrowser.selectedBrowser.browsingContext.prefersColorSchemeOverride = arguments[0]", scheme)
        until(lambda: self.driver.page("return matchMedia(arguments[0]).matches", f"(prefers-color-scheme: {scheme})"))

    def set_width(self, pixels: int | None) -> None:
        """Of the page; None: all the window has."""
        width = f"{pixels}px" if pixels else ""
        self.driver.chrome("gBrowser.selectedBrowser.style.maxWidth = arguments[0]", width)
        if pixels:
            until(lambda: self.driver.page("return innerWidth") == pixels, f"a page {pixels} px wide")

    def complaints(self) -> list[str]:
        """What pages left in the console since the last reset: errors, warnings, breaches of their policy (CSP).

        Not what it says of layout: whoever looks at a page before it is complete, as tests do, forces it.
        """
        script = """
          return Services.console.getMessageArray()
            .filter((m) => m instanceof Ci.nsIScriptError && !m.isFromChromeContext && m.category !== "Layout")
            .map((m) => `${m.category}: ${m.errorMessage} (${m.sourceName}:${m.lineNumber})`)"""
        return list(self.driver.chrome(script))

    def failed_requests(self) -> list[str]:
        """What the page asked for and did not get."""
        script = """
          return performance.getEntriesByType("resource").filter((r) => !r.responseStatus || r.responseStatus >= 400)
            .map((r) => `${r.responseStatus} ${r.name}`)"""
        return list(self.driver.page(script))

    def reset(self) -> None:
        """As after the installation: no data of any site, no notification, one empty tab, online."""
        self.driver.chrome("Services.io.offline = false;" + CLOSE_ALERTS)
        first, *others = self.driver.windows()
        for window in others:
            self.driver.switch_to(window)
            self.driver.close_window()
        self.driver.switch_to(first)
        self.driver.navigate("about:blank")
        self.set_width(None)
        self.driver.chrome("gBrowser.selectedBrowser.browsingContext.prefersColorSchemeOverride = 'none'")
        self.driver.chrome_async(
            "const everything = Ci.nsIClearDataService.CLEAR_ALL;"
            "await new Promise((onDataDeleted) => Services.clearData.deleteData(everything, { onDataDeleted }));"
            "Services.console.reset();"
        )


def find_firefox() -> str:
    found = next(filter(None, map(shutil.which, BINARIES)), None)
    if found is None:
        pytest.fail("These tests drive a real Firefox, and there is none here (Debian: apt-get install firefox-esr).")
    return found


@pytest.fixture(scope="session")
def push_service_process() -> Iterator[PushService]:
    service = PushService()
    with served(service.app) as port:
        service.origin = f"http://127.0.0.1:{port}"
        yield service


@pytest.fixture(scope="session")
def firefox_process(push_service_process: PushService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """One Firefox for the whole run; `firefox` gives it to a test."""
    address = push_service_process.origin.replace("http:", "ws:") + "/"
    driver = Driver(push_server=address, folder=tmp_path_factory.mktemp("firefox"))
    yield driver
    driver.quit()


@pytest.fixture
def push_service(push_service_process: PushService) -> PushService:
    """The push service, which has neither posts nor special answers yet."""
    push_service_process.reset()
    return push_service_process


@pytest.fixture
def firefox(firefox_process: Driver, push_service: PushService) -> Iterator[Firefox]:
    """A Firefox that has seen no site yet."""
    reader = Firefox(firefox_process, push_service)
    yield reader
    reader.reset()
    assert not push_service.faults


# The product.

TOPICS = {"russia": "Russia", "ukraine": "Ukraine", "world-news": "World News"}
FEEDS = {"russia.xml": "russia", "ukraine.xml": "ukraine", "world.xml": "world-news"}


class Stored(NamedTuple):
    """What the product's database knows of a reader."""

    endpoint: str
    lives: bool
    topics: list[str]


@dataclass
class Newsbell:
    """The product, running: all of its processes."""

    url: str
    database_url: str
    environment: Mapping[str, str]
    process: subprocess.Popen[str]
    log: list[str]
    reading: threading.Thread
    shown: int = 0  # how many lines of the log

    def show_log(self) -> None:
        """What has come since the last time, for pytest to show it with a test that fails."""
        lines = self.log[self.shown :]
        self.shown += len(lines)
        sys.stderr.write("".join(lines))

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def has_polled(self) -> bool:
        """Every feed once, at least."""
        return self.rows("SELECT count(*) FROM feeds WHERE baseline_at IS NULL") == [(0,)]

    def has_read(self, publisher: Publisher) -> bool:
        """Everything that stands in the feeds which it follows."""
        known = {url for (url,) in self.rows("SELECT url FROM stories")}
        followed = {url for (url,) in self.rows("SELECT url FROM feeds")}
        listed = {publisher.feed_url(path): items for path, items in publisher.feeds.items()}
        return all(item.url in known for url in followed for item in listed[url])

    def subscriptions(self) -> list[Stored]:
        query = """
            SELECT endpoint, ended_at IS NULL, array_remove(array_agg(slug ORDER BY topics.id), NULL) FROM subscriptions
            LEFT JOIN follows ON subscription_id = subscriptions.id LEFT JOIN topics ON topics.id = topic_id
            GROUP BY subscriptions.id"""
        return [Stored(*row) for row in self.rows(query)]

    def recipients(self, url: str) -> int | None:
        """How many got the alert of the story at this address; None while that is not over."""
        query = """
            SELECT recipients FROM alerts JOIN stories ON stories.id = story_id
            WHERE stories.url = %s AND state = 'finished'"""
        found = self.rows(query, url)
        return found[0][0] if found else None

    def clear_up(self, publisher: Publisher) -> None:
        """After a test that may have published something."""
        self.show_log()
        until(lambda: self.has_read(publisher), "a look at every story")
        self.forget_readers()

    def forget_readers(self) -> None:
        """Let everything that is under way come to its end, then start with nobody."""
        under_way = "SELECT id FROM alerts WHERE state NOT IN ('draft', 'proposed', 'finished') AND finished_at IS NULL"
        until(lambda: not self.rows(under_way), "the last alert")
        with psycopg.connect(self.database_url) as connection:
            connection.execute("DELETE FROM subscriptions")

    @property
    def terminal(self) -> Terminal:
        """A second one, in which the operator gives commands."""
        own = "NEWSBELL_"
        return Terminal(
            **{name.removeprefix(own): value for name, value in self.environment.items() if name.startswith(own)}
        )

    def command(self, *arguments: str) -> str:
        """The same by starting Python anew, as it is in truth."""
        command = [sys.executable, "-m", "app.cli", *arguments]
        done = subprocess.run(command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"Newsbell has ended by itself:\n{''.join(self.log)}"
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=PATIENCE):
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def stop(self) -> None:
        """As an operator or the system does it; soon everything has to be gone, without force."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"Newsbell has not ended within {STOP_LIMIT:.0f} seconds.")
        self.reading.join(STOP_LIMIT)
        assert not self.reading.is_alive(), "A process of Newsbell lives on: its log is still open."
        assert "killing it" not in "".join(self.log), "A process of Newsbell did not end when it was asked to."
        assert code == 0, f"Newsbell ended with code {code}."


@contextmanager
def running(
    database_url: str, folder: Path, push_service: PushService, *arguments: str, **settings: str
) -> Iterator[Newsbell]:
    """`./newsbell up` and its end. Its log is shown with a test that fails."""
    port = free_port()
    told = {f"NEWSBELL_{name.upper()}": value for name, value in settings.items()}
    environment = environment_of(database_url, folder, push_service) | told
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "up", "--port", str(port), "--data", str(folder), *arguments],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    log: list[str] = []
    # Every process of it holds the other end: this thread ends with the last of them.
    reading = threading.Thread(target=log.extend, args=[process.stdout], daemon=True)
    reading.start()
    newsbell = Newsbell(f"http://localhost:{port}", database_url, environment, process, log, reading)
    try:
        until(newsbell.is_ready, "Newsbell's pages", limit=START_LIMIT)
        yield newsbell
    finally:
        try:
            if process.poll() is None:
                newsbell.stop()
        finally:
            if not reading.is_alive():
                process.stdout.close()
            newsbell.show_log()


def environment_of(database_url: str, folder: Path, push_service: PushService) -> dict[str, str]:
    settings = {
        "NEWSBELL_DATABASE_URL": database_url,
        "NEWSBELL_DATA_DIR": str(folder),
        "NEWSBELL_ALLOW_PRIVATE_ADDRESSES": "1",
        "NEWSBELL_PUSH_HOSTS": push_service.origin.removeprefix("http://"),
        "NEWSBELL_POLL_FLOOR": "1.5",
        "NEWSBELL_WORKERS": "1",
        "NEWSBELL_VAPID_SUBJECT": "mailto:desk@courier.example",
        "NEWSBELL_SITE_NAME": "The Loopback Courier",
    }
    rest = {name: value for name, value in os.environ.items() if not name.startswith("NEWSBELL_")}
    if rest.pop("PYTHONDONTWRITEBYTECODE", ""):  # or every start would compile every library anew
        settings["PYTHONPYCACHEPREFIX"] = str(folder.parent / "bytecode")
    return rest | settings


@asynccontextmanager
async def newsroom(
    server: str, template: str, folder: Path, push_service: PushService, publisher: Publisher, **settings: str
) -> AsyncIterator[Newsbell]:
    """The product on a database of its own, with topics and feeds that were polled once."""
    with database(server, template, folder.name) as url:
        await add_sources(url, publisher)
        with running(url, folder, push_service, **settings) as newsbell:
            until(newsbell.has_polled, "the first polls")
            yield newsbell


async def add_sources(url: str, publisher: Publisher) -> None:
    engine = connect(url, pool_size=1)
    async with transaction(sessions_of(engine)) as session:
        for slug, name in TOPICS.items():
            await add_topic(session, slug, name)
        for path, topic in FEEDS.items():
            publisher.publish(f"An old story of {TOPICS[topic]}", path=path)
            now = datetime.now(UTC)
            rules: Any = {
                "tags_add_topics": True,
                "hourly_limit": 1_000,
            }  # Tests bring more than a publisher.
            await add_feed(session, publisher.feed_url(path), [topic], Policy.AUTO, now, **rules)
    await engine.dispose()


@contextmanager
def database(server: str, template: str, name: str) -> Iterator[str]:
    """A database for as long as the block lasts, made from one that is on the newest schema."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {make_url(template).database}".encode())
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def free_port() -> int:
    """One that stays free until it is taken: below those that the system gives to connections by itself."""
    while True:
        port = random.randrange(10_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
