"""The service worker in a real Firefox and a real Chromium, on a small site, with whatever a push may bring."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from app.context import STATIC
from app.domain.messages import message
from app.service_worker import service_worker
from tests.browser import SUBSCRIBE, Firefox, until
from tests.chromium import Chromium
from tests.push_service import base64url, from_base64url, served
from tests.test_push_service import Sender, point, post
from worker.seal import seal

# Tells the site what is on the screen. To look there meanwhile is not for free: Chromium forgets what it is just about
# to show when it is asked for what it shows.
WATCHED = """
const showNotification = ServiceWorkerRegistration.prototype.showNotification;
ServiceWorkerRegistration.prototype.showNotification = async function (title, options) {
  await showNotification.call(this, title, options);
  await fetch(`/shown?${encodeURIComponent(title)}`);
};
importScripts("/sw.js");
"""
# What Safari does with a message that is `mutable`: it has read it itself. There a tag replaces no card.
AS_SAFARI = """
let declarative;
self.addEventListener("push", (event) => {
  const { mutable, notification } = event.data.json();
  declarative = mutable;
  if (!mutable) return;
  Object.defineProperty(event, "notification", { value: notification });
  Object.defineProperty(event, "data", { value: null });
});
importScripts("/watched.js");
const shownByAll = ServiceWorkerRegistration.prototype.showNotification;
ServiceWorkerRegistration.prototype.showNotification = function (title, { tag, navigate, ...options }) {
  if (declarative && !navigate) throw new TypeError("It leads nowhere.");
  return shownByAll.call(this, title, options);
};
"""

CARDS = """
  const cards = await (await navigator.serviceWorker.getRegistration()).getNotifications();
  return cards.map(({ title, body, dir, lang, silent, image, requireInteraction, data }) =>
    ({ title, body, dir, lang, silent, image: image ?? "", requireInteraction, data }));
"""
# The tags of what was shown.
REMEMBERED = """
  const settled = (request) => new Promise((done) => { request.onsuccess = () => done(request.result); });
  const database = await settled(indexedDB.open("newsbell"));
  const tags = await settled(database.transaction("reader").objectStore("reader").get("shown"));
  database.close();
  return tags;
"""
CLOSE = "for (const card of await (await navigator.serviceWorker.ready).getNotifications()) card.close();"


async def script(text: str, request: Request) -> Response:
    return Response(text, media_type="text/javascript")


@dataclass
class Place:
    """The site, which notes what it is asked for."""

    asked: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/sw.js", self._worker),
                Route("/watched.js", partial(script, WATCHED)),
                Route("/safari.js", partial(script, AS_SAFARI)),
                Route("/shown", self._shown),
                Route("/never.png", self._never),
                Route("/soon.png", self._soon),
                Route("/{path:path}", self._page, methods=["GET", "POST"]),
            ]
        )

    def _note(self, request: Request) -> None:
        self.asked.append(request.url.path)

    async def _worker(self, request: Request) -> Response:
        self._note(request)
        return service_worker(request, "The Loopback Courier")

    async def _shown(self, request: Request) -> Response:
        self.shown.append(unquote(request.url.query))
        return Response()

    async def _never(self, request: Request) -> Response:
        self._note(request)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(300)
        return Response()

    async def _soon(self, request: Request) -> Response:
        self._note(request)
        return FileResponse(STATIC / "icon-192.png", headers={"Cache-Control": "max-age=600"})

    async def _page(self, request: Request) -> Response:
        self._note(request)
        return HTMLResponse("<!doctype html><title>The Loopback Courier</title>")


@dataclass
class Reader:
    """At either browser."""

    name: str
    browser: Firefox | Chromium
    place: Place
    sender: Sender = field(default_factory=Sender)
    subscription: dict[str, Any] = field(default_factory=dict)

    def run(self, script: str, *arguments: object) -> Any:
        if isinstance(self.browser, Firefox):
            return self.browser.driver.page_async(script, *arguments)
        return self.browser.page(f"const args = arguments; {script}", *arguments)

    def subscribe(self, worker: str = "/watched.js") -> None:
        self.browser.site = self.place.url
        self.browser.open("/")
        self.browser.will_allow()
        self.subscription = self.run(SUBSCRIBE, worker, base64url(point(self.sender.key)))

    def push(self, clear: bytes) -> None:
        keys = {name: from_base64url(text) for name, text in self.subscription["keys"].items()}
        endpoint = self.subscription["endpoint"]
        headers = {
            "Authorization": self.sender.authorization(self.sender.claims(self.browser.push_service.origin)),
            "TTL": "60",
            "Content-Encoding": "aes128gcm",
        }
        assert post(endpoint, seal(keys["p256dh"], keys["auth"], clear), headers).status == 201

    def alert(self, title: str, *, level: str = "normal", **more: Any) -> UUID:
        alert = uuid4()
        said = {"body": "", "url": f"{self.place.url}/story", "image": None} | more
        self.push(message(alert=alert, title=title, level=level, sample=0, **said))
        return alert

    def cards(self) -> list[dict[str, Any]]:
        return list(self.run(CARDS))

    def card(self, title: str) -> dict[str, Any]:
        """Wait for it."""
        until(lambda: title in self.place.shown, lambda: f"“{title}”; {self.browser.push_service.seen()}")
        self.place.shown.remove(title)
        (found,) = (card for card in self.cards() if card["title"] == title)
        return found


@pytest.fixture(scope="module")
def site() -> Iterator[Place]:
    place = Place()
    with served(place.app) as port:
        place.url = f"http://localhost:{port}"
        yield place


@pytest.fixture(params=["firefox", "chromium"])
def reader(request: pytest.FixtureRequest, site: Place) -> Reader:
    return Reader(request.param, request.getfixturevalue(request.param), site)


def test_a_picture_that_never_comes_holds_no_alert_back(reader: Reader, site: Place) -> None:
    reader.subscribe()
    never = f"{site.url}/never.png"
    for level, limit in (("breaking", 1.0), ("normal", 3.0)):
        start = time.monotonic()
        reader.alert(f"This is {level}", level=level, image=never)
        reader.card(f"This is {level}")
        assert time.monotonic() - start < limit
    for title, level in (("A picture, at once", "breaking"), ("A picture, soon", "normal")):
        reader.alert(title, level=level, image=f"{site.url}/soon.png")
        card = reader.card(title)
        if reader.name == "chromium":  # the only one that shows pictures
            assert (card["image"] or reader.card(title)["image"]) == f"{site.url}/soon.png"


def test_a_message_is_shown_without_asking_the_site_for_anything(reader: Reader, site: Place) -> None:
    reader.subscribe()
    site.asked.clear()
    reader.alert("As it is")
    reader.card("As it is")
    assert site.asked == []


ODD = {
    "dir": "sideways",
    "lang": 7,
    "tag": {},
    "body": ["no", "text"],
    "image": 7,
    "actions": [{"action": "x"}, None, "x", {"action": "read", "title": "Read it"}],
    "data": "odd",
    "navigate": None,
}


def test_of_an_odd_message_everything_that_is_good_is_shown(reader: Reader) -> None:
    reader.subscribe()
    good = {"title": "Ceasefire agreed", "body": "From midnight.", "navigate": "/x", "tag": "t"}
    for name, value in ODD.items():
        title = f"With an odd {name}"
        said = good | {"title": title, "tag": title, name: value}
        reader.push(json.dumps({"web_push": 8030, "notification": said}).encode())
        card = reader.card(title)
        assert card["body"] == ("" if name == "body" else "From midnight.")
    for number, clear in enumerate(
        (b"\xff", b"7", b'{"web_push":8030}', b'{"notification":{"title":"","body":"Text"}}')
    ):
        reader.run(CLOSE)
        reader.push(clear)
        assert reader.card("News from The Loopback Courier")["body"] == ("Text" if number == 3 else "")


def test_a_correction_does_not_ring_anew_where_the_first_was_closed(reader: Reader) -> None:
    reader.subscribe()
    first = reader.alert("The dam holds")
    reader.card("The dam holds")
    reader.run(CLOSE)
    if isinstance(reader.browser, Chromium):
        until(lambda: reader.run(REMEMBERED), "its place in the record")
        reader.browser.stop_workers()
    reader.alert("Correction: the dam does not hold", thread=first)
    assert reader.card("Correction: the dam does not hold")["silent"] is True
    missed = uuid4()
    reader.alert("Correction of what was not seen here", thread=missed)
    assert reader.card("Correction of what was not seen here")["silent"] is not True


def test_in_safari_a_correction_closes_the_older_card(reader: Reader) -> None:
    reader.subscribe("/safari.js")
    other = reader.alert("Something else")
    first = reader.alert("The dam holds")
    reader.card("The dam holds")
    second = reader.alert("Correction: the dam may not hold", thread=first)
    reader.card("Correction: the dam may not hold")
    third = reader.alert("Correction: the dam does not hold", thread=first)
    reader.card("Correction: the dam does not hold")
    assert {UUID(card["data"]["alert"]) for card in reader.cards()} == {other, third}
    assert second != third


def test_a_click_comes_to_the_page_that_is_open_whatever_led_there(firefox: Firefox, site: Place) -> None:
    reader = Reader("firefox", firefox, site)
    reader.subscribe()
    firefox.open("/story?id=7&utm_source=social&fbclid=x#comments")
    reader.alert("As read before", url=f"{site.url}/story?utm_campaign=push&id=7#top")
    firefox.until_notified("As read before")
    firefox.click_notification("As read before")
    reader.alert("Another one", url=f"{site.url}/story?id=8")
    firefox.until_notified("Another one")
    firefox.click_notification("Another one")
    until(lambda: f"{site.url}/story?id=8" in firefox.tabs(), "the other story")
    assert firefox.tabs() == [f"{site.url}/story?id=7&utm_source=social&fbclid=x#comments", f"{site.url}/story?id=8"]


def test_a_closed_card_is_told_of_before_the_worker_may_end(firefox: Firefox, site: Place) -> None:
    reader = Reader("firefox", firefox, site)
    reader.subscribe()
    with impatient_workers(firefox):
        reader.alert("Not for me")
        firefox.until_notified("Not for me")
        site.asked.clear()
        firefox.close_notification("Not for me")
        until(lambda: "/api/receipts" in site.asked, "word of it")


@contextmanager
def impatient_workers(firefox: Firefox) -> Iterator[None]:
    """They end as soon as no event is waited for."""
    name, script = "dom.serviceWorkers.idle_timeout", "Services.prefs.setIntPref(arguments[0], arguments[1])"
    firefox.driver.chrome(script, name, 0)
    yield
    firefox.driver.chrome("Services.prefs.clearUserPref(arguments[0])", name)
