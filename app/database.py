"""The database: how we connect, and the only place that commits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from app.domain.refusals import Refusal

Sessions = async_sessionmaker[AsyncSession]


def with_driver(url: str) -> URL:
    """A libpq address (postgresql://…) as SQLAlchemy wants it, with psycopg 3 as the driver."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise Refusal("NEWSBELL_DATABASE_URL is not an address such as postgresql://user@host/newsbell.") from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise Refusal("NEWSBELL_DATABASE_URL must name a PostgreSQL database, postgresql://….")
    return parsed.set(drivername="postgresql+psycopg")


def connect(url: str, *, pool_size: int = 10) -> AsyncEngine:
    # pre_ping: after a restart of the server the pool's old connections are replaced, not handed out.
    return create_async_engine(
        with_driver(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=20,
        hide_parameters=True,  # endpoints and keys must not stand in an error's text
    )


def sessions_of(engine: AsyncEngine) -> Sessions:
    return async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def transaction(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """One request, or one step of a worker. Never held open across the network."""
    async with sessions() as session, session.begin():
        yield session
