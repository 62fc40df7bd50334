"""The supervisor, with real processes: it keeps them alive, and none outlives it."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from app.supervisor import hold_lifeline, pause_before_restart, port_is_free

ROOT = Path(__file__).parent.parent

# Each child holds a lock while it lives, adds its process id to a file called by its name, then does as told.
CHILD = """
import fcntl, os, signal, sys, time
from app.domain.refusals import Refusal
from app.supervisor import hold_lifeline, refusals_end_it
hold_lifeline()
if "stubborn" in sys.argv[1]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
alive = open(sys.argv[1] + ".alive", "w")
fcntl.flock(alive, fcntl.LOCK_EX)
with open(sys.argv[1], "a") as file:
    print(os.getpid(), file=file)
if "brief" in sys.argv[1]:
    sys.exit(3)
if "refusing" in sys.argv[1]:
    with refusals_end_it():
        raise Refusal("This key is not ours.")
time.sleep(60)
"""

SUPERVISOR = """
import logging, os, sys
from app.supervisor import Child, supervise
logging.basicConfig(format="%(message)s")
folder, child, *names = sys.argv[1:]
children = [Child(name, [sys.executable, "-c", child, os.path.join(folder, name)]) for name in names]
grace = float(os.environ.pop("GRACE"))
supervise(children, environment=dict(os.environ), grace=grace, ready=lambda: print("ready", flush=True))
print("done")
"""


def wait_for(happened: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Supervised:
    """A supervisor in a process of its own, and what its children write down."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder

    def pids(self, name: str) -> list[int]:
        with suppress(FileNotFoundError):
            return [int(line) for line in (self.folder / name).read_text().splitlines()]
        return []

    def wait_for_child(self, name: str, *, lives: int = 1) -> int:
        wait_for(lambda: len(self.pids(name)) >= lives)
        return self.pids(name)[lives - 1]

    def is_alive(self, name: str) -> bool:
        with (self.folder / f"{name}.alive").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def end(self, number: int = signal.SIGTERM) -> str:
        """What it said after the signal, until its end."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=10)[0]


@contextmanager
def supervised(folder: Path, *names: str, grace: float = 4.0) -> Iterator[Supervised]:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder), CHILD, *names],
        env=os.environ | {"PYTHONPATH": str(ROOT), "GRACE": str(grace)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Supervised(process, folder)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all(tmp_path: Path, number: int) -> None:
    with supervised(tmp_path, "web", "worker") as running:
        assert running.wait_for_child("web") != running.wait_for_child("worker")
        said = running.end(number)
        assert not running.is_alive("web") and not running.is_alive("worker")
    assert said == "ready\ndone\n"


def test_a_killed_child_is_started_again_at_once(tmp_path: Path) -> None:
    with supervised(tmp_path, "web", "worker") as running:
        running.wait_for_child("worker")
        os.kill(running.wait_for_child("web"), signal.SIGKILL)
        running.wait_for_child("web", lives=2)
        assert running.is_alive("web") and running.is_alive("worker")
        said = running.end()
    assert said.count("\n") == 3
    assert "web was ended by signal 9 (Killed); starting it again at once." in said


def test_a_child_that_keeps_ending_is_started_ever_more_slowly(tmp_path: Path) -> None:
    with supervised(tmp_path, "brief") as running:
        running.wait_for_child("brief", lives=3)
        said = running.end()
    assert "ended with code 3; starting it again at once." in said
    assert "ended with code 3; starting it again in 1 s." in said


def test_a_child_that_refuses_is_not_started_again_and_stops_nobody_else(tmp_path: Path) -> None:
    with supervised(tmp_path, "refusing", "web") as running:
        web = running.wait_for_child("web")
        running.wait_for_child("refusing")
        os.kill(web, signal.SIGKILL)  # two starts later, the refusal is still the last word
        os.kill(running.wait_for_child("web", lives=2), signal.SIGKILL)
        running.wait_for_child("web", lives=3)
        said = running.end()
        assert len(running.pids("refusing")) == 1
    assert said.count("This key is not ours.\n") == 1
    assert "refusing cannot work as it is set up; it is not started again." in said
    assert said.endswith("done\n")


def test_when_all_have_refused_the_supervisor_refuses(tmp_path: Path) -> None:
    with supervised(tmp_path, "refusing", "refusing too") as running:
        said = running.process.communicate(timeout=10)[0]
    assert running.process.returncode == 1
    assert said.count("it is not started again") == 2
    assert "Refusal: Nothing is left that could run" in said


def test_a_child_that_will_not_end_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path, "stubborn", grace=0.3) as running:
        running.wait_for_child("stubborn")
        said = running.end()
        assert not running.is_alive("stubborn")
    assert "stubborn has not ended; killing it." in said and said.endswith("done\n")


def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    with supervised(tmp_path, "stubborn", "web", grace=60) as running:
        assert running.wait_for_child("stubborn") != running.wait_for_child("web")
        running.process.send_signal(signal.SIGINT)
        wait_for(lambda: not running.is_alive("web"))
        assert running.is_alive("stubborn")
        running.end(signal.SIGINT)
        assert not running.is_alive("stubborn")


def test_no_child_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with supervised(tmp_path, "web", "stubborn") as running:
        assert running.wait_for_child("web") != running.wait_for_child("stubborn")
        running.process.kill()
        wait_for(lambda: not running.is_alive("web") and not running.is_alive("stubborn"), seconds=5)


def test_a_command_that_does_not_exist_is_said_and_tried_again(tmp_path: Path) -> None:
    program = SUPERVISOR.replace("[sys.executable, ", "['/no/such/program', ")
    command = [sys.executable, "-c", program, str(tmp_path), "", "web"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GRACE": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        first, second = process.stderr.readline(), process.stderr.readline()
        process.terminate()
    assert b"could not be started (No such file or directory); starting it again at once" in first
    assert b"starting it again in 1 s" in second and process.returncode == 0


@pytest.mark.parametrize(("deaths", "seconds"), [(1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (6, 15), (5000, 15)])
def test_pauses_grow_up_to_a_limit(deaths: int, seconds: float) -> None:
    assert pause_before_restart(deaths) == seconds


def test_without_a_supervisor_there_is_nothing_to_hold() -> None:
    hold_lifeline()


def test_a_port_is_free_until_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not port_is_free("127.0.0.1", port)
    assert port_is_free("127.0.0.1", port)


def test_a_host_that_is_not_ours_is_no_question_of_free_ports() -> None:
    with pytest.raises(OSError, match="assign"):
        port_is_free("192.0.2.1", 8000)
