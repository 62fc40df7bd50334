"""What all commands share: settings, the database for as long as they need it, tables and JSON."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, database
from app.embedded import serving
from app.migrate import must_be_current
from app.settings import Settings, read_settings
from app.visible import visible, visible_json

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class PlainConsole(Console):
    """What it prints is text as it stands: no markup, no emoji by their names, nothing that commands the terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(Text(visible(one)) if isinstance(one, str) else one for one in objects), **options)


out = PlainConsole(highlight=False)


def show(rows: Sequence[dict[str, Any]], as_json: bool, *, empty: str) -> None:
    if as_json:
        show_json(list(rows))
        return
    if not rows:
        out.print(empty)
        return
    table = Table(*(str(column).replace("_", " ") for column in rows[0]), box=None, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row.values()))
    out.print(table)


def show_json(value: object) -> None:
    """On one line."""
    typer.echo(visible_json(json.dumps(value, default=lambda at: at.isoformat(), ensure_ascii=False)))


def cell(value: object) -> str:
    """As it stands in a table: one line of plain text."""
    return visible(_in_words(value))


def _in_words(value: object) -> str:
    match value:
        case None:
            return "–"
        case datetime():
            return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def now() -> datetime:
    return clock.now()


@contextmanager
def database_of(settings: Settings) -> Iterator[str]:
    """The database that is named, or our own one, started for as long as we need it."""
    if settings.database_url:
        yield settings.database_url
        return
    with serving(settings.data_dir) as url:
        yield url


def run(step: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """One step in one transaction."""

    async def in_transaction(sessions: database.Sessions) -> T:
        async with database.transaction(sessions) as session:
            return await step(session)

    return run_on_engine(in_transaction)


def run_on_engine(work: Callable[[database.Sessions], Awaitable[T]]) -> T:
    async def on_engine(url: str) -> T:
        engine = database.connect(url, pool_size=2)
        try:
            sessions = database.sessions_of(engine)
            await clock.clock.ask(sessions)
            return await work(sessions)
        finally:
            await engine.dispose()

    with database_of(read_settings()) as url:
        must_be_current(url)
        return asyncio.run(on_engine(url))
