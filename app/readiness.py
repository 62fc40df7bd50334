"""Readiness: whether this process can serve, and what a person should look after though it can.

Each check is one question with one sentence for its answer. Half a newsroom reads the pages while nothing is sent, so a
lack of workers is a warning and no reason to send readers elsewhere; what no page can do without is.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Sessions, transaction
from app.domain import wrong_clocks
from app.outage import AWAY, Outage, trouble_of
from app.queue import last_sign_of_life

PATIENCE = 2.0  # seconds for all questions to the database
OVERDUE = 8.0  # seconds without a sign of life from any worker

Warn = Callable[[AsyncSession], Awaitable[list[str]]]


async def _workers(session: AsyncSession) -> list[str]:
    now, last = await last_sign_of_life(session)
    if last is None:
        return ["No worker is running, so nothing is polled or sent. ./newsbell worker starts some."]
    if (now - last).total_seconds() > OVERDUE:
        return [f"No worker has given a sign of life since {last:%H:%M:%S} UTC, so nothing is polled or sent."]
    return []


async def _clocks(session: AsyncSession) -> list[str]:
    return list(await wrong_clocks.current(session))


# Each says what is wrong, a sentence each, or nothing.
WARNINGS: tuple[Warn, ...] = (_workers, _clocks)


@dataclass
class Readiness:
    """One for a web process."""

    sessions: Sessions
    outage: Outage
    _asking: asyncio.Task[tuple[str | None, list[str]]] | None = field(default=None, repr=False)

    async def look(self) -> tuple[str | None, list[str]]:
        """Why this process cannot serve (None: it can), and what is to be looked after."""
        if self.outage.now:
            return self.outage.now.sentence, []
        # Not cancelled when it takes too long: that would take longer. While one waits, the others wait with it.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        asking = self._asking
        await asyncio.wait([asking], timeout=PATIENCE)
        return asking.result() if asking.done() else (f"The database does not answer within {PATIENCE:g} s.", [])

    async def _ask(self) -> tuple[str | None, list[str]]:
        try:
            async with transaction(self.sessions) as session:
                return None, [sentence for warn in WARNINGS for sentence in await warn(session)]
        except (DBAPIError, PoolTimeout, OSError) as error:
            return (trouble_of(error) or AWAY).sentence, []
