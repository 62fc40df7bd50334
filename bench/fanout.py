"""The fan-out, measured: the product itself, from release to the last answer, beside the ceiling and others."""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from app import database
from app.domain import shards
from app.domain.alerts import Alert, AlertState, Level, alert_by_id, an_alert
from app.domain.refusals import Refusal
from app.domain.topics import topics_named
from app.embedded import serving
from app.migrate import migrate
from app.release import release
from app.vapid import load_key, make_key
from bench import audience, peers
from bench import sink as sinks
from bench.chart import bars
from bench.children import Child, cpu_seconds, last_line, module, peak_mb, running, wait_for
from bench.report import CEILING, NEWSBELL, Result, explain, median, result, show
from bench.sink import Sink

SAMPLE = 0.5  # seconds between two looks at the ledger
PLANNING_SAMPLE = 0.01
START_LIMIT = 60.0


@dataclass(frozen=True, kw_only=True)
class Options:
    recipients: int
    processes: int
    sink: sinks.Kind = sinks.Kind.NGINX
    latency: float = 0.0  # seconds
    faults: bool = False
    peers: bool = True
    rounds: int = 1  # the senders take turns; of each, the run in the middle counts


@dataclass(frozen=True)
class Ground:
    """What every contender meets: a database with readers, a sink, a key."""

    folder: Path
    url: str
    sink: Sink
    key_file: Path

    @property
    def database_process(self) -> int:
        return int((self.folder / "pgdata" / "postmaster.pid").read_text().split("\n", 1)[0])

    @property
    def database_cpu(self) -> float:
        return cpu_seconds(self.database_process)


def run(options: Options, *, as_json: bool, svg: Path | None) -> None:
    """The command: measure, tell, draw."""
    results = measure(options, console=Console(stderr=True))
    if as_json:
        sys.stdout.writelines(one.as_json + "\n" for one in results)
    else:
        tell(results, Console(highlight=False))
    if svg:
        svg.write_text(chart(results))


def tell(results: Sequence[Result], out: Console) -> None:
    show(results, out)
    explain(results[0], next((one for one in results if one.what == CEILING), None), out)


def measure(options: Options, *, console: Console) -> list[Result]:
    """Newsbell, the ceiling and the others take turns, for no machine is equally fast all the time."""
    runs: defaultdict[str, list[Result]] = defaultdict(list)
    with _set_up(options, console) as (ground, bar):
        for _ in range(options.rounds):
            for one in _round(options, ground, bar):
                runs[one.what].append(one)
    return [median(those) for those in runs.values()]


def measure_newsbell(options: Options, *, console: Console) -> Result:
    """Newsbell alone."""
    with _set_up(options, console) as (ground, bar):
        return newsbell(ground, options, bar)


@contextmanager
def _set_up(options: Options, console: Console) -> Iterator[tuple[Ground, Progress]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ended_by_sigterm(), Progress(*columns, console=console) as bar, _ground(options, bar) as ground:
        yield ground, bar


def _round(options: Options, ground: Ground, bar: Progress) -> Iterator[Result]:
    yield newsbell(ground, options, bar)
    shared = (ground.url, ground.sink, ground.key_file)
    with told(bar, f"Measuring the {CEILING}"):
        ceiling = peers.ceiling(*shared, count=options.recipients, processes=options.processes)
    yield ceiling
    if options.peers:
        yield from peers.others(*shared, count=options.recipients, processes=options.processes, say=bar.console.print)


# --- the ground -----------------------------------------------------------------------------------------------------


@contextmanager
def _ground(options: Options, bar: Progress) -> Iterator[Ground]:
    def serve(folder: Path) -> AbstractContextManager[Sink]:
        return sinks.serving(options.sink, folder, latency=options.latency, faults=options.faults)

    with a_ground(serve) as ground, told(bar, "Making up readers", options.recipients) as tell:
        make_up_readers(ground, options.recipients, tell)
        yield ground


@contextmanager
def a_ground(serve: Callable[[Path], AbstractContextManager[Sink]]) -> Iterator[Ground]:
    """Everything of its own, in a temporary folder; nothing of it is left. There are no readers yet."""
    if not Path("/proc/self/stat").exists():
        raise Refusal("The benchmark reads CPU time and memory from /proc, so it needs Linux.")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="newsbell-bench-")))
        folder.chmod(0o711)  # as root, the database and nginx work under accounts of their own
        sink = stack.enter_context(serve(folder))
        url = stack.enter_context(serving(folder))
        migrate(url)
        make_key(folder / "vapid.pem")
        yield Ground(folder, url, sink, folder / "vapid.pem")


def make_up_readers(
    ground: Ground,
    count: int,
    tell: Callable[[int], object] = lambda done: None,
    *,
    origin: str = "",
    topic: str = audience.TOPIC,
) -> None:
    key_id = load_key(ground.key_file).id
    audience.fill(ground.url, origin=origin or ground.sink.origin, count=count, key_id=key_id, tell=tell, topic=topic)


@contextmanager
def told(bar: Progress, what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    task = bar.add_task(what, total=total)
    yield lambda done: bar.update(task, completed=done)
    bar.update(task, total=total or 1, completed=total or 1)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """A polite end leaves nothing running, just as Ctrl-C."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# --- the product itself ---------------------------------------------------------------------------------------------


def newsbell(ground: Ground, options: Options, bar: Progress) -> Result:
    """Real workers, one real alert, the real ledger."""
    with workers(ground, options.processes) as senders, psycopg.connect(ground.url, autocommit=True) as db:
        mark, before = ground.sink.mark(), _costs(ground, senders)
        alert_id = asyncio.run(ring(ground.url))
        planned = _watch(db, alert_id, senders, ground, bar)
        after = _costs(ground, senders)
        rss = max(peak_mb(worker.pid) for worker in senders)
    alert, outcomes = asyncio.run(ledger(ground.url, alert_id))
    accepted_at = ground.sink.accepted_since(mark)
    worker_cpu, database_cpu, sink_cpu = (late - early for early, late in zip(before, after, strict=True))
    return result(
        NEWSBELL,
        processes=options.processes,
        sent=alert.recipients,
        started=released(alert),
        accepted_at=accepted_at,
        cpu=worker_cpu,
        sink_cpu=sink_cpu,
        rss_mb=rss,
        more=_more(alert, outcomes, planned, accepted_at, database_cpu),
    )


def _more(
    alert: Alert, outcomes: dict[str, int], planned: float, accepted_at: Sequence[float], database_cpu: float
) -> dict[str, object]:
    """What only the product has: times from its own books, and whether these agree with the sink's."""
    assert alert.finished_at
    took, recipients = alert.finished_at.timestamp() - released(alert), max(alert.recipients, 1)
    return {
        "planned_s": round(planned - released(alert), 3),
        "first_accepted_s": round(accepted_at[0] - released(alert), 3) if accepted_at else None,
        "finished_s": round(took, 3),
        "per_second_from_release": round(alert.recipients / took),
        "database_cpu_us_per_message": round(database_cpu / recipients * 1e6),
        "outcomes": outcomes,
        "balanced": sum(outcomes.values()) == alert.recipients and outcomes["accepted"] <= len(accepted_at),
        "accepted_twice": len(accepted_at) - outcomes["accepted"],
    }


def released(alert: Alert) -> float:
    assert alert.released_at
    return alert.released_at.timestamp()


@contextmanager
def workers(ground: Ground, count: int, first: int = 1) -> Iterator[list[Child]]:
    """Real ones, ready to work. They are numbered, for their logs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NEWSBELL_")} | {
        "NEWSBELL_DATABASE_URL": ground.url,
        "NEWSBELL_DATA_DIR": str(ground.folder),
        "NEWSBELL_VAPID_SUBJECT": peers.CONTACT,
        "NEWSBELL_ALLOW_PRIVATE_ADDRESSES": "true",  # the sink is on loopback
    }
    if ground.sink.ca_file:
        environment["NEWSBELL_PUSH_CA_FILE"] = str(ground.sink.ca_file)
    logs = [ground.folder / f"worker-{number}.log" for number in range(first, first + count)]
    with ExitStack() as stack:
        started = [stack.enter_context(running(module("worker"), environment=environment, errors=log)) for log in logs]
        for log in logs:
            wait_for(lambda log=log: "is ready" in log.read_text(), started, "A worker", log, START_LIMIT)  # type: ignore[misc]
        time.sleep(1)  # until they listen for work
        yield started


def _costs(ground: Ground, workers: Sequence[Child]) -> tuple[float, float, float]:
    """CPU seconds so far: of the workers, the database, the sink."""
    return sum(cpu_seconds(worker.pid) for worker in workers), ground.database_cpu, ground.sink.cpu


async def ring(url: str, *topics: str) -> UUID:
    engine = database.connect(url, pool_size=1)
    async with database.transaction(database.sessions_of(engine)) as session:
        now = datetime.now(UTC)
        alert = an_alert(
            title=peers.TITLE,
            body=peers.BODY,
            url=peers.URL,
            topics=await topics_named(session, topics or [audience.TOPIC]),
            level=Level.BREAKING,
            now=now,
        )
        session.add(alert)
        await release(session, alert, now)
    await engine.dispose()
    return alert.id


async def ledger(url: str, alert_id: UUID) -> tuple[Alert, dict[str, int]]:
    engine = database.connect(url, pool_size=1)
    async with database.transaction(database.sessions_of(engine)) as session:
        found = await alert_by_id(session, alert_id), await shards.progress(session, alert_id)
    await engine.dispose()
    return found


def _watch(db: psycopg.Connection, alert_id: UUID, workers: Sequence[Child], ground: Ground, bar: Progress) -> float:
    """Until the alert is finished; returns when it was planned. One small sum twice a second costs nothing."""
    task: TaskID = bar.add_task("Sending", total=None)
    while _state(db, alert_id)[0] == AlertState.RELEASED:
        time.sleep(PLANNING_SAMPLE)
    planned = time.time()
    while True:
        state, recipients = _state(db, alert_id)
        bar.update(task, total=recipients, completed=recipients - _waiting(db, alert_id))
        if state == AlertState.FINISHED:
            return planned
        for number, worker in enumerate(workers, 1):
            if worker.poll() is not None:
                raise Refusal(f"A worker ended: {last_line(ground.folder / f'worker-{number}.log')}.")
        time.sleep(SAMPLE)


def _state(db: psycopg.Connection, alert_id: UUID) -> tuple[str, int]:
    row = db.execute("SELECT state, recipients FROM alerts WHERE id = %s", (alert_id,)).fetchone()
    assert row
    return row[0], row[1]


def _waiting(db: psycopg.Connection, alert_id: UUID) -> int:
    row = db.execute("SELECT coalesce(sum(waiting), 0) FROM shards WHERE alert_id = %s", (alert_id,)).fetchone()
    assert row
    return int(row[0])


def chart(results: Sequence[Result]) -> str:
    ours = results[0]
    title = f"Messages accepted per second, {ours.processes} sending processes"
    note = "Same machine, same sink over HTTPS, fresh keys for every message. Newsbell keeps its ledger meanwhile."
    ordered = sorted(results, key=lambda one: -one.per_second)
    rows = [(one.what, one.per_second, f"{one.cpu_us_per_message:,} µs of CPU each") for one in ordered]
    return bars(title, note, rows, stressed=NEWSBELL)
