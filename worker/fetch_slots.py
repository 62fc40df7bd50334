"""Fetch slots: whom one worker asks at the same time, so that publishers who hang take nobody else's place."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

AT_ONCE = 64  # Each is a connection and, while it comes in, a document: a few MB, and 12 at worst.
SPARE = 16  # of these, for publishers who answer: what hangs is ended before it takes them
ONE_HOST = 8
A_WHILE = 2.0  # seconds; who has not answered by then may have to go, and who waits for a place asks again later


class Crowded(Exception):
    """So many feeds of this host are being asked that this one has to come again."""


@dataclass(eq=False)
class Fetch:
    host: str
    began: float
    deadline: asyncio.Timeout
    doubtful: bool  # It did not answer last time.
    may_go: bool  # A person does not wait for it.
    ended: bool = False

    def end(self) -> None:
        self.ended = True
        if not self.deadline.expired():
            self.deadline.reschedule(asyncio.get_running_loop().time())


class FetchSlots:
    def __init__(
        self, *, at_once: int = AT_ONCE, spare: int = SPARE, one_host: int = ONE_HOST, a_while: float = A_WHILE
    ) -> None:
        self._most, self._one_host, self._a_while = at_once - spare, one_host, a_while
        self._hosts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._under_way: set[Fetch] = set()

    @asynccontextmanager
    async def one(
        self, host: str, deadline: asyncio.Timeout, *, doubtful: bool = False, may_go: bool = True
    ) -> AsyncIterator[None]:
        """A place at this host. `deadline`: what ends the fetch; it comes sooner when the place is needed."""
        of_host = self._hosts.setdefault(host, asyncio.Semaphore(self._one_host))
        await self._enter(of_host)
        loop = asyncio.get_running_loop()
        fetch = Fetch(host, loop.time(), deadline, doubtful, may_go)
        self._under_way.add(fetch)
        self._make_room()
        look_again = loop.call_later(self._a_while, self._make_room)
        try:
            yield
        finally:
            look_again.cancel()
            self._under_way.discard(fetch)
            of_host.release()

    async def _enter(self, of_host: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(self._a_while):
                await of_host.acquire()
        except TimeoutError:
            raise Crowded from None

    def _make_room(self) -> None:
        """As long as there are too many: first those of whom we expect nothing, then those of the fullest host."""
        staying = [fetch for fetch in self._under_way if not fetch.ended]
        long_ago = asyncio.get_running_loop().time() - self._a_while + 0.01
        slow = {fetch for fetch in staying if fetch.may_go and fetch.began <= long_ago}
        of_host = Counter(fetch.host for fetch in slow)
        for _ in range(min(len(staying) - self._most, len(slow))):
            out = max(slow, key=lambda fetch: (fetch.doubtful, of_host[fetch.host], -fetch.began))
            slow.remove(out)
            of_host[out.host] -= 1
            out.end()
