"""`./newsbell feed …`: the documents that bring stories."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Sessions, transaction
from app.domain import audit
from app.domain.feeds import HOURLY_LIMIT, Feed, Policy, State, every_feed, feed_by_id, feed_by_url
from app.domain.refusals import Conflict, Refusal
from app.polling import poll_now
from app.sources import add_feed, resume_feed
from app.terminal import Json, now, out, run, run_on_engine, show

feed = typer.Typer(no_args_is_help=True, help="The documents that bring stories.")

Url = Annotated[
    str, typer.Argument(metavar="FEED", help="Its number or its address, as ./newsbell feed list has them.")
]


@feed.command("add")
def feed_add(
    url: str,
    topic: Annotated[list[str], typer.Option(help="A topic's short name; repeatable.")],
    policy: Annotated[
        Policy, typer.Option(help="auto: every new story rings; draft: it waits for a person; store: it does not ring.")
    ] = Policy.AUTO,
    tags_add_topics: Annotated[
        bool, typer.Option("--tags-add-topics", help="Let its stories' own tags add topics to those that you name.")
    ] = False,
    hourly_limit: Annotated[
        int, typer.Option(help="Stories that ring by themselves within an hour, at most; more become drafts.")
    ] = HOURLY_LIMIT,
) -> None:
    """Follow a feed. Its first poll only remembers what is there: nothing old rings."""

    async def add(session: AsyncSession) -> Feed:
        rules: Any = {"tags_add_topics": tags_add_topics, "hourly_limit": hourly_limit}
        added = await add_feed(session, url, topic, policy, now(), **rules)
        audit.note(
            session,
            now(),
            actor=audit.COMMAND_LINE,
            action="feed.add",
            subject=added.url,
            policy=policy,
            topics=topic,
            **rules,
        )
        return added

    out.print(
        f"Added feed {run(add).id}. The worker polls it now; what it lists today is remembered and does not ring."
    )


@feed.command("list")
def feed_list(as_json: Json = False) -> None:
    """Every feed, when it was polled and what went wrong."""
    rows = [
        {
            "id": f.id,
            "title": f.title,
            "url": f.url,
            "topics": [t.slug for t in f.topics],
            "policy": f.policy.value,
            "tags_add_topics": f.tags_add_topics,
            "hourly_limit": f.hourly_limit,
            "state": f.state.value,
            "polled_at": f.polled_at,
            "next_poll_at": f.next_poll_at,
            "trouble": f.trouble,
        }
        for f in run(every_feed)
    ]
    show(rows, as_json, empty="No feeds yet. ./newsbell feed add https://… --topic ukraine makes one.")


@feed.command("poll")
def feed_poll(
    url: Annotated[
        str | None, typer.Argument(metavar="[FEED]", help="One feed, by its number or address; default: all.")
    ] = None,
) -> None:
    """Poll now instead of waiting for the next turn, and say what came of it."""
    run_on_engine(lambda sessions: _poll(sessions, url))


@feed.command("pause")
def feed_pause(url: Url) -> None:
    """Ask it no more, until you resume it. Nothing of it rings from this moment on."""

    async def pause(session: AsyncSession, found: Feed) -> None:
        if found.state is State.PAUSED:
            raise Conflict("This feed is paused already.")
        found.pause(now())

    changed = _change(url, "feed.pause", pause)
    out.print(f"Paused {changed.url}. ./newsbell feed resume goes on with it.")


@feed.command("resume")
def feed_resume(url: Url) -> None:
    """Ask it again. What came out meanwhile is remembered and does not ring."""

    async def resume(session: AsyncSession, found: Feed) -> None:
        if found.state is not State.PAUSED:
            raise Conflict("This feed is not paused.")
        await resume_feed(session, found)

    changed = _change(url, "feed.resume", resume)
    out.print(f"Resumed {changed.url}. What came out meanwhile is remembered and does not ring.")


@feed.command("remove")
def feed_remove(url: Url) -> None:
    """Follow it no more. The stories that it brought stay."""
    changed = _change(url, "feed.delete", lambda session, found: session.delete(found))
    out.print(f"Removed {changed.url}. Its stories and their alerts stay.")


def _change(url: str, action: str, act: Callable[[AsyncSession, Feed], Awaitable[None]]) -> Feed:
    async def step(session: AsyncSession) -> Feed:
        found = await _feed(session, url, lock=True)
        await act(session, found)
        audit.note(session, now(), actor=audit.COMMAND_LINE, action=action, subject=found.url)
        return found

    return run(step)


async def _feed(session: AsyncSession, name: str, *, lock: bool = False) -> Feed:
    """By its number in the list or by its address."""
    if name.isascii() and name.isdigit() and len(name) < 19 and (found := await feed_by_id(session, int(name))):
        name = found.url
    return await feed_by_url(session, name, lock=lock)


async def _poll(sessions: Sessions, url: str | None) -> None:
    asked = now()
    async with transaction(sessions) as session:
        wanted = await _to_poll(session, url)
        for one in wanted:
            await poll_now(session, one)
            audit.note(session, now(), actor=audit.COMMAND_LINE, action="feed.poll", subject=one.url)
    ids = {one.id for one in wanted}
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True)
    ) as bar:
        task = bar.add_task("Polling", total=len(ids))
        for tick in range(600):
            async with transaction(sessions) as session:
                done = [f for f in await every_feed(session) if f.id in ids and f.polled_at and f.polled_at >= asked]
            bar.update(task, completed=len(done))
            if len(done) == len(ids):
                break
            if tick == 50 and not done:
                bar.update(task, description="Waiting for a worker (./newsbell up or ./newsbell worker)")
            await asyncio.sleep(0.1)
        else:
            raise Refusal("The worker has not polled them within a minute. Is ./newsbell up running?")
    for one in done:
        out.print(f"{one.title or one.url}: {one.trouble or 'polled'}")


async def _to_poll(session: AsyncSession, url: str | None) -> Sequence[Feed]:
    if url is None:
        return [one for one in await every_feed(session) if one.state is not State.PAUSED]
    found = await _feed(session, url)
    if found.state is State.PAUSED:
        raise Conflict("This feed is paused. ./newsbell feed resume asks it at once.")
    return [found]
