"""Wiring of one worker process: builds the parts, says which function does which job, drains on SIGTERM."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from procrastinate import App, BaseRetryStrategy, RetryDecision
from procrastinate.jobs import Job

from app import clock, database, heart, queue
from app.logs import speak
from app.outage import Outage, trouble_of, where
from app.settings import Settings, read_settings
from app.supervisor import NAME, hold_lifeline, refusals_end_it
from app.vapid import Signer, load_key
from worker import tidy
from worker.enduring import EnduringJobs, TakenForDead
from worker.fanout import Fanout
from worker.fetch import Publishers
from worker.fetch_slots import AT_ONCE
from worker.lookup import LookUp
from worker.pace import Pace
from worker.parser_process import Parser
from worker.plan import plan_alert, release_alert, welcome
from worker.poll import Poller
from worker.push import Pusher

log = logging.getLogger("newsbell.worker")


class Places(NamedTuple):
    """How one process works at a queue: a publisher that hangs takes no place from a shard, nor the other way."""

    at_once: int
    # LISTEN/NOTIFY wakes us at once; this is for scheduled jobs and for a notice that got lost.
    look_every: float  # seconds


PLACES = {
    queue.FEEDS: Places(AT_ONCE, 1),  # Most of them only wait for an answer.
    queue.ALERTS: Places(12, 1),
    queue.BREAKING: Places(8, 0.5),
    queue.TIME: Places(2, 5),
}
MEANWHILE = "Jobs wait until it does; none is lost. What is under way to readers goes on."
DRAIN = 3.0  # seconds that a stop waits for what is in flight
# Objects between two looks for cycles, of which sending makes none: with Python's usual 700, and everything that was
# imported looked through time and again, that took 10 µs of each message's 330.
GARBAGE = 50_000


class Patient(BaseRetryStrategy):
    """A job that failed (the database was away, say) is tried again: after 1, 2, 4 … 60 seconds, and never dropped.

    What must not go on for ever ends by its own rule: a shard at its alert's expiry.
    """

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        if trouble_of(exception) is None:
            log.error("%s failed and is tried again: %s", job.task_name, where(exception))
        wait = timedelta(seconds=min(2 ** min(job.attempts, 6), 60))
        return RetryDecision(retry_at=clock.now() + wait)


async def run(settings: Settings, database_url: str) -> None:
    async with AsyncExitStack() as parts:
        name = f"newsbell {os.environ.get(NAME, 'worker')}"
        outage = Outage(database_url, name, meanwhile=MEANWHILE)
        parts.push_async_callback(outage.aclose)
        await outage.wait_for_database()
        draining = asyncio.Event()
        jobs = queue.connect(database_url, name=name)
        at_once = {queue_name: places.at_once for queue_name, places in PLACES.items()}
        jobs.job_manager = EnduringJobs(jobs.connector, at_once, outage, draining)
        await parts.enter_async_context(jobs.open_async())
        engine = database.connect(database_url, name=name)
        parts.push_async_callback(engine.dispose)
        sessions = database.sessions_of(engine, outage)
        heart.start()
        await clock.clock.ask(sessions)
        signer = Signer(load_key(settings.vapid_key_file), settings.vapid_contact)
        publishers = Publishers(
            allow_private_addresses=settings.allow_private_addresses, contact=settings.vapid_contact
        )
        parts.push_async_callback(publishers.aclose)
        parser = Parser()
        parts.push_async_callback(parser.aclose)
        pusher = Pusher(ca_file=settings.push_ca_file, allow_private_addresses=settings.allow_private_addresses)
        pushing = pusher.start()
        parts.push_async_callback(pusher.aclose, 0.5)  # the jobs have waited for what was in flight
        pace = Pace(sessions, pusher, draining)
        looking = asyncio.create_task(pace.run())
        parts.callback(looking.cancel)
        fanout = Fanout(sessions, pusher, signer, pace, draining)
        poller = Poller(sessions, publishers, parser, settings)
        welcome_newcomers = partial(welcome, sessions, settings.site_name, settings.site_url)
        assign(jobs, sessions, draining, fanout, poller, LookUp(sessions, publishers, parser), welcome_newcomers)
        watching = asyncio.create_task(fanout.watch())
        parts.callback(watching.cancel)
        keeping_time = asyncio.create_task(clock.clock.follow(sessions))
        parts.callback(keeping_time.cancel)
        looking_after = asyncio.create_task(tidy.look_after(sessions, jobs))
        parts.callback(looking_after.cancel)
        await work(jobs, draining, [pushing, looking, watching, keeping_time, looking_after])


def assign(
    jobs: App,
    sessions: database.Sessions,
    draining: asyncio.Event,
    fanout: Fanout,
    poller: Poller,
    look_up: LookUp,
    welcome_newcomers: Callable[[], Awaitable[None]],
) -> None:
    """The only place that says which function does which job."""

    async def plan(alert_id: str) -> None:
        await plan_alert(sessions, UUID(alert_id))

    async def release(alert_id: str, due_at: str) -> None:
        await release_alert(sessions, draining, UUID(alert_id), datetime.fromisoformat(due_at))

    for name, function in (
        (queue.RELEASE_ALERT, release),
        (queue.PLAN_ALERT, plan),
        (queue.SEND_SHARD, fanout.send_shard),
        (queue.POLL_FEED, poller.poll_feed),
        (queue.LOOK_UP, look_up.answer),
        (queue.WELCOME, welcome_newcomers),
    ):
        jobs.task(name=name, queue=queue.QUEUE_OF[name], retry=Patient())(function)

    async def forget(timestamp: int) -> None:
        await tidy.forget(sessions, jobs)

    # Procrastinate goes by this machine's clock here. Once a day, at whichever hour, is all that this one needs.
    jobs.periodic(cron="17 4 * * *")(jobs.task(name="forget", queue=queue.TIME, queueing_lock="forget")(forget))


async def work(jobs: App, draining: asyncio.Event, helpers: Iterable[asyncio.Task[None]]) -> None:
    """Run until SIGTERM or SIGINT; then finish what is in flight, hand the rest back and return.

    Without its helpers a worker would fail at every job, so it ends with them.
    """
    workers = [asyncio.create_task(one_queue(jobs, name, places)) for name, places in PLACES.items()]
    loop = asyncio.get_running_loop()

    def stop() -> None:
        draining.set()
        for worker in workers:
            worker.cancel()  # Procrastinate's way to stop one: it takes no new job and waits for the running ones

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    log.info("worker %d is ready", os.getpid())
    try:
        ended, _ = await asyncio.wait([*workers, *helpers], return_when=asyncio.FIRST_COMPLETED)
        if not draining.is_set():  # something is broken that the next process may not have
            stop()
            for task in ended:
                task.result()
            raise RuntimeError("A part of the worker ended by itself.")
    finally:
        await asyncio.gather(*workers, return_exceptions=True)


async def one_queue(jobs: App, name: str, places: Places) -> None:
    options: dict[str, Any] = {
        "queues": [name],
        "concurrency": places.at_once,
        "install_signal_handlers": False,
        "fetch_job_polling_interval": places.look_every,
        "update_heartbeat_interval": tidy.HEARTBEAT,
        "stalled_worker_timeout": tidy.PRESUMED_DEAD,
        "shutdown_graceful_timeout": DRAIN,
        "delete_jobs": "successful",
    }
    await jobs.run_worker_async(**options)


def main() -> None:
    hold_lifeline()
    speak()
    with refusals_end_it():
        settings = read_settings()
        gc.freeze()
        gc.set_threshold(GARBAGE)
        try:
            asyncio.run(run(settings, settings.database_url))
        except TakenForDead as reason:
            log.warning("%s It starts anew.", reason)
            sys.exit(1)


if __name__ == "__main__":
    main()
