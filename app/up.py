"""Up: everything on one machine, from nothing to a page that asks."""

import asyncio
import fcntl
import os
import shlex
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, database
from app.chosen_database import USUAL_FOLDER, Chosen, database_of
from app.domain import audit
from app.domain.editors import an_owner_has_signed_in
from app.domain.refusals import Refusal
from app.domain.sign_ins import link_address, make_link
from app.logs import speak
from app.migrate import migrate, must_be_current
from app.oidc import SingleSignOn
from app.settings import Settings
from app.sources import DEMO_HOURLY_LIMIT, follow_demo, load_starter
from app.startup import (
    as_given,
    ensure_key,
    first_steps,
    must_be_free,
    must_be_the_readers_key,
    must_have_a_contact,
    must_have_authorities,
)
from app.supervisor import Child, supervise


def up(settings: Settings, *, host: str, port: int, demo: bool) -> None:
    """Run until SIGINT or SIGTERM. Each step that cannot be done is refused with one sentence."""
    speak()
    settings = _adapted(settings, host=host, port=port, demo=demo)
    must_be_free(host, (port, port + 1) if demo else (port,), as_given)
    must_have_a_contact(settings)
    must_have_authorities(settings)
    with _alone(settings.data_dir), database_of(settings, make=True) as chosen:
        settings = settings.model_copy(update={"database_url": chosen.url})
        migrate(chosen.url)
        ensure_key(settings)
        SingleSignOn.of(settings)
        link = _prepare(chosen.url, demo_feed=_demo_feed(port) if demo else None)
        children = _children(settings, host=host, port=port, demo=demo)
        more = [*_how_to_command(settings, chosen), *first_steps(settings, owner_follows=link is not None)]
        supervise(children, environment=_environment(settings), ready=lambda: _greet(settings, host, port, link, more))
    typer.echo("Newsbell has stopped. Everything is kept for the next start.", err=True)


def serve(settings: Settings, *, host: str, port: int) -> None:
    """The pages and the API only, kept alive."""
    SingleSignOn.of(settings)
    supervise([_web(host, port)], environment=_environment(settings))


def work(settings: Settings, processes: int | None) -> None:
    """Worker processes only, kept alive."""
    count = processes or settings.workers or os.cpu_count() or 1
    supervise(_workers(count), environment=_environment(settings))


def must_be_set_up(settings: Settings) -> None:
    """What `up` sees to by itself, `web` and `worker` only look at."""
    must_be_current(settings.database_url)
    must_have_a_contact(settings)
    must_have_authorities(settings)
    must_be_the_readers_key(settings)


def _adapted(settings: Settings, *, host: str, port: int, demo: bool) -> Settings:
    changes: dict[str, object] = {"data_dir": settings.data_dir.absolute()}
    if "site_url" not in settings.model_fields_set:
        changes["site_url"] = f"http://localhost:{port}"
    if demo:
        # A demo keeps to itself: its made-up stories never mix with a newsroom's data.
        changes["allow_private_addresses"] = True
        changes["poll_floor"] = min(settings.poll_floor, 5.0)
        changes["feeds_hourly_limit"] = DEMO_HOURLY_LIMIT
        changes["data_dir"] = settings.data_dir.absolute() / "demo"
        changes["site_name"] = "The Demo Courier"
    return settings.model_copy(update=changes)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One `up` for a data folder. The kernel gives the lock back however we end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "up.lock").open("a")
    except OSError as error:
        raise Refusal(f"The data folder {folder} cannot be used: {error.strerror}. Choose one with --data.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refusal(
                f"Newsbell runs already on {folder}. Stop that one, or choose another folder with --data."
            ) from None
        yield


def _prepare(url: str, *, demo_feed: str | None) -> str | None:
    """Topics and feeds, and the secret of the first owner's link as long as no owner has ever signed in."""

    async def prepare() -> str | None:
        engine = database.connect(url, pool_size=1)
        sessions = database.sessions_of(engine)
        try:
            await clock.clock.ask(sessions)
            async with database.transaction(sessions) as session:
                now = clock.now()
                await load_starter(session, now, feeds=demo_feed is None)
                if demo_feed:
                    await follow_demo(session, demo_feed, now)
                return None if await an_owner_has_signed_in(session) else await _first_owner_link(session, now)
        finally:
            await engine.dispose()

    return asyncio.run(prepare())


async def _first_owner_link(session: AsyncSession, now: datetime) -> str:
    audit.note(session, now, actor=audit.COMMAND_LINE, action="link.made", first_owner=True)
    return await make_link(session, None, now)


def _demo_feed(port: int) -> str:
    return f"http://127.0.0.1:{port + 1}/feed.xml"


def _children(settings: Settings, *, host: str, port: int, demo: bool) -> list[Child]:
    publisher = Child("publisher", [sys.executable, "-m", "app.demo", str(port + 1)])
    return [_web(host, port), *_workers(settings.workers or os.cpu_count() or 1), *([publisher] if demo else [])]


def _web(host: str, port: int) -> Child:
    return Child("web", [sys.executable, "-m", "app.main", host, str(port)])


def _workers(count: int) -> list[Child]:
    return [Child(f"worker-{number}", [sys.executable, "-m", "worker"]) for number in range(1, count + 1)]


def _environment(settings: Settings) -> Mapping[str, str]:
    """What children need to come to the same settings."""
    told = {
        f"NEWSBELL_{name.upper()}": ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in settings
        if value not in (None, ())
    }
    return os.environ | told | {"NEWSBELL_VAPID_PRIVATE_KEY_FILE": str(settings.vapid_key_file)}


def _how_to_command(settings: Settings, chosen: Chosen) -> list[str]:
    """From another terminal: other commands do not know which folder this one was given."""
    if chosen.name:
        return [f"Database:      {chosen.name}"]
    if settings.data_dir.resolve() == USUAL_FOLDER:
        return []
    return [f"Commands:      NEWSBELL_DATA_DIR={shlex.quote(str(settings.data_dir))} ./newsbell …"]


def _greet(settings: Settings, host: str, port: int, link: str | None, more: Sequence[str]) -> None:
    """Once the pages answer, say where they are."""
    here = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    while not _answers(f"http://{here}:{port}/readyz"):
        time.sleep(0.1)
    site = settings.site_url
    lines = [f"Readers' page: {site}/", f"The desk:      {site}/desk"]
    if link:
        lines += [
            f"First sign-in: {link_address(site, link)}",
            "               Once, within 24 hours: it makes the owner.",
        ]
    typer.echo("\n" + "".join(f"  {line}\n" for line in [*lines, *more, "To stop:       Ctrl-C"]), err=True)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False
