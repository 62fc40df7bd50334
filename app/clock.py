"""The clock: what time the database has, as this process knows it.

Several machines work on one database, and their clocks differ. Everything that is compared or written (expiry, lanes,
retries, polls, limits, sign-ins) goes by the database's time. A process asks for it every few seconds and counts on
from the answer; what its own machine says of the date decides nothing.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.database import Sessions, transaction
from app.domain import wrong_clocks

log = logging.getLogger("newsbell.clock")

ASK_EVERY = 10.0  # seconds
TOLERATED = 5.0  # seconds that a machine may differ from the database before a person is told
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")


def _elapsed() -> float:
    """Seconds that no setting of the machine's clock moves; where there is one, a count that goes on during sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Clock:
    """machine: this machine's own idea of the time, in seconds since 1970. elapsed: for durations."""

    def __init__(self, machine: Callable[[], float] = time.time, elapsed: Callable[[], float] = _elapsed) -> None:
        self._machine, self._elapsed = machine, elapsed
        self._started_at: float | None = None  # Seconds since 1970 at which `elapsed` was 0; None: never asked.
        self._said_wrong = False

    def now(self) -> datetime:
        """The machine's own time until the database has been asked once."""
        if self._started_at is None:
            return EPOCH + timedelta(seconds=self._machine())
        return EPOCH + timedelta(seconds=self._started_at + self._elapsed())

    @property
    def ahead(self) -> float:
        """Seconds by which this machine is ahead of the database; negative: behind."""
        return 0.0 if self._started_at is None else self._machine() - (self._started_at + self._elapsed())

    @property
    def is_wrong(self) -> bool:
        return abs(self.ahead) > TOLERATED

    def learn(self, database_says: float, asked: float, answered: float) -> None:
        """`asked` and `answered` are `elapsed` before and after the question: the answer was true in between.

        What agrees with the estimate that we have changes nothing, so that a slow answer does not make the time jump.
        """
        earliest, latest = database_says - answered, database_says - asked
        if self._started_at is None or not earliest <= self._started_at <= latest:
            self._started_at = (earliest + latest) / 2

    async def ask(self, sessions: Sessions) -> None:
        async with transaction(sessions) as session:
            await session.connection()
            asked = self._elapsed()
            says = (await session.scalars(NOW)).one()
            self.learn(says, asked, self._elapsed())

    async def follow(self, sessions: Sessions) -> None:
        """For as long as the process lives: ask now and then, and tell people when this machine's clock is wrong."""
        name = f"{socket.gethostname()}:{os.getpid()}"
        while True:
            try:
                await self.ask(sessions)
                await self._tell(sessions, name)
            except (DBAPIError, PoolTimeout, OSError):
                pass  # The time goes on from the last answer; that the database is away is said elsewhere.
            await asyncio.sleep(ASK_EVERY)

    async def _tell(self, sessions: Sessions, name: str) -> None:
        """In the log once, and for `/readyz` and the desk as long as it lasts. Nothing is written while all is well."""
        if self.is_wrong:
            if not self._said_wrong:
                log.error("%s Newsbell goes by the database's time meanwhile.", wrong_clocks.sentence("", self.ahead))
            async with transaction(sessions) as session:
                await wrong_clocks.report(session, name, self.ahead)
        elif self._said_wrong:
            log.info("this machine's clock agrees with the database's again")
            async with transaction(sessions) as session:
                await wrong_clocks.take_back(session, name)
        self._said_wrong = self.is_wrong


clock = Clock()
now = clock.now
