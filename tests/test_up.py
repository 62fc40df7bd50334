"""`./newsbell up` as an operator uses it: from nothing, again, in the wrong way, and after somebody pulled a plug."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.vapid import load_key, make_key
from tests.browser import STOP_LIMIT, free_port
from tests.terminal import Terminal
from tests.test_fanout import a_reader
from tests.test_poll import until

PROJECT = Path(__file__).parent.parent


def command(*arguments: str, **environment: str) -> list[str]:
    told = [f"NEWSBELL_{name}={value}" for name, value in environment.items()]
    return ["env", *told, sys.executable, "-m", "app.cli", *arguments]


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def answers(url: str) -> bool:
    try:
        return bool(get(url))
    except OSError:
        return False


def session_members(process: subprocess.Popen[bytes], mark: str) -> list[int]:
    """Processes that were started for this data folder (it stands in their environment)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes() and int(entry.name) != os.getpid():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@contextmanager
def running(data: Path, port: int, *extra: str, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`up` and its end; the file has what it says."""
    arguments = ["up", "--port", str(port), "--data", str(data), *extra]
    told = command(*arguments, WORKERS="1", TEST_MARK=str(data), **environment)
    said = data.parent / f"{data.name} says"
    with said.open("w") as to:
        process = subprocess.Popen(told, cwd=PROJECT, stderr=to)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/readyz"))
        yield process, said
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.wait(20)
        left = session_members(process, str(data))
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        sys.stderr.write(said.read_text())
    assert process.returncode in (0, -signal.SIGKILL)
    assert time.monotonic() - began < STOP_LIMIT
    assert "killing it" not in said.read_text()  # which it does after four seconds
    assert not left


def test_up_makes_everything_from_nothing_and_goes_on_with_it_the_next_time(tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "a folder"
    site = f"http://127.0.0.1:{port}"
    with running(data, port, "--demo") as (_, said):
        link = printed_link(said, port)
        assert f"NEWSBELL_DATA_DIR='{data / 'demo'}' ./newsbell" in said.read_text()
        assert "Next:" not in said.read_text()
        first = get(f"{site}/api/site")
        assert [topic["name"] for topic in first["topics"]] == ["Russia", "Ukraine", "World News"]
        until(lambda: get(f"{site}/api/latest")["items"])
    key = data / "demo" / "vapid.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with running(data, port, "--demo") as (_, said):
        assert link and link != printed_link(said, port)  # each is good until the next start
        assert get(f"{site}/api/site") == first
        assert get(f"{site}/api/latest")["items"]
        # Only one at a time on one folder.
        another = command("up", "--demo", "--port", str(free_port()), "--data", str(data))
        ended = subprocess.run(another, cwd=PROJECT, capture_output=True, text=True, timeout=60)
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)  # one sentence, no traceback
        assert "newsbell: Newsbell runs already" in ended.stderr


def test_up_outlives_the_death_of_any_of_its_processes_and_forgets_nothing(tmp_path: Path) -> None:
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    with running(tmp_path, port, "--demo") as (up, said):
        link = printed_link(said, port)
        assert link
        become_owner(port, link)
        until(lambda: get(f"{site}/api/latest")["items"])
        for pid in session_members(up, str(tmp_path)):
            if pid != up.pid and Path(f"/proc/{pid}").exists():  # web, worker, its parser, publisher, PostgreSQL
                os.kill(pid, signal.SIGKILL)
        until(lambda: answers(f"{site}/readyz"))
        newest = get(f"{site}/api/latest")["items"][0]["id"]
        until(lambda: get(f"{site}/api/latest")["items"][0]["id"] > newest)  # it polls again
        up.kill()
        until(lambda: not answers(f"{site}/healthz"))
        # The database goes on by itself until somebody comes back to it; everything else must not.
        until(lambda: all("postgres" in command_of(pid) for pid in session_members(up, str(tmp_path))))
        with running(tmp_path, port, "--demo") as (_, said):
            assert printed_link(said, port) is None
            assert get(f"{site}/api/latest")["items"][0]["id"] > newest


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return "postgres (gone)"


def printed_link(said: Path, port: int) -> str | None:
    """The secret of the first owner's link in what `up` says, if there is one."""
    until(lambda: "To stop" in said.read_text())
    assert f"http://localhost:{port}/desk\n" in said.read_text()
    link = re.search(rf"http://localhost:{port}/desk#link=([\w-]{{43}})\n", said.read_text())
    return link and link[1]


def become_owner(port: int, link: str) -> None:
    wish = {"link": link, "email": "ada@news.example", "password": "correct horse battery"}
    assert post(f"http://127.0.0.1:{port}/api/session", wish)["editor"]["role"] == "owner"


def post(url: str, body: object) -> Any:
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return json.load(answer)


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "--port" in Terminal().refused("up", "--port", port, "--data", tmp_path)


def test_an_unreachable_database_is_one_sentence(tmp_path: Path) -> None:
    nowhere = Terminal(DATABASE_URL="postgresql://bell:s3cret@127.0.0.1:1/x")
    said = nowhere.refused("up", "--port", free_port(), "--data", tmp_path)
    assert "NEWSBELL_DATABASE_URL" in said
    assert "s3cret" not in said


def test_an_unusable_data_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "--data" in Terminal().refused("up", "--port", free_port(), "--data", tmp_path / "file")


def test_a_lost_key_is_never_replaced_while_readers_depend_on_it(tmp_path: Path, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as db:
        a_reader(db, "https://updates.push.services.mozilla.com/wpush/v2/x")
        port, here = free_port(), Terminal(DATABASE_URL=database_url)
        said = here.refused("up", "--port", port, "--data", tmp_path)
        assert "missing" in said
        assert not (tmp_path / "vapid.pem").exists()
        make_key(tmp_path / "vapid.pem")  # another one is not theirs either
        assert "not the one" in here.refused("up", "--port", port, "--data", tmp_path)
        db.execute("UPDATE subscriptions SET vapid_key_id = %s", (load_key(tmp_path / "vapid.pem").id,))
    with running(tmp_path, port, DATABASE_URL=database_url, POLL_FLOOR="3600"):
        pass


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["topic", "add", "Not a slug", "--name", "X"], "small letters"),
        (["feed", "add", "ftp://example.org/x", "--topic", "ukraine"], "https://"),
        (["feed", "add", "https://example.org/x", "--topic", "nowhere"], "no topic"),
        (["feed", "poll", "https://example.org/none"], "no feed"),
        (["alert", "send", "--title", " ", "--url", "https://example.org/1", "--topic", "ukraine"], "title"),
        (["alert", "send", "--title", "T", "--url", "javascript:1", "--topic", "ukraine"], "https://"),
        (
            ["alert", "send", "--title", "T", "--url", "https://a.example/", "--topic", "ukraine", "--ttl", "nan"],
            "hours",
        ),
        (
            ["alert", "send", "--title", "T", "--url", "https://a.example/", "--topic", "ukraine", "--ttl", "1e99"],
            "hours",
        ),
        (["topic", "add", "zurich", "--name", "Z\udcfcrich"], "UTF-8"),  # as a terminal of before 2000 types it
        (["topic", "add", "zurich", "--name", "Z\0rich"], "NUL"),
        (["vapid", "show"], "vapid new"),
    ],
)
def test_commands_refuse_with_one_sentence(
    arguments: list[str], sentence: str, terminal: Terminal, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute("INSERT INTO topics (slug, name, description, synonyms) VALUES ('ukraine', 'Ukraine', '', '{}')")
    assert sentence in terminal.refused(*arguments)


def test_lists_speak_json(terminal: Terminal) -> None:
    assert terminal.json("topic", "list") == []
    terminal.said("topic", "add", "ukraine", "--name", "Ukraine", "--synonym", "Україна")
    terminal.said("feed", "add", "https://example.org/feed", "--topic", "ukraine", "--policy", "draft")
    [topic] = terminal.json("topic", "list")
    assert topic == {"slug": "ukraine", "name": "Ukraine", "description": "", "synonyms": ["Україна"]}
    [feed] = terminal.json("feed", "list")
    assert (feed["url"], feed["topics"], feed["policy"]) == ("https://example.org/feed", ["ukraine"], "draft")
    assert "ukraine" in terminal.said("topic", "list")
