"""Strangers subscribe thousands of endpoints that answer with anything but 201: what does that cost the readers?"""

import asyncio
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import psycopg
from rich.console import Console
from rich.progress import track

from app.domain.messages import topic_header
from app.domain.refusals import Refusal
from app.vapid import load_key
from bench import audience
from bench import sink as sinks
from bench.children import Child, cpu_seconds
from bench.fanout import Ground, a_ground, ended_by_sigterm, ledger, make_up_readers, released, ring, workers
from bench.hanging import take_back
from bench.report import times_to
from bench.sink import HOSTILE, Kind, Sink

STRANGERS, NEWCOMERS = "strangers", "newcomers"  # topics, for alerts with them and without
LIMIT = 600.0
REFUSING, TLS = "refusing", "tls"  # what no path at a working service can do
KINDS = (*HOSTILE, REFUSING)


@dataclass(frozen=True, kw_only=True)
class Options:
    recipients: int
    strangers: int
    hosts: int
    newcomers: int
    processes: int
    rounds: int
    idle: float = 10.0  # seconds in which an idle system is watched
    sink: Kind = Kind.NGINX


@dataclass(frozen=True)
class Figures:
    """Seconds until 99 % of the readers have an alert, and what else there is to say. Lists have one a round."""

    recipients: int
    strangers: int
    without_s: list[float]
    beside_s: list[float]
    next_s: list[float]  # the alert right after that, while the strangers of the first are still tried
    newcomers_s: list[float]  # all of the new readers among the strangers
    lanes: list[str]  # those of which the database knows any trouble afterwards
    alarms: int
    ended: int  # proven readers that were ended
    idle_cpu_before: float  # cores
    idle_cpu_after: float

    @property
    def longer(self) -> float:
        return statistics.median(self.beside_s) / statistics.median(self.without_s) - 1

    @property
    def next_longer(self) -> float:
        return statistics.median(self.next_s) / statistics.median(self.without_s) - 1


def run(options: Options, *, as_json: bool) -> None:
    """The command."""
    figures = measure(options, Console(stderr=True))
    if as_json:
        more = {"longer": round(figures.longer, 3), "next_longer": round(figures.next_longer, 3)}
        sys.stdout.write(json.dumps(asdict(figures) | more) + "\n")
    else:
        tell(figures, Console(highlight=False))


def tell(figures: Figures, out: Console) -> None:
    without, beside, following, new = (
        statistics.median(times) for times in (figures.without_s, figures.beside_s, figures.next_s, figures.newcomers_s)
    )
    out.print(
        f"{figures.recipients:,} readers. 99 % of them have an alert after {without:.2f} s; beside "
        f"{figures.strangers:,} hostile subscriptions after {beside:.2f} s ({figures.longer:+.0%}), and the next alert "
        f"after {following:.2f} s ({figures.next_longer:+.0%}). All new readers have it after {new:.1f} s."
    )
    trouble = ", ".join(figures.lanes) or "none"
    out.print(f"Lanes in trouble: {trouble}. Alarms: {figures.alarms}. Readers who were ended: {figures.ended}.")
    out.print(
        f"CPU of an idle system: {figures.idle_cpu_before:.1%} of a core before, {figures.idle_cpu_after:.1%} after."
    )


def measure(options: Options, console: Console) -> Figures:
    with ended_by_sigterm(), _a_town(options) as (ground, senders):
        before = _idle_cpu(ground, senders, options.idle)
        times: defaultdict[str, list[float]] = defaultdict(list)
        for _ in track(range(options.rounds), "Ringing", console=console):
            for name, took in _round(ground, options).items():
                times[name].append(took)
        after = _idle_cpu(ground, senders, options.idle)
        lanes, alarms, ended = _damage(ground)
    return Figures(
        recipients=options.recipients,
        strangers=options.strangers,
        without_s=times["without"],
        beside_s=times["beside"],
        next_s=times["next"],
        newcomers_s=times["newcomers"],
        lanes=lanes,
        alarms=alarms,
        ended=ended,
        idle_cpu_before=round(before, 4),
        idle_cpu_after=round(after, 4),
    )


def _damage(ground: Ground) -> tuple[list[str], int, int]:
    """Lanes with any trouble, those of which a person is asked something, and readers that were ended."""
    ended = "SELECT count(*) FROM subscriptions WHERE ended_at IS NOT NULL AND proven_at IS NOT NULL"
    with psycopg.connect(ground.url, autocommit=True) as db:
        lanes = [f"{origin}: {alarm or 'slowed'}" for origin, alarm in db.execute("SELECT origin, alarm FROM lanes")]
        alarms = _number(db, "SELECT count(*) FROM lanes WHERE alarm <> '' OR paused_at IS NOT NULL")
        return lanes, alarms, _number(db, ended)


@contextmanager
def _a_town(options: Options) -> Iterator[tuple[Ground, Sequence[Child]]]:
    """Readers, newcomers and strangers; the sink of the readers has hostile paths, too."""

    def serve(folder: Path) -> AbstractContextManager[Sink]:
        if options.sink is Kind.BUILTIN:
            return sinks.builtin(folder)
        return sinks.nginx(folder, who=True, hostile=True)

    with a_ground(serve) as ground, sinks.builtin(ground.folder, name="elsewhere") as elsewhere:
        key_id, origin = load_key(ground.key_file).id, ground.sink.origin
        make_up_readers(ground, options.recipients)
        hostile = (hostile_endpoint(n, origin, elsewhere.origin, options.hosts) for n in range(options.strangers))
        audience.fill_with(ground.url, hostile, key_id=key_id, topic=STRANGERS, are_proven=False)
        new = (f"{origin}/{NEWCOMERS}/{n}" for n in range(options.newcomers))
        audience.fill_with(ground.url, new, key_id=key_id, topic=NEWCOMERS, are_proven=False)
        with workers(ground, options.processes) as senders:
            yield ground, senders


def hostile_endpoint(number: int, origin: str, elsewhere: str, hosts: int) -> str:
    """By turns a strange path of the readers' own service, and a host that somebody made up. All kinds have their turn.

    (libcurl knows that all names below localhost are this machine.)
    """
    turn, is_elsewhere = divmod(number, 2)
    if not is_elsewhere:
        kind = list(HOSTILE)[turn % len(HOSTILE)]
        return f"{origin}/hostile/{kind}/{number}"
    kind, host = (*KINDS, TLS)[turn % (len(KINDS) + 1)], f"a{turn % hosts}.localhost"
    port = elsewhere.rpartition(":")[2]
    if kind == REFUSING:
        return f"http://{host}:1/{number}"
    if kind == TLS:
        return f"https://{host}:{port}/{number}"
    return f"http://{host}:{port}/hostile/{kind}/{number}"


def _round(ground: Ground, options: Options) -> dict[str, float]:
    """An alert to the readers alone, one beside the strangers, and the one right after that."""
    everybody, mark = (audience.TOPIC, STRANGERS, NEWCOMERS), ground.sink.mark()
    with psycopg.connect(ground.url, autocommit=True) as db:
        without = _rung(ground, db, options.recipients, audience.TOPIC)
        _quiet(db, [without])
        beside, following = (_rung(ground, db, options.recipients, *everybody) for _ in range(2))
        _wait(lambda: _new(db) == 0)
        for alert_id in (beside, following):
            asyncio.run(take_back(ground.url, alert_id))
        _quiet(db, [beside, following])
        db.execute("UPDATE subscriptions SET proven_at = NULL WHERE endpoint LIKE %s", (f"%/{NEWCOMERS}/%",))
        db.execute("UPDATE subscriptions SET ended_at = NULL, strikes = 0 WHERE proven_at IS NULL")
    return {
        "without": _seconds(ground, mark, without, "/wpush/", 99),
        "beside": _seconds(ground, mark, beside, "/wpush/", 99),
        "next": _seconds(ground, mark, following, "/wpush/", 99),
        "newcomers": min(_seconds(ground, mark, each, f"/{NEWCOMERS}/", 100) for each in (beside, following)),
    }


def _rung(ground: Ground, db: psycopg.Connection, recipients: int, *topics: str) -> UUID:
    """An alert that all readers have."""
    alert_id = asyncio.run(ring(ground.url, *topics))
    reached = "SELECT coalesce(sum(accepted), 0) FROM shards WHERE alert_id = %s AND standing = 0"
    _wait(lambda: _number(db, reached, alert_id) >= recipients)
    return alert_id


def _new(db: psycopg.Connection) -> int:
    new = "SELECT count(*) FROM subscriptions WHERE proven_at IS NULL AND endpoint LIKE %s"
    return _number(db, new, f"%/{NEWCOMERS}/%")


def _quiet(db: psycopg.Connection, alert_ids: Sequence[UUID]) -> None:
    unfinished = "SELECT count(*) FROM alerts WHERE id = ANY(%s) AND finished_at IS NULL"
    _wait(lambda: _number(db, unfinished, list(alert_ids)) == 0)
    time.sleep(1.5)


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not done():
        if time.monotonic() > deadline:
            raise Refusal(f"It took more than {LIMIT:.0f} s.")
        time.sleep(0.1)


def _seconds(ground: Ground, mark: int, alert_id: UUID, path: str, percent: int) -> float:
    """Until so many of the readers with such an endpoint had the alert; infinite if nobody has it."""
    topic = topic_header(alert_id)
    taken = [sent.at for sent in ground.sink.sent_since(mark) if sent.topic == topic and sent.path.startswith(path)]
    alert, _ = asyncio.run(ledger(ground.url, alert_id))
    return times_to(taken, released(alert)).get(percent, float("inf"))


def _idle_cpu(ground: Ground, senders: Sequence[Child], seconds: float) -> float:
    """Of workers and database together, in cores."""

    def spent() -> float:
        return sum(cpu_seconds(sender.pid) for sender in senders) + ground.database_cpu

    before = spent()
    time.sleep(seconds)
    return (spent() - before) / seconds


def _number(db: psycopg.Connection, query: str, *values: object) -> int:
    row = db.execute(query, values).fetchone()
    assert row
    return int(row[0])
