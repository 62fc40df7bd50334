"""A made-up publisher on loopback. Whatever it writes about, nothing of it happened."""

import hashlib
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from html import escape

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tests.push_service import served

FEED = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0"><channel><title>{title}</title><link>{link}</link>
<description>Made-up news</description>{items}</channel></rss>
"""
ITEM = """<item><title>{title}</title><link>{url}</link><guid isPermaLink="true">{url}</guid><pubDate>{when}</pubDate>
<description>{summary}</description>{tags}</item>
"""
PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><h1>{title}</h1><p>{summary}</p>'


@dataclass(frozen=True, kw_only=True)
class Item:
    """A story as one of the publisher's feeds lists it."""

    title: str
    url: str
    tags: tuple[str, ...]
    summary: str
    published_at: float

    def as_xml(self) -> str:
        return ITEM.format(
            title=escape(self.title),
            url=escape(self.url),
            when=formatdate(self.published_at, usegmt=True),
            summary=escape(self.summary),
            tags="".join(f"<category>{escape(tag)}</category>" for tag in self.tags),
        )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that the publisher answered."""

    path: str
    headers: dict[str, str]
    status: int


class Publisher:
    """Feeds by path, newest story first, and a page for each story; `asked` is what was requested of it."""

    def __init__(self) -> None:
        self.origin = ""  # http://127.0.0.1:PORT, once the port is known
        self.feeds: dict[str, list[Item]] = {}
        self.changed_at: dict[str, float] = {}
        self.asked: list[Asked] = []
        self._stories: dict[int, Item] = {}
        self.app = Starlette(routes=[Route("/story/{number:int}", self._story), Route("/{path:path}", self._feed)])

    def publish(
        self,
        title: str,
        tags: Collection[str] = (),
        path: str = "ukraine.xml",
        url: str | None = None,
        summary: str = "Nothing of it happened.",
    ) -> Item:
        """Bring out a story in a feed; with the `url` of another one, the same story once more."""
        number = len(self._stories) + 1
        item = Item(
            title=title,
            url=url or f"{self.origin}/story/{number}",
            tags=tuple(tags),
            summary=summary,
            published_at=time.time(),
        )
        if url is None:
            self._stories[number] = item
        self.feeds[path] = [item, *self.feeds.get(path, [])]
        self.changed_at[path] = time.time()
        return item

    def feed_url(self, path: str) -> str:
        return f"{self.origin}/{path}"

    def polls(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path == f"/{path}"]

    def _feed(self, request: Request) -> Response:
        path = request.path_params["path"]
        response = self._document(path, request) if path in self.feeds else Response("Not here.", 404)
        self._note(request, response)
        return response

    def _document(self, path: str, request: Request) -> Response:
        items = "".join(item.as_xml() for item in self.feeds[path])
        document = FEED.format(title=f"The Loopback Courier: {path}", link=self.origin, items=items)
        etag = f'"{hashlib.sha256(document.encode()).hexdigest()[:16]}"'
        changed = int(self.changed_at[path])
        validators = {"ETag": etag, "Last-Modified": formatdate(changed, usegmt=True), "Cache-Control": "no-cache"}
        if has_it(request, etag, changed):
            return Response(status_code=304, headers=validators)
        return Response(document, media_type="application/rss+xml", headers=validators)

    def _story(self, request: Request) -> Response:
        story = self._stories.get(request.path_params["number"])
        response = page_of(story) if story else HTMLResponse("Not here.", 404)
        self._note(request, response)
        return response

    def _note(self, request: Request, response: Response) -> None:
        self.asked.append(Asked(path=request.url.path, headers=dict(request.headers), status=response.status_code))


def has_it(request: Request, etag: str, changed: int) -> bool:
    """Whether the asker has this version already (RFC 9110, section 13.2.2: the ETag decides where there is one)."""
    if known := request.headers.get("if-none-match"):
        return known == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(","))
    if since := request.headers.get("if-modified-since"):
        return changed <= parsedate_to_datetime(since).timestamp()
    return False


def page_of(story: Item) -> Response:
    return HTMLResponse(PAGE.format(title=escape(story.title), summary=escape(story.summary)))


@contextmanager
def publishing() -> Iterator[Publisher]:
    """A publisher that has brought out nothing yet."""
    made = Publisher()
    with served(made.app) as port:
        made.origin = f"http://127.0.0.1:{port}"
        yield made


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as made:
        yield made


@pytest.fixture(scope="module", name="publisher")
def lasting_publisher() -> Iterator[Publisher]:
    """For a file that imports it: one for all its tests."""
    with publishing() as made:
        yield made
