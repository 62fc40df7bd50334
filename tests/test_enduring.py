"""The queue's own questions outlive a database that is away, and nothing that it was told or told us is lost."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from procrastinate.jobs import Status
from procrastinate.manager import JobManager

from app import queue
from app.database import Sessions, transaction
from app.outage import Outage
from tests.test_outage import away
from tests.test_poll import number
from worker.enduring import EnduringJobs, TakenForDead


@pytest.fixture
async def jobs(database_url: str) -> AsyncIterator[EnduringJobs]:
    app = queue.connect(database_url)
    outage = Outage(database_url, "newsbell test", meanwhile="Jobs wait.")
    async with app.open_async():
        yield EnduringJobs(app.connector, {queue.FEEDS: 8}, outage, asyncio.Event())
    await outage.aclose()


@pytest.fixture
async def two_jobs(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        for feed_id in (1, 2):
            await queue.enqueue(session, queue.POLL_FEED, feed_id=feed_id)


@pytest.mark.usefixtures("two_jobs")
async def test_how_a_job_ended_is_written_when_the_database_is_back_and_a_job_that_got_lost_on_its_way_goes_back(
    jobs: EnduringJobs, server: str, database_url: str
) -> None:
    worker = await jobs.register_worker()
    held = await jobs.fetch_job([queue.FEEDS], worker)
    assert held and await JobManager.fetch_job(jobs, [queue.FEEDS], worker)  # its answer never arrives
    with away(server, database_url):
        ending = asyncio.create_task(jobs.finish_job(held, Status.SUCCEEDED, delete_job=True))
        assert await jobs.fetch_job([queue.FEEDS], worker) is None
        await jobs.update_heartbeat(worker)
        assert not ending.done()
    await asyncio.wait_for(ending, 15)
    with psycopg.connect(database_url, autocommit=True) as db:
        for todo in (0, 1):  # missing once is not enough
            await jobs.update_heartbeat(worker)
            assert number(db, "SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo'") == todo
        assert number(db, "SELECT count(*) FROM procrastinate_jobs") == 1
        # What is held stays.
        assert await jobs.fetch_job([queue.FEEDS], worker)
        for _ in range(3):
            await jobs.update_heartbeat(worker)
        assert number(db, "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'") == 1


@pytest.mark.usefixtures("two_jobs")
async def test_a_job_that_was_finished_before_the_answer_got_lost_is_finished(
    jobs: EnduringJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await jobs.register_worker()
    held = await jobs.fetch_job([queue.FEEDS], worker)
    assert held
    finish, tries = JobManager.finish_job, []

    async def answer_lost(self: JobManager, *of: object) -> None:
        await finish(self, *of)  # type: ignore[arg-type]
        tries.append(of)
        if len(tries) == 1:
            raise queue.NotWritten() from psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(JobManager, "finish_job", answer_lost)
    await jobs.finish_job(held, Status.SUCCEEDED, delete_job=True)


@pytest.mark.usefixtures("two_jobs")
async def test_a_worker_that_the_others_took_for_dead_says_so(jobs: EnduringJobs, database_url: str) -> None:
    worker = await jobs.register_worker()
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute("DELETE FROM procrastinate_workers")
    with pytest.raises(TakenForDead):
        await jobs.fetch_job([queue.FEEDS], worker)
