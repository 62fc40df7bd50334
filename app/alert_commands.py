"""`./newsbell alert …`: ring the bell, take it back, put it right, and see what became of it."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app import release
from app.domain import audit, requests, shards
from app.domain.alerts import (
    USUAL_TTL,
    Alert,
    Level,
    alert_by_id,
    an_alert,
    correction_of,
    id_of_alert,
    latest_alerts,
)
from app.domain.refusals import Refusal
from app.domain.topics import topics_named
from app.terminal import Json, cell, now, out, run, show, show_json
from app.watching import Done, Write, do_and_watch, outcomes_in_words

alert = typer.Typer(no_args_is_help=True, help="Ring the bell, take it back, put it right.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The alert's id, or how it begins (six characters).")]
STOPPED = "The alert goes on being sent."


@alert.command("send")
def alert_send(
    title: Annotated[str, typer.Option()],
    url: Annotated[str, typer.Option(help="What a click opens.")],
    topic: Annotated[list[str], typer.Option(help="A topic's short name; repeatable.")],
    body: Annotated[str, typer.Option()] = "",
    image: Annotated[str | None, typer.Option(help="https:// address of a picture.")] = None,
    level: Annotated[
        Level,
        typer.Option(help="breaking rings through quiet hours and daily limits."),
    ] = Level.NORMAL,
    ttl: Annotated[float, typer.Option(help="Hours after which nobody needs it any more.")] = USUAL_TTL.total_seconds()
    / 3600,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Any text: given again within 24 hours, nothing rings twice."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Ring the bell for everybody who follows the topics, once each, and watch it go out."""

    words: dict[str, Any] = {"title": title, "body": body, "url": url, "image": image}

    async def send(session: AsyncSession) -> Done:
        topics, lives = await topics_named(session, topic), _hours(ttl)
        written = an_alert(**words, topics=topics, level=level, ttl=lives, made_by=audit.COMMAND_LINE, now=now())
        written.proposed_by = audit.COMMAND_LINE
        session.add(written)
        await release.release(session, written, now())
        _note(session, "release", written)
        passes = ": it rings through quiet hours and daily limits" if level is Level.BREAKING else ""
        return Done(written, f"Released as {level}{passes}.", STOPPED)

    asked = requests.hash_of(title, body, url, image or "", level, str(ttl), *sorted(topic))
    do_and_watch(lambda session: _once(session, idempotency_key, asked, send), as_json)


def _hours(number: float) -> timedelta:
    try:
        return timedelta(hours=number)
    except (ValueError, OverflowError):  # no number, or more than there is time
        raise Refusal("An alert lives one minute to 28 days; --ttl is a number of hours.") from None


async def _once(session: AsyncSession, key: str | None, asked: bytes, send: Write) -> Done:
    """With a key, in the transaction that also keeps the answer (app/once.py does it for HTTP)."""
    if key is None:
        return await send(session)
    name = requests.name_of(audit.COMMAND_LINE, "alert send", key)
    if before := await requests.begin(session, name, asked, now()):
        sent = await alert_by_id(session, UUID(before.answer["id"]))
        return Done(sent, "Sent before, with this --idempotency-key. Nothing was done now.", STOPPED, again=True)
    done = await send(session)
    await requests.end(session, name, 201, {"id": str(done.alert.id)})
    return done


@alert.command("recall")
def alert_recall(alert_id: Id, as_json: Json = False) -> None:
    """Take an alert back: who has not got it yet never will."""

    async def take_back(session: AsyncSession) -> Done:
        found = await alert_by_id(session, await id_of_alert(session, alert_id), lock=True)
        await release.recall(session, found, now())
        _note(session, "recall", found)
        return Done(found, "Recalled.", "The alert is recalled all the same.")

    do_and_watch(take_back, as_json)


@alert.command("correct")
def alert_correct(
    alert_id: Id,
    title: Annotated[str | None, typer.Option(help="What is left out stays as it was.")] = None,
    body: Annotated[str | None, typer.Option()] = None,
    url: Annotated[str | None, typer.Option(help="What a click opens.")] = None,
    image: Annotated[str | None, typer.Option(help='https:// address of a picture; "" for none.')] = None,
    as_json: Json = False,
) -> None:
    """Replace a wrong alert on the screens of exactly those who got it. What of it is not sent yet is recalled.

    At once, without the desk's ten seconds and second person: whoever has the machine decides, and it is audited.
    """

    async def put_right(session: AsyncSession) -> Done:
        wrong = await alert_by_id(session, await id_of_alert(session, alert_id), lock=True)
        words = {"title": title, "body": body, "url": url, "image": image}
        right = await release.correct(session, wrong, now(), by=audit.COMMAND_LINE, **words)
        link = {"link": [wrong.url, right.url]} if wrong.url != right.url else {}
        _note(session, "correct", wrong, correction=str(right.id), **link)
        return Done(right, f"Corrects {wrong.id}.", "The correction goes on being sent.")

    do_and_watch(put_right, as_json)


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
        rows = [row | {"id": row["id"][:8], "outcomes": outcomes_in_words(row["outcomes"]) or None} for row in rows]
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
    for name, value in (
        row | {"outcomes": outcomes_in_words(row["outcomes"]) or None, "ttl": f"{row['ttl']:,} s"}
    ).items():
        out.print(f"{name.replace('_', ' '):>13}  {cell(value)}")


def _note(session: AsyncSession, what: str, alert: Alert, **detail: Any) -> None:
    audit.note(
        session,
        now(),
        actor=audit.COMMAND_LINE,
        action=f"alert.{what}",
        subject=str(alert.id),
        title=alert.title,
        **detail,
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
