"""`./newsbell bench …`: what can be asked of each. Their libraries are imported when they run (see app/cli.py)."""

import os
from pathlib import Path
from typing import Annotated

import typer

from app.domain.refusals import Refusal
from app.terminal import Json
from bench.sink import Kind

bench = typer.Typer(no_args_is_help=True, help="Measure this machine: how fast an alert goes out, and what it costs.")

CORES = os.cpu_count() or 1
ONE_AND_A_SURVIVOR = max(CORES, 2)
Processes = Annotated[int, typer.Option(min=1, help="Sending processes, one per core if left out.")]
Chart = Annotated[Path | None, typer.Option(dir_okay=False, help="Draw the result into this file.")]
SinkKind = Annotated[Kind, typer.Option(help="What answers: nginx over HTTPS and HTTP/2, or a small one over HTTP.")]


@bench.command("fanout")
def bench_fanout(
    recipients: Annotated[int, typer.Option(min=1, help="Made-up readers who get one alert.")] = 100_000,
    processes: Processes = CORES,
    latency: Annotated[float, typer.Option(min=0, help="Milliseconds before each answer.")] = 0,
    faults: Annotated[bool, typer.Option("--faults", help="Also refusals, slow and hanging answers.")] = False,
    peers: Annotated[bool, typer.Option(help="Measure pywebpush and node web-push, too.")] = True,
    rounds: Annotated[int, typer.Option(min=1, help="All take turns so often; the median counts.")] = 1,
    sink: SinkKind = Kind.NGINX,
    svg: Chart = None,
    as_json: Json = False,
) -> None:
    """One alert to many readers, from release to the last answer, on a database and a push service of its own."""
    from bench import fanout

    options = fanout.Options(
        recipients=recipients,
        processes=processes,
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
    processes: Processes = CORES,
    sink: SinkKind = Kind.NGINX,
    svg: Chart = None,
    as_json: Json = False,
) -> None:
    """The same for 10,000, 100,000 and 1,000,000 readers: does it get slower or bigger?"""
    from bench import scale

    scale.run(recipients or scale.SIZES, processes=processes, sink=sink, as_json=as_json, svg=svg)


@bench.command("crashes")
def bench_crashes(
    runs: Annotated[int, typer.Option(min=1, help="Alerts, in each of which one worker is killed.")] = 20,
    recipients: Annotated[int, typer.Option(min=1, help="Made-up readers who get each.")] = 10_000,
    processes: Processes = ONE_AND_A_SURVIVOR,
    seed: Annotated[int, typer.Option(help="Of the random moments.")] = 1,
    database: Annotated[bool, typer.Option("--database", help="Kill the database, not a worker.")] = False,
    as_json: Json = False,
) -> None:
    """Kill workers at random moments: nobody may be lost, and few may be told again."""
    from bench import crashes

    if processes < 2:
        raise Refusal("Somebody must survive to take over: --processes 2 at least.")
    crashes.run(runs=runs, recipients=recipients, processes=processes, seed=seed, database=database, as_json=as_json)


@bench.command("desk")
def bench_desk(
    recipients: Annotated[int, typer.Option(min=1, help="Made-up readers who get each alert.")] = 100_000,
    processes: Processes = CORES,
    rounds: Annotated[int, typer.Option(min=1, help="Alerts, one after the other.")] = 3,
    as_json: Json = False,
) -> None:
    """An alert from the desk: how soon after its time the first push is accepted, and how fresh its progress is."""
    from bench import desk

    desk.run(recipients=recipients, processes=processes, rounds=rounds, as_json=as_json)


@bench.command("hanging")
def bench_hanging(
    recipients: Annotated[int, typer.Option(min=1, help="Made-up readers of each of the two push services.")] = 30_000,
    processes: Processes = CORES,
    rounds: Annotated[int, typer.Option(min=1, help="The median of so many counts.")] = 9,
    as_json: Json = False,
) -> None:
    """One push service never answers: how much later do the readers of another get their alert?"""
    from bench import hanging

    hanging.run(recipients=recipients, processes=processes, rounds=rounds, as_json=as_json)


@bench.command("hostile")
def bench_hostile(
    recipients: Annotated[int, typer.Option(min=1, help="Made-up readers whose push service accepts.")] = 10_000,
    strangers: Annotated[int, typer.Option(min=0, help="Subscriptions that answer with anything else.")] = 5_000,
    hosts: Annotated[int, typer.Option(min=1, help="Made-up hosts among these.")] = 1_000,
    newcomers: Annotated[int, typer.Option(min=1, help="New readers, whose first alert it is, among them.")] = 20,
    processes: Processes = CORES,
    rounds: Annotated[int, typer.Option(min=1, help="The median of so many counts.")] = 5,
    sink: SinkKind = Kind.NGINX,
    as_json: Json = False,
) -> None:
    """Thousands of hostile subscriptions: how much later do the readers get their alert, and the next one?"""
    from bench import hostile

    options = hostile.Options(
        recipients=recipients,
        strangers=strangers,
        hosts=hosts,
        newcomers=newcomers,
        processes=processes,
        rounds=rounds,
        sink=sink,
    )
    hostile.run(options, as_json=as_json)
