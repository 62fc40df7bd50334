"""Asking: a door asks the outside world by way of a worker, and waits for the answer a moment."""

import asyncio
import time
from typing import Any

from app import clock, queue
from app.context import Site
from app.database import transaction
from app.domain.lookups import Kind, Lookup, a_lookup
from app.domain.refusals import TooMany, Unavailable

PATIENCE = 12.0  # seconds: a little more than a worker takes at most
LOOK = 0.1  # seconds between two looks for the answer


async def ask(here: Site, kind: Kind, url: str) -> dict[str, Any]:
    """The answer as `worker/lookup.py` gives it. No transaction is open while we wait."""
    if here.questions.locked():
        raise TooMany("Too many addresses are being looked at already. Please try again in a moment.", wait=3)
    async with here.questions:
        async with transaction(here.sessions) as session:
            asked = a_lookup(kind, url, clock.now())
            session.add(asked)
            await queue.enqueue(session, queue.LOOK_UP, priority=20, lookup_id=str(asked.id))
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            await asyncio.sleep(LOOK)
            async with transaction(here.sessions) as session:
                found = await session.get(Lookup, asked.id)
                if found is not None and found.answer is not None:
                    return found.answer
    raise Unavailable("No worker has answered in time. Is one running (./newsbell worker)? Then try again.")
