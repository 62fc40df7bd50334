"""Which database a command works on: never a new and empty one by the way, and it is said."""

import os
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from app import chosen_database
from app.embedded import serving
from app.migrate import migrate
from tests.terminal import Terminal
from tests.test_embedded import a_folder
from tests.test_poll import until

READING = [
    ["topic", "list"],
    ["feed", "list"],
    ["feed", "poll"],
    ["feed", "remove", "https://news.example/rss"],
    ["alert", "list"],
    ["alert", "send", "--title", "a b", "--url", "https://news.example/1", "--topic", "x"],
    ["editor", "add", "ada@news.example"],
    ["lane", "list"],
    ["worker"],
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A data folder without a database, beside a demo's that has one, with a topic."""
    with a_folder() as made:
        with serving(made / "demo") as url:
            migrate(url)
            with psycopg.connect(url) as db:
                db.execute("INSERT INTO topics (slug, name, description, synonyms) VALUES ('osaka', 'Osaka', '', '{}')")
        yield made


@pytest.mark.parametrize("command", READING, ids=lambda words: " ".join(words[:2]))
def test_a_command_makes_no_database_and_says_where_the_demo_is(command: list[str], folder: Path) -> None:
    said = Terminal(DATA_DIR=str(folder)).refused(*command)
    assert f"There is no database in {folder};" in said
    reached = said.split("reached by ")[1].strip()
    assert shlex.split(reached) == [f"NEWSBELL_DATA_DIR={folder / 'demo'}", "./newsbell", *command]
    assert [entry.name for entry in folder.iterdir()] == ["demo"]


def test_without_a_demo_up_is_the_way_out(tmp_path: Path) -> None:
    said = Terminal(DATA_DIR=str(tmp_path / "var")).refused("topic", "list")
    assert said == (
        f"newsbell: There is no database in {tmp_path / 'var'}. ./newsbell up makes one there, and "
        "NEWSBELL_DATABASE_URL names another one.\n"
    )
    assert not any(tmp_path.iterdir())


def test_the_demos_database_is_named(folder: Path) -> None:
    demo = folder / "demo"
    here = Terminal(DATA_DIR=str(demo))
    listed = here.run("topic", "list")
    assert (listed.code, "Osaka" in listed.said) == (0, True)
    assert listed.complained == f"Database: the built-in one in {demo}, on which no ./newsbell up runs\n"
    with serving(demo):
        assert here.run("topic", "list").complained == f"Database: the built-in one in {demo}\n"
        assert here.run("topic", "list", "--json").complained == ""  # for programs
        assert f"(Database: the built-in one in {demo}.)" in here.refused("feed", "remove", "https://news.example/")


def test_the_usual_one_is_named_only_when_nothing_runs_on_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen_database, "USUAL_FOLDER", (folder / "demo").resolve())
    here = Terminal(DATA_DIR=str(folder / "demo"))
    assert "no ./newsbell up runs" in here.run("topic", "list").complained
    with serving(folder / "demo"):
        assert here.run("topic", "list").complained == ""


def test_a_database_elsewhere_is_named_without_its_password(terminal: Terminal) -> None:
    ended = terminal.run("topic", "list")
    assert ended.complained.startswith("Database: test_") and " at /" in ended.complained
    far = Terminal(DATABASE_URL="postgresql://bell:s3cret@127.0.0.1:1/courier")
    said = far.refused("editor", "add", "ada@news.example")
    assert "(Database: courier at 127.0.0.1:1.)" in said and "s3cret" not in said


@pytest.mark.parametrize(
    "command",
    [
        ["topic", "add", "osaka", "--name", "Osaka"],
        ["editor", "add", "ada@news.example"],
        ["feed", "remove", "https://news.example/rss"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_database_that_dies_meanwhile_is_one_sentence(
    command: list[str], terminal: Terminal, database_url: str
) -> None:
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with (
        ThreadPoolExecutor(1) as thread,
        psycopg.connect(database_url) as busy,
        psycopg.connect(database_url, autocommit=True) as admin,
    ):
        busy.execute("LOCK TABLE topics, editors, feeds")
        said = thread.submit(terminal.refused, *command)
        until(lambda: admin.execute(waiting).fetchone() is not None)
        admin.execute(f"SELECT pg_terminate_backend(pid) FROM ({waiting}) AS them".encode())
        assert "The database does not answer: " in said.result(timeout=30)
        assert "(Database: test_" in said.result()


def test_the_bare_command_helps_and_complains_of_nothing(terminal: Terminal) -> None:
    for group in ([], ["alert"]):
        ended = terminal.run(*group)
        assert (ended.code, ended.complained, "recall" in ended.said) == (1, "", bool(group))


def test_migrate_makes_one_and_says_what_comes_next(tmp_path: Path) -> None:
    here = Terminal(DATA_DIR=str(tmp_path))
    made, *steps = here.said("migrate").splitlines()
    assert made == f"Made a database: the built-in one in {tmp_path}."
    # Each of these is a command that works as it stands.
    for step in steps:
        here.said(*shlex.split(step.removeprefix("Next: ./newsbell ")))
    assert [step.split()[2:4] for step in steps] == [
        ["vapid", "new"],
        ["topic", "add"],
        ["feed", "add"],
        ["editor", "add"],
    ]
    assert here.said("migrate") == (f"The database is on this release's schema: the built-in one in {tmp_path}.\n")


# The environment file


def test_settings_come_from_the_file_of_the_service(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "newsbell.env"
    file.write_text(
        f'# The service\'s\nNEWSBELL_DATABASE_URL="{database_url}"\nNEWSBELL_SITE_URL=https://far.example\n'
    )
    here = Terminal(DATABASE_URL="", SITE_URL="", DATA_DIR=str(tmp_path / "var"))
    assert "https://far.example/desk" in here.said("--env-file", file, "editor", "add", "ada@news.example")
    with psycopg.connect(database_url) as db:
        assert db.execute("SELECT email FROM editors").fetchall() == [("ada@news.example",)]
    assert not (tmp_path / "var").exists()
    assert "cannot be read" in here.refused("--env-file", tmp_path / "none", "topic", "list")
    assert "NEWSBELL_DATABASE_URL" not in os.environ or os.environ["NEWSBELL_DATABASE_URL"] != database_url
