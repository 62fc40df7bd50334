"""The `newsbell` script: it makes .venv when that is due, and never gets in the way otherwise."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.terminal import Terminal

SCRIPT = Path(__file__).parent.parent / "newsbell"

CLI = """
import os, sys
print(*sys.argv[1:], sep="|")
print(os.getcwd())
print(os.environ["NEWSBELL_DATA_DIR"])
"""

# Makes a real environment, quickly, and installs nothing.
UV = """#!/bin/sh
echo "$1" >>"$CALLS"
case $1 in
venv) exec "$3" -m venv --without-pip "$4" ;;
pip) eval "${WHEN_INSTALLING:-:}" ;;
esac
"""

TOOL = """
import sys
print("{name}", *sys.argv[1:])
sys.exit("{name}" in "{failing}")
"""


@dataclass
class Project:
    """A copy of the script with a command line of two lines, and a uv that only notes what it is asked."""

    folder: Path
    programs: Path

    @property
    def script(self) -> Path:
        return self.folder / "newsbell"

    @property
    def environment(self) -> dict[str, str]:
        mine = {"PATH": f"{self.programs}:/usr/bin:/bin", "CALLS": str(self.programs / "calls")}
        # `./newsbell test` has set some of these for itself.
        theirs = {name: value for name, value in os.environ.items() if not name.startswith(("NEWSBELL_", "PYTHON"))}
        return theirs | mine

    def run(
        self, *arguments: str, script: Path | None = None, cwd: Path | None = None, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script or self.script, *arguments],
            cwd=cwd or self.folder,
            env=self.environment | extra,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def installs(self) -> int:
        calls = self.programs / "calls"
        return calls.read_text().split().count("pip") if calls.exists() else 0

    def change_lock(self) -> None:
        with (self.folder / "requirements.lock").open("a") as lock:
            lock.write("# changed\n")


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def wait_for(happened: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "news room", tmp_path / "programs")
    (made.folder / "app").mkdir(parents=True)
    (made.folder / "app" / "__main__.py").write_text(CLI)
    (made.folder / "requirements.lock").touch()
    shutil.copy(SCRIPT, made.script)
    made.programs.mkdir()
    (made.programs / "python3").symlink_to(os.path.realpath(sys.executable))
    program(made.programs / "uv", UV)
    for browser in ("firefox", "chromium"):
        program(made.programs / browser, "#!/bin/sh\n")
    return made


def test_first_use_installs_and_the_second_does_not(project: Project) -> None:
    first, second = project.run("alert", "send"), project.run("alert", "send")
    assert first.returncode == second.returncode == 0, first.stderr
    assert "Making .venv" in first.stderr and second.stderr == ""
    assert first.stdout == second.stdout and project.installs() == 1


def test_the_machines_own_installer_can_do_it(project: Project) -> None:
    (project.programs / "uv").unlink()
    done = project.run("doctor", PATH=f"{project.programs}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("doctor\n")


def test_a_changed_lock_is_installed(project: Project) -> None:
    project.run()
    project.change_lock()
    assert project.run().returncode == 0
    assert project.installs() == 2


def test_an_interrupted_installation_is_done_again(project: Project) -> None:
    assert project.run(WHEN_INSTALLING="kill -9 $PPID").returncode == -9
    assert not (project.folder / ".venv").exists()
    assert project.run().returncode == 0
    assert project.installs() == 2
    assert not (project.folder / ".venv.new").exists()


def test_a_failed_installation_says_why_and_leaves_the_old_one(project: Project) -> None:
    project.run()
    project.change_lock()
    failed = project.run(WHEN_INSTALLING="echo 'error: no route to host' >&2; exit 2")
    assert failed.returncode == 1
    assert "no route to host" in failed.stderr.splitlines()[-1]
    assert (project.folder / ".venv" / "bin" / "python").exists()


def test_an_interrupt_during_the_installation_is_silent_and_harmless(project: Project) -> None:
    waits = project.environment | {"WHEN_INSTALLING": "sleep 30"}
    with subprocess.Popen(project.script, env=waits, stderr=subprocess.PIPE, start_new_session=True) as run:
        wait_for(lambda: project.installs() == 1)
        os.killpg(run.pid, signal.SIGINT)
        assert run.stderr is not None
        said = run.stderr.read().decode()
    assert run.returncode == 130
    assert said.count("\n") == 1 and "Making .venv" in said
    assert project.run().returncode == 0


def test_an_interrupt_is_silent_at_any_moment(database_url: str) -> None:
    """While the script, Python or our imports have only begun, and later."""
    told = os.environ | {"NEWSBELL_DATABASE_URL": database_url, "NEWSBELL_DATA_DIR": "/nowhere"}
    for moments in ((0.005, 0.01, 0.02, 0.04), (0.07, 0.1, 0.15, 0.2), (0.3, 0.5, 0.7, 1.0)):
        with ThreadPoolExecutor(len(moments)) as threads:
            ended = list(
                threads.map(lambda after: interrupted([str(SCRIPT), "topic", "list", "--json"], after, told), moments)
            )
        # A process that is not yet at the point of deciding about its end has died of the signal: the same to a shell.
        assert {code for code, _, _ in ended} <= {130, -signal.SIGINT, 0}, ended
        assert {said for code, said, _ in ended if code} <= {""}
        assert {complained for _, _, complained in ended} == {""}


def interrupted(command: list[str], after: float, environment: dict[str, str]) -> tuple[int, str, str]:
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        time.sleep(after)
        os.killpg(run.pid, signal.SIGINT)
        said, complained = run.communicate(timeout=60)
    return run.returncode, said, complained


def test_who_stops_watching_an_alert_is_told_that_it_goes_on(terminal: Terminal, database_url: str) -> None:
    terminal.said("topic", "add", "ukraine", "--name", "Ukraine")
    send = ["alert", "send", "--title", "Truce", "--url", "https://news.example/1", "--topic", "ukraine"]
    told = os.environ | {"NEWSBELL_DATABASE_URL": database_url}
    with subprocess.Popen(
        [SCRIPT, *send], env=told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stdout is not None
        first = run.stdout.readline()
        time.sleep(0.3)
        os.killpg(run.pid, signal.SIGINT)
        said, complained = run.communicate(timeout=60)
    assert (run.returncode, said) == (130, "")
    assert complained.splitlines()[-1] == "newsbell: Stopped watching. The alert goes on being sent."
    [alert] = terminal.json("alert", "list")
    assert first == f"{alert['id']}  Released as normal.\n" and alert["state"] == "released"


def test_a_python_that_went_away_is_replaced(project: Project) -> None:
    project.run()
    python = project.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/no/longer/here")
    assert project.run().returncode == 0
    assert project.installs() == 2


def test_two_first_uses_at_once_install_once(project: Project) -> None:
    # The first installation lasts until the second use has been seen to wait for it.
    command, environment, go = str(project.script), project.environment, project.programs / "go"
    lasting = environment | {"WHEN_INSTALLING": 'until [ -e "${0%uv}go" ]; do sleep 0.02; done'}
    first = subprocess.Popen(command, env=lasting, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: project.installs() == 1)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as second:
        assert second.stderr is not None
        assert b"waiting" in second.stderr.readline()
        go.touch()
        assert first.wait(30) == second.wait(30) == 0
    assert project.installs() == 1


def test_the_caller_stays_where_they_are(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "app").mkdir(parents=True)
    (elsewhere / "app" / "__main__.py").write_text("raise SystemExit('not mine')")
    done = project.run("a b", "", "c", cwd=elsewhere)
    assert done.stdout.splitlines() == ["a b||c", str(elsewhere), str(project.folder / "var")]


def test_a_named_data_folder_is_taken_as_named(project: Project) -> None:
    assert project.run(NEWSBELL_DATA_DIR="here").stdout.splitlines()[-1] == "here"


def test_links_lead_to_the_project(project: Project, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bell").symlink_to("../news room/newsbell")
    (tmp_path / "bell").symlink_to(tmp_path / "bin" / "bell")
    done = project.run(script=tmp_path / "bell", cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == str(project.folder / "var"), done.stderr


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        (None, "there is no python3"),
        ("echo 9 whole", "python3 here is 3.9"),
        ("echo 11 bare", "apt-get install python3-venv"),
        ("exit 127", "there is no python3"),
    ],
)
def test_a_missing_python_is_one_sentence(project: Project, python: str | None, sentence: str) -> None:
    shutil.rmtree(project.programs)
    project.programs.mkdir()
    if python:
        program(project.programs / "python3", f"#!/bin/sh\n{python}\n")
    failed = project.run("up", PATH=str(project.programs))
    assert failed.returncode == 1 and failed.stdout == ""
    assert len(failed.stderr.splitlines()) == 1 and sentence in failed.stderr


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""  # nobody may have asked yet how it ended
    except OSError:
        return False


def with_tools(project: Project, failing: str = "") -> None:
    for name in ("ruff", "mypy", "pytest"):
        (project.folder / f"{name}.py").write_text(TOOL.format(name=name, failing=failing))


def test_all_checks_run(project: Project) -> None:
    with_tools(project)
    done = project.run("test")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[:2] == ["ruff check", "ruff format --check"]
    assert sorted(said[2:]) == ["mypy", "pytest -n 3 --dist loadfile --no-loadscope-reorder"]


@pytest.mark.parametrize("tool", ["ruff", "mypy", "pytest"])
def test_a_failure_of_any_check_is_one_of_all(project: Project, tool: str) -> None:
    with_tools(project, failing=tool)
    done = project.run("test")
    assert done.returncode == 1
    assert ("pytest" in done.stdout) is (tool != "ruff")  # style is cheap to look at and comes first


def test_who_ends_the_tests_ends_all_checks(project: Project) -> None:
    with_tools(project)
    endless = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(60)"
    for name in ("mypy", "pytest"):
        (project.folder / f"{name}.py").write_text(endless)
    with subprocess.Popen(
        [project.script, "test"], env=project.environment, stdout=subprocess.PIPE, start_new_session=True
    ) as run:
        assert run.stdout is not None
        said = [run.stdout.readline() for _ in range(4)]
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait(10) == 130
    wait_for(lambda: not any(runs(int(pid)) for pid in said[2:]))


def test_a_missing_browser_is_one_sentence_for_who_may_not_install_it(project: Project) -> None:
    with_tools(project)
    project.run()
    (project.programs / "chromium").unlink()
    (project.programs / "cksum").symlink_to(shutil.which("cksum") or "")
    program(project.programs / "id", "#!/bin/sh\necho 1000\n")
    done = project.run("test", PATH=str(project.programs))
    assert done.returncode == 1 and "pytest" not in done.stdout
    assert len(done.stderr.splitlines()) == 1 and "apt-get install chromium" in done.stderr


def test_arguments_are_for_pytest_alone(project: Project) -> None:
    with_tools(project, failing="pytest")
    done = project.run("test", "tests/test_x.py", "-k", "a or b")
    assert (done.returncode, done.stdout) == (1, "pytest tests/test_x.py -k a or b\n")
