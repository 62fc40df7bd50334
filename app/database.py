"""The database: how we connect, and the only place that commits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import URL, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from app.connections import TimedConnection, limits
from app.domain.base import driver_connection
from app.domain.refusals import Refusal
from app.outage import AWAY, SLOW, STARTING, Outage, trouble_of

Sessions = async_sessionmaker[AsyncSession]
NO_ANSWER = (AWAY, STARTING, SLOW)


class InDoubt(OperationalError):
    """The answer to a commit did not come: what was to be done may have been done."""


def with_driver(url: str) -> URL:
    """A libpq address (postgresql://…) as SQLAlchemy wants it, with psycopg 3 as the driver."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the latter of a port that is no number
        raise Refusal("NEWSBELL_DATABASE_URL is not an address such as postgresql://user@host/newsbell.") from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise Refusal("NEWSBELL_DATABASE_URL must name a PostgreSQL database, postgresql://….")
    return parsed.set(drivername="postgresql+psycopg")


def connect(url: str, *, pool_size: int = 10, name: str = "newsbell") -> AsyncEngine:
    """name: what the server's list of connections calls ours."""
    driver = with_driver(url)
    # pre_ping: after a restart of the server the pool's old connections are replaced, not handed out.
    return create_async_engine(
        driver,
        connect_args=limits(url, name) | {"async_creator_fn": TimedConnection.connect},
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=20,
        hide_parameters=True,  # endpoints and keys must not stand in an error's text
    )


def connect_for_a_moment(url: str) -> Engine:
    """For a question before anything runs: without a pool and without asyncio."""
    return create_engine(with_driver(url), connect_args=limits(url, "newsbell"), poolclass=NullPool)


def sessions_of(engine: AsyncEngine, outage: Outage | None = None) -> Sessions:
    """outage: whom to tell of what goes wrong."""
    return async_sessionmaker(engine, expire_on_commit=False, info={"outage": outage})


@asynccontextmanager
async def transaction(sessions: Sessions, *, patience: float | None = None) -> AsyncIterator[AsyncSession]:
    """One request, or one step of a worker. Never held open across the network.

    patience: seconds that each statement may take, where a minute is not enough.
    """
    committing = False
    try:
        async with sessions() as session, session.begin(), _patient(session, patience):
            yield session
            await session.flush()
            committing = True
    except Exception as error:
        outage: Outage | None = sessions.kw.get("info", {}).get("outage")
        if outage:
            outage.note(error)
        if committing and isinstance(error, DBAPIError) and trouble_of(error) in NO_ANSWER:
            raise InDoubt(error.statement, error.params, error.orig or error) from error
        raise


@asynccontextmanager
async def _patient(session: AsyncSession, seconds: float | None) -> AsyncIterator[None]:
    """Until the transaction ends, at the server; until the block ends, for our own limit."""
    if seconds is None:
        yield
        return
    limit = text("SELECT set_config('statement_timeout', :milliseconds, true)")
    await session.execute(limit, {"milliseconds": str(round(seconds * 1000))})
    connection = await driver_connection(session)
    connection.patience = seconds
    try:
        yield
    finally:
        connection.patience = None
