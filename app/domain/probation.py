"""Probation: what holds for a reader until a push service has accepted a message for them.

Anybody may subscribe anything. So an address that never took a message has no vote (about a lane's pause, breaker, rate
or endings, or an alarm), waits behind the proven ones in shards of its own, and is tried a few times by a small share
of a worker. The first alert is the proof; nothing else is different for a reader whose address is good.
"""

from datetime import timedelta
from enum import IntEnum


class Standing(IntEnum):
    PROVEN = 0  # A push service accepted a message for the endpoint that it has now.
    NEW = 1
    DOUBTED = 2  # New, and tried in vain by an earlier alert: behind those who were never tried.


# The same in SQL, of a row of subscriptions.
STANDING = "CASE WHEN proven_at IS NOT NULL THEN 0 WHEN strikes = 0 THEN 1 ELSE 2 END"

# Smaller than other shards: a worker that is at one has a place less, and soon has it back.
SIZE = 1000
# Lanes in which an alert's readers on probation have shards of their own, those with proven readers first. All others
# share shards, so that a thousand made-up hosts are a few pages of the ledger and a few jobs.
OWN_LANES = 16
# Between the level of one alert and the next there are 100: any proven shard of a queue goes first.
LOWER = 1000
# While a worker sends to proven readers, nobody on probation is sent anything for so many seconds. A usual alert is
# over by then; a long one leaves them a small share after that.
HEAD_START = 5.0
# An alert's pages of readers on probation are due a second later for each so many proven readers that it has, up to a
# maximum: so long, about, the proven take.
PER_SECOND, LATEST_START = 2500, timedelta(seconds=10)
# Shards at which a worker process is at a time; see also worker/push.py.
AT_ONCE = 2
# After so many passes an alert gives them up. The first waits are short, for a service that is busy for a moment must
# not cost a new reader minutes. One that is down is known by its proven readers: a lane that they have closed costs
# nobody a try.
WAITS = (timedelta(seconds=2), timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=10))
TRIES = len(WAITS) + 1
# Alerts in vain after which the subscription ends, if the first is so long ago: a service that is down for a weekend
# costs nobody anything. An ended one lives again when its browser visits, as every other.
VAIN_ALERTS, PATIENCE = 3, timedelta(days=3)
# Those who ended without ever having been accepted are forgotten sooner than others, who had been readers.
FORGOTTEN_AFTER = timedelta(days=7)


def starts_after(proven: int) -> timedelta:
    """How long an alert's readers on probation wait, by how many proven ones it has; a few cost no wait at all."""
    return min(timedelta(seconds=proven // PER_SECOND), LATEST_START)


def lowered(priority: int, standing: int) -> int:
    return priority - LOWER * standing


def next_try(tries: int, luck: float) -> timedelta:
    """After so many passes; `luck` is in [0, 1). What an answer asked for counts less: it may be a stranger's."""
    return WAITS[min(max(tries, 1), len(WAITS)) - 1] * (1 + luck / 4)
