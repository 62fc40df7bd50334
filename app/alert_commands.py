"""`./newsbell alert …`: ring the bell, take it back, put it right, and see what became of it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy.ext.asyncio import AsyncSession

from app import release
from app.database import Sessions, transaction
from app.domain import audit, shards
from app.domain.alerts import (
    USUAL_TTL,
    Alert,
    AlertState,
    Level,
    alert_by_id,
    an_alert,
    correction_of,
    id_of_alert,
    latest_alerts,
)
from app.domain.refusals import Refusal
from app.domain.topics import topics_named
from app.terminal import Json, cell, now, out, run, run_on_engine, show, show_json

alert = typer.Typer(no_args_is_help=True, help="Ring the bell, take it back, put it right.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The alert's id, or how it begins (six characters).")]
COMMAND_LINE = "command line"  # As the audit names whoever has the machine.
Write = Callable[[AsyncSession], Awaitable[Alert]]
NO_WORKER = "Waiting for a worker (./newsbell up or ./newsbell worker)"
NOBODY_TO_CORRECT = "Nobody has got the wrong alert, so there is nothing to replace: ./newsbell alert send."


@alert.command("send")
def alert_send(
    title: Annotated[str, typer.Option()],
    url: Annotated[str, typer.Option(help="What a click opens.")],
    topic: Annotated[list[str], typer.Option(help="A topic's short name; repeatable.")],
    body: Annotated[str, typer.Option()] = "",
    image: Annotated[str | None, typer.Option(help="https:// address of a picture.")] = None,
    level: Annotated[Level, typer.Option()] = Level.BREAKING,
    ttl: Annotated[float, typer.Option(help="Hours after which nobody needs it any more.")] = USUAL_TTL.total_seconds()
    / 3600,
    as_json: Json = False,
) -> None:
    """Ring the bell for everybody who follows the topics, once each, and watch it go out."""

    async def write(session: AsyncSession) -> Alert:
        written = an_alert(
            title=title,
            body=body,
            url=url,
            image=image,
            topics=await topics_named(session, topic),
            level=level,
            ttl=timedelta(hours=ttl),
            made_by=COMMAND_LINE,
            now=now(),
        )
        written.proposed_by = COMMAND_LINE
        session.add(written)
        await release.release(session, written, now())
        _note(session, "release", written)
        return written

    _do_and_watch(write, as_json, stopped="The alert goes on being sent.")


@alert.command("recall")
def alert_recall(alert_id: Id, as_json: Json = False) -> None:
    """Take an alert back: who has not got it yet never will."""

    async def take_back(session: AsyncSession) -> Alert:
        found = await alert_by_id(session, await id_of_alert(session, alert_id), lock=True)
        await release.recall(session, found, now())
        _note(session, "recall", found)
        return found

    _do_and_watch(take_back, as_json, stopped="The alert is recalled all the same.")


@alert.command("correct")
def alert_correct(
    alert_id: Id,
    title: Annotated[str | None, typer.Option(help="What is left out stays as it was.")] = None,
    body: Annotated[str | None, typer.Option()] = None,
    url: Annotated[str | None, typer.Option(help="What a click opens.")] = None,
    image: Annotated[str | None, typer.Option(help='https:// address of a picture; "" for none.')] = None,
    as_json: Json = False,
) -> None:
    """Replace a wrong alert on the screens of exactly those who got it. What of it is not sent yet is recalled."""

    async def put_right(session: AsyncSession) -> Alert:
        wrong = await alert_by_id(session, await id_of_alert(session, alert_id), lock=True)
        words = {"title": title, "body": body, "url": url, "image": image}
        right = await release.correct(session, wrong, now(), by=COMMAND_LINE, **words)
        _note(session, "correct", wrong, correction=str(right.id))
        return right

    _do_and_watch(put_right, as_json, stopped="The correction goes on being sent.")


@alert.command("list")
def alert_list(
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 50, as_json: Json = False
) -> None:
    """The newest alerts and what became of them."""

    async def read(session: AsyncSession) -> list[dict[str, Any]]:
        found = await latest_alerts(session, limit)
        counted = await shards.progress_of(session, [one.id for one in found])
        return [_as_row(one, counted[one.id]) for one in found]

    rows = run(read)
    if not as_json:
        rows = [row | {"id": row["id"][:8], "outcomes": _told(row["outcomes"]) or None} for row in rows]
    show(rows, as_json, empty="No alerts yet. ./newsbell alert send --help shows how to send one.")


@alert.command("show")
def alert_show(alert_id: Id, as_json: Json = False) -> None:
    """One alert: its words, where it went, and what became of it."""

    async def read(session: AsyncSession) -> dict[str, Any]:
        found = await alert_by_id(session, await id_of_alert(session, alert_id))
        row = _as_row(found, await shards.progress(session, found.id))
        words = {name: getattr(found, name) for name in ("body", "url", "image", "ttl", "created_at")}
        topics = [topic.slug for topic in found.topics]
        thread = {"corrects": found.corrects_id, "corrected_by": await correction_of(session, found.id)}
        return row | words | {"topics": topics} | {name: one and str(one) for name, one in thread.items()}

    row = run(read)
    if as_json:
        show_json(row)
        return
    for name, value in (row | {"outcomes": _told(row["outcomes"]) or None, "ttl": f"{row['ttl']:,} s"}).items():
        out.print(f"{name.replace('_', ' '):>13}  {cell(value)}", soft_wrap=True)


def _note(session: AsyncSession, what: str, alert: Alert, **detail: Any) -> None:
    audit.note(
        session, now(), actor=COMMAND_LINE, action=f"alert.{what}", subject=str(alert.id), title=alert.title, **detail
    )


def _as_row(alert: Alert, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "id": str(alert.id),
        "title": alert.title,
        "level": alert.level.value,
        "state": alert.state.value,
        "recipients": alert.recipients,
        "outcomes": counts,
        "released_at": alert.released_at,
        "finished_at": alert.finished_at,
    }


def _do_and_watch(write: Write, as_json: bool, *, stopped: str) -> None:
    """Do it in one transaction, show how it goes until it is over, and say what came of it."""
    ended, counts, missed = run_on_engine(lambda sessions: _watched(sessions, write, as_json, stopped))
    if as_json:
        corrects = {"corrects": str(ended.corrects_id)} if ended.corrects_id else {}
        head = {"id": str(ended.id), "state": ended.state, "recipients": ended.recipients}
        show_json(head | corrects | counts)
    else:
        out.print(_in_words(ended, counts), soft_wrap=True)
        if missed:
            out.print(f"{missed:,} had not got the wrong alert yet: they get neither.", soft_wrap=True)


async def _watched(sessions: Sessions, write: Write, as_json: bool, stopped: str) -> tuple[Alert, dict[str, int], int]:
    """The alert as it ended, its counts, and how many the alert that it corrects had not reached."""
    async with transaction(sessions) as session:
        written = await write(session)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), disable=as_json) as bar:
            ended, counts = await _watch(sessions, written, bar)
    except asyncio.CancelledError:
        raise Refusal(f"Stopped watching. {stopped}") from None
    if ended.corrects_id is None:
        return ended, counts, 0
    async with transaction(sessions) as session:
        return ended, counts, (await shards.progress(session, ended.corrects_id))["recalled"]


async def _watch(sessions: Sessions, written: Alert, bar: Progress) -> tuple[Alert, dict[str, int]]:
    task = bar.add_task("Planning", total=None)
    waited = 0.0
    while True:
        async with transaction(sessions) as session:
            current = await alert_by_id(session, written.id)
            counts = await shards.progress(session, written.id)
        _draw(bar, task, current, counts["waiting"], waited)
        if current.finished_at is not None and current.state in (AlertState.FINISHED, AlertState.RECALLED):
            return current, counts
        await asyncio.sleep(0.1)
        waited += 0.1


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
        told = f"Recalled. Of {alert.recipients:,} recipients: {_told(counts)}."
        way_out = f" To replace it where it is: ./newsbell alert correct {str(alert.id)[:8]}."
        return told + way_out if counts["accepted"] else told
    if not alert.recipients:
        return NOBODY_TO_CORRECT if alert.thread_id else "Nobody follows these topics yet, so nobody got it."
    assert alert.released_at and alert.finished_at
    seconds = (alert.finished_at - alert.released_at).total_seconds()
    return f"{alert.recipients:,} recipients in {seconds:.1f} s: {_told(counts)}."


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {label}" for label, count in counts.items() if count)
