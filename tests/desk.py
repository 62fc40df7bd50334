"""The desk through the whole application, on a database of its own for each test file."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from sqlalchemy.engine import make_url

from app.context import Site, session_cookie
from app.database import Sessions, transaction
from app.domain.editors import Role
from app.main import create_app
from app.passwords import Passwords
from app.settings import Settings
from app.vapid import make_key
from tests.makers import an_api_key_row, an_editor_row, signed_in

SITE = "https://news.example"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

_number = count(1)


@dataclass(frozen=True)
class Desk:
    app: FastAPI

    @property
    def site(self) -> Site:
        site: Site = self.app.state.site
        return site

    @property
    def sessions(self) -> Sessions:
        return self.site.sessions

    @property
    def cookie(self) -> str:
        return session_cookie(self.site.settings)

    def browser(self, secret: str | None = None, *, origin: str | None = SITE, address: str = "") -> httpx.AsyncClient:
        """Somebody's browser on one of the desk's own pages; with the secret of a session, signed in.

        Each has an address of its own, so that none is slowed down by another one's guesses.
        """
        where = address or f"203.0.113.{next(_number) % 256}"
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(where, 50000)),
            base_url=SITE,
            headers={"User-Agent": FIREFOX} | ({"Origin": origin} if origin else {}),
            cookies={self.cookie: secret} if secret else None,
        )

    def program(self, key: str) -> httpx.AsyncClient:
        client = self.browser(origin=None)
        client.headers["Authorization"] = f"Bearer {key}"
        return client

    async def somebody(self, role: Role = Role.EDITOR, email: str | None = None) -> httpx.AsyncClient:
        """The browser of a new editor who is signed in."""
        async with transaction(self.sessions) as session:
            editor = await an_editor_row(session, role, email)
            return self.browser(await signed_in(session, editor))

    async def key(self, role: Role = Role.EDITOR, **limits: Any) -> httpx.AsyncClient:
        """A program with a new API key."""
        async with transaction(self.sessions) as session:
            return self.program(await an_api_key_row(session, role, **limits))


@contextmanager
def a_database(server: str, name: str) -> Iterator[str]:
    """Migrated and empty, until it is not needed any more."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE migrated')
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@asynccontextmanager
async def a_desk(database_url: str, folder: Path, **settings: Any) -> AsyncIterator[Desk]:
    if not (folder / "vapid.pem").exists():
        make_key(folder / "vapid.pem")
    wanted = {"site_url": SITE, "site_name": "The Bell"} | settings
    app = create_app(Settings(database_url=database_url, data_dir=folder, **wanted))
    # The same argon2, not as slow as it should be for people.
    quick = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    app.state.site = replace(app.state.site, passwords=quick)
    async with app.router.lifespan_context(app):
        yield Desk(app)


@pytest.fixture(scope="module")
async def desk(
    server: str, migrated: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Desk]:
    """One for this test file: what its tests leave is there for the next ones."""
    name = request.module.__name__.rpartition(".")[2]
    with a_database(server, name) as url:
        async with a_desk(url, tmp_path_factory.mktemp(name)) as made:
            yield made
