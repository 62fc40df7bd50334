"""Enduring: Procrastinate's way to the queue, such that a worker outlives its database's absence.

By itself, each of its loops ends with a traceback at the first question that has no answer. Here the questions that
have a next time wait for it, and what must be written (how a job ended) is written when the database is back. While
nobody answers, no job is fetched; nothing is lost.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import psycopg
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from app import clock, heart
from app.outage import Outage

log = logging.getLogger("newsbell.queue")

T = TypeVar("T")
AGAIN = 0.5  # seconds between two tries to write how a job ended
IN_DOUBT = 120.0  # seconds after an outage in which what was sent before it may still reach the database


class TakenForDead(Exception):
    """The others have not heard of this worker for so long that they took its work over."""


class EnduringJobs(JobManager):
    """places: how many jobs of each queue this process works at.

    draining: then the worker ends, and what cannot be written now is for those who take its work over.
    """

    def __init__(
        self, connector: BaseConnector, places: Mapping[str, int], outage: Outage, draining: asyncio.Event
    ) -> None:
        super().__init__(connector)
        self._places, self._outage, self._draining = places, outage, draining
        self._fetching: set[int] = set()  # workers that wait for the answer to a fetch
        self._held: dict[int, str] = {}  # job → queue
        self._doubt_until = 0.0
        self._missed: defaultdict[int, set[int]] = defaultdict(set)  # by worker: what it may have lost

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        [queue] = queues or ()
        self._fetching.add(worker_id)
        try:
            job = await super().fetch_job([queue], worker_id)
        except ConnectorException as error:
            self._note(error)
            return None
        finally:
            self._fetching.discard(worker_id)
            heart.beat(queue)
        if job is not None and job.id is not None:
            self._held[job.id] = queue
            if list(self._held.values()).count(queue) >= self._places[queue]:
                heart.rest(queue)  # nothing is fetched until a place is free
        return job

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        await self._insist(lambda: super(EnduringJobs, self).finish_job(job, status, delete_job))
        self._let_go(job)

    async def retry_job(self, job: Job, *of: Any, **changes: Any) -> None:
        await self._insist(lambda: super(EnduringJobs, self).retry_job(job, *of, **changes))
        self._let_go(job)

    def _let_go(self, job: Job) -> None:
        if queue := self._held.pop(job.id or 0, None):
            heart.beat(queue)

    async def register_worker(self) -> int:
        return await self._insist(super().register_worker)

    async def prune_stalled_workers(self, seconds_since_heartbeat: float) -> list[int]:
        """Not after an outage: nobody could give a sign of life."""
        if self._outage.over_for() < seconds_since_heartbeat:
            return []
        return await self._insist(lambda: super(EnduringJobs, self).prune_stalled_workers(seconds_since_heartbeat))

    async def get_stalled_jobs(self, *of: Any, seconds_since_heartbeat: float = 30, **more: Any) -> Iterable[Job]:
        """Nor then."""
        if self._outage.over_for() < seconds_since_heartbeat:
            return []
        more["seconds_since_heartbeat"] = seconds_since_heartbeat
        return await super().get_stalled_jobs(*of, **more)

    async def unregister_worker(self, worker_id: int) -> None:
        try:
            await super().unregister_worker(worker_id)
        except ConnectorException as error:
            self._note(error)  # then the others see it by its silence

    async def update_heartbeat(self, worker_id: int) -> None:
        try:
            await super().update_heartbeat(worker_id)
            if time.monotonic() < self._doubt_until:
                await self._find_lost(worker_id)
        except ConnectorException as error:
            self._note(error)

    async def defer_periodic_job(self, job: Job, periodic_id: str, defer_timestamp: int) -> int | None:
        return await self._insist(
            lambda: super(EnduringJobs, self).defer_periodic_job(job, periodic_id, defer_timestamp)
        )

    async def list_jobs_to_abort_async(self, queue: str | None = None) -> Iterable[int]:
        """Nobody asks for that here: an alert is recalled in the ledger."""
        return []

    async def listen_for_jobs(self, *, on_notification: Any, queues: Iterable[str] | None = None) -> None:
        while True:
            try:
                await super().listen_for_jobs(on_notification=on_notification, queues=queues)
            except ConnectorException as error:
                self._note(error)
            await asyncio.sleep(AGAIN)

    async def _insist(self, write: Callable[[], Awaitable[T]]) -> T:
        tries = 0
        while True:
            try:
                return await write()
            except ConnectorException as error:
                if tries and isinstance(error.__cause__, psycopg.errors.RaiseException):
                    return None  # type: ignore[return-value]  # it was written: only the answer got lost
                self._note(error)
                if self._draining.is_set():
                    raise
            tries += 1
            await asyncio.sleep(AGAIN)

    def _note(self, error: ConnectorException) -> None:
        """Raises what is no trouble of the database's."""
        if isinstance(error.__cause__, psycopg.errors.ForeignKeyViolation):
            raise TakenForDead("The others took this worker for dead.") from None
        if not self._outage.note(error):
            raise error
        self._doubt_until = time.monotonic() + IN_DOUBT

    async def _find_lost(self, worker_id: int) -> None:
        """A job that the database gave us on a connection that broke before we heard of it: it goes back.

        Found missing twice: between the two, whatever was being written of it has been.
        """
        if worker_id in self._fetching:
            return
        doing = "SELECT id FROM procrastinate_jobs WHERE status = 'doing' AND worker_id = %(worker_id)s"
        rows = await self.connector.execute_query_all_async(doing, worker_id=worker_id)
        if worker_id in self._fetching:
            return
        missing = {row["id"] for row in rows} - self._held.keys()
        lost, self._missed[worker_id] = missing & self._missed[worker_id], missing
        for job_id in lost:
            log.info("job %d got lost on its way here; it goes back", job_id)
            await self.retry_job_by_id_async(job_id, retry_at=clock.now())
