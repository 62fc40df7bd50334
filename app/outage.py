"""Outage: what is wrong with the database, said once when it begins and once when it is over.

One table says what each kind of trouble means for a person. While one lasts, it is looked after by questions on a
connection of their own, and nobody else has to find out that it is over.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.connections import TimedConnection, limits

log = logging.getLogger("newsbell.database")

LOOK = 1.0  # seconds between two looks whether it is over
SAID = 60.0  # seconds for which a trouble that was one question's own is not said again


@dataclass(frozen=True)
class Trouble:
    """sentence: what is wrong, for whoever asked for something. over: what is said in the log when it is not any more.

    lasts: it is there for everybody until somebody or something ends it. writes: only what writes is troubled by it.
    """

    sentence: str
    over: str = "The database answers again"
    lasts: bool = True
    writes: bool = False


AWAY = Trouble("The database does not answer.")
FULL = Trouble("The disk of the database is full.", "The disk of the database has room again", writes=True)
DISK = Trouble("The database cannot use its disk.", "The database can use its disk again", writes=True)
READ_ONLY = Trouble("The database takes no changes: it is read-only.", "The database takes changes again", writes=True)
CROWDED = Trouble("The database has no connection left for us.", "The database has connections for us again")
STRAINED = Trouble("The database is short of memory.", "The database has memory again", writes=True)
STARTING = Trouble("The database is starting up or shutting down.")
LOCKED_OUT = Trouble("The database does not let us in: name, password or database are not right (any more).")
QUEUED = Trouble("Too many requests wait for the database at the moment.", lasts=False)
SLOW = Trouble("The database took too long over this.", lasts=False)
CLASH = Trouble("Somebody else changed the same at the same moment.", lasts=False)
OLD = Trouble("The database is not on this release's schema: ./newsbell migrate.", lasts=False)

# By SQLSTATE, or how it begins (PostgreSQL, appendix A).
TROUBLES = {
    "53100": FULL,
    "58": DISK,
    "25006": READ_ONLY,
    "53300": CROWDED,
    "53": STRAINED,
    "57014": SLOW,
    "55P03": SLOW,
    "57P01": AWAY,
    "57P05": AWAY,
    "57": STARTING,
    "25P03": SLOW,
    "40": CLASH,
    "28": LOCKED_OUT,
    "3D": LOCKED_OUT,
    "42P01": OLD,
    "42703": OLD,
    "08": AWAY,
}
# When a connection is refused, Psycopg knows the sentence and not the SQLSTATE.
REFUSALS = {
    "too many clients": CROWDED,
    "too many connections": CROWDED,
    "remaining connection slots": CROWDED,
    "starting up": STARTING,
    "shutting down": STARTING,
    "in recovery mode": STARTING,
    "not yet accepting connections": STARTING,
    "authentication failed": LOCKED_OUT,
    "does not exist": LOCKED_OUT,
}


def trouble_of(error: BaseException | None) -> Trouble | None:
    """What an error says of the database; None if it is no trouble of the database's own."""
    for one in _causes(error):
        if isinstance(one, PoolTimeout):
            return QUEUED
        if isinstance(one, psycopg.Error):
            if one.sqlstate:
                return _by_state(one.sqlstate)
            if isinstance(one, psycopg.OperationalError | psycopg.InterfaceError):
                return next((trouble for words, trouble in REFUSALS.items() if words in str(one)), AWAY)
            return None
    return None


def where(error: BaseException) -> str:
    """What went wrong in which line. Not in its own words: they may quote an endpoint."""
    frames = traceback.extract_tb(error.__traceback__)
    last = f" in {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{last}"


def _by_state(state: str) -> Trouble | None:
    return next((trouble for start, trouble in TROUBLES.items() if state.startswith(start)), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """SQLAlchemy keeps the driver's error in `orig`; Procrastinate and others raise theirs from it."""
    while error is not None:
        yield error
        error = error.orig if isinstance(error, DBAPIError) else error.__cause__


class Outage:
    """meanwhile: what is true in this process as long as it lasts."""

    def __init__(self, url: str, name: str, *, meanwhile: str) -> None:
        self.now: Trouble | None = None
        self._url, self._name, self._meanwhile = url, name, meanwhile
        self._ended = self._said = 0.0
        self._looking: asyncio.Task[None] | None = None

    def note(self, error: BaseException) -> Trouble | None:
        """To be told of whatever has gone wrong; what it says of the database.

        An error may be old when it arrives, or one connection's own. So before anything is said, a new connection is
        asked.
        """
        trouble = trouble_of(error)
        if trouble and trouble.lasts and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look_after(trouble), name="outage")
        return trouble

    def over_for(self) -> float:
        """Seconds since the last one ended; endless if there was none."""
        return 0.0 if self.now else time.monotonic() - self._ended if self._ended else float("inf")

    async def wait_for_database(self) -> None:
        """At a start, when it may not be there yet."""
        try:
            await self._probe(AWAY)
        except psycopg.Error as error:
            if not self.note(error) or not self._looking:
                raise
            await self._looking

    async def aclose(self) -> None:
        if self._looking:
            self._looking.cancel()

    async def _look_after(self, suspected: Trouble) -> None:
        """Until it is over."""
        since = time.monotonic()
        while found := await self._found(self.now or suspected):
            if self.now is None or found.writes != self.now.writes:  # or it does not even answer any more
                self.now = found
                log.warning("%s %s", found.sentence, self._meanwhile)
            await asyncio.sleep(LOOK)
        if self.now:
            log.warning("%s, after %.0f s.", self.now.over, time.monotonic() - since)
            self.now, self._ended = None, time.monotonic()
        elif suspected is not AWAY and time.monotonic() - self._said > SAID:
            self._said = time.monotonic()
            log.warning("%s That was the answer to one question; others are answered.", suspected.sentence)

    async def _found(self, suspected: Trouble) -> Trouble | None:
        try:
            await self._probe(suspected)
        except psycopg.Error as error:
            return trouble_of(error) or suspected
        return None

    async def _probe(self, suspected: Trouble) -> None:
        options = limits(self._url, f"{self._name} probe")
        async with await TimedConnection.connect(self._url, **options) as connection:
            connection.patience = LOOK
            if suspected.writes:
                await _could_write(connection)
            else:
                await connection.execute("SELECT 1")


async def _could_write(connection: TimedConnection) -> None:
    """Whether there is room and leave to write, found out without a change: by a sort that needs two megabytes."""
    asked = await connection.execute("SELECT current_setting('transaction_read_only')")
    if await asked.fetchone() == ("on",):
        raise psycopg.errors.ReadOnlySqlTransaction("The database is read-only.")
    await connection.execute("SET LOCAL work_mem = '64kB'")
    await connection.execute("""
        SELECT count(*) FROM (
            SELECT repeat(md5(number::text), 30) FROM generate_series(1, 2000) AS number ORDER BY 1 OFFSET 0
        ) AS sorted
    """)
