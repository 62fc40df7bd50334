"""Pace: how fast this worker may send to each push service, agreed with all others through the database."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.database import Sessions, transaction
from app.domain.lanes import Lane, Tally, every_lane, lane_for_change, weigh
from app.domain.outcomes import Cause, Verdict
from app.queue import live_workers

log = logging.getLogger("newsbell.pace")

LOOK = 0.5  # seconds between two looks at what the others know
# Shards of one lane that a worker sends at once: enough to keep it busy, and never all the places there are.
SHARDS_AT_ONCE = 8


class Throttle(Protocol):
    """What pace needs of worker/push.py."""

    def pace(self, origin: str, per_second: float | None) -> None: ...


class Pace:
    def __init__(self, sessions: Sessions, throttle: Throttle) -> None:
        self.sessions, self.throttle = sessions, throttle
        self.lanes: Mapping[str, Lane] = {}
        self.tallies: dict[str, Tally] = {}
        self.under_way: Counter[str] = Counter()
        self._freed = asyncio.Condition()
        self._looked = time.monotonic()

    def closed_until(self, origin: str, now: datetime) -> datetime | None:
        lane = self.lanes.get(origin)
        return lane.closed_until(now) if lane else None

    def paused(self, origin: str) -> bool:
        lane = self.lanes.get(origin)
        return lane is not None and lane.paused_at is not None

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
    async def place(self, origin: str, *, urgent: bool) -> AsyncIterator[bool]:
        """A place to send a shard in this lane; False if none came free within a second.

        A lane that hangs keeps its own places only. Breaking alerts need none: they are few and overtake.
        """
        free = urgent or await self._free(origin)
        if free:
            self.under_way[origin] += 1
        try:
            yield free
        finally:
            if free:
                self.under_way[origin] -= 1
                async with self._freed:
                    self._freed.notify_all()

    async def _free(self, origin: str) -> bool:
        def is_free() -> bool:
            return self.under_way[origin] < SHARDS_AT_ONCE

        if is_free():
            return True
        try:
            async with self._freed:
                await asyncio.wait_for(self._freed.wait_for(is_free), timeout=1)
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """For as long as the worker lives."""
        while True:
            try:
                await self.look(datetime.now(UTC))
            except (DBAPIError, PoolTimeout, OSError):
                log.warning("the database does not answer; push services are sent to as before")
            await asyncio.sleep(LOOK)

    async def look(self, now: datetime) -> None:
        """Tell the others what we heard, and hear what they did."""
        tallies, self.tallies = self.tallies, {}
        seconds, self._looked = max(time.monotonic() - self._looked, 0.1), time.monotonic()
        async with transaction(self.sessions) as session:
            workers = await live_workers(session)
            for origin in sorted(o for o, tally in tallies.items() if self._matters(o, tally)):
                lane = await lane_for_change(session, origin, now)
                tally, breaks = tallies[origin], lane.breaks
                weigh(lane, tally, tally.heard / seconds * workers, now)
                if lane.breaks > breaks:
                    log.warning(
                        "%s fails; next try at %s", origin, lane.open_at and lane.open_at.time().replace(microsecond=0)
                    )
            await session.flush()
            self.lanes = {lane.origin: lane for lane in await every_lane(session)}
        for lane in self.lanes.values():
            allowed = lane.allowed(now)
            self.throttle.pace(lane.origin, None if allowed is None else max(allowed / workers, 0.1))

    def _matters(self, origin: str, tally: Tally) -> bool:
        lane = self.lanes.get(origin)
        return bool(tally.throttled or tally.failed or (lane and lane.breaks and tally.accepted))

    async def pause(self, origin: str, because: str, now: datetime) -> None:
        """Send no more there until a person has looked."""
        async with transaction(self.sessions) as session:
            lane = await lane_for_change(session, origin, now)
            lane.paused_at, lane.alarm = lane.paused_at or now, because
        self.lanes = {**self.lanes, origin: lane}
        log.error("ALARM: %s is paused: %s", origin, because)
