"""The same alert to ten, a hundred, a thousand thousand: rate, memory and time side by side."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench import sink as sinks
from bench.chart import Panel, columns
from bench.fanout import Options, measure_newsbell
from bench.report import Result, show

SIZES = (10_000, 100_000, 1_000_000)


def run(sizes: Sequence[int], *, processes: int, sink: sinks.Kind, as_json: bool, svg: Path | None) -> None:
    """The command: each size on a database of its own."""
    console, results = Console(stderr=True), []
    for size in sizes:
        options = Options(recipients=size, processes=processes, sink=sink)
        results.append(measure_newsbell(options, console=console))
        if as_json:
            sys.stdout.write(results[-1].as_json + "\n")
            sys.stdout.flush()
    if not as_json:
        show(results, Console(highlight=False))
    if svg:
        svg.write_text(chart(results))


def chart(results: Sequence[Result]) -> str:
    labels = [f"{one.sent:,}" for one in results]
    panels = [
        Panel("Messages accepted per second", [one.per_second for one in results], "{:,.0f}"),
        Panel("Memory of a worker, MB at most", [one.rss_mb for one in results], "{:,.0f}"),
        Panel("Seconds to 90 % of the audience", [one.seconds_to.get(90, 0) for one in results], "{:,.1f}"),
    ]
    title = f"One alert, {results[0].processes} sending processes on one machine"
    return columns(title, "Columns: recipients of the alert.", labels, panels)
