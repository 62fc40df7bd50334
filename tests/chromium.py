"""A real Chromium, driven by playwright, with real Web Push through a local stand-in for Google's service."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, CDPSession, ElementHandle, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from tests.browser import PATIENCE, until
from tests.gcm import Google, google
from tests.push_service import PushService

T = TypeVar("T")

BINARIES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--force-color-profile=srgb"]

# Chromium makes the address of its subscriptions itself, out of a host that it was compiled with, and nothing in the
# product leads to another one. So the pages of the test get it as that of the local push service.
AT_HOME = """(() => {
  const proto = PushSubscription.prototype;
  const home = (url) => url.replace(/^https:\\/\\/[^/]+\\/(fcm|gcm)\\/send\\//, "ORIGIN/wpush/v2/");
  const endpoint = Object.getOwnPropertyDescriptor(proto, "endpoint").get;
  const toJSON = proto.toJSON;
  Object.defineProperty(proto, "endpoint", { get() { return home(endpoint.call(this)); } });
  proto.toJSON = function () { const said = toJSON.call(this); return { ...said, endpoint: home(said.endpoint) }; };
})();"""

IN_PAGE = "(given) => (async function () { %s }).apply(null, given)"


class Chromium:
    """Somebody at a browser, as `Firefox` is. `site` is where the pages are that `open` names by their path.

    Playwright keeps an event loop running on the thread that it is used on, so it has one of its own here.
    """

    def __init__(self, folder: Path, google: Google) -> None:
        self.site = ""
        self.push_service = google.push_service
        self._said: list[str] = []
        self._failed: list[str] = []
        self._thread = ThreadPoolExecutor(1, "playwright")
        self._on_its_thread(lambda: self._start(folder, google))

    def _on_its_thread(self, work: Callable[[], T]) -> T:
        return self._thread.submit(work).result()

    def _start(self, folder: Path, google: Google) -> None:
        self._playwright = sync_playwright().start()
        self._context: BrowserContext = self._playwright.chromium.launch_persistent_context(
            folder,
            executable_path=find_chromium(),
            args=[*FLAGS, *google.flags],
            ignore_default_args=["--disable-background-networking"],  # or there would be no messages
            viewport={"width": 1280, "height": 900},
            timeout=PATIENCE * 1000,
        )
        self._context.set_default_timeout(PATIENCE * 1000)
        self._context.add_init_script(AT_HOME.replace("ORIGIN", self.push_service.origin))
        self._page: Page = self._context.pages[0]
        self._page.on("console", lambda said: self._note(said.type, said.text))
        self._page.on("pageerror", lambda error: self._note("error", str(error)))
        self._page.on("requestfailed", lambda asked: self._failed.append(f"{asked.failure} {asked.url}"))
        self._page.on("response", lambda answer: self._answered(answer.status, answer.url))
        self._cdp: CDPSession = self._context.new_cdp_session(self._page)

    def _note(self, kind: str, said: str) -> None:
        # A failed request is one of `failed_requests`.
        if kind in ("error", "warning") and not said.startswith("Failed to load resource"):
            self._said.append(f"{kind}: {said}")

    def _answered(self, status: int, url: str) -> None:
        if status >= 400:
            self._failed.append(f"{status} {url}")

    def quit(self) -> None:
        self._on_its_thread(self._context.close)
        self._on_its_thread(self._playwright.stop)
        self._thread.shutdown()

    # Pages.

    def open(self, path: str) -> None:
        self._on_its_thread(lambda: self._page.goto(self.site + path))

    def reload(self) -> None:
        self._on_its_thread(lambda: self._page.reload())

    def page(self, script: str, *arguments: object) -> Any:
        """What a script returns, which may be asynchronous."""
        return self._on_its_thread(lambda: self._page.evaluate(IN_PAGE % script, arguments))

    def click(self, selector: str) -> None:
        self._on_its_thread(lambda: self._page.click(selector))

    def click_what(self, script: str, *arguments: object) -> None:
        """Click the element that a script finds; wait for it, as long as it is redrawn meanwhile."""
        self._with_found(script, arguments, lambda element: element.click(timeout=1000))

    def type_into(self, script: str, argument: str, text: str) -> None:
        """Instead of what stands there."""
        self._with_found(script, [argument], lambda element: element.fill(text, timeout=1000))

    def _with_found(self, script: str, arguments: Sequence[object], act: Callable[[ElementHandle], None]) -> None:
        def done() -> bool:
            found = self._page.evaluate_handle(IN_PAGE % script, arguments).as_element()
            try:
                if found:
                    act(found)
            except PlaywrightError:
                return False
            return found is not None

        until(lambda: self._on_its_thread(done), f"{arguments} on the page")

    def press(self, key: str) -> None:
        self._on_its_thread(lambda: self._page.keyboard.press(key))

    def text(self, selector: str = "body") -> str:
        return str(self.page("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def shows(self, selector: str) -> bool:
        return bool(self.page("return document.querySelector(arguments[0])?.checkVisibility() ?? false", selector))

    def until_text(self, wanted: str, selector: str = "body") -> None:
        until(lambda: wanted in self.text(selector), f"“{wanted}” in {selector}")

    # Notifications.

    def will_allow(self) -> None:
        """Its question cannot be clicked; it is as if it had been answered before."""
        self._on_its_thread(lambda: self._context.grant_permissions(["notifications"], origin=self.site))

    def titles(self) -> list[str]:
        """Of the site's notifications that are on the screen now."""
        return sorted(
            self.page(
                "const worker = await navigator.serviceWorker.getRegistration();"
                "return ((await worker?.getNotifications()) ?? []).map((shown) => shown.title)"
            )
        )

    # The browser's circumstances.

    def stop_workers(self) -> None:
        """As it does by itself when they have had nothing to do for a while."""
        for command in ("ServiceWorker.enable", "ServiceWorker.stopAllWorkers", "ServiceWorker.disable"):
            self._on_its_thread(partial(self._cdp.send, command))

    @contextmanager
    def without_indexed_db(self) -> Iterator[None]:
        source = "Object.defineProperty(window, 'indexedDB', { get() { throw new Error('Blocked.'); } })"
        send = self._cdp.send
        self._on_its_thread(lambda: send("Page.enable"))
        added = self._on_its_thread(lambda: send("Page.addScriptToEvaluateOnNewDocument", {"source": source}))
        yield
        self._on_its_thread(lambda: send("Page.removeScriptToEvaluateOnNewDocument", added))

    def prefer(self, scheme: str) -> None:
        self._on_its_thread(lambda: self._page.emulate_media(color_scheme=scheme))

    def set_size(self, width: int, height: int = 900) -> None:
        self._on_its_thread(lambda: self._page.set_viewport_size({"width": width, "height": height}))

    def picture(self, *, whole: bool = False) -> bytes:
        return bytes(self._on_its_thread(lambda: self._page.screenshot(full_page=whole, animations="disabled")))

    def with_page(self, work: Callable[[Page], T]) -> T:
        """For libraries that want playwright's own page."""
        return self._on_its_thread(partial(work, self._page))

    def in_private_window(self, path: str, work: Callable[[Page], T], *, granted: bool) -> T:
        """What somebody gets who opens the page there; `granted`: as if the question had been answered before."""

        def look() -> T:
            browser = self._playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
            try:
                context = browser.new_context()
                context.set_default_timeout(PATIENCE * 1000)
                if granted:
                    context.grant_permissions(["notifications"], origin=origin(self.site))
                page = context.new_page()
                page.goto(self.site + path)
                return work(page)
            finally:
                browser.close()

        return self._on_its_thread(look)

    def complaints(self) -> list[str]:
        """Errors and warnings of pages since the last reset."""
        return list(self._said)

    def failed_requests(self) -> list[str]:
        return list(self._failed)

    def sign_out(self) -> None:
        """As when the cookies are gone."""
        self._on_its_thread(self._context.clear_cookies)

    def reset(self) -> None:
        """As after the installation: no data of this site, no notification, one empty tab."""
        self._on_its_thread(self._reset)

    def _reset(self) -> None:
        for other in self._context.pages[:]:
            if other is not self._page:
                other.close()
        if self.site:
            self._cdp.send("Storage.clearDataForOrigin", {"origin": origin(self.site), "storageTypes": "all"})
        self._context.clear_cookies()
        self._context.clear_permissions()
        self._page.goto("about:blank")
        self._page.emulate_media(color_scheme="light")
        self._page.set_viewport_size({"width": 1280, "height": 900})
        self._said.clear()
        self._failed.clear()


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def find_chromium() -> str:
    found = next(filter(None, map(shutil.which, BINARIES)), None)
    if found is None:
        pytest.fail("These tests drive a real Chromium, and there is none here (Debian: apt-get install chromium).")
    return found


@pytest.fixture(scope="session")
def chromium_process(push_service_process: PushService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One Chromium for the whole run; `chromium` gives it to a test."""
    with google(push_service_process, tmp_path_factory.mktemp("google")) as there:
        browser = Chromium(tmp_path_factory.mktemp("chromium"), there)
        yield browser
        browser.quit()


@pytest.fixture
def chromium(chromium_process: Chromium, push_service: PushService) -> Iterator[Chromium]:
    """A Chromium that has seen no site yet."""
    yield chromium_process
    chromium_process.reset()
    assert not push_service.faults
