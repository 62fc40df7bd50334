"""What all commands share: settings, the database for as long as they need it, tables and JSON."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, database
from app.chosen_database import Chosen, database_of
from app.migrate import must_be_current
from app.settings import read_settings
from app.visible import visible, visible_json

T = TypeVar("T")

WIDEST = 100_000  # columns

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class PlainConsole(Console):
    """What it prints is text as it stands: no markup, no emoji by their names, nothing that commands the terminal.

    Sentences are not broken into lines: an address or a command in them is to be copied.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        if all(isinstance(one, str) for one in objects):
            options.setdefault("soft_wrap", True)
        super().print(*(Text(visible(one)) if isinstance(one, str) else one for one in objects), **options)


out = PlainConsole(highlight=False)


def show(rows: Sequence[dict[str, Any]], as_json: bool, *, empty: str) -> None:
    if as_json:
        show_json(list(rows))
        return
    if not rows:
        out.print(empty)
        return
    table = Table(*(_label(column) for column in rows[0]), box=None, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row.values()))
    room = out.width
    wanted = out.measure(table, options=out.options.update(width=WIDEST)).maximum
    if wanted <= room or not _is_narrow():
        PlainConsole(highlight=False, width=max(wanted, room)).print(table)
    else:
        _show_as_list(rows)


def _is_narrow() -> bool:
    """Whether lines have an end: in a file or a pipe they have none, unless somebody said so."""
    return out.is_terminal or "COLUMNS" in os.environ


def _show_as_list(rows: Sequence[dict[str, Any]]) -> None:
    """Nothing is cut: the next command may need it."""
    names = max(len(_label(column)) for column in rows[0])
    for row in rows:
        out.print()
        for column, value in row.items():
            out.print(f"{_label(column):>{names}}  {cell(value)}", soft_wrap=True)


def _label(column: str) -> str:
    return column.replace("_", " ")


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

    with database_of(read_settings()) as chosen:
        must_be_current(chosen.url)
        result = asyncio.run(on_engine(chosen.url))
        say_which(chosen)
        return result


def say_which(chosen: Chosen) -> None:
    """To a person, when it is not the one that everybody expects."""
    if chosen.name and "--json" not in sys.argv:
        say_aside(f"Database: {chosen.name}")


def say_aside(sentence: str) -> None:
    """To the person, not into what a program reads."""
    typer.echo(visible(sentence), err=True)
