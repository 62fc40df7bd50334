"""The real web process, for what only a real server shows: several at once, streams, stops."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.vapid import make_key
from tests.test_poll import PROJECT


@contextmanager
def web(database_url: str, folder: Path, **environment: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Its address, and its process."""
    with started(database_url, folder, **environment) as (url, process):
        wait_until_ready(url, process)
        yield url, process


@contextmanager
def started(database_url: str, folder: Path, **environment: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The same before it is ready, so that several can start beside each other."""
    key = folder / "vapid.pem"
    if not key.exists():
        make_key(key)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"NEWSBELL_DATABASE_URL": database_url, "NEWSBELL_DATA_DIR": str(folder)}
    command = [sys.executable, "-m", "app.main", "127.0.0.1", str(port)]
    process = subprocess.Popen(command, cwd=PROJECT, env=os.environ | settings | environment)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, "the web process ended"
        assert time.monotonic() < end, "the web process does not answer"
        time.sleep(0.1)
