"""Receipts on their way to the database: counted in this process for a second, then written all at once.

When an alert reaches a million readers, thousands open it within a minute, and each would be a transaction.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.database import Sessions, transaction
from app.domain import receipts
from app.domain.receipts import Told

EVERY = 1.0  # seconds
# Alerts × events × push services × minutes: what is made up must not fill the memory.
KINDS = 5_000
FAREWELL = 1.5  # seconds that the last writing may take


class ReceiptBox:
    def __init__(self) -> None:
        self.counts: Counter[Told] = Counter()

    def put(self, receipt: Told) -> None:
        if receipt in self.counts or len(self.counts) < KINDS:
            self.counts[receipt] += 1

    async def empty(self, sessions: Sessions) -> None:
        """Write what is there. If the database is away, it stays until the next time."""
        counts, self.counts = self.counts, Counter()
        if not counts:
            return
        try:
            async with transaction(sessions) as session:
                await receipts.add(session, counts)
        except (DBAPIError, PoolTimeout, OSError):
            self.counts.update(counts)

    @asynccontextmanager
    async def emptied(self, sessions: Sessions) -> AsyncIterator[None]:
        """Regularly, and once more at the end. A writing is never cut short: nobody would know whether it counts."""
        ending = asyncio.Event()
        task = asyncio.create_task(self._empty_regularly(sessions, ending))
        try:
            yield
        finally:
            ending.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL):
                    await task

    async def _empty_regularly(self, sessions: Sessions, ending: asyncio.Event) -> None:
        while not ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), EVERY)
            await self.empty(sessions)
        await self.empty(sessions)  # what has come meanwhile
