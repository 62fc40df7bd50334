"""What came of a benchmark: numbers, a line of JSON, a row of a table."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

NEWSBELL, CEILING = "newsbell", "ceiling"
QUANTILES = (50, 90, 99, 100)  # per cent


@dataclass(frozen=True, kw_only=True)
class Result:
    """One contender, one run. CPU and memory are those of its sending processes."""

    what: str
    processes: int
    sent: int
    accepted: int
    per_second: int  # from the first accepted message to the last
    cpu_us_per_message: int
    rss_mb: int  # of the largest process
    sink_cpu_us_per_message: int
    seconds_to: dict[int, float]  # per cent of what was accepted, from the start (Newsbell: from the release)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def as_json(self) -> str:
        fields = {**vars(self), **self.more}
        return json.dumps({name: value for name, value in fields.items() if name != "more"})


def result(
    what: str,
    *,
    processes: int,
    sent: int,
    started: float,
    accepted_at: Sequence[float],
    cpu: float,
    sink_cpu: float,
    rss_mb: int,
    more: dict[str, Any] | None = None,
) -> Result:
    """accepted_at: when each accepted message was answered, in order."""
    took = accepted_at[-1] - accepted_at[0] if accepted_at else 0.0
    return Result(
        what=what,
        processes=processes,
        sent=sent,
        accepted=len(accepted_at),
        per_second=round(len(accepted_at) / took) if took else 0,
        cpu_us_per_message=round(cpu / sent * 1e6) if sent else 0,
        sink_cpu_us_per_message=round(sink_cpu / sent * 1e6) if sent else 0,
        rss_mb=rss_mb,
        seconds_to=times_to(accepted_at, started),
        more=more or {},
    )


def times_to(accepted_at: Sequence[float], started: float) -> dict[int, float]:
    def place(quantile: int) -> int:
        return math.ceil(len(accepted_at) * quantile / 100) - 1

    return {q: round(accepted_at[place(q)] - started, 3) for q in QUANTILES} if accepted_at else {}


def median(results: Sequence[Result]) -> Result:
    """The run in the middle, whole: no mixture of several."""
    return sorted(results, key=lambda one: one.per_second)[len(results) // 2]


# --- for people -----------------------------------------------------------------------------------------------------


def show(results: Sequence[Result], out: Console) -> None:
    slowest = min((one.per_second for one in results if one.per_second), default=1)
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("sender", no_wrap=True)
    for heading in ("messages", "per second", "×", "CPU µs", "RSS MB", *(f"{q} %" for q in QUANTILES)):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in sorted(results, key=lambda one: -one.per_second):
        table.add_row(
            one.what,
            f"{one.sent:,}",
            f"{one.per_second:,}",
            f"{one.per_second / slowest:.1f}",
            f"{one.cpu_us_per_message:,}",
            f"{one.rss_mb:,}",
            *(f"{one.seconds_to[q]:.2f}" if q in one.seconds_to else "–" for q in QUANTILES),
        )
    out.print(table)
    out.print(
        f"\n{results[0].processes} sending processes each. Per second: accepted, from the first to the last. ×: faster "
        "than the slowest. CPU and RSS: of the sending processes, CPU for each message. %: seconds until that share of "
        "the messages was accepted."
    )


def explain(ours: Result, ceiling: Result | None, out: Console) -> None:
    """What only we have: the plan, the ledger, and how near we come to the ceiling."""
    more = ours.more
    out.print(
        f"\nFrom release: planned after {more['planned_s']:.2f} s, "
        f"first accepted after {more['first_accepted_s']:.2f} s, finished after {more['finished_s']:.2f} s "
        f"({more['per_second_from_release']:,} messages/s, all in all)."
    )
    out.print(
        f"CPU µs/message: workers {ours.cpu_us_per_message}, database {more['database_cpu_us_per_message']}, "
        f"sink {ours.sink_cpu_us_per_message}."
    )
    told = " + ".join(f"{count:,} {label}" for label, count in more["outcomes"].items() if count)
    verdict = "the books balance" if more["balanced"] else "THE BOOKS DO NOT BALANCE"
    out.print(f"Ledger: {told} = {sum(more['outcomes'].values()):,} recipients; {verdict}.")
    if ceiling and ceiling.per_second:
        share = ours.per_second / ceiling.per_second
        out.print(f"{share:.0%} of the ceiling, which reads, seals and sends and keeps no ledger.")
