"""Passwords: long ones, whatever they are made of, kept by argon2id."""

import asyncio

import pytest
from anyio import CapacityLimiter
from argon2 import PasswordHasher

from app.domain.refusals import Refusal, TooMany
from app.passwords import IN_LINE, Passwords, a_password

EMAIL = "ada@news.example"
WEAK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.mark.parametrize(
    "text", ["correct horse battery", "all small letters", "четверо коней і віз", "841926 530718", "x" * 1000 + "yzab"]
)
def test_a_long_one_is_good_whatever_it_is_made_of(text: str) -> None:
    assert a_password(text, email=EMAIL) == text


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "at least 12"),
        ("Sh0rt&C0mpl3", ""),
        ("Sh0rt&C0mpl", "at least 12"),
        ("x" * 1025, "at least 12"),
        ("Ada@News.example", "e-mail"),
        ("Password1234!", "first"),
        ("qwertyuiop12", "first"),
        ("newsbellnewsbell", "first"),
        ("letmeinwelcome", "first"),
        ("aaaaaaaaaaaa", "first"),
        ("121212121212", "first"),
        ("123456789012", "first"),
        ("correcthorsebatterystaple", "first"),
    ],
)
def test_a_short_or_obvious_one_is_refused(text: str, why: str) -> None:
    if not why:
        assert a_password(text, email=EMAIL)
        return
    with pytest.raises(Refusal, match=why):
        a_password(text, email=EMAIL)


async def test_it_is_kept_by_argon2id_with_the_librarys_parameters() -> None:
    passwords = Passwords()
    kept = await passwords.hash("correct horse battery")
    assert kept.startswith("$argon2id$v=19$")
    assert not passwords.is_outdated(kept)
    assert await passwords.fits("correct horse battery", kept)
    assert not await passwords.fits("correct horse buttery", kept)
    assert passwords.is_outdated(WEAK.hash("correct horse battery"))


async def test_nothing_fits_where_no_password_is_kept_or_what_is_kept_is_broken() -> None:
    passwords = Passwords(WEAK)
    for kept in (None, "", "plain text", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ"):
        assert not await passwords.fits("correct horse battery", kept)


async def test_what_no_password_fits_to_costs_as_much_as_a_real_one() -> None:
    passwords = Passwords(PasswordHasher(time_cost=2, memory_cost=512, parallelism=1))
    stand_in, real = passwords._nobody(), passwords.hash_now("correct horse battery")
    assert stand_in.split("$")[:4] == real.split("$")[:4]
    assert [len(part) for part in stand_in.split("$")] == [len(part) for part in real.split("$")]


async def test_an_accent_is_the_same_however_the_keyboard_makes_it() -> None:
    passwords = Passwords(WEAK)
    assert await passwords.fits("un cafe\u0301 au lait", await passwords.hash("un caf\u00e9 au lait"))


async def test_a_crowd_is_asked_to_come_back() -> None:
    passwords = Passwords(WEAK)
    passwords._places = CapacityLimiter(1)
    async with passwords._places:
        waiting = [asyncio.create_task(passwords.hash("correct horse battery")) for _ in range(IN_LINE)]
        for _ in range(IN_LINE):  # Each needs a turn or two to take its place in the line.
            await asyncio.sleep(0)
        assert passwords._places.statistics().tasks_waiting == IN_LINE
        with pytest.raises(TooMany):
            await passwords.fits("correct horse battery", None)
    assert len(await asyncio.gather(*waiting)) == IN_LINE
