"""Look up: what a person at the desk wants to know of the outside world, asked by the same door as all feeds."""

import asyncio
import html
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from app import clock
from app.database import Sessions, transaction
from app.domain.entries import Entry
from app.domain.feeds import Feed
from app.domain.lookups import Kind, Lookup
from app.domain.topics import Topic, every_topic, spoken_of
from worker.fetch import LOOK_LIMIT, NO_VALIDATORS, Busy, NotModified, Publishers, Seen, Unreachable
from worker.parse import Parsed, Unreadable
from worker.parser_process import Parser

SHOWN = 20  # entries of a feed
LIMIT = 11.0  # seconds for all of it: the door waits for 12
BUSY = "This publisher is being asked for many feeds just now, and is slow. Please try again in a moment."
FORGOTTEN = timedelta(minutes=1)  # Nobody waits so long. It was asked when no worker was there.

# Each of these is read in one go, however often a hostile page begins what it does not end.
OPENED = re.compile(r"<title(?:\s[^<>]*)?>", re.IGNORECASE)
CLOSED = re.compile(r"</title", re.IGNORECASE)


@dataclass(frozen=True)
class LookUp:
    sessions: Sessions
    publishers: Publishers
    parser: Parser

    async def answer(self, lookup_id: str) -> None:
        """The job: nothing is kept but the answer."""
        async with transaction(self.sessions) as session:
            asked = await session.get(Lookup, UUID(lookup_id))
            if asked is None or asked.answered_at is not None or asked.asked_at < clock.now() - FORGOTTEN:
                return
            topics, own = await every_topic(session), await _topics_of(session, asked.url)
        if asked.kind is Kind.FEED:
            answer = await self._feed(asked.url, list(topics), own)
        else:
            answer = link_in_words(await self.publishers.look(asked.url))
        async with transaction(self.sessions) as session:
            if (asked := await session.get(Lookup, UUID(lookup_id))) is not None:
                asked.answer, asked.answered_at = answer, clock.now()

    async def _feed(self, url: str, topics: list[Topic], own: list[Topic]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(LIMIT):
                return await self._read(url, topics, own)
        except TimeoutError:
            return _unreadable(f"Reading this feed took longer than {LIMIT:g} s.")

    async def _read(self, url: str, topics: list[Topic], own: list[Topic]) -> dict[str, Any]:
        fetched = await self.publishers.fetch(url, NO_VALIDATORS, limit=LOOK_LIMIT)
        match fetched:
            case Unreachable(reason):
                return _unreadable(reason)
            case NotModified():
                return _unreadable("The publisher did not send the document.")
            case Busy():
                return _unreadable(BUSY)
        match await self.parser.parse(fetched.body, content_type=fetched.content_type, url=url):
            case Unreadable(reason):
                return _unreadable(reason)
            case Parsed(title, entries):
                shown = [_entry(entry, [*own, *spoken_of(topics, entry.tags)]) for entry in entries[:SHOWN]]
                return {"title": title, "trouble": "", "entries": shown, "count": len(entries)}


async def _topics_of(session: AsyncSession, url: str) -> list[Topic]:
    """Those of a feed that is followed already; else none: its owner has not chosen yet."""
    feed = await session.scalar(select(Feed).where(Feed.url == url).options(selectinload(Feed.topics)))
    return feed.topics if feed else []


def _entry(entry: Entry, topics: list[Topic]) -> dict[str, Any]:
    return {
        "title": entry.title,
        "url": entry.url,
        "published_at": entry.published_at and entry.published_at.isoformat(),
        "topics": list(dict.fromkeys(topic.slug for topic in topics)),
        "tags": list(entry.tags),
    }


def _unreadable(reason: str) -> dict[str, Any]:
    return {"title": "", "trouble": reason, "entries": [], "count": 0}


def link_in_words(found: Seen | Unreachable | Busy) -> dict[str, Any]:
    """Whether readers who click would find something, as a sentence."""
    if isinstance(found, Unreachable | Busy):
        sentence = BUSY if isinstance(found, Busy) else found.reason
        return {"status": None, "ok": False, "sentence": sentence, "title": ""}
    title, status = title_of(found.beginning), found.status
    if status == 200:
        start = f"It redirects to {found.moved_to}, which answers 200" if found.moved_to else "It answers 200"
        sentence = f"{start}: “{title}”." if title else f"{start}."
    elif status in (404, 410):
        sentence = f"It answers {status}: readers would find nothing there."
    elif status in (401, 402, 403):
        sentence = f"It answers {status} to us. Look whether readers can open it."
    else:
        sentence = f"It answers {status}: readers may find an error there."
    return {"status": status, "ok": status == 200, "sentence": sentence, "title": title}


def title_of(page: bytes) -> str:
    """A page's title, as far as it can be read without knowing how it is written; else empty."""
    text = page.decode(errors="replace")
    opened = OPENED.search(text)
    closed = opened and CLOSED.search(text, opened.end())
    if not opened or not closed:
        return ""
    title = " ".join(html.unescape(text[opened.end() : closed.start()]).split())
    # Another encoding than UTF-8 would be gibberish; and the database takes no NUL.
    return "" if "\N{REPLACEMENT CHARACTER}" in title else "".join(filter(str.isprintable, title))[:200]
