"""`./newsbell feed …` and `topic …`: what they change, and that the audit knows."""

import psycopg

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
