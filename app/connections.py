"""Connections to the database that cannot hang: every question has an answer, or an end, in time.

The system's own limits (keepalives, `tcp_user_timeout`) notice a machine that is gone. They do not notice a proxy that
takes what we send and forwards nothing, and do nothing for a unix socket. To cancel a task that waits for such a
connection takes Psycopg ten seconds. So whoever waits too long finds the connection hung up, which is the error that
every layer above knows: the pools replace it.
"""

import asyncio
import logging
import os
import select
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, ClassVar, Self
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection, Notify, ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

log = logging.getLogger("newsbell.database")

CONNECT = 5  # seconds
PING = 3.0  # seconds for the answer to a pool that asks whether a connection is still there
STATEMENT = 60.0  # seconds that the server gives a statement, if nobody has asked for more
BETWEEN = 10.0  # seconds between two statements of a transaction, after which the server gives it up with its locks
MARGIN = 5.0  # seconds that the server's own limit has to reach us
PROMPT = 1.0  # seconds in which a new connection is made if all is well
LOOK_AGAIN = 0.05  # seconds

SYSTEM_LIMITS: dict[str, Any] = {
    "connect_timeout": CONNECT,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# What the server (or the role) limits already stays as it is.
SERVER_LIMITS = """
    SELECT set_config(name, value, false)
    FROM (VALUES ('statement_timeout', %s), ('idle_in_transaction_session_timeout', %s)) AS wanted (name, value)
    WHERE current_setting(name) = '0'
"""


def limits(url: str, name: str) -> dict[str, Any]:
    """What a connection to this libpq address is opened with; the address itself may say otherwise."""
    try:
        said = conninfo_to_dict(url)
    except ProgrammingError:  # nor will anything connect to it
        said = {}
    wanted = SYSTEM_LIMITS | {"application_name": name}
    return {key: value for key, value in wanted.items() if key not in said}


class TimedConnection(AsyncConnection[Any]):
    """One that is hung up when it is silent for too long.

    A ping that stays unanswered while a new connection is made at once is a sign that all older ones are dead (a
    firewall has forgotten them, a proxy lost its other side): then all of them are hung up, whatever they wait for.
    """

    _alive: ClassVar["WeakSet[TimedConnection]"] = WeakSet()
    _silent: ClassVar[dict[tuple[str, int] | None, float]] = {}  # Server → when a ping to it was given up.

    patience: float | None = None  # Seconds for each statement, where they may take longer than usual.
    made = 0.0  # When, by time.monotonic().
    _server: tuple[str, int] | None = None
    _listens = False
    _alarm: asyncio.TimerHandle | None = None

    @classmethod
    async def connect(cls, conninfo: str = "", *, autocommit: bool = False, **options: Any) -> Self:
        began = time.monotonic()
        made = await super().connect(conninfo, autocommit=True, **options)
        made.made, made._server = time.monotonic(), (made.info.host, made.info.port)
        try:
            await made.execute(SERVER_LIMITS, (f"{STATEMENT:.0f}s", f"{BETWEEN:.0f}s"))
            if not autocommit:
                await made.set_autocommit(False)
        except BaseException:
            await made.close()
            raise
        cls._alive.add(made)
        silent = cls._silent.pop(made._server, None)
        if silent is not None and time.monotonic() - began < PROMPT:
            dead = [one for one in cls._alive if one._server == made._server and one.made < silent and not one.closed]
            log.warning("The open connections to the database had gone silent. They are replaced; it answers new ones.")
            for other in dead:
                other.give_up()
        return made

    async def wait(self, *of: Any, **options: Any) -> Any:
        """All that is asked of the server goes through here."""
        if not self._listens:
            # Both pools ask outside of a transaction whether a connection is still there, and nothing else does.
            limit = PING if self.autocommit else (self.patience or STATEMENT) + MARGIN
            self._alarm = asyncio.get_running_loop().call_later(limit, self._overdue)
        try:
            return await super().wait(*of, **options)
        finally:
            if self._alarm:
                self._alarm.cancel()
                self._alarm = None

    async def notifies(self, **options: Any) -> AsyncGenerator[Notify, None]:
        """Silence is what one who listens mostly hears."""
        self._listens = True
        try:
            async for notice in super().notifies(**options):
                yield notice
        finally:
            self._listens = False

    def give_up(self) -> None:
        """Hang up; what the server still does for it, it need not finish."""
        if self.closed:
            return
        if self.pgconn.transaction_status == TransactionStatus.ACTIVE and not self.autocommit:
            self._ending = asyncio.create_task(self._cancel_and_hang_up())
        else:
            self._hang_up()

    def _overdue(self) -> None:
        if self._has_answered():  # it is we who are late
            self._alarm = asyncio.get_running_loop().call_later(LOOK_AGAIN, self._overdue)
            return
        if self.autocommit:
            self._silent[self._server] = time.monotonic()
        self.give_up()

    def _has_answered(self) -> bool:
        looking = select.poll()
        looking.register(self.pgconn.socket, select.POLLIN)
        return bool(looking.poll(0))

    async def _cancel_and_hang_up(self) -> None:
        """The request to cancel goes by a connection of its own. Thereby the server lets go of locks."""
        with suppress(psycopg.Error, OSError):
            await self.cancel_safe(timeout=PROMPT)
        self._hang_up()

    def _hang_up(self) -> None:
        """Only the socket: the task that waits at it sees that, and tidies the rest up itself."""
        if self.closed:
            return
        with socket.socket(fileno=os.dup(self.pgconn.socket)) as line, suppress(OSError):  # the other side was quicker
            line.shutdown(socket.SHUT_RDWR)
