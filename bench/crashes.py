"""A worker or the database is killed at a random moment, again and again: who is lost, and who is told twice?"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import psycopg
from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.domain.messages import topic_header
from app.domain.refusals import Refusal
from bench import sink as sinks
from bench.fanout import Ground, a_ground, ended_by_sigterm, ledger, make_up_readers, released, ring, workers
from bench.sink import Sink
from worker.fanout import CHECKPOINT

LIMIT = 90.0  # seconds for an alert to end
# From an answer to its checkpoint at most: the wait for it, and the time to write it on a busy machine. Who loses the
# database learns of it at the next one.
UNWRITTEN = CHECKPOINT + 0.4


@dataclass(frozen=True, kw_only=True)
class Crash:
    run: int
    recipients: int
    killed_after_s: float | None  # from the release; None: nobody was killed
    finished_s: float
    lost: int  # recipients to whom nothing was sent
    repeats: int  # sent to somebody who had it
    bound: int  # what was sent of the shards that were interrupted since their last checkpoint, at most
    last_is_wrong: int  # recipients whose last notification is not of this alert
    unbalanced: int  # recipients whom the ledger does not call accepted

    @property
    def holds(self) -> bool:
        return not (self.lost or self.last_is_wrong or self.unbalanced) and self.repeats <= self.bound


class Workers:
    """They are started anew when they end, as their supervisor does in real life."""

    def __init__(self, ground: Ground, count: int, alive: ExitStack) -> None:
        self.ground, self.alive = ground, alive
        self.living = alive.enter_context(workers(ground, count))
        self.started = count

    def one_anew(self, place: int) -> None:
        self.started += 1
        [self.living[place]] = self.alive.enter_context(workers(self.ground, 1, first=self.started))

    def all_anew(self) -> None:
        for place, worker in enumerate(self.living):
            if worker.poll() is not None:
                self.one_anew(place)


def run(*, runs: int, recipients: int, processes: int, seed: int, database: bool, as_json: bool) -> None:
    """The command."""
    console, luck, crashes = Console(stderr=True), random.Random(seed), []

    def serve(folder: Path) -> AbstractContextManager[Sink]:
        return sinks.nginx(folder, who=True)

    with ended_by_sigterm(), a_ground(serve) as ground, ExitStack() as alive:
        make_up_readers(ground, recipients)
        senders = Workers(ground, processes, alive)
        calm = _one_run(ground, senders, 0)
        for number in track(range(1, runs + 1), "Killing", console=console):
            after = luck.uniform(0, calm.finished_s)
            victim = ground.database_process if database else luck.choice(senders.living).pid
            crashes.append(_one_run(ground, senders, number, after, victim, revive=database))
            senders.all_anew()
            if as_json:
                sys.stdout.write(json.dumps(asdict(crashes[-1])) + "\n")
                sys.stdout.flush()
    if not as_json:
        _show(crashes, Console(highlight=False))
    if not all(crash.holds for crash in crashes):
        raise Refusal("A crash has cost more than it may.")


def _one_run(
    ground: Ground,
    senders: Workers,
    number: int,
    after: float | None = None,
    victim: int = 0,
    *,
    revive: bool = False,
) -> Crash:
    """revive: whether workers that end are started at once, for there may be no other."""
    mark = ground.sink.mark()
    alert_id = asyncio.run(ring(ground.url))
    killed = None
    if after is not None:
        time.sleep(after)
        os.kill(victim, signal.SIGKILL)
        killed = time.time()
    deadline = time.monotonic() + LIMIT
    while not _is_finished(ground, alert_id):
        if time.monotonic() > deadline:
            raise Refusal(f"The alert has not ended within {LIMIT:.0f} s.")
        if revive:
            senders.all_anew()
        time.sleep(0.05)
    return _account(ground, mark, number, alert_id, killed)


def _is_finished(ground: Ground, alert_id: UUID) -> bool:
    try:
        with psycopg.connect(ground.url) as db:
            query = "SELECT 1 FROM alerts WHERE id = %s AND finished_at IS NOT NULL"
            return db.execute(query, (alert_id,)).fetchone() is not None
    except psycopg.OperationalError:  # it is being killed, or coming back
        return False


def _account(ground: Ground, mark: int, number: int, alert_id: UUID, killed: float | None) -> Crash:
    sent = ground.sink.sent_since(mark)
    times, last = Counter(one.path for one in sent), {one.path: one.topic for one in sent}
    alert, outcomes = asyncio.run(ledger(ground.url, alert_id))
    assert alert.finished_at
    readers, retaken = _readers(ground, alert_id)
    window = sorted(one.at for one in sent if one.path in retaken)
    right = topic_header(alert.thread)
    return Crash(
        run=number,
        recipients=alert.recipients,
        killed_after_s=killed and round(killed - released(alert), 3),
        finished_s=round(alert.finished_at.timestamp() - released(alert), 3),
        lost=len(readers - times.keys()),
        repeats=sum(times.values()) - len(times),
        bound=_between(window, killed - UNWRITTEN, killed + UNWRITTEN) if killed else 0,
        last_is_wrong=sum(last.get(path, right) != right for path in readers),
        unbalanced=alert.recipients - outcomes["accepted"],
    )


def _readers(ground: Ground, alert_id: UUID) -> tuple[set[str], set[str]]:
    """The paths of the recipients' endpoints; and of those whose shard was taken by a second worker."""
    query = """
        SELECT replace(endpoint, %s, ''), claim > 1 FROM shards
        CROSS JOIN LATERAL unnest(subscription_ids) AS told (id) JOIN subscriptions ON subscriptions.id = told.id
        WHERE alert_id = %s
    """
    with psycopg.connect(ground.url) as db:
        rows = db.execute(query, (ground.sink.origin, alert_id)).fetchall()
    return {path for path, _ in rows}, {path for path, again in rows if again}


def _between(moments: Sequence[float], low: float, high: float) -> int:
    return bisect_right(moments, high) - bisect_left(moments, low)


def _show(crashes: Sequence[Crash], out: Console) -> None:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for heading in ("run", "killed after s", "finished s", "lost", "repeats", "at most", "last wrong", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in crashes:
        cells = (one.run, one.killed_after_s, one.finished_s, one.lost, one.repeats, one.bound, one.last_is_wrong)
        table.add_row(*map(str, cells), "" if one.holds else "FAILS")
    out.print(table)
    told = sum(one.recipients for one in crashes)
    repeats = sum(one.repeats for one in crashes)
    out.print(
        f"\n{sum(one.holds for one in crashes)} of {len(crashes)} runs hold: of {told:,} recipients "
        f"{sum(one.lost for one in crashes)} lost, {repeats} told again (the repeat replaces and does not ring)."
    )
