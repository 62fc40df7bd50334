"""How a migration runs: one transaction for each revision, one migrator at a time, never waiting long for a lock."""

from alembic import context
from sqlalchemy import Connection, text

from app.database import connect_for_a_moment
from app.domain import models


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=models.Base.metadata,
        compare_type=True,
        transaction_per_migration=True,
        # Procrastinate's tables are its own; a revision brings them in.
        include_name=lambda name, kind, parents: not (kind == "table" and (name or "").startswith("procrastinate_")),
    )
    with context.begin_transaction():
        context.run_migrations()


def online() -> None:
    given: Connection | None = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    engine = connect_for_a_moment(context.config.attributes["url"])
    with engine.connect() as connection:
        # Two machines that start at once must not both migrate; a busy table must not be blocked behind us.
        connection.execute(text("SELECT pg_advisory_lock(hashtext('newsbell.migrations'))"))
        connection.execute(text("SET lock_timeout = '10s'"))
        connection.commit()
        run(connection)
        connection.execute(text("SELECT pg_advisory_unlock(hashtext('newsbell.migrations'))"))
    engine.dispose()


online()
