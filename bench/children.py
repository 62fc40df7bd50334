"""Processes that a benchmark starts: they end with it, and /proc says what they cost."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.domain.refusals import Refusal
from app.supervisor import LIFELINE

PROJECT = Path(__file__).parent.parent
GRACE = 6.0  # seconds that a child has to end
STEP = 0.02
TICKS = os.sysconf("SC_CLK_TCK")

Child = subprocess.Popen[str]


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    errors: Path | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> Iterator[Child]:
    """A child in a session of its own: Ctrl-C is for us, and we end it in good order."""
    held, ours = os.pipe()
    told = {
        **(os.environ if environment is None else environment),
        LIFELINE: str(held),
        "PYTHONPATH": str(PROJECT),
        "PYTHONSAFEPATH": "1",
    }
    with errors.open("w") if errors else open(os.devnull, "w") as log:
        process = subprocess.Popen(
            command,
            env=told,
            stdin=stdin,
            stdout=stdout,
            stderr=log,
            text=True,
            pass_fds=[held],
            start_new_session=True,
        )
    os.close(held)
    try:
        yield process
    finally:
        _end(process)
        os.close(ours)


def module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def _end(process: Child) -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def wait_for(condition: Callable[[], bool], children: Sequence[Child], what: str, errors: Path, limit: float) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline or any(child.poll() is not None for child in children):
            raise Refusal(f"{what} did not start: {last_line(errors)}.")
        time.sleep(STEP)


def line_of(pipe: IO[str] | None, errors: Path, what: str) -> str:
    """The next line that a child says; it says what went wrong elsewhere."""
    line = pipe.readline() if pipe else ""
    if not line:
        raise Refusal(f"{what} ended early: {last_line(errors)}.")
    return line.strip()


def last_line(file: Path) -> str:
    said = file.read_text(errors="replace").split("\n") if file.exists() else []
    return next((line.strip().rstrip(".") for line in reversed(said) if line.strip()), "it said nothing")


def cpu_seconds(process: int) -> float:
    """User and system time of a process, its living children, and those of its children that it has outlived."""
    own = sum(map(int, _stat(process)[11:15])) / TICKS
    return own + sum(cpu_seconds(child) for child in _children(process))


def peak_mb(process: int) -> int:
    """The most memory that the process has held. (getrusage would count its parent's before exec, too.)"""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:"))


def _stat(process: int) -> list[str]:
    """The fields after the name, which may hold anything."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return ["0"] * 20


def _children(process: int) -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _stat(int(entry.name))[1] == str(process)]
