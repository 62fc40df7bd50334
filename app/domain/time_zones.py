"""Time zones: the one list against which they are checked, and what becomes of one that is not in it."""

from collections.abc import Mapping
from datetime import datetime, time
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from app.domain.refusals import Refusal


@cache
def time_zones() -> Mapping[str, str]:
    """Every zone that this machine knows, by its name in lower case: browsers differ in how they spell one.

    Read once: it opens some 600 files. The two that name no place are left out.
    """
    return {name.lower(): name for name in available_timezones() - {"localtime", "Factory"}}


def a_time_zone(name: str) -> str:
    """What a person has named; it must be one."""
    if (known := time_zones().get(name.lower())) is None:
        raise Refusal(f"“{name[:64]}” is not a time zone such as Europe/Kyiv.")
    return known


def a_browsers_zone(name: str, otherwise: str) -> str:
    """What a browser says by itself. It is an optional fact: one that we cannot read must not cost a subscription."""
    return time_zones().get(name.lower(), otherwise)


def clock_in(zone: str, now: datetime) -> time | None:
    """What the clocks there say; None if this machine lacks the zone. (One with a newer list stored it.)"""
    known = time_zones().get(zone.lower())
    return now.astimezone(ZoneInfo(known)).time() if known else None
