"""Migrations: bring a database to this release, or say that somebody must."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from app.database import with_driver
from app.domain.refusals import Refusal

PROJECT = Path(__file__).parent.parent


def config(url: str) -> Config:
    made = Config(PROJECT / "alembic.ini")
    made.attributes["url"] = url
    return made


def migrate(url: str, revision: str = "head") -> None:
    try:
        command.upgrade(config(url), revision)
    except OperationalError as error:
        raise Refusal(_unreachable(error)) from None


def must_be_current(url: str) -> None:
    """A program on an older or newer schema would lose or hide things: it does not start."""
    engine = create_engine(with_driver(url))
    try:
        with engine.connect() as connection:
            has = MigrationContext.configure(connection).get_current_revision()
    except OperationalError as error:
        raise Refusal(_unreachable(error)) from None
    finally:
        engine.dispose()
    if has != ScriptDirectory.from_config(config(url)).get_current_head():
        raise Refusal("The database is not on this release's schema. Run ./newsbell migrate first.")


def _unreachable(error: OperationalError) -> str:
    """libpq's first line names host and reason, and never a password."""
    reason = str(error.orig).strip().splitlines()[0]
    return f"The database cannot be reached: {reason}. Check NEWSBELL_DATABASE_URL and that PostgreSQL is running."
