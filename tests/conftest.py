"""What all tests share: a real PostgreSQL, migrated once, and the parts of the product built on it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from app.database import Sessions, connect, sessions_of, with_driver
from app.embedded import serving
from app.migrate import migrate
from tests.browser import firefox, firefox_process, push_service, push_service_process
from tests.chromium import chromium, chromium_process
from tests.desk import desk
from tests.publisher import publisher
from tests.terminal import terminal

__all__ = [
    "chromium",
    "chromium_process",
    "desk",
    "firefox",
    "firefox_process",
    "publisher",
    "push_service",
    "push_service_process",
    "terminal",
]

# Whole files are dealt out to the processes that test: what takes longest comes first, or one would end alone with it.
LONGEST = (
    "test_desk_journey",
    "test_up",
    "test_reader_journey",
    "test_openapi",
    "test_desk_pages",
    "test_pages",
    "test_poll",
    "test_recall",
    "test_fanout",
    "test_desk_owner",
    "test_bench",
    "test_desk",
    "test_schedule",
    "test_requests",
    "test_outage",
    "test_lanes",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a database server of our own; nothing is in its default database.

    Tests kill processes, never the machine: that nothing of it waits for the disk makes a new database ten times as
    quick (0.07 s instead of 1.8 s to make one and drop it again). What the product asks of its server: test_embedded.
    """
    with serving(tmp_path_factory.mktemp("server")) as url:
        with psycopg.connect(url, autocommit=True) as admin:
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                admin.execute(f"ALTER SYSTEM SET {setting} = off".encode())
            admin.execute("SELECT pg_reload_conf()")
        yield url


@pytest.fixture(scope="session")
def migrated(server: str) -> str:
    """A database on the newest schema, made once, to make others from: nobody stays connected to it."""
    url = _create(server, "migrated", template="template0")
    migrate(url)
    return url


@pytest.fixture(scope="session")
async def rolled_back(server: str, migrated: str) -> AsyncIterator[AsyncEngine]:
    """The database in which no test leaves anything."""
    engine = create_async_engine(with_driver(_create(server, "rolled_back", template="migrated")))
    yield engine
    await engine.dispose()


@pytest.fixture
async def session(rolled_back: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """One transaction around the whole test, rolled back at its end; commits inside it are savepoints."""
    async with rolled_back.connect() as connection:
        outer = await connection.begin()
        async with AsyncSession(connection, expire_on_commit=False, join_transaction_mode="create_savepoint") as inside:
            yield inside
        await outer.rollback()


@pytest.fixture
def database_url(server: str, migrated: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database for this test alone, on the newest schema: for processes that need connections of their own."""
    name = f"test_{abs(hash(request.node.nodeid))}"
    yield _create(server, name, template="migrated")
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[Sessions]:
    """Real, separate connections to this test's own database."""
    engine = connect(database_url)
    yield sessions_of(engine)
    await engine.dispose()


@pytest.fixture
def own_sessions(session: AsyncSession) -> Sessions:
    """For code that opens transactions itself: all of them inside the test's one, rolled back with it."""
    return async_sessionmaker(bind=session.bind, expire_on_commit=False, join_transaction_mode="create_savepoint")


@pytest.fixture(scope="session")
def real_feeds() -> Path:
    """Publishers' documents, which are theirs and not in the project; a checkout may have them beside it."""
    folder = Path(__file__).parent.parent.parent / "shared" / "feeds"
    if not folder.is_dir():
        pytest.skip("publishers' real documents are not beside this checkout (../shared/feeds)")
    return folder


def _create(server: str, name: str, *, template: str) -> str:
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)
