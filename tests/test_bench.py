"""The benchmark tells the truth: whoever it says got the alert, got it. No time is asserted here."""

import json
from io import StringIO
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from rich.console import Console

from bench import fanout, hostile, scale
from bench.chart import bars
from bench.crashes import Crash
from bench.report import Result, median, result, times_to
from bench.sink import HOSTILE, Kind


@pytest.fixture(scope="module")
def report() -> list[Result]:
    """A tiny run against everybody, with answers as push services give them on a bad day."""
    options = fanout.Options(recipients=250, processes=1, sink=Kind.BUILTIN, faults=True)
    return fanout.measure(options, console=Console(quiet=True))


def of(report: list[Result], what: str) -> Result:
    return next(one for one in report if one.what == what)


def test_every_recipient_of_the_product_has_an_outcome(report: list[Result]) -> None:
    ours = of(report, "newsbell")
    outcomes = ours.more["outcomes"]
    assert ours.more["balanced"]
    assert sum(outcomes.values()) == ours.sent == 250
    assert outcomes["gone"] > 0
    assert outcomes["waiting"] == 0


def test_the_ledger_agrees_with_what_the_sink_has_counted(report: list[Result]) -> None:
    ours = of(report, "newsbell")
    assert ours.accepted == ours.more["outcomes"]["accepted"]
    assert ours.more["accepted_twice"] == 0


def test_the_others_send_to_the_same_readers(report: list[Result]) -> None:
    for name in ("ceiling", "pywebpush-async", "pywebpush-sync"):
        other = of(report, name)
        assert 0.9 * other.sent < other.accepted <= other.sent <= 250


def test_a_line_for_programs_has_what_they_rely_on(report: list[Result]) -> None:
    for one in report:
        line = json.loads(one.as_json)
        assert {"what", "sent", "accepted", "per_second", "cpu_us_per_message", "rss_mb"} < line.keys()
        assert line["rss_mb"] > 0
        assert all(early <= late for early, late in pairwise(line["seconds_to"].values()))


def test_people_get_a_table_a_verdict_and_a_picture(report: list[Result]) -> None:
    said = StringIO()
    fanout.tell(report, Console(file=said, width=100))
    assert "pywebpush-sync" in said.getvalue()
    assert "the books balance" in said.getvalue()
    for picture in (fanout.chart(report), scale.chart(report[:1])):
        assert ElementTree.fromstring(picture).tag.endswith("svg")


def test_names_in_a_picture_are_written_not_run() -> None:
    picture = bars("<b>", "&", [("<script>", 1.0, "")], stressed="")
    assert "<script>" not in picture
    ElementTree.fromstring(picture)


def test_the_time_to_a_share_is_when_its_last_message_was_accepted() -> None:
    seconds = [float(n) for n in range(1, 11)]
    assert times_to(seconds, started=0.0) == {50: 5.0, 90: 9.0, 99: 10.0, 100: 10.0}
    assert times_to([], started=0.0) == {}


def test_the_median_is_one_whole_run() -> None:
    runs = [
        result(
            "x",
            processes=1,
            sent=2,
            started=0.0,
            accepted_at=[0.0, took],
            cpu=took,
            sink_cpu=0.0,
            rss_mb=1,
        )
        for took in (1.0, 4.0, 2.0)
    ]
    assert median(runs).cpu_us_per_message == 1_000_000


@pytest.mark.parametrize(
    ("cost", "holds"),
    [
        ({}, True),
        ({"repeats": 30}, True),
        ({"repeats": 31}, False),
        ({"lost": 1}, False),
        ({"last_is_wrong": 1}, False),
        ({"unbalanced": 1}, False),
    ],
)
def test_a_crash_may_cost_repeats_and_nothing_else(cost: dict[str, int], holds: bool) -> None:
    nothing = {"lost": 0, "repeats": 0, "last_is_wrong": 0, "unbalanced": 0}
    crash = Crash(run=1, recipients=100, killed_after_s=0.5, finished_s=9.0, bound=30, **nothing | cost)
    assert crash.holds is holds


def test_strangers_cost_the_readers_nothing_and_new_ones_are_found_among_them() -> None:
    options = hostile.Options(
        recipients=60, strangers=24, hosts=5, newcomers=3, processes=1, rounds=1, idle=0.2, sink=Kind.BUILTIN
    )
    found = hostile.measure(options, Console(quiet=True))
    assert (found.lanes, found.alarms, found.ended) == ([], 0, 0)
    assert all(0 < took < 60 for took in (*found.without_s, *found.beside_s, *found.next_s, *found.newcomers_s))
    said = StringIO()
    hostile.tell(found, Console(file=said, width=200))
    assert "beside 24 hostile subscriptions" in said.getvalue()


def test_strangers_do_everything_that_a_push_service_should_not() -> None:
    endpoints = [hostile.hostile_endpoint(n, "https://localhost:1", "http://127.0.0.1:2", 1000) for n in range(5000)]
    assert len({endpoint.split("/")[2] for endpoint in endpoints}) > 1000
    for kind in HOSTILE:
        assert sum(f"localhost:1/hostile/{kind}/" in endpoint for endpoint in endpoints) > 200
        assert sum(f".localhost:2/hostile/{kind}/" in endpoint for endpoint in endpoints) > 200
    assert sum(endpoint.startswith("https://a") for endpoint in endpoints) > 200  # where nobody speaks TLS
    assert sum(".localhost:1/" in endpoint for endpoint in endpoints) > 200  # where nobody listens
