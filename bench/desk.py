"""The desk, measured from outside, as a CMS uses it: from the click to the first push, and how fresh progress is."""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import track

from app import database
from app.domain.api_keys import an_api_key
from app.domain.editors import Role
from bench import audience, peers
from bench import sink as sinks
from bench.children import module, running, wait_for
from bench.fanout import START_LIMIT, Ground, a_ground, ended_by_sigterm, make_up_readers, workers
from bench.sink import Sink


@dataclass(frozen=True)
class Rung:
    """One alert from the desk."""

    recipients: int
    asked_s: float  # the release was answered
    undo_s: float  # between the click and its time
    first_accepted_s: float  # after that time
    finished_s: float
    oldest_progress_s: float  # the longest that the page had no news
    events: int
    unbalanced: int  # events whose numbers did not add up


def run(*, recipients: int, processes: int, rounds: int, as_json: bool) -> None:
    """The command."""

    def serve(folder: Path) -> AbstractContextManager[Sink]:
        return sinks.nginx(folder)

    console = Console(stderr=True)
    with ended_by_sigterm(), a_ground(serve) as ground:
        make_up_readers(ground, recipients)
        key = asyncio.run(_key(ground.url))
        with workers(ground, processes), _web(ground) as url, _program(url, key) as program:
            rung = [_ring(ground, program, number) for number in track(range(rounds), "Ringing", console=console)]
    if as_json:
        sys.stdout.writelines(json.dumps(asdict(one)) + "\n" for one in rung)
        return
    out = Console(highlight=False)
    for one in rung:
        out.print(
            f"{one.recipients:,} readers: first push accepted {one.first_accepted_s:.2f} s after its time "
            f"({one.undo_s:.1f} s after the click), finished after {one.finished_s:.1f} s; {one.events} progress "
            f"events, at most {one.oldest_progress_s:.2f} s apart, {one.unbalanced} that do not add up."
        )


async def _key(url: str) -> str:
    key, secret = an_api_key(name="bench", role=Role.EDITOR, created_by="bench", now=datetime.now(UTC))
    engine = database.connect(url, pool_size=1)
    async with database.transaction(database.sessions_of(engine)) as session:
        session.add(key)
    await engine.dispose()
    return secret


@contextmanager
def _web(ground: Ground) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NEWSBELL_")} | {
        "NEWSBELL_DATABASE_URL": ground.url,
        "NEWSBELL_DATA_DIR": str(ground.folder),
    }
    log, url = ground.folder / "web.log", f"http://127.0.0.1:{port}"
    with running(module("app.main", "127.0.0.1", str(port)), environment=environment, errors=log) as process:
        wait_for(lambda: _is_ready(url), [process], "The web process", log, START_LIMIT)
        yield url


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _program(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=30)


def _ring(ground: Ground, program: httpx.Client, number: int) -> Rung:
    words = {"title": f"{peers.TITLE} ({number})", "url": f"{peers.URL}/{number}", "topics": [audience.TOPIC]}
    alert = _ok(program.post("/api/alerts", json=words | {"level": "breaking", "body": peers.BODY}))
    mark, clicked = ground.sink.mark(), time.time()
    due = _ok(program.post(f"/api/alerts/{alert['id']}/release", json={}))
    answered = time.time()
    due_at = datetime.fromisoformat(due["due_at"]).timestamp()
    heard = list(_progress(program, alert["id"]))
    events = [(at, event) for at, event in heard if at >= due_at]
    last = events[-1][1]
    accepted = ground.sink.accepted_since(mark)
    return Rung(
        recipients=last["recipients"],
        asked_s=round(answered - clicked, 3),
        undo_s=round(due_at - clicked, 3),
        first_accepted_s=round(accepted[0] - due_at, 3),
        finished_s=round(datetime.fromisoformat(last["finished_at"]).timestamp() - due_at, 3),
        oldest_progress_s=round(max(late - early for (early, _), (late, _) in pairwise(heard)), 3),
        events=len(events),
        unbalanced=sum(sum(event["outcomes"].values()) != event["recipients"] for _, event in heard),
    )


def _progress(program: httpx.Client, alert_id: str) -> Iterator[tuple[float, dict[str, Any]]]:
    """When each event came, and what it said."""
    with program.stream("GET", f"/api/alerts/{alert_id}/events") as stream:
        name = ""
        for line in stream.iter_lines():
            if line.startswith("event:"):
                name = line.removeprefix("event:").strip()
            elif line.startswith("data:") and name == "progress":
                yield time.time(), json.loads(line.removeprefix("data:"))


def _ok(answer: httpx.Response) -> dict[str, Any]:
    answer.raise_for_status()
    said: dict[str, Any] = answer.json()
    return said
