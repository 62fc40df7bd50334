"""Streams: how many pages this process keeps up to date at once, for whom, and for how long one connection lasts."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.database import Sessions, transaction
from app.domain.api_keys import still_good
from app.domain.editors import Actor
from app.domain.refusals import TooMany
from app.domain.sign_ins import still_signed_in

# Each is a connection of the web server and two short looks at the database a second.
MOST = 100
EACH = 12  # of one account: a desk page has one or two, and a program needs few
EVERY = 0.4  # seconds between looks: with the look itself, less than half a second from one event to the next
GUARD = 0.5  # seconds between two looks whether those who watch still may
# Then the browser comes again by itself, and has to show anew that it may.
LONGEST = 300.0  # seconds


@dataclass(eq=False)
class Stream:
    """One connection that is kept up to date."""

    actor: Actor
    over: bool = False  # Its actor was signed out, disabled or revoked.


class Streams:
    def __init__(self, most: int = MOST, longest: float = LONGEST, each: int = EACH) -> None:
        """At most `most` at once, `each` of one account, of `longest` seconds."""
        self.most, self.longest, self.each = most, longest, each
        self.open: list[Stream] = []
        self.ending = False
        self._somebody = asyncio.Event()

    @contextmanager
    def place(self, actor: Actor) -> Iterator[Stream]:
        if len(self.open) >= self.most:
            raise TooMany("Too many pages are being kept up to date already. Please try again in a moment.", wait=5)
        if sum(stream.actor.name == actor.name for stream in self.open) >= self.each:
            raise TooMany(f"{self.each} pages are being kept up to date for you already. Please close some.", wait=5)
        stream = Stream(actor)
        self.open.append(stream)
        self._somebody.set()
        try:
            yield stream
        finally:
            self.open.remove(stream)

    async def looks(self, stream: Stream, every: float = EVERY) -> AsyncIterator[None]:
        """One at once, then one after each pause, for as long as a connection lasts."""
        end = time.monotonic() + self.longest
        while not self.ending and not stream.over and time.monotonic() < end:
            yield
            await asyncio.sleep(every)

    def end(self) -> None:
        """The process stops: nobody waits for streams that would go on for minutes."""
        self.ending = True

    @asynccontextmanager
    async def guarded(self, sessions: Sessions) -> AsyncIterator[None]:
        """Meanwhile, a stream ends within a second of its editor's session or its key. One look serves them all."""
        guard = asyncio.create_task(self._guard(sessions))
        try:
            yield
        finally:
            guard.cancel()

    async def _guard(self, sessions: Sessions) -> None:
        while True:
            await self._somebody.wait()
            with suppress(DBAPIError, PoolTimeout, OSError):  # each stream notices that for itself, and ends
                await self._end_what_is_over(sessions)
            if not self.open:
                self._somebody.clear()
            await asyncio.sleep(GUARD)

    async def _end_what_is_over(self, sessions: Sessions) -> None:
        looked_at = list(self.open)
        people = {stream.actor.session_id for stream in looked_at if stream.actor.session_id is not None}
        programs = {stream.actor.key_id for stream in looked_at if stream.actor.key_id is not None}
        async with transaction(sessions) as session:
            signed_in = await still_signed_in(session, people) if people else set()
            good = await still_good(session, programs) if programs else set()
        for stream in looked_at:
            actor = stream.actor
            stream.over = actor.key_id not in good if actor.session_id is None else actor.session_id not in signed_in
