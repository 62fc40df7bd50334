"""The commands. Each says what it does, refuses with one sentence and exit 1, and speaks JSON to programs."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from typer.exceptions import TyperException

from app import up as upping
from app.alert_commands import alert
from app.domain import audit
from app.domain.refusals import Refusal
from app.domain.topics import every_topic
from app.editor_commands import editor
from app.feed_commands import feed
from app.lane_commands import lane
from app.migrate import migrate as migrate_database
from app.migrate import must_be_current
from app.sources import add_topic
from app.terminal import Json, database_of, now, out, read_settings, run, show
from app.vapid import load_key, make_key
from bench import crashes, desk, fanout, hanging, scale
from bench.sink import Kind

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Newsbell: push notifications for a newsroom. Start with: ./newsbell up",
)
topic = typer.Typer(no_args_is_help=True, help="What readers can follow.")
vapid = typer.Typer(no_args_is_help=True, help="The key that push services know us by.")
bench = typer.Typer(no_args_is_help=True, help="Measure this machine: how fast an alert goes out, and what it costs.")
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


@cli.command()
def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the pages are served, on 127.0.0.1.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    data: Annotated[Path | None, typer.Option(help="Folder of the database and the key.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Add a made-up publisher with a story every 20 s.")] = False,
) -> None:
    """Run everything: database, migrations, pages and workers. Ctrl-C stops it; the data stays."""
    changes: dict[str, Any] = {"data_dir": data} if data else {}
    upping.up(read_settings(**changes), host=host, port=port, demo=demo)


@cli.command()
def web(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the pages and the API only."""
    settings = read_settings()
    with database_of(settings) as url:
        must_be_current(url)
        upping.serve(settings.model_copy(update={"database_url": url}), host=host, port=port)


@cli.command()
def worker(
    processes: Annotated[int | None, typer.Option(min=1, help="Default: NEWSBELL_WORKERS, or one per core.")] = None,
) -> None:
    """Poll feeds and send alerts only. Any number of machines may do so on one database."""
    settings = read_settings()
    with database_of(settings) as url:
        must_be_current(url)
        load_key(settings.vapid_key_file)
        upping.work(settings.model_copy(update={"database_url": url}), processes)


@cli.command()
def migrate() -> None:
    """Bring the database to this release's schema."""
    with database_of(read_settings()) as url:
        migrate_database(url)
    out.print("The database is on this release's schema.")


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
        audit.note(session, now(), actor="command line", action="topic.add", subject=slug, name=name)

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
    out.print(f"Made {path}. Keep a copy of it in a safe place: without it every reader must subscribe anew.")


@vapid.command("show")
def vapid_show() -> None:
    """The public key, as browsers get it."""
    out.print(load_key(read_settings().vapid_key_file).public_key)


Processes = Annotated[int | None, typer.Option(min=1, help="Sending processes; default: one per core.")]
Chart = Annotated[Path | None, typer.Option(dir_okay=False, help="Draw the result into this file.")]
SinkKind = Annotated[Kind, typer.Option(help="What answers: nginx over HTTPS and HTTP/2, or a small one over HTTP.")]


@bench.command("fanout")
def bench_fanout(
    recipients: Annotated[int, typer.Option(min=1, help="Made-up readers who get one alert.")] = 100_000,
    processes: Processes = None,
    latency: Annotated[float, typer.Option(min=0, help="Milliseconds before each answer.")] = 0,
    faults: Annotated[bool, typer.Option("--faults", help="Also refusals, slow and hanging answers.")] = False,
    peers: Annotated[bool, typer.Option(help="Measure pywebpush and node web-push, too.")] = True,
    rounds: Annotated[int, typer.Option(min=1, help="Newsbell and the ceiling take turns; the median counts.")] = 1,
    sink: SinkKind = Kind.NGINX,
    svg: Chart = None,
    as_json: Json = False,
) -> None:
    """One alert to many readers, from release to the last answer, on a database and a push service of its own."""
    options = fanout.Options(
        recipients=recipients,
        processes=processes or os.cpu_count() or 1,
        sink=sink,
        latency=latency / 1000,
        faults=faults,
        peers=peers,
        rounds=rounds,
    )
    fanout.run(options, as_json=as_json, svg=svg)


@bench.command("scale")
def bench_scale(
    recipients: Annotated[list[int] | None, typer.Option(min=1, help="An audience's size; repeatable.")] = None,
    processes: Processes = None,
    sink: SinkKind = Kind.NGINX,
    svg: Chart = None,
    as_json: Json = False,
) -> None:
    """The same for 10,000, 100,000 and 1,000,000 readers: does it get slower or bigger?"""
    count = processes or os.cpu_count() or 1
    scale.run(recipients or scale.SIZES, processes=count, sink=sink, as_json=as_json, svg=svg)


@bench.command("crashes")
def bench_crashes(
    runs: Annotated[int, typer.Option(min=1, help="Alerts, in each of which one worker is killed.")] = 20,
    recipients: Annotated[int, typer.Option(min=1, help="Made-up readers who get each.")] = 10_000,
    processes: Processes = None,
    seed: Annotated[int, typer.Option(help="Of the random moments.")] = 1,
    database: Annotated[bool, typer.Option("--database", help="Kill the database, not a worker.")] = False,
    as_json: Json = False,
) -> None:
    """Kill workers at random moments: nobody may be lost, and few may be told again."""
    if (count := processes or max(os.cpu_count() or 1, 2)) < 2:
        raise Refusal("Somebody must survive to take over: --processes 2 at least.")
    crashes.run(runs=runs, recipients=recipients, processes=count, seed=seed, database=database, as_json=as_json)


@bench.command("desk")
def bench_desk(
    recipients: Annotated[int, typer.Option(min=1, help="Made-up readers who get each alert.")] = 100_000,
    processes: Processes = None,
    rounds: Annotated[int, typer.Option(min=1, help="Alerts, one after the other.")] = 3,
    as_json: Json = False,
) -> None:
    """An alert from the desk: how soon after its time the first push is accepted, and how fresh its progress is."""
    desk.run(recipients=recipients, processes=processes or os.cpu_count() or 1, rounds=rounds, as_json=as_json)


@bench.command("hanging")
def bench_hanging(
    recipients: Annotated[int, typer.Option(min=1, help="Made-up readers of each of the two push services.")] = 30_000,
    processes: Processes = None,
    rounds: Annotated[int, typer.Option(min=1, help="The median of so many counts.")] = 3,
    as_json: Json = False,
) -> None:
    """One push service never answers: how much later do the readers of another get their alert?"""
    hanging.run(recipients=recipients, processes=processes or os.cpu_count() or 1, rounds=rounds, as_json=as_json)


def main() -> None:
    try:
        sys.exit(cli(standalone_mode=False, prog_name="./newsbell"))
    except Refusal as refusal:
        sys.exit(f"newsbell: {refusal}")
    except TyperException as misuse:  # an option that there is not, a value that does not fit
        sys.exit(f"newsbell: {_said(misuse).rstrip('.')}. Try --help.")
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        sys.exit(f"newsbell: the database does not answer: {reason}.")
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
