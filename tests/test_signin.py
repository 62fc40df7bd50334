"""Signing in: by password and by link, slowed guesses, sessions that end, and one's own browsers."""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, update

from app.database import transaction
from app.domain.audit import AuditEntry
from app.domain.editors import Editor, Role, hash_of
from app.domain.guesses import Guess
from app.domain.sign_ins import EditorSession, SignInLink, make_link
from app.domain.subscriptions import Subscription
from app.passwords import Passwords
from tests.desk import Desk, a_database, a_desk
from tests.makers import a_push_subscription, a_reader, a_topic_row, an_editor_row, some_browser
from tests.test_api import explained

PASSWORD = "correct horse battery"
COOKIE = "__Host-newsbell"


async def an_editor(desk: Desk, *, role: Role = Role.EDITOR, password: str | None = PASSWORD) -> Editor:
    async with transaction(desk.sessions) as session:
        editor = await an_editor_row(session, role)
        editor.password_hash = desk.site.passwords.hash_now(password) if password else None
        return editor


async def a_link(desk: Desk, editor: Editor | None) -> str:
    async with transaction(desk.sessions) as session:
        return await make_link(session, editor, datetime.now(UTC))


async def sign_in(client: httpx.AsyncClient, **said: Any) -> httpx.Response:
    return await client.post("/api/session", json=said)


async def noted(desk: Desk, subject: str) -> list[str]:
    async with transaction(desk.sessions) as session:
        entries = select(AuditEntry).where(AuditEntry.subject == subject).order_by(AuditEntry.id)
        return [entry.action for entry in await session.scalars(entries)]


# By password


async def test_an_editor_signs_in_and_out(desk: Desk) -> None:
    editor, client = await an_editor(desk), desk.browser()
    explained(await client.get("/api/session"), 401)
    answer = await sign_in(client, email=editor.email.upper(), password=PASSWORD)
    assert answer.status_code == 200
    said = answer.json()
    assert said["editor"] == {"id": editor.id, "email": editor.email, "name": "", "role": "editor"}
    assert (said["browsers"], said["has_password"]) == ([], True)
    assert said["rules"] == {"undo_seconds": 10, "two_people": {"levels": [], "audience": None}}
    assert said["site"] == {"name": "The Bell", "time_zone": "UTC"}
    assert (await client.get("/api/session")).json() | {"now": said["now"]} == said
    assert (await client.delete("/api/session")).status_code == 204
    assert client.cookies.get(COOKIE) is None
    explained(await client.get("/api/session"), 401)
    assert await noted(desk, editor.email) == ["session.open", "session.end"]


async def test_the_cookie_is_for_this_host_over_https_and_out_of_reach_of_scripts(desk: Desk) -> None:
    editor, client = await an_editor(desk), desk.browser()
    answer = await sign_in(client, email=editor.email, password=PASSWORD)
    name, *attributes = answer.headers.get_list("set-cookie")[0].split("; ")
    assert name.partition("=")[0] == COOKIE
    assert sorted(attributes) == ["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=lax", "Secure"]
    async with transaction(desk.sessions) as session:
        kept = (await session.scalars(select(EditorSession.key_hash))).all()
    assert hash_of(name.partition("=")[2]) in kept


async def test_on_a_plain_address_the_cookie_is_an_ordinary_one(server: str, migrated: str, tmp_path: Path) -> None:
    with a_database(server, "signin_plain") as url:
        async with a_desk(url, tmp_path, site_url="http://localhost:8000") as desk:
            editor, client = await an_editor(desk), desk.browser(origin="http://localhost:8000")
            answer = await sign_in(client, email=editor.email, password=PASSWORD)
            assert answer.headers["set-cookie"].startswith("newsbell=")
            assert "Secure" not in answer.headers["set-cookie"]


async def test_each_sign_in_has_a_new_secret_and_ends_the_one_that_this_browser_had(desk: Desk) -> None:
    editor, client, other = await an_editor(desk), desk.browser(), desk.browser()
    await sign_in(other, email=editor.email, password=PASSWORD)
    await sign_in(client, email=editor.email, password=PASSWORD)
    first = client.cookies[COOKIE]
    await sign_in(client, email=editor.email, password=PASSWORD)
    assert client.cookies[COOKIE] != first
    explained(await desk.browser(first).get("/api/session"), 401)
    assert (await other.get("/api/session")).status_code == 200


async def test_what_is_wrong_is_one_sentence_for_all(desk: Desk) -> None:
    editor, without, shut_out = await an_editor(desk), await an_editor(desk, password=None), await an_editor(desk)
    async with transaction(desk.sessions) as session:
        await session.execute(update(Editor).where(Editor.id == shut_out.id).values(disabled_at=datetime.now(UTC)))
    tries = [
        (editor.email, "wrong horse battery"),
        (editor.email, ""),
        ("nobody@news.example", PASSWORD),
        ("no address", PASSWORD),
        ("nul\x00@news.example", PASSWORD),
        (without.email, PASSWORD),
        (without.email, ""),
        (shut_out.email, PASSWORD),
    ]
    answers = [await sign_in(desk.browser(), email=email, password=password) for email, password in tries]
    assert {explained(answer, 401) for answer in answers} == {"This e-mail address and password open nothing here."}
    assert not [answer for answer in answers if "set-cookie" in answer.headers]


async def test_a_refusal_is_noted_with_the_address_and_never_with_the_password(desk: Desk) -> None:
    editor = await an_editor(desk)
    await sign_in(desk.browser(), email=editor.email, password="my secret 1 2 3")
    await sign_in(desk.browser(), email="my secret 1 2 3", password="x")  # in the wrong field
    assert await noted(desk, editor.email) == ["session.refused"]
    async with transaction(desk.sessions) as session:
        for entry in await session.scalars(select(AuditEntry)):
            assert "my secret" not in f"{entry.actor} {entry.subject} {entry.detail}"


async def test_a_password_that_was_kept_with_older_parameters_is_kept_anew(desk: Desk) -> None:
    editor = await an_editor(desk, password=None)
    old = Passwords(PasswordHasher(time_cost=1, memory_cost=16, parallelism=1)).hash_now(PASSWORD)
    async with transaction(desk.sessions) as session:
        await session.execute(update(Editor).where(Editor.id == editor.id).values(password_hash=old))
    assert (await sign_in(desk.browser(), email=editor.email, password=PASSWORD)).status_code == 200
    async with transaction(desk.sessions) as session:
        kept = await session.scalar(select(Editor.password_hash).where(Editor.id == editor.id))
    assert kept and "m=8," in kept
    assert (await sign_in(desk.browser(), email=editor.email, password=PASSWORD)).status_code == 200


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"email": "ada@news.example"},
        {"password": PASSWORD},
        {"email": "a@b", "password": PASSWORD, "remember": True},
    ],
)
async def test_half_a_sign_in_is_a_sentence(desk: Desk, said: dict[str, Any]) -> None:
    explained(await sign_in(desk.browser(), **said), 422)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"null", b'"x"'])
async def test_what_cannot_be_read_is_a_sentence(desk: Desk, body: bytes) -> None:
    answer = await desk.browser().post("/api/session", content=body, headers={"Content-Type": "application/json"})
    explained(answer, 422)


async def test_a_foreign_page_cannot_sign_anybody_in(desk: Desk) -> None:
    editor = await an_editor(desk)
    for origin in ("https://evil.example", "null", "http://news.example", "https://news.example.evil.example"):
        answer = await sign_in(desk.browser(origin=origin), email=editor.email, password=PASSWORD)
        explained(answer, 403)
        assert "set-cookie" not in answer.headers
    # A program, which has no origin, may.
    assert (await sign_in(desk.browser(origin=None), email=editor.email, password=PASSWORD)).status_code == 200


# Guessing


async def test_guessing_at_an_account_is_slowed_wherever_it_comes_from(desk: Desk) -> None:
    editor, other = await an_editor(desk), await an_editor(desk)
    for _ in range(5):
        explained(await sign_in(desk.browser(), email=editor.email, password="wrong"), 401)
    slowed = await sign_in(desk.browser(), email=editor.email, password=PASSWORD)
    assert "Wait a little" in explained(slowed, 429)
    assert slowed.headers["retry-after"] == "1"
    assert (await sign_in(desk.browser(), email=other.email, password=PASSWORD)).status_code == 200
    await waited(desk)
    assert (await sign_in(desk.browser(), email=editor.email, password=PASSWORD)).status_code == 200
    explained(await sign_in(desk.browser(), email=editor.email, password="wrong"), 401)  # cleared by the right one


async def test_guessing_from_an_address_is_slowed_whosever_account_it_is(desk: Desk) -> None:
    editor = await an_editor(desk)
    for number in range(5):
        client = desk.browser(address=f"2001:db8:1:a{number}::1")  # one customer's networks
        explained(await sign_in(client, email=f"nobody-{number}@news.example", password="wrong"), 401)
    explained(await sign_in(desk.browser(address="2001:db8:1:aa::9"), email=editor.email, password=PASSWORD), 429)
    elsewhere = desk.browser(address="2001:db8:1:1aa::9")
    assert (await sign_in(elsewhere, email=editor.email, password=PASSWORD)).status_code == 200


async def test_a_right_password_does_not_pardon_an_address(desk: Desk) -> None:
    """Or whoever has one account could guess at the others, with their own sign-in in between."""
    own = await an_editor(desk)
    address = "198.51.100.7"
    for number in range(4):
        client = desk.browser(address=address)
        explained(await sign_in(client, email=f"guess-{number}@news.example", password="wrong"), 401)
        assert (await sign_in(client, email=own.email, password=PASSWORD)).status_code == 200
    explained(await sign_in(desk.browser(address=address), email="guess-5@news.example", password="wrong"), 401)
    explained(await sign_in(desk.browser(address=address), email=own.email, password=PASSWORD), 429)


async def test_of_many_guesses_at_once_only_a_few_are_looked_at(desk: Desk) -> None:
    editor = await an_editor(desk)
    tries = [sign_in(desk.browser(), email=editor.email, password=f"wrong {number}") for number in range(20)]
    statuses = [answer.status_code for answer in await asyncio.gather(*tries)]
    assert sorted(statuses) == [401] * 5 + [429] * 15
    assert await noted(desk, editor.email) == ["session.refused"] * 5


async def test_no_address_is_kept(desk: Desk) -> None:
    await sign_in(desk.browser(address="192.0.2.99"), email="who@news.example", password="wrong")
    async with transaction(desk.sessions) as session:
        names = (await session.scalars(select(Guess.name))).all()
    assert {len(name) for name in names} == {32}
    assert not [name for name in names if bytes([192, 0, 2, 99]) in name]


# Known browsers

KNOWN = f"{COOKIE}-known"


async def a_known_browser(desk: Desk, editor: Editor) -> httpx.AsyncClient:
    """Which has signed in before, and is signed out."""
    client = desk.browser()
    assert (await sign_in(client, email=editor.email, password=PASSWORD)).status_code == 200
    assert (await client.delete("/api/session")).status_code == 204
    return client


async def guess(desk: Desk, editor: Editor, times: int, **where: Any) -> list[int]:
    """By strangers who change their addresses, unless it is said where."""
    browsers = [where.get("client") or desk.browser(address=f"2001:db8:{n:x}::1") for n in range(times)]
    return [(await sign_in(one, email=editor.email, password="wrong")).status_code for one in browsers]


async def test_strangers_who_guess_do_not_keep_out_a_browser_that_has_signed_in_before(desk: Desk) -> None:
    editor = await an_editor(desk)
    known = await a_known_browser(desk, editor)
    for _ in range(3):
        assert 429 in await guess(desk, editor, 8)
        explained(await sign_in(desk.browser(), email=editor.email, password=PASSWORD), 429)
        assert (await sign_in(known, email=editor.email, password=PASSWORD)).status_code == 200
        await known.delete("/api/session")
    explained(await sign_in(desk.browser(), email=editor.email, password=PASSWORD), 429)  # strangers still wait


async def test_nor_do_strangers_at_the_same_address(desk: Desk) -> None:
    editor, other = await an_editor(desk), await an_editor(desk)
    known = await a_known_browser(desk, editor)
    neighbour = desk.browser(address="198.51.100.77")
    await guess(desk, other, 6, client=neighbour)
    moved = desk.browser(address="198.51.100.77")
    moved.cookies.set(KNOWN, known.cookies[KNOWN], domain="news.example")
    explained(await sign_in(neighbour, email=editor.email, password=PASSWORD), 429)
    assert (await sign_in(moved, email=editor.email, password=PASSWORD)).status_code == 200
    link = await a_link(desk, editor)
    explained(await sign_in(neighbour, link=link), 429)
    assert (await sign_in(moved, link=link)).status_code == 200


async def test_a_known_browser_guesses_no_more_than_a_stranger(desk: Desk) -> None:
    """So a stolen cookie opens nothing: it gives a few guesses, which become slow, and none at other accounts."""
    editor, other = await an_editor(desk), await an_editor(desk)
    thief = await a_known_browser(desk, editor)
    answers = await guess(desk, editor, 14, client=thief)
    assert answers.count(401) <= 11 and answers[-1] == 429  # its own five or six, then a stranger's
    await guess(desk, other, 6)
    explained(await sign_in(thief, email=other.email, password=PASSWORD), 429)


async def test_the_cookie_of_a_known_browser_names_nobody_and_cannot_be_made_up(desk: Desk) -> None:
    editor, other = await an_editor(desk), await an_editor(desk)
    client = desk.browser()
    answer = await sign_in(client, email=editor.email, password=PASSWORD)
    [given] = [one for one in answer.headers.get_list("set-cookie") if one.startswith(KNOWN)]
    assert {"HttpOnly", "Secure", "SameSite=lax", "Max-Age=34560000", "Path=/"} <= set(given.split("; "))
    cookie = client.cookies[KNOWN]
    assert editor.email not in cookie and len(cookie) == 68
    await sign_in(client, email=other.email, password=PASSWORD)
    assert client.cookies[KNOWN].startswith(cookie[:45]) and client.cookies[KNOWN].endswith(cookie[46:])  # knows both
    async with transaction(desk.sessions) as session:
        texts = str([(entry.subject, entry.detail) for entry in await session.scalars(select(AuditEntry))])
    assert cookie[:22] not in texts
    number, ours, mark = cookie.split(".")
    await guess(desk, editor, 8)
    for forged in (f"{'A' * 22}.{ours}.{mark}", f"{number}.{'A' * 22}.{mark}", f"{number}.{ours}.{'A' * 22}", "x", ""):
        stranger = desk.browser()
        stranger.cookies.set(KNOWN, forged, domain="news.example")
        explained(await sign_in(stranger, email=editor.email, password=PASSWORD), 429)


async def test_a_browser_is_known_to_every_process_and_after_a_restart(desk: Desk, tmp_path: Path) -> None:
    editor = await an_editor(desk)
    known = await a_known_browser(desk, editor)
    settings = desk.site.settings
    async with a_desk(settings.database_url, settings.data_dir) as again:
        browser = again.browser()
        browser.cookies.set(KNOWN, known.cookies[KNOWN], domain="news.example")
        await guess(again, editor, 8)
        assert (await sign_in(browser, email=editor.email, password=PASSWORD)).status_code == 200


async def test_guesses_from_outside_do_not_keep_an_editor_from_a_new_password(desk: Desk) -> None:
    editor, client = await an_editor(desk), desk.browser()
    await sign_in(client, email=editor.email, password=PASSWORD)
    await guess(desk, editor, 8)
    change = {"old": PASSWORD, "new": "another horse battery"}
    assert (await client.post("/api/session/password", json=change)).status_code == 204


async def waited(desk: Desk) -> None:
    async with transaction(desk.sessions) as session:
        await session.execute(update(Guess).values(last_at=Guess.last_at - timedelta(minutes=20)))


# By link


async def test_a_link_signs_an_editor_in_once(desk: Desk) -> None:
    editor, client = await an_editor(desk, password=None), desk.browser()
    link = await a_link(desk, editor)
    said = (await sign_in(client, link=link)).json()
    assert (said["editor"]["email"], said["has_password"]) == (editor.email, False)
    assert "used already" in explained(await sign_in(desk.browser(), link=link), 401)
    assert await noted(desk, editor.email) == ["link.used", "session.open"]


async def test_a_link_with_a_password_sets_it_and_ends_what_was_open(desk: Desk) -> None:
    editor, before = await an_editor(desk), desk.browser()
    await sign_in(before, email=editor.email, password=PASSWORD)
    link = await a_link(desk, editor)
    explained(await sign_in(desk.browser(), link=link, password="short"), 422)  # the link is still good
    assert (await sign_in(desk.browser(), link=link, password="another horse battery")).status_code == 200
    explained(await before.get("/api/session"), 401)
    explained(await sign_in(desk.browser(), email=editor.email, password=PASSWORD), 401)
    assert (await sign_in(desk.browser(), email=editor.email, password="another horse battery")).status_code == 200


@pytest.mark.parametrize("link", ["", "x" * 43, "nul\x00"])
async def test_a_link_that_was_never_made_opens_nothing(desk: Desk, link: str) -> None:
    explained(await sign_in(desk.browser(), link=link), 401)


async def test_a_link_that_is_too_old_or_somebodys_who_is_disabled_opens_nothing(desk: Desk) -> None:
    old, shut_out = await an_editor(desk), await an_editor(desk)
    links = [await a_link(desk, old), await a_link(desk, shut_out)]
    async with transaction(desk.sessions) as session:
        await session.execute(
            update(SignInLink).where(SignInLink.editor_id == old.id).values(expires_at=datetime.now(UTC))
        )
        await session.execute(update(Editor).where(Editor.id == shut_out.id).values(disabled_at=datetime.now(UTC)))
    assert len({explained(await sign_in(desk.browser(), link=link), 401) for link in links}) == 1


async def test_of_two_who_follow_one_link_at_once_one_is_let_in(desk: Desk) -> None:
    editor = await an_editor(desk, password=None)
    link = await a_link(desk, editor)
    answers = await asyncio.gather(*(sign_in(desk.browser(), link=link) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 5


@pytest.fixture
async def fresh_desk(server: str, migrated: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """Nobody works here yet."""
    with a_database(server, "signin_fresh") as url:
        async with a_desk(url, tmp_path) as made:
            yield made


async def test_the_first_owner_comes_by_a_link_and_chooses_address_and_password(fresh_desk: Desk) -> None:
    client = fresh_desk.browser()
    ways = {"password": True, "single_sign_on": None, "first_owner": True}
    assert (await client.get("/api/sign-in")).json() == ways
    link = await a_link(fresh_desk, None)
    assert "e-mail" in explained(await sign_in(client, link=link), 422)
    assert "password" in explained(await sign_in(client, link=link, email="Ada@news.example"), 422)
    assert "12" in explained(await sign_in(client, link=link, email="Ada@news.example", password="short"), 422)
    answer = await sign_in(client, link=link, email="Ada@news.example", password=PASSWORD)
    assert (answer.json()["editor"]["email"], answer.json()["editor"]["role"]) == ("ada@news.example", "owner")
    assert (await client.get("/api/sign-in")).json() == ways | {"first_owner": False}
    explained(await sign_in(fresh_desk.browser(), link=link, email="eve@news.example", password=PASSWORD), 401)
    again = await a_link(fresh_desk, None)
    refused = await sign_in(fresh_desk.browser(), link=again, email="eve@news.example", password=PASSWORD)
    assert "owner already" in explained(refused, 409)
    came = await sign_in(fresh_desk.browser(), email="ada@news.example", password=PASSWORD)
    assert came.status_code == 200


async def test_the_first_owner_may_be_an_editor_already(fresh_desk: Desk) -> None:
    async with transaction(fresh_desk.sessions) as session:
        await an_editor_row(session, Role.WRITER, "ada@news.example")
    link = await a_link(fresh_desk, None)
    said = await sign_in(fresh_desk.browser(), link=link, email="ada@news.example", password=PASSWORD)
    assert said.json()["editor"]["role"] == "owner"


# Sessions


async def test_one_sees_ones_sessions_and_ends_one(desk: Desk) -> None:
    editor, here, there = await an_editor(desk), desk.browser(), desk.browser()
    await sign_in(there, email=editor.email, password=PASSWORD)
    await sign_in(here, email=editor.email, password=PASSWORD)
    listed = (await here.get("/api/sessions")).json()
    assert listed["next"] is None
    assert {one["about"] for one in listed["items"]} == {"Firefox on Linux"}
    [current] = [one for one in listed["items"] if one["current"]]
    [other] = [one for one in listed["items"] if not one["current"]]
    stranger = await desk.somebody()
    explained(await stranger.delete(f"/api/sessions/{other['id']}"), 404)
    assert (await here.delete(f"/api/sessions/{other['id']}")).status_code == 204
    explained(await there.get("/api/session"), 401)
    explained(await here.delete(f"/api/sessions/{other['id']}"), 404)
    assert [one["id"] for one in (await here.get("/api/sessions")).json()["items"]] == [current["id"]]


async def test_a_new_password_ends_all_other_sessions(desk: Desk) -> None:
    editor, here, there = await an_editor(desk), desk.browser(), desk.browser()
    for client in (here, there):
        await sign_in(client, email=editor.email, password=PASSWORD)
    change = {"old": PASSWORD, "new": "another horse battery"}
    assert "old password" in explained(await here.post("/api/session/password", json=change | {"old": "wrong"}), 422)
    explained(await here.post("/api/session/password", json=change | {"new": editor.email}), 422)
    assert (await here.post("/api/session/password", json=change)).status_code == 204
    assert (await here.get("/api/session")).status_code == 200
    explained(await there.get("/api/session"), 401)
    explained(await sign_in(desk.browser(), email=editor.email, password=PASSWORD), 401)
    assert (await sign_in(desk.browser(), email=editor.email, password="another horse battery")).status_code == 200


async def test_guessing_at_the_old_password_is_slowed_as_well(desk: Desk) -> None:
    editor, here = await an_editor(desk), desk.browser()
    await sign_in(here, email=editor.email, password=PASSWORD)
    for number in range(5):
        explained(await here.post("/api/session/password", json={"old": f"wrong {number}", "new": "x" * 20}), 422)
    explained(await here.post("/api/session/password", json={"old": PASSWORD, "new": "another horse"}), 429)


async def test_whoever_has_no_password_sets_a_first_one(desk: Desk) -> None:
    editor, here = await an_editor(desk, password=None), desk.browser()
    await sign_in(here, link=await a_link(desk, editor))
    assert (await here.post("/api/session/password", json={"new": PASSWORD})).status_code == 204
    explained(await here.post("/api/session/password", json={"new": "another horse battery"}), 422)
    assert (await sign_in(desk.browser(), email=editor.email, password=PASSWORD)).status_code == 200


async def test_a_browser_that_was_left_open_gives_no_account_a_password(desk: Desk) -> None:
    """Who has no password shows again what they have: a link, or the provider's word."""
    editor, left_open = await an_editor(desk, password=None), desk.browser()
    await sign_in(left_open, link=await a_link(desk, editor))
    async with transaction(desk.sessions) as session:
        theirs = update(EditorSession).where(EditorSession.editor_id == editor.id)
        await session.execute(theirs.values(created_at=EditorSession.created_at - timedelta(minutes=11)))
    refused = explained(await left_open.post("/api/session/password", json={"new": PASSWORD}), 403)
    assert "sign in anew" in refused
    explained(await sign_in(desk.browser(), email=editor.email, password=PASSWORD), 401)
    await sign_in(left_open, link=await a_link(desk, editor))
    assert (await left_open.post("/api/session/password", json={"new": PASSWORD})).status_code == 204


async def test_a_foreign_page_cannot_use_a_cookie(desk: Desk) -> None:
    client = await desk.somebody()
    for origin in ("https://evil.example", "null", None):
        foreign = desk.browser(client.cookies[COOKIE], origin=origin)
        for method, path in [
            ("DELETE", "/api/session"),
            ("POST", "/api/session/password"),
            ("DELETE", "/api/sessions/1"),
        ]:
            explained(await foreign.request(method, path), 403)
    assert (await client.get("/api/session")).status_code == 200


async def test_a_program_has_no_session(desk: Desk) -> None:
    program = await desk.key()
    for method, path in [("GET", "/api/session"), ("GET", "/api/sessions"), ("DELETE", "/api/session")]:
        assert "key does not reach" in explained(await program.request(method, path), 403)


async def test_an_idle_session_is_over_and_one_in_use_is_prolonged(desk: Desk) -> None:
    client = await desk.somebody()
    mine = EditorSession.key_hash == hash_of(client.cookies[COOKIE])
    long_ago = datetime.now(UTC) - timedelta(hours=11)
    async with transaction(desk.sessions) as session:
        await session.execute(update(EditorSession).where(mine).values(seen_at=long_ago))
    said = (await client.get("/api/session")).json()
    assert datetime.fromisoformat(said["expires_at"]) > datetime.now(UTC) + timedelta(hours=11)
    async with transaction(desk.sessions) as session:
        await session.execute(update(EditorSession).where(mine).values(expires_at=long_ago))
    explained(await client.get("/api/session"), 401)


# Own browsers


def a_wish(subscription: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"subscription": subscription or a_push_subscription(), "time_zone": "Europe/Kyiv", "language": "uk"} | more


async def test_an_editor_has_only_so_many_browsers(desk: Desk) -> None:
    """Each test goes to all of them, and whoever makes subscriptions up would be at no loss for more."""
    client = await desk.somebody()
    wishes = [{"subscription": a_push_subscription()} for _ in range(21)]
    answers = [await client.post("/api/session/browsers", json=wish) for wish in wishes]
    assert [answer.status_code for answer in answers] == [201] * 20 + [409]
    assert "Remove one first" in explained(answers[-1], 409)
    assert (await client.post("/api/session/browsers", json=wishes[0])).status_code == 201  # one that is there already


async def test_a_browser_becomes_ones_own_without_following_anything(desk: Desk) -> None:
    client = await desk.somebody()
    wish = a_wish(name=" The  laptop ")
    answer = await client.post("/api/session/browsers", json=wish)
    assert answer.status_code == 201
    added = answer.json()
    assert (added.keys(), added["name"]) == ({"id", "name", "added_at"}, "The laptop")
    assert (await client.get("/api/session")).json()["browsers"] == [added]
    again = await client.post("/api/session/browsers", json=wish | {"name": ""})
    assert again.json() == added | {"name": "Firefox on Linux"}
    assert (await client.delete(f"/api/session/browsers/{added['id']}")).status_code == 204
    explained(await client.delete(f"/api/session/browsers/{added['id']}"), 404)
    assert (await client.get("/api/session")).json()["browsers"] == []
    async with transaction(desk.sessions) as session:
        assert await session.get(Subscription, added["id"]) is None  # it was nothing else to us


async def test_a_repeated_request_adds_a_browser_once(desk: Desk) -> None:
    client, wish, key = await desk.somebody(), a_wish(), {"Idempotency-Key": "one"}
    answers = [await client.post("/api/session/browsers", json=wish, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()


async def test_a_readers_browser_stays_what_it_is(desk: Desk) -> None:
    browser = some_browser()
    async with transaction(desk.sessions) as session:
        topic = await a_topic_row(session, "own-browsers")
        reader = await a_reader(session, topic, browser=browser)
    client = await desk.somebody()
    async with transaction(desk.sessions) as session:
        stored = await session.get_one(Subscription, reader.id)
        keys = {"p256dh": stored.p256dh, "auth": stored.auth}
    told = {name: urlsafe_b64encode(value).decode().rstrip("=") for name, value in keys.items()}
    wish = a_wish({"endpoint": browser.endpoint, "keys": told})
    added = (await client.post("/api/session/browsers", json=wish)).json()
    assert added["id"] == reader.id
    assert (await client.delete(f"/api/session/browsers/{added['id']}")).status_code == 204
    async with transaction(desk.sessions) as session:
        assert await session.get(Subscription, reader.id)


async def test_somebody_elses_browser_must_be_proven(desk: Desk) -> None:
    client, wish = await desk.somebody(), a_wish()
    await client.post("/api/session/browsers", json=wish)
    thief = await desk.somebody()
    stolen = a_push_subscription(wish["subscription"]["endpoint"])  # another auth
    assert "prove" in explained(await thief.post("/api/session/browsers", json=a_wish(stolen)), 403)
    # Two editors at one machine are two who have it.
    assert (await thief.post("/api/session/browsers", json=wish)).status_code == 201


@pytest.mark.parametrize(
    "wrong",
    [
        {"subscription": a_push_subscription("https://evil.example/push")},
        {"name": "x" * 101},
        {"name": "a\x00b"},
    ],
)
async def test_what_is_no_browser_is_refused(desk: Desk, wrong: dict[str, Any]) -> None:
    client = await desk.somebody()
    explained(await client.post("/api/session/browsers", json=a_wish() | wrong), 422)


@pytest.mark.parametrize("id", ["0", "-1", "x", str(2**63)])
async def test_an_id_that_cannot_be_is_a_sentence(desk: Desk, id: str) -> None:
    client = await desk.somebody()
    for path in ("browsers", "../sessions"):
        explained(await client.delete(f"/api/session/{path}/{id}"), 422)


async def test_the_desk_is_a_page(desk: Desk) -> None:
    answer = await desk.browser().get("/desk")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_the_rules_of_the_house_are_told(server: str, migrated: str, tmp_path: Path) -> None:
    rules = {"two_people_levels": ("breaking",), "two_people_audience": 50_000, "time_zone": "Europe/Kyiv"}
    with a_database(server, "signin_rules") as url:
        async with a_desk(url, tmp_path, **rules) as desk:
            said = (await (await desk.somebody(Role.WRITER)).get("/api/session")).json()
    assert said["rules"]["two_people"] == {"levels": ["breaking"], "audience": 50_000}
    assert said["site"]["time_zone"] == "Europe/Kyiv"
