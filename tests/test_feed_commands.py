"""`./newsbell feed …` and `topic …`: what they change, and that the audit knows."""

import psycopg
import pytest

from tests.terminal import Terminal

URL = "https://publisher.example/rss"


def test_a_feed_is_added_paused_resumed_and_removed(terminal: Terminal, database_url: str) -> None:
    run, refused = terminal.said, terminal.refused
    run("topic", "add", "ukraine", "--name", "Ukraine")
    run("feed", "add", URL, "--topic", "ukraine")
    run("feed", "pause", URL)
    assert [feed["state"] for feed in terminal.json("feed", "list")] == ["paused"]
    assert "paused already" in refused("feed", "pause", URL)
    assert "is paused" in refused("feed", "poll", URL)
    assert "does not ring" in run("feed", "resume", URL)
    run("feed", "remove", URL)
    assert "no feed" in refused("feed", "resume", URL)
    with psycopg.connect(database_url) as db:
        noted = db.execute("SELECT action, subject FROM audit WHERE actor = 'command line' ORDER BY id").fetchall()
    assert noted == [
        ("topic.add", "ukraine"),
        ("feed.add", URL),
        ("feed.pause", URL),
        ("feed.resume", URL),
        ("feed.delete", URL),
    ]


LONG = f"https://publisher.example/{'a-section/' * 7}rss.xml"


@pytest.mark.parametrize("columns", [80, 40])
def test_what_the_next_command_needs_is_shown_whole_in_a_terminal(
    columns: int, terminal: Terminal, database_url: str
) -> None:
    origin = "https://updates.push.services.mozilla.com"
    terminal.said("topic", "add", "ukraine", "--name", "Ukraine")
    terminal.said("feed", "add", LONG, "--topic", "ukraine")
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute(
            "INSERT INTO lanes (origin, rate, since, breaks, paused_at, alarm) VALUES (%s, 5, now(), 0, now(), %s)",
            [origin, "The key is refused by this push service; see whether it is the right one."],
        )
    terminal.columns = columns
    assert LONG in terminal.said("feed", "list").split()
    assert origin in terminal.said("lane", "list").split()
    terminal.columns = None
    # A list that has room is a table, and so is what goes into a file or a pipe, whose lines have no end.
    assert "Ukraine" in terminal.said("topic", "list").splitlines()[1]
    assert LONG in terminal.said("feed", "list").splitlines()[1].split()


def test_a_feeds_number_will_do(terminal: Terminal) -> None:
    terminal.said("topic", "add", "ukraine", "--name", "Ukraine")
    terminal.said("feed", "add", LONG, "--topic", "ukraine")
    [feed] = terminal.json("feed", "list")
    assert LONG in terminal.said("feed", "pause", feed["id"])
    assert LONG in terminal.said("feed", "remove", feed["id"])
    assert "no feed" in terminal.refused("feed", "remove", feed["id"])
    assert "no feed" in terminal.refused("feed", "remove", "9" * 40)
