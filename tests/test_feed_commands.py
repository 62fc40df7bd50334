"""`./newsbell feed …` and `topic …`: what they change, and that the audit knows."""

import json
import subprocess
from pathlib import Path

import psycopg

from tests.test_up import PROJECT, command, refused

URL = "https://publisher.example/rss"


def test_a_feed_is_added_paused_resumed_and_removed(database_url: str, tmp_path: Path) -> None:
    where = {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path)}

    def run(*arguments: str) -> str:
        told = command(*arguments, **where)
        return subprocess.run(told, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60).stdout

    run("topic", "add", "ukraine", "--name", "Ukraine")
    run("feed", "add", URL, "--topic", "ukraine")
    run("feed", "pause", URL)
    assert [feed["state"] for feed in json.loads(run("feed", "list", "--json"))] == ["paused"]
    assert "paused already" in refused("feed", "pause", URL, **where)
    assert "is paused" in refused("feed", "poll", URL, **where)
    assert "does not ring" in run("feed", "resume", URL)
    run("feed", "remove", URL)
    assert "no feed" in refused("feed", "resume", URL, **where)
    with psycopg.connect(database_url) as db:
        noted = db.execute("SELECT action, subject FROM audit WHERE actor = 'command line' ORDER BY id").fetchall()
    assert noted == [
        ("topic.add", "ukraine"),
        ("feed.add", URL),
        ("feed.pause", URL),
        ("feed.resume", URL),
        ("feed.delete", URL),
    ]
