"""Streams: how many pages this process keeps up to date at once, and for how long one connection lasts."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from app.domain.refusals import TooMany

# Each is a connection of the web server and two short looks at the database a second.
MOST = 100
EVERY = 0.4  # seconds between looks: with the look itself, less than half a second from one event to the next
# Then the browser comes again by itself, and has to show anew that it may.
LONGEST = 300.0  # seconds


class Streams:
    def __init__(self, most: int = MOST, longest: float = LONGEST) -> None:
        """At most `most` at once, of `longest` seconds each."""
        self.most, self.longest = most, longest
        self.open, self.ending = 0, False

    @contextmanager
    def place(self) -> Iterator[None]:
        if self.open >= self.most:
            raise TooMany("Too many pages are being kept up to date already. Please try again in a moment.", wait=5)
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    async def looks(self, every: float = EVERY) -> AsyncIterator[None]:
        """One at once, then one after each pause, for as long as a connection lasts."""
        end = time.monotonic() + self.longest
        while not self.ending and time.monotonic() < end:
            yield
            await asyncio.sleep(every)

    def end(self) -> None:
        """The process stops: nobody waits for streams that would go on for minutes."""
        self.ending = True
