"""An alert that a command released, recalled or corrected: what was done is said first, then how it goes out.

Once it is done, nothing that befalls the watching makes the command a failure: a script would do it again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Sessions, transaction
from app.domain import shards
from app.domain.alerts import Alert, AlertState, alert_by_id
from app.domain.refusals import Refusal
from app.terminal import out, run_on_engine, say_aside, show_json

NO_WORKER = "Waiting for a worker (./newsbell up or ./newsbell worker)"
NOBODY_TO_CORRECT = "Nobody has got the wrong alert, so there is nothing to replace: ./newsbell alert send."
UNKNOWN = (
    "The database went away before it said whether this was done. ./newsbell alert list shows it; a command with "
    "--idempotency-key may simply be given again."
)
AWAY = (DBAPIError, PoolTimeout, OSError)


@dataclass
class Done:
    """What the command's transaction has written."""

    alert: Alert
    said: str
    stopped: str  # What goes on all the same when nobody watches any more.
    again: bool = False  # It was done by an earlier command with the same key.
    counts: dict[str, int] = field(default_factory=dict)
    missed: int = 0  # How many the alert that it corrects had not reached.


Write = Callable[[AsyncSession], Awaitable[Done]]


def do_and_watch(write: Write, as_json: bool) -> None:
    """Do it in one transaction, show how it goes until it is over, and say what came of it."""
    run_on_engine(lambda sessions: _do_and_watch(sessions, write, as_json))


async def _do_and_watch(sessions: Sessions, write: Write, as_json: bool) -> None:
    try:
        async with transaction(sessions) as session:
            done = await write(session)
    except AWAY as trouble:
        raise Refusal(UNKNOWN) from trouble
    if not as_json:
        out.print(f"{done.alert.id}  {done.said}")
    try:
        await _follow(sessions, done, as_json)
        told = _in_words(done.alert, done.counts)
    except AWAY:
        kind = "recalled" if done.alert.state is AlertState.RECALLED else "released"
        told = f"{kind}; its progress cannot be followed at the moment: ./newsbell alert show {_short(done.alert)}"
        if as_json:
            say_aside(told)
    except asyncio.CancelledError:
        say_aside(f"newsbell: Stopped watching. {done.stopped}")
        raise typer.Exit(130) from None
    finally:
        if as_json:
            show_json(_as_json(done))
    if not as_json:
        out.print(told)
        if done.missed:
            out.print(f"{done.missed:,} had not got the wrong alert yet: they get neither.")


async def _follow(sessions: Sessions, done: Done, as_json: bool) -> None:
    """Until it is over."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json) as bar:
        task, waited = bar.add_task("Planning", total=None), 0.0
        while True:
            async with transaction(sessions) as session:
                done.alert = await alert_by_id(session, done.alert.id)
                done.counts = await shards.progress(session, done.alert.id)
            _draw(bar, task, done.alert, done.counts["waiting"], waited)
            if done.alert.finished_at is not None and done.alert.state in (AlertState.FINISHED, AlertState.RECALLED):
                break
            await asyncio.sleep(0.1)
            waited += 0.1
    if done.alert.corrects_id is not None:
        async with transaction(sessions) as session:
            done.missed = (await shards.progress(session, done.alert.corrects_id))["recalled"]


def _as_json(done: Done) -> dict[str, object]:
    head = {"id": str(done.alert.id), "state": done.alert.state, "recipients": done.alert.recipients}
    corrects = {"corrects": str(done.alert.corrects_id)} if done.alert.corrects_id else {}
    return head | corrects | ({"replayed": True} if done.again else {}) | done.counts


def _short(alert: Alert) -> str:
    return str(alert.id)[:8]


def _draw(bar: Progress, task: TaskID, alert: Alert, waiting: int, waited: float) -> None:
    match alert.state:
        case AlertState.RELEASED:
            if waited > 5:
                bar.update(task, description=NO_WORKER)
            return
        case AlertState.RECALLED:
            doing = "Recalling" if waited < 5 else "Waiting for what is under way"
        case _:
            doing = "Sending"
    done = alert.recipients - waiting if alert.recipients else 1
    bar.update(task, description=doing, total=alert.recipients or 1, completed=done)


def _in_words(alert: Alert, counts: dict[str, int]) -> str:
    if alert.state is AlertState.RECALLED:
        if not alert.recipients:
            return "Recalled before anybody got it."
        told = f"Recalled. Of {alert.recipients:,} recipients: {outcomes_in_words(counts)}."
        way_out = f" To replace it where it is: ./newsbell alert correct {_short(alert)}."
        return told + way_out if counts["accepted"] else told
    if not alert.recipients:
        return NOBODY_TO_CORRECT if alert.thread_id else "Nobody follows these topics yet, so nobody got it."
    assert alert.released_at and alert.finished_at
    seconds = (alert.finished_at - alert.released_at).total_seconds()
    return f"{alert.recipients:,} recipients in {seconds:.1f} s: {outcomes_in_words(counts)}."


def outcomes_in_words(counts: dict[str, int]) -> str:
    """What a push service has accepted may still wait there for a browser that is off: that is handed over."""
    labels = {"accepted": "handed over"}
    return ", ".join(f"{count:,} {labels.get(label, label)}" for label, count in counts.items() if count)
