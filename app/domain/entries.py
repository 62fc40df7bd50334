"""Entries: what a feed's parser makes of each item. (Apart from the tables: the parser's process needs none.)"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One parsed item of a feed: clear text (no HTML), absolute http(s) addresses, times with a zone."""

    title: str  # never empty, at most 500 characters
    url: str  # never empty, at most 2,048 characters
    guid: str | None = None
    summary: str = ""  # at most 5,000 characters
    image: str | None = None
    published_at: datetime | None = None  # None: absent or unreadable
    tags: tuple[str, ...] = ()  # at most 50 of at most 200 characters, as the publisher wrote them
