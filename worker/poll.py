"""Poll: feed → stories (→ alerts). One job for each feed, which enqueues the next one itself."""

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from app import clock
from app.database import Sessions, transaction
from app.domain.entries import Entry
from app.domain.feeds import Feed, next_poll, why_then
from app.domain.stories import remember
from app.domain.topics import every_topic
from app.outage import trouble_of, where
from app.polling import enqueue_poll, poll_now
from app.settings import Settings
from worker.fetch import Busy, Fetched, NotModified, Publishers, Unreachable, Validators, bare
from worker.parse import Parsed, Unreadable
from worker.parser_process import QUICK, Parser
from worker.ring import Ring

log = logging.getLogger("newsbell.poll")

# Storing is one at a time across all workers: more would only wait for each other, each with a connection.
AT_ONCE = 4
SOON = timedelta(seconds=4)
NOT_STORED = "What this feed brought could not be stored; the log says where it went wrong."
READ_BY = 1  # To be raised when the parser reads documents otherwise: then all are read again.


@dataclass(frozen=True)
class Found:
    """What a poll found out, whatever way it went."""

    validators: Validators | None  # None: keep those we have
    wait: timedelta | None
    title: str = ""
    entries: Sequence[Entry] = ()
    trouble: str = ""
    gone: bool = False
    costly: bool = False  # It would take more computing than a document is given.
    body: "ReadBody | None" = None  # None: there was none to read, or it is the one that we have read before.


@dataclass(frozen=True)
class ReadBody:
    """What reading a document came to."""

    hash: bytes
    trouble: str
    seconds: float


class Poller:
    def __init__(self, sessions: Sessions, publishers: Publishers, parser: Parser, settings: Settings) -> None:
        self.sessions, self.publishers, self.parser, self.settings = sessions, publishers, parser, settings
        self.every = settings.poll_every
        self.writing = asyncio.Semaphore(AT_ONCE)

    async def poll_feed(self, feed_id: int) -> None:
        async with transaction(self.sessions) as session:
            feed = await session.get(Feed, feed_id)
        if feed is None or feed.paused_at is not None:  # taken out of the list meanwhile, or held
            return
        found = await self._find(feed)
        try:
            await self._store(feed_id, found)
        except Exception as error:
            if found is None or not found.entries or trouble_of(error) is not None:
                raise
            # Tried again at once it would fail again, at the cost of its publisher, and nobody would see why.
            log.error("feed %d (%s): what it brought cannot be stored: %s", feed_id, bare(feed.url), where(error))
            await self._store(feed_id, Found(None, wait=found.wait, trouble=NOT_STORED))

    async def _store(self, feed_id: int, found: Found | None) -> None:
        async with self.writing, transaction(self.sessions) as session:
            feed = await session.get(Feed, feed_id, with_for_update=True, options=[selectinload(Feed.topics)])
            if feed is None or feed.paused_at is not None:  # from the moment of a pause on, nothing rings
                return
            if found is None:
                await poll_now(session, feed, at=clock.now() + SOON * (1 + random.random()))
            else:
                await self._keep(session, feed, found, clock.now())

    async def _find(self, feed: Feed) -> Found | None:
        """None: it could not be asked now, for which neither the feed nor its publisher is to be blamed."""
        validators = Validators(feed.etag, feed.last_modified)
        answer = await self.publishers.fetch(feed.url, validators, doubtful=feed.misses > 0)
        match answer:
            case Busy():
                return None
            case NotModified():
                return Found(answer.validators, wait=answer.wait)
            case Unreachable():
                return Found(None, wait=answer.wait, trouble=answer.reason, gone=answer.gone)
            case Fetched():
                return await self._read(feed, answer)

    async def _read(self, feed: Feed, answer: Fetched) -> Found:
        digest = sha256(f"{READ_BY} {answer.content_type}\n".encode() + answer.body).digest()
        if digest == feed.body_hash:
            return self._read_before(feed, answer)
        takes_long = feed.body_seconds >= QUICK
        match await self.parser.parse(
            answer.body, content_type=answer.content_type, url=feed.url, takes_long=takes_long
        ):
            case Unreadable(reason, seconds, costly):
                body = ReadBody(digest, reason, seconds) if costly else None  # Else it may have been our own trouble.
                return Found(None, wait=answer.wait, trouble=reason, costly=costly, body=body)
            case Parsed(title, entries, seconds) if entries or feed.baseline_at is None:
                body = ReadBody(digest, "", seconds)
                return Found(answer.validators, wait=answer.wait, title=title, entries=entries, body=body)
            case _:  # A list that suddenly has no items is half a publication: its validators are not kept.
                return Found(None, wait=answer.wait, trouble="The feed had no items this time.")

    def _read_before(self, feed: Feed, answer: Fetched) -> Found:
        """The same document once more: it brings nothing, and what was too much to read is still too much."""
        if feed.body_trouble:
            return Found(None, wait=answer.wait, trouble=feed.body_trouble, costly=True)
        return Found(answer.validators, wait=answer.wait)

    async def _keep(self, session: AsyncSession, feed: Feed, found: Found, now: datetime) -> None:
        """Stories, validators, alerts and the next poll: one transaction, so none exists without the others."""
        feed.polled_at, feed.trouble = now, found.trouble
        feed.misses = feed.misses + 1 if found.trouble else 0
        if found.validators:
            feed.etag, feed.last_modified = found.validators.etag, found.validators.last_modified
        if found.body:
            feed.body_hash, feed.body_trouble = found.body.hash, found.body.trouble
            feed.body_seconds = found.body.seconds
        feed.title = found.title or feed.title
        await self._bring(session, feed, found.entries, now)
        feed.next_poll_at = next_poll(
            every=self.every,
            misses=feed.misses,
            asked=found.wait,
            luck=random.random(),
            gone=found.gone,
            costly=found.costly,
            now=now,
        )
        feed.next_poll_because = why_then(
            every=self.every, misses=feed.misses, asked=found.wait, gone=found.gone, costly=found.costly
        )
        await enqueue_poll(session, feed, at=feed.next_poll_at)
        if found.trouble:
            log.warning("feed %d (%s): %s", feed.id, feed.title or bare(feed.url), found.trouble)

    async def _bring(self, session: AsyncSession, feed: Feed, entries: Sequence[Entry], now: datetime) -> None:
        if not entries:
            return
        baseline = feed.baseline_at is None
        # Publishers list the newest first; remembered last, it is the newest here too.
        remembered = await remember(session, feed, list(reversed(entries)), await every_topic(session), now)
        feed.baseline_at = feed.baseline_at or now
        ring = Ring(session, self.settings, feed, now)
        if not baseline:
            await ring.bring(remembered.listed)
        if new := len(remembered.fresh):
            log.info("feed %d (%s): %d new stories, %d ring, %d held", feed.id, feed.title, new, ring.rang, ring.held)
