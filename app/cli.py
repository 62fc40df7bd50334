"""The commands. Each says what it does, refuses with one sentence and exit 1, and speaks JSON to programs.

What only one command needs, and takes long to import, is imported there: an editor waits for `alert send`.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from typer.exceptions import TyperException

from app.alert_commands import alert
from app.chosen_database import database_of, trouble_in_words
from app.domain import audit
from app.domain.refusals import Refusal
from app.domain.topics import every_topic
from app.editor_commands import editor
from app.embedded import has_database
from app.feed_commands import feed
from app.lane_commands import lane
from app.migrate import migrate as migrate_database
from app.settings import read_settings, use_env_file
from app.sources import add_topic
from app.terminal import Json, now, out, run, say_aside, say_which, show
from app.vapid import load_key, make_key, whose
from app.visible import visible
from bench.commands import bench

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
topic = typer.Typer(no_args_is_help=True, help="What readers can follow.")
vapid = typer.Typer(no_args_is_help=True, help="The key that push services know us by.")
for name, group in (
    ("topic", topic),
    ("feed", feed),
    ("alert", alert),
    ("editor", editor),
    ("lane", lane),
    ("vapid", vapid),
    ("bench", bench),
):
    cli.add_typer(group, name=name)


@cli.callback()
def settings(
    env_file: Annotated[Path | None, typer.Option(help="File with settings, as systemd's EnvironmentFile=.")] = None,
) -> None:
    """Newsbell: push notifications for a newsroom. Start with: ./newsbell up"""
    if env_file:
        use_env_file(env_file)


@cli.command()
def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the pages are served, on 127.0.0.1.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    data: Annotated[Path | None, typer.Option(help="Folder of the database and the key.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Add a made-up publisher with a story every 20 s.")] = False,
) -> None:
    """Run everything: database, migrations, pages and workers. Ctrl-C stops it; the data stays."""
    from app import up as upping

    changes: dict[str, Any] = {"data_dir": data} if data else {}
    upping.up(read_settings(**changes), host=host, port=port, demo=demo)


@cli.command()
def web(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the pages and the API only."""
    from app import up as upping
    from app.startup import as_given, first_steps, must_be_free

    settings = read_settings()
    must_be_free(host, (port,), as_given)
    with database_of(settings) as chosen:
        settings = settings.model_copy(update={"database_url": chosen.url})
        upping.must_be_set_up(settings)
        say_which(chosen)
        for step in first_steps(settings):
            say_aside(step)
        upping.serve(settings, host=host, port=port)


@cli.command()
def worker(
    processes: Annotated[int | None, typer.Option(min=1, help="Default: NEWSBELL_WORKERS, or one per core.")] = None,
) -> None:
    """Poll feeds and send alerts only. Any number of machines may do so on one database."""
    from app import up as upping

    settings = read_settings()
    with database_of(settings) as chosen:
        settings = settings.model_copy(update={"database_url": chosen.url})
        upping.must_be_set_up(settings)
        say_which(chosen)
        upping.work(settings, processes)


@cli.command()
def migrate() -> None:
    """Bring the database to this release's schema."""
    from app.startup import first_steps

    settings = read_settings()
    fresh = not settings.database_url and not has_database(settings.data_dir)
    with database_of(settings, make=True) as chosen:
        migrate_database(chosen.url)
        steps = first_steps(settings.model_copy(update={"database_url": chosen.url}))
    name = chosen.name or f"the built-in one in {settings.data_dir.absolute()}"
    done = "Made a database" if fresh else "The database is on this release's schema"
    for line in (f"{done}: {name}.", *steps):
        out.print(line)


@topic.command("add")
def topic_add(
    slug: str,
    name: Annotated[str, typer.Option(help="What readers see.")],
    description: Annotated[str, typer.Option()] = "",
    synonym: Annotated[list[str] | None, typer.Option(help="A tag of publishers that means this; repeatable.")] = None,
) -> None:
    """Add a topic that readers can follow."""

    async def add(session: AsyncSession) -> None:
        await add_topic(session, slug, name, description=description, synonyms=synonym or [])
        audit.note(session, now(), actor=audit.COMMAND_LINE, action="topic.add", subject=slug, name=name)

    run(add)
    out.print(f"Added the topic {name}.")


@topic.command("list")
def topic_list(as_json: Json = False) -> None:
    """Every topic."""
    rows = [
        {"slug": t.slug, "name": t.name, "description": t.description, "synonyms": t.synonyms} for t in run(every_topic)
    ]
    show(rows, as_json, empty="No topics yet. ./newsbell topic add ukraine --name Ukraine makes one.")


@vapid.command("new")
def vapid_new() -> None:
    """Make the key. Only once: every subscription depends on it."""
    path = read_settings().vapid_key_file
    make_key(path)
    out.print(
        f"Made {path}. Keep a copy of it in a safe place: without it every reader must subscribe anew. {whose(path)}",
        soft_wrap=True,
    )


@vapid.command("show")
def vapid_show() -> None:
    """The public key, as browsers get it."""
    out.print(load_key(read_settings().vapid_key_file).public_key)


def main() -> None:
    try:
        sys.exit(cli(standalone_mode=False, prog_name="./newsbell"))
    except Refusal as refusal:
        sys.exit(f"newsbell: {visible(str(refusal))}")
    except TyperException as misuse:  # an option that there is not, a value that does not fit
        said = _said(misuse).replace("Value error, ", "").rstrip(".")
        sys.exit(f"newsbell: {visible(said)}. Try --help." if said else 1)  # said is empty after the help
    except DBAPIError as trouble:
        sys.exit(f"newsbell: {visible(trouble_in_words(trouble))}")
    except UnicodeEncodeError:
        sys.exit("newsbell: What was typed is not text in UTF-8, and Newsbell knows no other.")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os._exit(1)


def _said(misuse: TyperException) -> str:
    """The parameter is named by format_message(), which the public base class lacks."""
    message: str = getattr(misuse, "format_message", misuse.__str__)()
    return message


if __name__ == "__main__":
    main()
