"""Pace: how fast this worker may send to each push service, agreed with all others through the database."""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import NamedTuple, Protocol

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import clock, heart
from app.database import Sessions, transaction
from app.domain.lanes import Lane, Tally, TokenRecord, every_lane, lane_for_change, weigh
from app.domain.marks import Happening, mark
from app.domain.outcomes import Cause, Verdict
from app.domain.probation import AT_ONCE
from app.queue import lanes_due, live_workers

log = logging.getLogger("newsbell.pace")

LOOK = 0.5  # seconds between two looks at what the others know
# Shards of one lane that a worker draws from: one that is sent and one that is read from the database meanwhile.
SHARDS_AT_ONCE = 2
ON_PROBATION = "probation"  # the road that all lanes share for readers who never were accepted
PATIENCE = 1.0  # seconds that a shard waits for a place in its lane before others may have its place in the worker


class Throttle(Protocol):
    """What pace needs of worker/push.py."""

    @property
    def readers_first(self) -> bool: ...

    def pace(self, origin: str, per_second: float | None) -> None: ...


class Road(NamedTuple):
    """A lane as one queue sees it: breaking alerts have places of their own."""

    origin: str
    urgent: bool


class Pace:
    def __init__(self, sessions: Sessions, throttle: Throttle, draining: asyncio.Event) -> None:
        self.sessions, self.throttle, self.draining = sessions, throttle, draining
        self.lanes: Mapping[str, Lane] = {}
        self.tallies: dict[str, Tally] = {}
        self.under_way: Counter[Road] = Counter()
        self.waiting = 0  # shards without a place
        self.tokens: defaultdict[str, TokenRecord] = defaultdict(TokenRecord)
        self.due: Collection[Road] = ()  # where shards wait that no worker has taken, as far as we know
        self._left = asyncio.Event()
        self._looked = time.monotonic()

    def closed_until(self, origin: str, now: datetime) -> datetime | None:
        lane = self.lanes.get(origin)
        return lane.closed_until(now) if lane else None

    def paused(self, origin: str) -> bool:
        lane = self.lanes.get(origin)
        return lane is not None and lane.paused_at is not None

    def endings_stopped(self, origin: str) -> bool:
        lane = self.lanes.get(origin)
        return lane is not None and lane.endings_stopped_at is not None

    def note_token(self, origin: str, *, taken: int, refused: int) -> None:
        """How often the token in use was taken, and refused: by proven readers, in all shards of this worker."""
        self.tokens[origin].note(taken, refused)

    def is_refused(self, origin: str) -> bool:
        return origin in self.tokens and self.tokens[origin].is_refused

    def try_fresh_token(self, origin: str) -> None:
        self.tokens[origin].forgive()

    def note(self, origin: str, verdict: Verdict, times: int = 1) -> None:
        tally = self.tallies.setdefault(origin, Tally())
        match verdict.cause:
            case Cause.ACCEPTED:
                tally.accepted += times
            case Cause.THROTTLED:
                tally.throttled += times
            case Cause.BUSY | Cause.UNREACHABLE:
                tally.failed += times
            case _:
                tally.others += times
        if verdict.retry_after is not None:
            tally.asked = max(verdict.retry_after, tally.asked or verdict.retry_after)

    @asynccontextmanager
    async def place(self, origin: str, *, urgent: bool, on_probation: bool = False) -> AsyncIterator["Place | None"]:
        """A place to send a shard in this lane; None if it is better to come back later.

        A lane that hangs keeps its own places only, and makes room in the worker for shards of others. All shards of
        readers on probation have a few places together, and none of them waits for one in the way of others.
        """
        road = Road(ON_PROBATION if on_probation else origin, urgent)
        found = self._take_place(road) if on_probation else await self._find_place(road)
        place = Place(self, road) if found else None
        try:
            yield place
        finally:
            if place:
                place.leave()

    def _take_place(self, road: Road) -> bool:
        if self.under_way[road] >= AT_ONCE or self.draining.is_set() or self.throttle.readers_first:
            return False
        self.under_way[road] += 1
        return True

    async def _find_place(self, road: Road) -> bool:
        since = time.monotonic()
        self.waiting += 1
        try:
            while self.under_way[road] >= SHARDS_AT_ONCE and not self.draining.is_set():
                if self.closed_until(road.origin, clock.now()):
                    return False
                if time.monotonic() - since > PATIENCE and self._others_starve(road):
                    return False
                self._left.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._left.wait(), PATIENCE / 2)
        finally:
            self.waiting -= 1
        self.under_way[road] += 1
        return True

    def leave(self, road: Road) -> None:
        self.under_way[road] -= 1
        self._left.set()

    def _others_starve(self, road: Road) -> bool:
        return any(
            other != road and other.urgent is road.urgent and self.under_way[other] < SHARDS_AT_ONCE
            for other in self.due
        )

    async def run(self) -> None:
        """For as long as the worker lives."""
        while True:
            # While the database is away, which is said elsewhere, push services are sent to as before.
            with suppress(DBAPIError, PoolTimeout, OSError):
                await self.look(clock.now())
            heart.beat("pace")
            await asyncio.sleep(LOOK)

    async def look(self, now: datetime) -> None:
        """Tell the others what we heard, and hear what they did."""
        # A service that is silent is heard of 16 requests at a time: too few for the breaker, until there are more.
        heard, self.tallies = self.tallies, {}
        self.tallies = {origin: tally for origin, tally in heard.items() if tally.is_silence}
        tallies = {origin: tally for origin, tally in heard.items() if not tally.is_silence}
        seconds, self._looked = max(time.monotonic() - self._looked, 0.1), time.monotonic()
        async with transaction(self.sessions) as session:
            workers = await live_workers(session)
            for origin in sorted(o for o, tally in tallies.items() if self._matters(o, tally)):
                lane = await lane_for_change(session, origin, now)
                tally, breaks = tallies[origin], lane.breaks
                weigh(lane, tally, tally.heard / seconds * workers, now)
                if tally.throttled:
                    await mark(session, Happening.THROTTLED, origin, now, tally.throttled)
                if lane.breaks > breaks:
                    log.warning(
                        "%s fails; next try at %s", origin, lane.open_at and lane.open_at.time().replace(microsecond=0)
                    )
            await session.flush()
            self.due = [Road(lane, urgent) for lane, urgent in await lanes_due(session)] if self.waiting else ()
            self.lanes = {lane.origin: lane for lane in await every_lane(session)}
        for lane in self.lanes.values():
            allowed = lane.allowed(now)
            self.throttle.pace(lane.origin, None if allowed is None else max(allowed / workers, 0.1))

    def _matters(self, origin: str, tally: Tally) -> bool:
        lane = self.lanes.get(origin)
        return bool(tally.throttled or tally.failed or (lane and lane.breaks and tally.accepted))

    async def pause(self, origin: str, because: str, now: datetime) -> None:
        """Send no more there until a person has looked."""
        await self.alarm(origin, because, now, pause=True)

    async def alarm(self, origin: str, because: str, now: datetime, *, pause: bool = False) -> None:
        """Ask a person to look: once until it is answered, though a pause is worth another word."""
        async with transaction(self.sessions) as session:
            lane = await lane_for_change(session, origin, now)
            if lane.paused_at is not None or (lane.alarm and not pause):
                return
            lane.alarm = because
            if pause:
                lane.paused_at = lane.paused_at or now
                self.try_fresh_token(origin)  # what the person puts right is judged anew
        self.lanes = {**self.lanes, origin: lane}
        log.error("ALARM: %s%s: %s", origin, " is paused" if pause else "", because)


class Place:
    """Of one shard in its lane. It is left when all is drawn, not when the slowest answer has come."""

    def __init__(self, pace: Pace, road: Road) -> None:
        self._pace, self._road, self._is_left = pace, road, False

    def leave(self) -> None:
        if not self._is_left:
            self._is_left = True
            self._pace.leave(self._road)
