"""Reports as CSV that programs and spreadsheets read alike (RFC 4180, UTF-8)."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from fastapi import Response

from app.domain.shards import COUNTED
from app.report_shapes import LaneReportOut, PeriodOut, ReportOut, ResultsOut, ShownOut

# A spreadsheet takes what begins so for a formula, and titles come from feeds (owasp.org, "CSV Injection"). Full-width
# and small forms of the signs mean the same to it. Spaces and what nobody sees may stand before them.
_SIGNS = "=+@\\-\u2212\uff1d\uff0b\uff20\uff0d\ufe66\ufe62\ufe6b\ufe63\u207c\u207a\u207b"
_UNSEEN = r"[\s\x00-\x1f\x7f\xa0\xad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]*"
# A cell begins behind a semicolon, too: where the comma is a decimal sign, spreadsheets take that for the separator.
FORMULA = re.compile(f"(^|[;\t\r\n])(?={_UNSEEN}[{_SIGNS}])|^(?=[\t\r\n])")
TOLD = ("shown_counted", "shown_estimated", "clicked", "closed", "stopped", "topic_off")
PERCENT = (50, 90, 99)


class Csv(Response):
    media_type = "text/csv"


def csv_file(name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Csv:
    """It begins with a byte-order mark: without one, Excel reads other letters than English ones as gibberish."""
    text = io.StringIO()
    csv.writer(text).writerows([columns, *([_cell(value) for value in row] for row in rows)])
    return Csv("\ufeff" + text.getvalue(), headers={"Content-Disposition": f'attachment; filename="{name}.csv"'})


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, str):
        return FORMULA.sub(r"\1'", value)
    return value


def report_file(report: ReportOut) -> Csv:
    """A line for each push service, and a last one for all."""
    columns = ("service", "lane", "recipients", *COUNTED, *TOLD, *(f"seconds_to_{percent}" for percent in PERCENT))
    whole = ["All", "", report.alert.recipients]
    whole += [sum(getattr(lane, outcome) for lane in report.lanes) for outcome in COUNTED]
    rows = [_lane(lane) for lane in report.lanes]
    return csv_file(f"newsbell-{report.alert.id}", columns, [*rows, [*whole, *_told(report), *_seconds(report)]])


def _lane(lane: LaneReportOut) -> list[object]:
    counts = [getattr(lane, outcome) for outcome in COUNTED]
    return [lane.service, lane.lane, lane.recipients, *counts, *_told(lane), *_seconds(lane)]


def _told(of: ResultsOut | LaneReportOut) -> list[object]:
    shown: ShownOut = of.shown
    return [shown.counted, shown.estimated, of.clicked, of.closed, of.stopped, of.topic_off]


def _seconds(of: ReportOut | LaneReportOut) -> list[object]:
    return [of.seconds_to[percent] for percent in PERCENT]


ALERT = ("id", "released_at", "title", "url", "level")


def period_file(period: PeriodOut, days: int) -> Csv:
    """A line for each alert."""
    columns = ("alert", *ALERT[1:], "topics", "corrects", "recipients", "handed_over", *TOLD)
    rows = [
        [
            *(getattr(item.alert, name) for name in ALERT),
            " ".join(item.alert.topics),
            item.alert.corrects,
            item.alert.recipients,
            item.delivered,
            *_told(item),
        ]
        for item in period.items
    ]
    return csv_file(f"newsbell-{period.until:%Y-%m-%d}-{days}-days", columns, rows)
