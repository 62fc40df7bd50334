"""Which database a command works on: the one that is named or our own, and how that is said."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from app.database import with_driver
from app.domain.refusals import Refusal
from app.embedded import has_database, is_in_use, serving
from app.settings import Settings

USUAL_FOLDER = Path(__file__).resolve().parent.parent / "var"


@dataclass(frozen=True)
class Chosen:
    url: str
    name: str  # For a person; empty: the one that everybody expects, because `up` runs on it.


@contextmanager
def database_of(settings: Settings, *, make: bool = False) -> Iterator[Chosen]:
    """The database for as long as we need it. What is refused meanwhile says which one it was.

    make: our own one may be made now. A command that only works on one would find an empty one, and talk of that.
    """
    if settings.database_url:
        with _named_in_refusals(_in_words(with_driver(settings.database_url))) as name:
            yield Chosen(settings.database_url, name)
        return
    folder = settings.data_dir.absolute()
    if not make and not has_database(folder):
        raise Refusal(_none(folder))
    with _named_in_refusals("" if make else _own_in_words(folder)) as name, serving(folder) as url:
        yield Chosen(url, name)


@contextmanager
def _named_in_refusals(name: str) -> Iterator[str]:
    try:
        yield name
    except DBAPIError as trouble:
        raise Refusal(trouble_in_words(trouble) + (f" (Database: {name}.)" if name else "")) from trouble
    except Refusal as refusal:
        if name:
            refusal.args = (f"{refusal} (Database: {name}.)", *refusal.args[1:])
        raise


def trouble_in_words(trouble: DBAPIError) -> str:
    said = (str(trouble.orig).strip().splitlines() or ["it said nothing"])[0]
    away = isinstance(trouble, OperationalError | InterfaceError)
    return f"The database {'does not answer' if away else 'refuses this'}: {said}."


def _in_words(url: URL) -> str:
    host = url.host or url.query.get("host") or "this machine"
    where = ", ".join(host) if isinstance(host, tuple) else host
    return f"{url.database or url.username or 'the usual one'} at {where}{f':{url.port}' if url.port else ''}"


def _own_in_words(folder: Path) -> str:
    in_use = is_in_use(folder)
    if in_use and folder.resolve() == USUAL_FOLDER:
        return ""
    return f"the built-in one in {folder}" + (
        "" if in_use else f", on which no ./newsbell up runs{_demo_beside(folder)}"
    )


def _none(folder: Path) -> str:
    ways = _demo_beside(folder) or ". ./newsbell up makes one there, and NEWSBELL_DATABASE_URL names another one."
    return f"There is no database in {folder}{ways}"


def _demo_beside(folder: Path) -> str:
    demo = folder / "demo"
    if not os.path.exists(demo / "pgdata"):
        return ""
    command = shlex.join(["./newsbell", *sys.argv[1:]])
    return f"; the demo's is reached by NEWSBELL_DATA_DIR={shlex.quote(str(demo))} {command}"
