"""Wall clocks: a moment in the words of people who look at one."""

from datetime import datetime
from zoneinfo import ZoneInfo

# In English wherever the process runs: `strftime` would follow the machine's own language.
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def in_words(at: datetime, zone: str = "") -> str:
    """On the clock of `zone`, or of the offset in which it was written: "Tuesday 1 December at 02:57 (Europe/Kyiv)"."""
    try:
        local = at.astimezone(ZoneInfo(zone)) if zone else at
    except OverflowError:  # There, it is before the first year or after the last one.
        local, zone = at, ""
    clock = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
    where = zone.replace("_", " ") or f"UTC{local.isoformat()[-6:]}".removesuffix("+00:00")
    return f"{DAYS[local.weekday()]} {local.day} {MONTHS[local.month - 1]} at {clock} ({where})"
