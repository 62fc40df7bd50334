"""The schema: what migrations make is what the models say, and the way back exists."""

import psycopg
import pytest
from alembic import command
from sqlalchemy.engine import make_url

from app.domain.refusals import Refusal
from app.migrate import config, migrate, must_be_current


def test_migrations_lead_to_the_models_and_back(server: str) -> None:
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute("CREATE DATABASE there_and_back TEMPLATE template0")
    url = make_url(server).set(database="there_and_back").render_as_string(hide_password=False)
    migrate(url)
    command.check(config(url))  # raises if the models want anything else
    command.downgrade(config(url), "base")
    with psycopg.connect(url) as connection:
        left = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S')"
        ).fetchall()
    assert left == [("alembic_version",)]
    migrate(url)
    command.check(config(url))


def test_a_program_does_not_start_on_another_schema(server: str) -> None:
    with pytest.raises(Refusal, match="newsbell migrate"):
        must_be_current(server)


def test_an_unreachable_database_is_one_sentence_without_the_password() -> None:
    with pytest.raises(Refusal, match="cannot be reached") as refused:
        migrate("postgresql://bell:s3cret@127.0.0.1:1/newsbell")
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)
