"""Text from feeds and people in a terminal and in the log: shown as text, and never obeyed."""

import io
import json
import logging
import sys
from pathlib import Path

import psycopg
import pytest

from app.logs import OneLine, speak
from app.visible import visible, visible_json
from tests.terminal import Terminal

EVIL = "Truce \x1b]0;owned\x07\x1b[2J\x9b31m [bold red]now[/] :smile:\u202e\x7f"


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain, Київ, 🇺🇦, שלום", "plain, Київ, 🇺🇦, שלום"),
        ("می\u200cخواهم \u200f(1)", "می\u200cخواهم \u200f(1)"),  # joiners and marks are letters' own business
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31m\x00\x9b\x85", r"\x1b[31m\x00\x9b\x85"),
        ("a\u2028b\u2029c\u2066d", r"a\u2028b\u2029c\u2066d"),
        ("\ud800", r"\ud800"),
        (r"\x1b", r"\x1b"),
    ],
)
def test_what_a_terminal_would_obey_is_spelt_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


def test_a_json_document_stays_one_and_says_the_same() -> None:
    document = visible_json(json.dumps({"title": EVIL}, ensure_ascii=False))
    assert json.loads(document) == {"title": EVIL}
    assert visible(document) == document


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logger(log: io.StringIO) -> logging.Logger:
    handler = logging.StreamHandler(log)
    handler.setFormatter(OneLine("%(asctime)s web %(levelname).1s %(message)s", datefmt="%H:%M:%S"))
    made = logging.Logger("of a test")
    made.addHandler(handler)
    return made


def test_no_reason_forges_a_line_of_the_log(logger: logging.Logger, log: io.StringIO) -> None:
    logger.error("OVERRIDE: %s", "alone\n12:00:00 web I alert: finished\x1b[1A")
    [line] = log.getvalue().splitlines()
    assert line.endswith(r"OVERRIDE: alone\n12:00:00 web I alert: finished\x1b[1A")


def test_nor_does_an_exception_that_quotes_somebody(logger: logging.Logger, log: io.StringIO) -> None:
    try:
        raise ValueError("bad\n12:00:00 web I alert: finished\u2028x")
    except ValueError:
        logger.exception("It failed")
    first, *rest = log.getvalue().splitlines()
    assert first.endswith("web E It failed")
    assert rest and all(line.startswith("  ") for line in rest)


def test_the_log_of_every_process_is_written_so() -> None:
    kept, level = logging.root.handlers[:], logging.root.level
    try:
        speak()
        [handler] = logging.root.handlers
        assert isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
        assert isinstance(handler.formatter, OneLine)
    finally:
        logging.root.handlers[:] = kept
        logging.root.setLevel(level)


def test_commands_show_titles_names_and_refusals_as_text(terminal: Terminal, database_url: str) -> None:
    terminal.said("topic", "add", "ukraine", "--name", EVIL)
    terminal.said("editor", "add", "ada@desk.example", "--name", "[link=https://evil.example]Ada[/link]")
    terminal.said("feed", "add", "https://publisher.example/rss", "--topic", "ukraine")
    with psycopg.connect(database_url) as db:
        db.execute("UPDATE feeds SET title = %s, trouble = %s", [EVIL, EVIL])
        db.execute(
            "INSERT INTO alerts (id, title, body, url, level, ttl, state, recipients, created_at) VALUES "
            "('11111111-1111-1111-1111-111111111111', %s, %s, 'https://a.example/', 'normal', 60, 'draft', 0, now())",
            [EVIL, EVIL],
        )
        db.execute(
            "INSERT INTO lanes (origin, since, breaks, alarm) VALUES ('https://push.example', now(), 0, %s)", [EVIL]
        )
    for command in ("topic list", "feed list", "alert list", "alert show 111111", "lane list"):
        said = terminal.said(*command.split())
        assert visible(said.replace("\n", "")) == said.replace("\n", ""), command
        assert "[bold red]now[/]" in said and ":smile:" in said, command
        assert json.dumps(EVIL) in json.dumps(terminal.json(*command.split())), command
    assert "[link=https://evil.example]Ada[/link]" in terminal.said("editor", "list")
    for wrong in (("lane", "resume", EVIL), ("alert", "recall", EVIL), ("topic", "add", EVIL, "--name", "x")):
        sentence = terminal.refused(*wrong)
        assert visible(sentence[:-1]) == sentence[:-1]
    assert "\x1b" not in terminal.refused("alert", "send", "--no-such-\x1b[2J")


def test_this_file_is_about_both() -> None:
    """A door that prints or logs without these would be a gap: typer.echo and print are the ways around."""
    app = Path(__file__).parent.parent / "app"
    around = {
        file.name
        for file in app.glob("*.py")
        for line in file.read_text().splitlines()
        if "typer.echo(" in line or line.lstrip().startswith("print(")
    }
    # terminal.py: JSON, made visible there. The others print our own words, numbers, settings and links.
    assert around == {"terminal.py", "up.py", "editor_commands.py"}
