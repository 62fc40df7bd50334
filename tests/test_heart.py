"""A process that hangs ends itself, and only one that hangs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = """
import asyncio, logging, sys, time
from app import heart
logging.basicConfig(format="%(message)s")
heart.LOOK, heart.BLOCKED, heart.HANGS = 0.05, 10, 20

async def main():
    heart.start()
    for _ in range(40):  # two seconds, as long as four hangs
        heart.beat("feeds")
        await asyncio.sleep(0.05)
    print("sound", flush=True)
    {then}
    print("still there", flush=True)

asyncio.run(main())
"""


def run(then: str, *, held: float = 0) -> tuple[int, str]:
    """How a process ends that is sound for two seconds and then does this."""
    program = [sys.executable, "-c", PROGRAM.replace("{then}", then)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        first = process.stdout.readline()
        if held:
            process.send_signal(signal.SIGSTOP)
            time.sleep(held)
            process.send_signal(signal.SIGCONT)
        said = first + process.communicate(timeout=20)[0]
    return process.returncode, said


@pytest.mark.parametrize(
    "then, what",
    [
        ("time.sleep(15)", "its event loop"),
        ("await asyncio.sleep(15)", "feeds"),  # which does not beat any more
    ],
)
def test_what_hangs_ends_with_one_sentence(then: str, what: str) -> None:
    code, said = run(then)
    assert code == 70
    sound, sentence = said.splitlines()
    assert sound == "sound" and sentence.startswith(f"This process hangs ({what} has stood still for ")


def test_what_rests_for_a_reason_does_not_hang() -> None:
    assert run('heart.rest("feeds"); await asyncio.sleep(2)') == (0, "sound\nstill there\n")


def test_a_process_that_was_held_for_long_does_not_hang() -> None:
    assert run('heart.rest("feeds"); await asyncio.sleep(0.5)', held=2) == (0, "sound\nstill there\n")
