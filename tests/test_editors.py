"""Editors: what each may do, how they are called, and that there is always an owner."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Sessions, transaction
from app.domain.editors import (
    Actor,
    Role,
    a_name,
    add_editor,
    an_editor,
    an_email,
    an_owner_has_signed_in,
    editor_by_email,
    editor_by_id,
    every_editor,
    must_leave_an_owner,
)
from app.domain.refusals import Conflict, Forbidden, NotFound, Refusal
from tests.makers import NOW, an_editor_row


@pytest.mark.parametrize("role, may", [(Role.WRITER, 1), (Role.EDITOR, 2), (Role.OWNER, 3)])
def test_each_role_may_do_what_those_before_it_may(role: Role, may: int) -> None:
    for number, needed in enumerate(Role):
        if number < may:
            Actor("ada@news.example", role).must_be(needed)
        else:
            with pytest.raises(Forbidden, match=f"takes the role {needed}"):
                Actor("ada@news.example", role).must_be(needed)


def test_a_key_reaches_its_topics_and_levels_only() -> None:
    key = Actor("key CMS", Role.EDITOR, topics=frozenset({"ukraine"}), levels=frozenset({"normal"}))
    key.must_reach(["ukraine"], "normal")
    with pytest.raises(Forbidden, match="topic russia"):
        key.must_reach(["ukraine", "russia"], "normal")
    with pytest.raises(Forbidden, match="level breaking"):
        key.must_reach(["ukraine"], "breaking")
    Actor("ada@news.example", Role.EDITOR).must_reach(["russia"], "breaking")


@pytest.mark.parametrize(
    "written, kept",
    [
        ("ada@news.example", "ada@news.example"),
        ("  Ada.Lovelace@News.Example ", "ada.lovelace@news.example"),
        ("ada+desk@localhost", "ada+desk@localhost"),
        ("олена@новини.example", "олена@новини.example"),
    ],
)
def test_an_address_is_kept_in_small_letters(written: str, kept: str) -> None:
    assert an_email(written) == kept


@pytest.mark.parametrize(
    "written",
    [
        "",
        "ada",
        "@news.example",
        "ada@",
        "a@b@c",
        "a da@news.example",
        "ada@news.example\x00",
        "a\u202eb@news.example",
        "Ada <ada@news.example>",
        "a,b@news.example",
        "x" * 250 + "@news.example",
    ],
)
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(Refusal, match="looks like"):
        an_email(written)


def test_a_name_is_one_printable_line() -> None:
    assert a_name("  Ada \n Lovelace ") == "Ada Lovelace"
    for wrong in ("Ada\x00", "x" * 101, "a\u202eb"):
        with pytest.raises(Refusal, match="printable"):
            a_name(wrong)


async def test_an_address_is_one_editors_only(session: AsyncSession) -> None:
    await add_editor(session, an_editor("ada@news.example", role=Role.WRITER, now=NOW))
    with pytest.raises(Conflict, match="already"):
        await add_editor(session, an_editor("ADA@news.example", role=Role.OWNER, now=NOW))
    found = await editor_by_email(session, "ada@news.example")
    assert found and found.role is Role.WRITER
    assert [one.email for one in await every_editor(session)] == ["ada@news.example"]


async def test_an_editor_that_there_is_not_is_a_sentence(session: AsyncSession) -> None:
    with pytest.raises(NotFound, match="no such editor"):
        await editor_by_id(session, 12345)


async def test_the_last_owner_stays(session: AsyncSession) -> None:
    owner, gone = await an_editor_row(session, Role.OWNER), await an_editor_row(session, Role.OWNER)
    writer = await an_editor_row(session, Role.WRITER)
    gone.disabled_at = NOW
    with pytest.raises(Refusal, match="last owner"):
        await must_leave_an_owner(session, owner.id)
    await must_leave_an_owner(session, writer.id)
    gone.disabled_at = None
    await must_leave_an_owner(session, owner.id)


async def test_two_owners_who_take_each_other_away_at_once_leave_one(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        pair = [(await an_editor_row(session, Role.OWNER)).id for _ in range(2)]

    async def take_away(editor_id: int) -> None:
        async with transaction(sessions) as session:
            await must_leave_an_owner(session, editor_id)
            (await editor_by_id(session, editor_id, lock=True)).role = Role.WRITER

    for _ in range(5):
        results = await asyncio.gather(*map(take_away, pair), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["NoneType", "Refusal"]
        async with transaction(sessions) as session:
            for editor in await every_editor(session):
                editor.role = Role.OWNER


async def test_a_newsroom_is_owned_once_an_owner_has_signed_in(session: AsyncSession) -> None:
    owner, editor = await an_editor_row(session, Role.OWNER), await an_editor_row(session, Role.EDITOR)
    editor.signed_in_at = NOW
    assert not await an_owner_has_signed_in(session)
    owner.signed_in_at = NOW
    assert await an_owner_has_signed_in(session)
    owner.disabled_at = NOW
    assert not await an_owner_has_signed_in(session)
