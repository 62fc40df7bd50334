"""Fetch slots: real servers on loopback, some of which take a connection and say nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.test_fetch import FEED, NONE, Site, reply
from worker.fetch import Busy, Fetched, Publishers, Unreachable
from worker.fetch_slots import FetchSlots

A_WHILE = 0.5  # seconds


async def hang(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(5)


class Servers:
    """Sites that hang, and one that is well; asked by publishers with six slots: two are spare, and three a host's."""

    def __init__(self, hanging: list[Site], well: Site, publishers: Publishers) -> None:
        self.hanging, self.well, self.publishers = hanging, well, publishers

    def ask(self, site: Site, **how: bool) -> asyncio.Task[object]:
        return asyncio.create_task(self.publishers.fetch(f"{site.url}/feed", NONE, **how))


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        sites = [await stack.enter_async_context(Site()) for _ in range(6)]
        for site in sites[1:]:
            site.replies["/feed"] = hang
        sites[0].replies["/feed"] = reply("200 OK", FEED)
        slots = FetchSlots(at_once=6, spare=2, one_host=3, a_while=A_WHILE)
        publishers = Publishers(allow_private_addresses=True, contact="", limit=20, slots=slots)
        yield Servers(sites[1:], sites[0], await stack.enter_async_context(publishers))


async def over(*asked: asyncio.Task[object]) -> list[bool]:
    await asyncio.sleep(2 * A_WHILE)
    return [task.done() for task in asked]


async def end(*asked: asyncio.Task[object]) -> None:
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)


async def test_who_hangs_may_as_long_as_there_is_room(servers: Servers) -> None:
    asked = [servers.ask(site) for site in servers.hanging[:4]]
    assert await over(*asked) == [False] * 4
    assert isinstance(await servers.ask(servers.well), Fetched)
    await end(*asked)


async def test_the_fullest_host_makes_room_and_whoever_did_not_answer_last_time_goes_first(servers: Servers) -> None:
    doubted = servers.ask(servers.hanging[0], doubtful=True)
    alone = servers.ask(servers.hanging[1])
    crowd = [servers.ask(servers.hanging[2]) for _ in range(3)]
    assert await over(alone, doubted, *crowd) == [False, True, False, False, False]
    answer = doubted.result()
    assert answer == Unreachable("The publisher did not answer in time.")
    another = servers.ask(servers.hanging[3])
    assert await over(alone, another, *crowd) == [False, False, True, False, False]
    await end(alone, another, *crowd)


async def test_whom_a_person_waits_for_stays(servers: Servers) -> None:
    looks = [asyncio.create_task(servers.publishers.look(f"{site.url}/feed")) for site in servers.hanging[:3]]
    asked = [servers.ask(site) for site in servers.hanging[:3]]
    assert await over(*asked) == [True, True, False]
    assert not any(look.done() for look in looks)
    await end(*asked, *looks)


async def test_of_one_host_only_so_many_are_asked_at_once_and_the_others_come_again(servers: Servers) -> None:
    asked = [servers.ask(servers.hanging[0]) for _ in range(5)]
    began = time.monotonic()
    assert isinstance(await servers.ask(servers.well), Fetched)
    assert time.monotonic() - began < A_WHILE
    assert await over(*asked) == [False, False, False, True, True]
    assert [task.result() for task in asked[3:]] == [Busy(), Busy()]
    assert servers.hanging[0].connections == 3
    await end(*asked)
