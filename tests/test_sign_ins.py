"""Sign-ins: how long a session lasts, what ends it, and links that work once."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Sessions, transaction
from app.domain import sign_ins
from app.domain.editors import Editor, Role
from app.domain.refusals import NotFound, Unauthenticated
from app.domain.sign_ins import (
    IDLE,
    LINK_LIFE,
    LONGEST,
    EditorSession,
    SignInLink,
    actor_of_session,
    browser_in_words,
    end_session,
    end_sessions,
    link_of,
    make_link,
    open_session,
    session_of,
    sessions_of_editor,
    use_link,
)
from tests.makers import NOW, an_editor_row, signed_in

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    "user_agent, words",
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 "
            "Safari/537.36 Edg/140.0.0.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile "
            "Safari/537.36",
            "Chrome on Android",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.5 Mobile/15E148 Safari/604.1",
            "Safari on an iPhone",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 "
            "Safari/605.1.15",
            "Safari on macOS",
        ),
        ("curl/8.14.1", "curl"),
        ("", "A browser"),
        ("<script>alert(1)</script>", "A browser"),
    ],
)
def test_a_browser_is_told_in_words(user_agent: str, words: str) -> None:
    assert browser_in_words(user_agent) == words


async def test_a_session_lasts_while_somebody_is_there_but_no_longer_than_a_month(session: AsyncSession) -> None:
    editor = await an_editor_row(session)
    secret = await signed_in(session, editor, now=NOW)
    at = NOW
    while at < NOW + LONGEST:
        actor = await actor_of_session(session, secret, at)
        assert actor and (actor.name, actor.role, actor.editor_id) == (editor.email, Role.EDITOR, editor.id)
        session.expire_all()
        at += IDLE - HOUR
    assert await actor_of_session(session, secret, NOW + LONGEST) is None


async def test_whoever_is_idle_is_signed_out(session: AsyncSession) -> None:
    secret = await signed_in(session, await an_editor_row(session), now=NOW)
    assert await session_of(session, secret, NOW + IDLE - HOUR)
    assert await session_of(session, secret, NOW + IDLE) is None


async def test_only_the_hash_of_a_secret_is_kept_and_each_sign_in_has_a_new_one(session: AsyncSession) -> None:
    editor = await an_editor_row(session)
    one, other = await signed_in(session, editor), await signed_in(session, editor)
    assert one != other and len(one) >= 43
    hashes = (await session.scalars(select(EditorSession.key_hash))).all()
    assert sorted(map(len, hashes)) == [32, 32]
    assert one.encode() not in hashes


async def test_somebody_elses_secret_or_a_disabled_editors_opens_nothing(session: AsyncSession) -> None:
    editor = await an_editor_row(session)
    secret = await signed_in(session, editor, now=NOW)
    assert await actor_of_session(session, "x" * 43, NOW) is None
    editor.disabled_at = NOW
    assert await actor_of_session(session, secret, NOW) is None


async def test_a_session_that_ends_while_it_is_used_is_no_error(session: AsyncSession) -> None:
    editor = await an_editor_row(session)
    opened, secret = open_session(session, editor, about="curl", now=NOW)
    await session.flush()
    found = await session_of(session, secret, NOW)
    assert found is opened
    await end_sessions(session, editor.id)
    later = NOW + HOUR
    assert await actor_of_session(session, secret, later) is None


async def test_one_ends_ones_own_sessions_only(session: AsyncSession) -> None:
    mine, theirs = await an_editor_row(session), await an_editor_row(session)
    for _ in range(3):
        await signed_in(session, mine, now=NOW)
    await signed_in(session, theirs, now=NOW)
    [foreign] = await sessions_of_editor(session, theirs.id, NOW)
    with pytest.raises(NotFound):
        await end_session(session, mine.id, foreign.id)
    first, second, _ = await sessions_of_editor(session, mine.id, NOW)
    await end_session(session, mine.id, first.id)
    assert await end_sessions(session, mine.id, but=second.id) == 1
    assert [one.id for one in await sessions_of_editor(session, mine.id, NOW)] == [second.id]
    assert len(await sessions_of_editor(session, theirs.id, NOW)) == 1


async def test_a_link_works_once_and_not_for_ever(session: AsyncSession) -> None:
    editor = await an_editor_row(session)
    secret = await make_link(session, editor, NOW)
    assert (await link_of(session, secret, NOW)).editor_id == editor.id
    with pytest.raises(Unauthenticated):
        await use_link(session, secret, NOW + LINK_LIFE)
    await use_link(session, secret, NOW + LINK_LIFE - HOUR)
    for spent in (secret, "never made"):
        with pytest.raises(Unauthenticated, match="used already"):
            await use_link(session, spent, NOW)


async def test_another_link_ends_the_one_before(session: AsyncSession) -> None:
    editor = await an_editor_row(session)
    lost, for_nobody = await make_link(session, editor, NOW), await make_link(session, None, NOW)
    again, for_nobody_again = await make_link(session, editor, NOW), await make_link(session, None, NOW)
    for spent in (lost, for_nobody):
        with pytest.raises(Unauthenticated):
            await link_of(session, spent, NOW)
    assert (await link_of(session, again, NOW)).editor_id == editor.id
    assert (await link_of(session, for_nobody_again, NOW)).editor_id is None


async def test_of_many_who_use_one_link_at_once_one_is_let_in(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        secret = await make_link(session, await an_editor_row(session), NOW)

    async def use() -> bool:
        try:
            async with transaction(sessions) as session:
                await use_link(session, secret, NOW)
                return True
        except Unauthenticated:
            return False

    assert sum(await asyncio.gather(*(use() for _ in range(10)))) == 1


async def test_whoever_is_disabled_is_signed_out_and_has_no_link(session: AsyncSession) -> None:
    editor = await an_editor_row(session)
    await signed_in(session, editor, now=NOW)
    secret = await make_link(session, editor, NOW)
    assert await sign_ins.disable(session, editor, NOW) == 1
    assert await sessions_of_editor(session, editor.id, NOW) == []
    with pytest.raises(Unauthenticated):
        await link_of(session, secret, NOW)
    await session.flush()
    assert await session.get(Editor, editor.id)  # the audit names them


async def test_what_is_over_is_forgotten(session: AsyncSession) -> None:
    editor = await an_editor_row(session)
    await signed_in(session, editor, now=NOW)
    await make_link(session, editor, NOW)
    await sign_ins.forget(session, NOW + HOUR)
    assert len((await session.scalars(select(EditorSession.id))).all()) == 1
    await sign_ins.forget(session, NOW + 3 * LINK_LIFE)
    assert (await session.scalars(select(EditorSession.id))).all() == []
    assert (await session.scalars(select(SignInLink.key_hash))).all() == []
