"""Guesses: the sixth one waits, the next ones longer, and no more than allowed slip through at once."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Sessions, transaction
from app.domain.guesses import FORGOTTEN, FREE, Guess, Guesser, charge, forget, pardon, wait_after
from app.domain.refusals import TooMany
from tests.makers import NOW

MINUTE, QUARTER = timedelta(minutes=1), timedelta(minutes=15)
ACCOUNT, ADDRESS = Guesser(b"account", MINUTE, is_cleared=True), Guesser(b"address", QUARTER)


@pytest.mark.parametrize(
    "failures, seconds",
    [(0, 0), (4, 0), (5, 1), (6, 2), (7, 4), (8, 8), (10, 32), (11, 60), (1_000_000, 60)],
)
def test_each_failure_doubles_the_wait(failures: int, seconds: float) -> None:
    assert wait_after(failures, MINUTE) == timedelta(seconds=seconds)


def test_an_address_waits_a_quarter_of_an_hour_at_most() -> None:
    assert wait_after(14, QUARTER) == timedelta(seconds=512)
    assert wait_after(15, QUARTER) == wait_after(500, QUARTER) == QUARTER


async def test_five_are_free_and_the_sixth_waits(session: AsyncSession) -> None:
    for _ in range(FREE):
        await charge(session, {ACCOUNT}, NOW)
    with pytest.raises(TooMany) as slowed:
        await charge(session, {ACCOUNT}, NOW)
    assert slowed.value.wait == 1
    await charge(session, {ACCOUNT}, NOW + timedelta(seconds=1))
    with pytest.raises(TooMany) as slowed:
        await charge(session, {ACCOUNT}, NOW + timedelta(seconds=1.5))
    assert slowed.value.wait == 1.5
    await charge(session, {ADDRESS}, NOW)  # of another name


async def test_an_account_that_is_cleared_starts_anew_and_an_address_gets_one_back(session: AsyncSession) -> None:
    for _ in range(FREE):
        await charge(session, {ACCOUNT, ADDRESS}, NOW)
    await pardon(session, {ACCOUNT, ADDRESS})
    await charge(session, {ACCOUNT, ADDRESS}, NOW)
    with pytest.raises(TooMany):
        await charge(session, {ADDRESS}, NOW)
    await charge(session, {ACCOUNT}, NOW)


async def test_whoever_waited_for_the_lock_is_not_punished_for_it(session: AsyncSession) -> None:
    await charge(session, {ACCOUNT}, NOW)
    await charge(session, {ACCOUNT}, NOW - timedelta(seconds=1))
    last_at = select(Guess.last_at)
    assert await session.scalar(last_at) == NOW


async def test_what_failed_yesterday_is_forgotten(session: AsyncSession) -> None:
    for _ in range(FREE):
        await charge(session, {ACCOUNT}, NOW)
    tomorrow = NOW + FORGOTTEN + MINUTE
    await charge(session, {ACCOUNT}, tomorrow)
    [one] = await session.scalars(select(Guess).execution_options(populate_existing=True))
    assert (one.count, one.last_at) == (1, tomorrow)
    await forget(session, tomorrow)
    assert await session.scalar(select(Guess.count)) == 1
    await forget(session, tomorrow + FORGOTTEN + MINUTE)
    assert await session.scalar(select(Guess.count)) is None


async def test_no_more_than_allowed_slip_through_at_once(sessions: Sessions) -> None:
    async def guess() -> bool:
        try:
            async with transaction(sessions) as session:
                await charge(session, {ACCOUNT, ADDRESS}, NOW)
                return True
        except TooMany:
            return False

    assert sum(await asyncio.gather(*(guess() for _ in range(20)))) == FREE
    async with transaction(sessions) as session:
        assert (await session.scalars(select(Guess.count))).all() == [FREE, FREE]
