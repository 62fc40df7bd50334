"""What is refused before anything starts: `up`, `web` and `worker` each say it in one sentence."""

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from app.domain.refusals import Refusal
from app.startup import must_be_free
from app.supervisor import REFUSED
from app.vapid import load_key, make_key
from tests.browser import free_port
from tests.terminal import Terminal
from tests.test_embedded import as_root_only, unprivileged
from tests.test_fanout import a_reader

PROJECT = Path(__file__).parent.parent
STARTS = [["up", "--port", "{port}", "--data", "{data}"], ["web", "--port", "{port}"], ["worker", "--processes", "1"]]


@pytest.fixture(params=STARTS, ids=["up", "web", "worker"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    return [word.format(port=free_port(), data=tmp_path) for word in request.param]


def in_the_database(url: str, statement: str, *values: object) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(statement.encode(), values)


def a_key(tmp_path: Path) -> Path:
    path = tmp_path / "vapid.pem"
    make_key(path)
    return path


# The key


def test_another_key_than_the_living_readers_is_refused(
    start: list[str], terminal: Terminal, database_url: str, tmp_path: Path
) -> None:
    key = a_key(tmp_path)
    with psycopg.connect(database_url, autocommit=True) as db:
        a_reader(db, "https://updates.push.services.mozilla.com/wpush/v2/living")
        a_reader(db, "https://updates.push.services.mozilla.com/wpush/v2/left")
        # Who has left with the right key is no reason to go on with it.
        db.execute(
            "UPDATE subscriptions SET vapid_key_id = %s, ended_at = now() WHERE endpoint LIKE '%%left'",
            [load_key(key).id],
        )
    assert "not the one that your readers" in terminal.refused(*start)


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "VAPID key"), ("no key", "not a private key"), ("folder", "cannot be read")]
)
def test_a_key_that_cannot_be_used_is_refused(
    start: list[str], terminal: Terminal, tmp_path: Path, content: str | None, sentence: str
) -> None:
    if content is None and start[0] == "up":
        pytest.skip("the first `up` makes the key")
    path = tmp_path / "vapid.pem"
    if content == "folder":
        path.mkdir()
    elif content:
        path.write_text(content)
        path.chmod(0o600)
    assert sentence in terminal.refused(*start)


@pytest.mark.parametrize("module", [["worker"], ["app.main", "127.0.0.1", "{port}"]])
def test_what_a_child_refuses_is_one_line_and_final(module: list[str], database_url: str, tmp_path: Path) -> None:
    (tmp_path / "vapid.pem").write_text("no key")
    settings = {"NEWSBELL_DATABASE_URL": database_url, "NEWSBELL_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", *(word.format(port=free_port()) for word in module)]
    ended = subprocess.run(command, cwd=PROJECT, env=os.environ | settings, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (REFUSED, "", 1), ended.stderr
    assert "can be read by others" in ended.stderr


# The contact


@pytest.mark.parametrize(
    "settings", [{"VAPID_SUBJECT": "mailto:ops@localhost"}, {"SITE_URL": "https://localhost:8443"}]
)
def test_a_contact_on_localhost_is_refused(
    start: list[str], settings: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    a_key(tmp_path)
    here = Terminal(**{"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path)} | settings)
    said = here.refused(*start)
    assert "NEWSBELL_VAPID_SUBJECT" in said and "localhost" in said


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("PUSH_CA_FILE", "/no/such.pem", "/no/such.pem cannot be used (No such file or directory)"),
        ("PUSH_CA_FILE", "/dev/null", "/dev/null cannot be used (no certificate in it)"),
        ("SITE_URL", "alerts.news.example", "NEWSBELL_SITE_URL: this is not an address such as https://"),
        ("DATABASE_URL", "postgresql://bell@db:port/x", "not an address such as postgresql://"),
        ("DATABASE_URL", "postgresql://bell@[::1/x", "not an address such as postgresql://"),
        ("TIME_ZONE", "Mars", "NEWSBELL_TIME_ZONE: this is not a time zone such as Europe/Kyiv."),
    ],
)
def test_a_setting_that_cannot_be_is_refused(
    setting: str, value: str, sentence: str, database_url: str, tmp_path: Path
) -> None:
    a_key(tmp_path)
    here = Terminal(**{"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path)} | {setting: value})
    for start in (["up", "--port", free_port(), "--data", tmp_path], ["web", "--port", free_port()], ["worker"]):
        assert sentence in here.refused(*start)


# The schema


@pytest.mark.parametrize("command", [*STARTS, ["migrate"], ["topic", "list"]], ids=lambda words: str(words[0]))
def test_a_database_of_a_newer_release_is_refused(
    command: list[str], terminal: Terminal, database_url: str, tmp_path: Path
) -> None:
    a_key(tmp_path)
    in_the_database(database_url, "UPDATE alembic_version SET version_num = '2999_01_01_far_ahead'")
    said = terminal.refused(*(word.format(port=free_port(), data=tmp_path) for word in command))
    assert "of a newer release than this one" in said and "(2999_01_01_far_ahead)" in said


def test_an_older_database_is_refused_with_the_way_out(
    start: list[str], terminal: Terminal, database_url: str, tmp_path: Path
) -> None:
    if start[0] == "up":
        pytest.skip("`up` migrates")
    a_key(tmp_path)
    in_the_database(database_url, "UPDATE alembic_version SET version_num = '2026_11_22_lanes'")
    assert "./newsbell migrate" in terminal.refused(*start)


# The port


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["up", "--demo", "--data", "a b"], "up --demo --data 'a b'"),
        (["web", "--host", "127.0.0.1"], "web --host 127.0.0.1"),
    ],
)
@pytest.mark.parametrize("form", [["--port", "{}"], ["--port={}"]])
def test_a_taken_port_brings_the_same_command_with_another(
    given: list[str], kept: str, form: list[str], terminal: Terminal
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = terminal.refused(given[0], *(word.format(port) for word in form), *given[1:])
    found = re.search(r"Port \d+ is taken.*: (\./newsbell .*) --port (\d+)\n", said)
    assert found and shlex.split(found[1]) == ["./newsbell", *shlex.split(kept)], said
    assert int(found[2]) != port
    with socket.create_server(("127.0.0.1", int(found[2]))):
        pass  # it is free


@pytest.mark.parametrize("command", ["up", "web"])
@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("no-such-host.invalid", "There is no address"),
        ("a..b", "There is no address"),
        ("192.0.2.1", "Nothing can listen"),
    ],
)
def test_a_host_that_is_not_ours_is_one_sentence(
    command: str, host: str, sentence: str, terminal: Terminal, tmp_path: Path
) -> None:
    said = terminal.refused(command, "--host", host, "--port", free_port())
    assert sentence in said and "--host" in said


@as_root_only
def test_a_port_of_the_systems_is_one_sentence() -> None:
    with unprivileged(), pytest.raises(Refusal, match=r"Port 80 takes rights .*: up --port 80\d\d"):
        must_be_free("127.0.0.1", [80], lambda port: f"up --port {port}")


def test_the_port_after_the_last_is_one_sentence(terminal: Terminal) -> None:
    assert "There is no port 65536" in terminal.refused("up", "--demo", "--port", "65535")
