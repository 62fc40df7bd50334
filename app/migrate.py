"""Migrations: bring a database to this release, or say that somebody must."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import OperationalError

from app.database import connect_for_a_moment
from app.domain.refusals import Refusal

PROJECT = Path(__file__).parent.parent
IN_USE = (
    "Somebody has used a table for 10 s that this release changes. What was done is kept; run ./newsbell migrate again."
)


def config(url: str) -> Config:
    made = Config(PROJECT / "alembic.ini")
    made.attributes["url"] = url
    return made


def migrate(url: str, revision: str = "head") -> None:
    must_be_known(_revision_of(url))
    try:
        command.upgrade(config(url), revision)
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            raise Refusal(IN_USE) from None
        raise Refusal(_unreachable(error)) from None


def must_be_current(url: str) -> None:
    """A program on an older or newer schema would lose or hide things: it does not start."""
    has = _revision_of(url)
    must_be_known(has)
    if has != _revisions().get_current_head():
        raise Refusal("The database is not on this release's schema. Run ./newsbell migrate first.")


def must_be_known(revision: str | None) -> None:
    """A newer release has been here: there is no way back, and an older release knows nothing of what it keeps."""
    if revision is None:
        return
    try:
        _revisions().get_revision(revision)
    except CommandError:
        raise Refusal(
            f"The database is of a newer release than this one, or of another program ({revision}). Start that release "
            "again; to go back, restore the backup that was made before it."
        ) from None


def _revisions() -> ScriptDirectory:
    return ScriptDirectory.from_config(config(""))


def _revision_of(url: str) -> str | None:
    engine = connect_for_a_moment(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except OperationalError as error:
        raise Refusal(_unreachable(error)) from None
    finally:
        engine.dispose()


def _unreachable(error: OperationalError) -> str:
    """libpq's first line names host and reason, and never a password."""
    reason = str(error.orig).strip().splitlines()[0]
    return f"The database cannot be reached: {reason}. Check NEWSBELL_DATABASE_URL and that PostgreSQL is running."
