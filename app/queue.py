"""The queue: Procrastinate, and "enqueue inside this transaction".

A job is written by the same transaction as the rows that make it necessary, so neither can exist without the other.
Doors and verbs name the work; only `worker/__main__.py` says which function does it.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.connections import TimedConnection, limits
from app.domain.base import driver_connection

NotWritten = ConnectorException  # what a job that cannot be written raises, from the driver's error
PLACE = 5.0  # seconds that a question waits for a connection
# Seconds after which the pool's own tries to connect end; the next question begins new ones. They come ever more
# slowly, and a database that is back must not wait for the next.
RECONNECT = 2.0
# Queues keep kinds of work from standing in each other's way: a publisher that hangs must not hold up an alert.
FEEDS, ALERTS, BREAKING, TIME = "feeds", "alerts", "breaking", "time"
QUEUES = (FEEDS, ALERTS, BREAKING, TIME)

POLL_FEED = "poll_feed"
RELEASE_ALERT = "release_alert"
PLAN_ALERT = "plan_alert"
SEND_SHARD = "send_shard"
WELCOME = "welcome"
LOOK_UP = "look_up"
QUEUE_OF = {
    LOOK_UP: FEEDS,
    POLL_FEED: FEEDS,
    RELEASE_ALERT: ALERTS,
    PLAN_ALERT: ALERTS,
    SEND_SHARD: ALERTS,
    WELCOME: ALERTS,
}


def connect(url: str, *, pool_size: int = 8, name: str = "newsbell") -> App:
    """An app that is not open yet: `async with app.open_async()` before a worker runs on it."""
    connector = PsycopgConnector(
        conninfo=url,
        kwargs=limits(url, name),
        connection_class=TimedConnection,
        pool_factory=_pool,
        min_size=1,
        max_size=pool_size,
        timeout=PLACE,
        reconnect_timeout=RECONNECT,
    )
    return App(connector=connector)


def _pool(**options: Any) -> AsyncConnectionPool:
    """One whose resting connections are all replaced when one of them is found dead: each would take its time."""
    drained = 0.0

    async def check(connection: TimedConnection) -> None:
        nonlocal drained
        try:
            await AsyncConnectionPool.check_connection(connection)
        except psycopg.Error:
            if connection.made > drained:
                drained = time.monotonic()
                await pool.drain()
            raise

    pool = AsyncConnectionPool(**options | {"check": check})
    return pool


# Enqueuing goes through the caller's own connection, so this app never opens one.
_names = App(connector=PsycopgConnector())


async def enqueue(
    session: AsyncSession,
    task: str,
    *,
    at: datetime | None = None,
    priority: int = 0,
    lock: str | None = None,
    once: str | None = None,
    breaking: bool = False,
    **arguments: Any,
) -> bool:
    """Write one job with the session's transaction; False if `once` says that it is waiting already.

    lock: jobs of one lock never run at the same time. once: at most one job of that name waits at any time.
    breaking: on the queue that has places of its own, so that nothing is in its way.
    """
    connection = await driver_connection(session)
    deferrer = _names.configure_task(
        task,
        queue=BREAKING if breaking else QUEUE_OF[task],
        schedule_at=at,
        priority=priority,
        lock=lock,
        queueing_lock=once,
        connection=connection,
    )
    try:
        async with connection.transaction():  # a savepoint: a job that waits already must not undo the caller's work
            await deferrer.defer_async(**arguments)
    except AlreadyEnqueued:
        return False
    return True


async def enqueue_many(
    session: AsyncSession,
    task: str,
    arguments: Iterable[dict[str, Any]],
    *,
    at: datetime | None = None,
    priority: int = 0,
    breaking: bool = False,
) -> None:
    """Write many jobs in one round trip (1,000 in 64 ms)."""
    connection = await driver_connection(session)
    queue = BREAKING if breaking else QUEUE_OF[task]
    deferrer = _names.configure_task(task, queue=queue, schedule_at=at, priority=priority, connection=connection)
    await deferrer.batch_defer_async(*arguments)


async def live_workers(session: AsyncSession) -> int:
    """Processes that gave a sign of life lately; each runs one Procrastinate worker for every queue."""
    fresh = text("SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - interval '10 seconds'")
    return max(round((await session.scalar(fresh) or 0) / len(QUEUES)), 1)


async def lanes_due(session: AsyncSession) -> Sequence[tuple[str, bool]]:
    """Lanes that have shards to be sent now which no worker has taken, and whether they are of breaking alerts.

    Without those of readers on probation, who wait for places of their own.
    """
    waiting = text("""
        SELECT DISTINCT args->>'lane', queue_name = :breaking FROM procrastinate_jobs
        WHERE task_name = :task AND status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now())
          AND coalesce(args->>'standing', '0') = '0'
    """)
    rows = await session.execute(waiting, {"task": SEND_SHARD, "breaking": BREAKING})
    return [(lane, breaking) for lane, breaking in rows]


async def arguments_under_way(session: AsyncSession, task: str) -> Sequence[dict[str, Any]]:
    """The arguments of the jobs of this task that workers are at."""
    doing = text("SELECT args FROM procrastinate_jobs WHERE task_name = :task AND status = 'doing'")
    return (await session.scalars(doing, {"task": task})).all()


async def last_sign_of_life(session: AsyncSession) -> tuple[datetime, datetime | None]:
    """What time it is at the database, and when a worker last said that it lives; None if there is none."""
    query = text("SELECT clock_timestamp(), max(last_heartbeat) FROM procrastinate_workers")
    now, last = (await session.execute(query)).one()
    return now, last
