"""Poll: feed → stories (→ alerts). One job for each feed, which enqueues the next one itself."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from app import clock
from app.database import Sessions, transaction
from app.domain.entries import Entry
from app.domain.feeds import Feed, next_poll, why_then
from app.domain.stories import remember
from app.domain.topics import every_topic
from app.polling import enqueue_poll
from app.settings import Settings
from worker.fetch import Fetched, NotModified, Publishers, Unreachable, Validators, bare
from worker.parse import Parsed, Parser, Unreadable
from worker.ring import Ring

log = logging.getLogger("newsbell.poll")


@dataclass(frozen=True)
class Found:
    """What a poll found out, whatever way it went."""

    validators: Validators | None  # None: keep those we have
    wait: timedelta | None
    title: str = ""
    entries: Sequence[Entry] = ()
    trouble: str = ""
    gone: bool = False


class Poller:
    def __init__(self, sessions: Sessions, publishers: Publishers, parser: Parser, settings: Settings) -> None:
        self.sessions, self.publishers, self.parser, self.settings = sessions, publishers, parser, settings
        self.every = settings.poll_every

    async def poll_feed(self, feed_id: int) -> None:
        async with transaction(self.sessions) as session:
            feed = await session.get(Feed, feed_id)
        if feed is None or feed.paused_at is not None:  # taken out of the list meanwhile, or held
            return
        found = await self._find(feed)
        async with transaction(self.sessions) as session:
            feed = await session.get(Feed, feed_id, with_for_update=True, options=[selectinload(Feed.topics)])
            if feed is not None and feed.paused_at is None:  # from the moment of a pause on, nothing rings
                await self._keep(session, feed, found, clock.now())

    async def _find(self, feed: Feed) -> Found:
        answer = await self.publishers.fetch(feed.url, Validators(feed.etag, feed.last_modified))
        match answer:
            case NotModified():
                return Found(answer.validators, wait=answer.wait)
            case Unreachable():
                return Found(None, wait=answer.wait, trouble=answer.reason, gone=answer.gone)
            case Fetched():
                return await self._read(feed, answer)

    async def _read(self, feed: Feed, answer: Fetched) -> Found:
        match await self.parser.parse(answer.body, content_type=answer.content_type, url=feed.url):
            case Unreadable(reason):
                return Found(None, wait=answer.wait, trouble=reason)
            case Parsed(title, entries) if entries or feed.baseline_at is None:
                return Found(answer.validators, wait=answer.wait, title=title, entries=entries)
            case _:  # A list that suddenly has no items is half a publication: its validators are not kept.
                return Found(None, wait=answer.wait, trouble="The feed had no items this time.")

    async def _keep(self, session: AsyncSession, feed: Feed, found: Found, now: datetime) -> None:
        """Stories, validators, alerts and the next poll: one transaction, so none exists without the others."""
        feed.polled_at, feed.trouble = now, found.trouble
        feed.misses = feed.misses + 1 if found.trouble else 0
        if found.validators:
            feed.etag, feed.last_modified = found.validators.etag, found.validators.last_modified
        feed.title = found.title or feed.title
        await self._bring(session, feed, found.entries, now)
        feed.next_poll_at = next_poll(
            every=self.every,
            misses=feed.misses,
            asked=found.wait,
            luck=random.random(),
            gone=found.gone,
            now=now,
        )
        feed.next_poll_because = why_then(every=self.every, misses=feed.misses, asked=found.wait, gone=found.gone)
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
