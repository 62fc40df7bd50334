"""One push service takes every request and never answers: what does that cost the readers of another?"""

import asyncio
import json
import statistics
import sys
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
from rich.console import Console
from rich.progress import track

from app import database
from app.domain.alerts import alert_by_id
from app.domain.refusals import Refusal
from app.release import recall
from bench import audience
from bench import sink as sinks
from bench.fanout import Ground, a_ground, ended_by_sigterm, ledger, make_up_readers, released, ring, workers
from bench.report import times_to
from bench.sink import HANGING, Sink

ELSEWHERE = "hanging"  # the topic whose followers' push service hangs
LIMIT = 600.0


def run(*, recipients: int, processes: int, rounds: int, as_json: bool) -> None:
    """The command: an alert to one lane, then one to that lane and a hanging one, in turn."""

    def serve(folder: Path) -> AbstractContextManager[Sink]:
        return sinks.nginx(folder)

    console = Console(stderr=True)
    alone, beside = [], []
    with (
        ended_by_sigterm(),
        a_ground(serve) as ground,
        sinks.nginx(ground.folder, latency=HANGING) as hanging,
    ):
        make_up_readers(ground, recipients)
        make_up_readers(ground, recipients, origin=hanging.origin, topic=ELSEWHERE)
        with workers(ground, processes):
            for _ in track(range(rounds), "Ringing", console=console):
                alone.append(_time(ground, recipients, audience.TOPIC))
                beside.append(_time(ground, recipients, audience.TOPIC, ELSEWHERE))
    before, after = statistics.median(alone), statistics.median(beside)
    if as_json:
        sys.stdout.write(json.dumps({"recipients": recipients, "alone_s": alone, "beside_s": beside}) + "\n")
    else:
        Console(highlight=False).print(
            f"{recipients:,} readers, {processes} workers. 99 % of them have it after {before:.2f} s; beside as many "
            f"readers of a push service that hangs, after {after:.2f} s ({after / before - 1:+.0%})."
        )


def _time(ground: Ground, recipients: int, *topics: str) -> float:
    """Seconds until 99 % of the readers of the healthy service have it. What hangs is recalled after that."""
    mark = ground.sink.mark()
    alert_id = asyncio.run(ring(ground.url, *topics))
    deadline = time.monotonic() + LIMIT
    with psycopg.connect(ground.url, autocommit=True) as db:
        done = "SELECT coalesce(sum(accepted), 0) FROM shards WHERE alert_id = %s AND lane = %s"
        while _number(db, done, alert_id, ground.sink.origin) < recipients:
            if time.monotonic() > deadline:
                raise Refusal(f"It took more than {LIMIT:.0f} s.")
            time.sleep(0.1)
        if ELSEWHERE in topics:
            asyncio.run(take_back(ground.url, alert_id))
        while not _number(db, "SELECT count(*) FROM alerts WHERE id = %s AND finished_at IS NOT NULL", alert_id):
            time.sleep(0.1)
        db.execute("DELETE FROM lanes")  # the next round knows nothing of this one
        time.sleep(1.5)
    alert, _ = asyncio.run(ledger(ground.url, alert_id))
    return times_to(ground.sink.accepted_since(mark), released(alert))[99]


def _number(db: psycopg.Connection, query: str, *values: object) -> int:
    row = db.execute(query, values).fetchone()
    assert row
    return int(row[0])


async def take_back(url: str, alert_id: UUID) -> None:
    engine = database.connect(url, pool_size=1)
    async with database.transaction(database.sessions_of(engine)) as session:
        await recall(session, await alert_by_id(session, alert_id, lock=True), datetime.now(UTC))
    await engine.dispose()
