"""Receipts on their way to the database: kept in this process for a second, then written all at once.

When an alert reaches a million readers, thousands open it within a minute, and each would be a transaction.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.database import Sessions, transaction
from app.domain import receipts
from app.domain.receipts import Event, Told

EVERY = 1.0  # seconds
# What waits, for as long as the database is away. Each belongs to a delivery, so nobody can make many up.
MOST = 20_000
FAREWELL = 1.5  # seconds that the last writing may take


class ReceiptBox:
    def __init__(self) -> None:
        self.waiting: dict[tuple[UUID, Event, bytes], Told] = {}

    def put(self, receipt: Told) -> None:
        """A delivery's first receipt of a kind; the others say nothing new."""
        if len(self.waiting) < MOST:
            self.waiting.setdefault((receipt.alert_id, receipt.event, receipt.number), receipt)

    async def empty(self, sessions: Sessions) -> None:
        """Write what is there. If the database is away, it stays until the next time."""
        taken, self.waiting = self.waiting, {}
        if not taken:
            return
        try:
            async with transaction(sessions) as session:
                await receipts.add(session, taken.values())
        except (DBAPIError, PoolTimeout, OSError):
            self.waiting = taken | self.waiting

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
