"""Look up: what a person at the desk wants to know of the outside world, asked by the same door as all feeds."""

import html
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from app.database import Sessions, transaction
from app.domain.feeds import Feed
from app.domain.lookups import Kind, Lookup
from app.domain.topics import Topic, every_topic, spoken_of
from worker.fetch import NotModified, Publishers, Seen, Unreachable, Validators
from worker.parse import Parsed, Parser, Unreadable

SHOWN = 20  # entries of a feed
TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class LookUp:
    sessions: Sessions
    publishers: Publishers
    parser: Parser

    async def answer(self, lookup_id: str) -> None:
        """The job: nothing is kept but the answer."""
        async with transaction(self.sessions) as session:
            asked = await session.get(Lookup, UUID(lookup_id))
            topics = list(await every_topic(session))
            known = asked and await session.scalar(
                select(Feed).where(Feed.url == asked.url).options(selectinload(Feed.topics))
            )
        if asked is None or asked.answered_at is not None:
            return
        if asked.kind is Kind.FEED:
            answer = await self._feed(asked.url, topics, known.topics if known else [])
        else:
            answer = link_in_words(asked.url, await self.publishers.look(asked.url))
        async with transaction(self.sessions) as session:
            if (asked := await session.get(Lookup, UUID(lookup_id))) is not None:
                asked.answer, asked.answered_at = answer, datetime.now(UTC)

    async def _feed(self, url: str, topics: list[Topic], own: list[Topic]) -> dict[str, Any]:
        fetched = await self.publishers.fetch(url, Validators())
        if isinstance(fetched, Unreachable | NotModified):
            reason = fetched.reason if isinstance(fetched, Unreachable) else "The feed did not send its document."
            return {"title": "", "trouble": reason, "entries": [], "count": 0}
        match await self.parser.parse(fetched.body, content_type=fetched.content_type, url=url):
            case Unreadable(reason):
                return {"title": "", "trouble": reason, "entries": [], "count": 0}
            case Parsed(title, entries):
                shown = [
                    {
                        "title": entry.title,
                        "url": entry.url,
                        "published_at": entry.published_at and entry.published_at.isoformat(),
                        "topics": [t.slug for t in dict.fromkeys([*own, *spoken_of(topics, entry.tags)])],
                        "tags": list(entry.tags),
                    }
                    for entry in entries[:SHOWN]
                ]
                return {"title": title, "trouble": "", "entries": shown, "count": len(entries)}


def link_in_words(url: str, found: Seen | Unreachable) -> dict[str, Any]:
    """Whether readers who click would find something, as a sentence."""
    if isinstance(found, Unreachable):
        return {"status": None, "ok": False, "sentence": found.reason, "title": ""}
    title = title_of(found.beginning)
    ok = found.status == 200
    if ok:
        where = f"It leads on to {found.url} and answers there" if found.url != url else "It answers"
        sentence = f"{where}: “{title}”." if title else f"{where}."
    elif found.status in (404, 410):
        sentence = f"It answers {found.status}: readers would find nothing there."
    elif found.status in (401, 402, 403):
        sentence = f"It answers {found.status} to us. Look whether readers can open it."
    else:
        sentence = f"It answers {found.status}: readers may find an error there."
    return {"status": found.status, "ok": ok, "sentence": sentence, "title": title}


def title_of(page: bytes) -> str:
    """A page's title, as far as it can be read without knowing how it is written."""
    found = TITLE.search(page.decode(errors="replace"))
    return " ".join(html.unescape(found[1]).split())[:200] if found else ""
