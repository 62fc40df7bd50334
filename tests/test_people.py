"""People, keys and the audit: what an owner decides, and that nobody else does."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from app.database import transaction
from app.domain import audit
from app.domain.api_keys import ApiKey
from app.domain.editors import Editor, Role, editor_by_email, hash_of
from app.domain.requests import AnsweredRequest
from app.domain.topics import Topic
from tests.desk import Desk
from tests.makers import NOW, a_topic_row
from tests.test_api import explained

PASSWORD = "correct horse battery"
OWNERS = [
    ("GET", "/api/editors"),
    ("POST", "/api/editors"),
    ("PATCH", "/api/editors/1"),
    ("DELETE", "/api/editors/1/sessions"),
    ("GET", "/api/keys"),
    ("POST", "/api/keys"),
    ("DELETE", "/api/keys/1"),
    ("GET", "/api/audit"),
]


@pytest.fixture(scope="module")
async def owner(desk: Desk) -> httpx.AsyncClient:
    """Who stays throughout this file."""
    return await desk.somebody(Role.OWNER, "owner@news.example")


async def added(owner: httpx.AsyncClient, email: str, role: str = "editor", **more: Any) -> dict[str, Any]:
    answer = await owner.post("/api/editors", json={"email": email, "role": role} | more)
    assert answer.status_code == 201
    said: dict[str, Any] = answer.json()
    return said


async def last_noted(desk: Desk, subject: str) -> dict[str, Any]:
    async with transaction(desk.sessions) as session:
        [entry] = await audit.read(session, limit=1, subject=subject)
        return {"actor": entry.actor, "action": entry.action} | entry.detail


@pytest.mark.parametrize("method, path", OWNERS)
async def test_only_an_owner_decides_about_people_and_keys(desk: Desk, method: str, path: str) -> None:
    explained(await desk.browser().request(method, path, json={}), 401)
    for client in (await desk.somebody(Role.WRITER), await desk.somebody(Role.EDITOR), await desk.key()):
        assert "role owner" in explained(await client.request(method, path, json={}), 403)


@pytest.mark.parametrize("method, path", [one for one in OWNERS if one[0] != "GET"])
async def test_a_foreign_page_cannot_use_an_owners_cookie(
    desk: Desk, owner: httpx.AsyncClient, method: str, path: str
) -> None:
    foreign = desk.browser(owner.cookies[desk.cookie], origin="https://evil.example")
    explained(await foreign.request(method, path, json={}), 403)


# Editors


async def test_a_new_editor_comes_in_by_a_link_that_is_shown_once(desk: Desk, owner: httpx.AsyncClient) -> None:
    said = await added(owner, "Ada@news.example", "writer", name="Ada")
    address, _, secret = said.pop("sign_in_link").partition("#link=")
    assert address == "https://news.example/desk"
    assert said == {
        "id": said["id"],
        "email": "ada@news.example",
        "name": "Ada",
        "role": "writer",
        "disabled_at": None,
        "created_at": said["created_at"],
        "signed_in_at": None,
        "has_password": False,
        "sessions": 0,
    }
    browser = desk.browser()
    assert (await browser.post("/api/session", json={"link": secret})).status_code == 200
    [listed] = [one for one in (await owner.get("/api/editors")).json()["items"] if one["id"] == said["id"]]
    assert listed["sessions"] == 1 and listed["signed_in_at"]
    assert "sign_in_link" not in listed
    assert await last_noted(desk, "ada@news.example") == {
        "actor": "ada@news.example",
        "action": "session.open",
        "by": "link",
        "browser": "Firefox on Linux",
    }


async def test_a_new_editor_may_get_a_password_instead(desk: Desk, owner: httpx.AsyncClient) -> None:
    said = await added(owner, "grace@news.example", password=PASSWORD)
    assert (said["has_password"], said["sign_in_link"]) == (True, None)
    browser = desk.browser()
    answer = await browser.post("/api/session", json={"email": "grace@news.example", "password": PASSWORD})
    assert answer.status_code == 200
    async with transaction(desk.sessions) as session:
        found = await editor_by_email(session, "grace@news.example")
    assert found and found.password_hash and found.password_hash.startswith("$argon2id$")


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "no address"},
        {"email": "nul\x00@news.example"},
        {"role": "emperor"},
        {"password": "short"},
        {"password": "Wrong@news.example"},
        {"name": "a\x00b"},
        {"name": "x" * 101},
        {"admin": True},
    ],
)
async def test_an_editor_that_cannot_be_is_refused(owner: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    wish = {"email": "wrong@news.example", "role": "editor"} | wrong
    explained(await owner.post("/api/editors", json=wish), 422)


async def test_an_address_is_one_editors_only_even_at_once(owner: httpx.AsyncClient) -> None:
    wish = {"email": "twin@news.example", "role": "editor"}
    answers = await asyncio.gather(*(owner.post("/api/editors", json=wish) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5


async def test_a_repeated_request_adds_one_editor_and_shows_the_link_once(owner: httpx.AsyncClient) -> None:
    wish, key = {"email": "once@news.example", "role": "editor"}, {"Idempotency-Key": "a"}
    first, again = [await owner.post("/api/editors", json=wish, headers=key) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["sign_in_link"]
    assert again.json() == first.json() | {"sign_in_link": None}


async def test_what_changes_of_an_editor_is_noted(desk: Desk, owner: httpx.AsyncClient) -> None:
    said = await added(owner, "joan@news.example")
    path = f"/api/editors/{said['id']}"
    changed = await owner.patch(path, json={"name": "Joan", "role": "writer"})
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["role"]) == ("Joan", "writer")
    noted = {"actor": "owner@news.example", "action": "editor.change", "name": ["", "Joan"]}
    assert await last_noted(desk, "joan@news.example") == noted | {"role": ["editor", "writer"]}
    assert (await owner.patch(path, json={"role": "writer"})).status_code == 200  # nothing new, nothing noted
    assert await last_noted(desk, "joan@news.example") == noted | {"role": ["editor", "writer"]}
    explained(await owner.patch("/api/editors/123456", json={"name": "Nobody"}), 404)
    explained(await owner.patch(f"/api/editors/{2**63}", json={}), 422)
    explained(await owner.patch(path, json={"email": "other@news.example"}), 422)


async def test_a_role_that_is_taken_away_is_gone_at_once(desk: Desk, owner: httpx.AsyncClient) -> None:
    second = await desk.somebody(Role.OWNER, "second@news.example")
    me = (await second.get("/api/session")).json()["editor"]["id"]
    assert (await second.get("/api/audit")).status_code == 200
    assert (await owner.patch(f"/api/editors/{me}", json={"role": "editor"})).status_code == 200
    explained(await second.get("/api/audit"), 403)
    assert (await second.get("/api/session")).json()["editor"]["role"] == "editor"


async def test_whoever_is_disabled_is_out_at_once_and_comes_back_by_a_link(
    desk: Desk, owner: httpx.AsyncClient
) -> None:
    client = await desk.somebody(Role.EDITOR, "gone@news.example")
    me = (await client.get("/api/session")).json()["editor"]["id"]
    path = f"/api/editors/{me}"
    said = (await owner.patch(path, json={"disabled": True})).json()
    assert said["disabled_at"] and said["sessions"] == 0
    assert (await last_noted(desk, "gone@news.example"))["sessions_ended"] == 1
    explained(await client.get("/api/session"), 401)
    assert "disabled" in explained(await owner.patch(path, json={"sign_in_link": True}), 422)
    link = (await owner.patch(path, json={"disabled": False, "sign_in_link": True})).json()["sign_in_link"]
    back = await desk.browser().post("/api/session", json={"link": link.partition("=")[2]})
    assert back.status_code == 200


async def test_no_owner_makes_a_link_for_themselves(desk: Desk, owner: httpx.AsyncClient) -> None:
    """An owner's browser that was left open would otherwise give their account another password."""
    me = (await owner.get("/api/session")).json()["editor"]["id"]
    refused = await owner.patch(f"/api/editors/{me}", json={"sign_in_link": True})
    assert "another owner" in explained(refused, 422)
    other = await desk.somebody(Role.OWNER)
    assert (await other.patch(f"/api/editors/{me}", json={"sign_in_link": True})).json()["sign_in_link"]


async def test_an_owner_signs_an_editor_out_everywhere(desk: Desk, owner: httpx.AsyncClient) -> None:
    client = await desk.somebody(Role.EDITOR, "lost-laptop@news.example")
    me = (await client.get("/api/session")).json()["editor"]["id"]
    link = (await owner.patch(f"/api/editors/{me}", json={"sign_in_link": True})).json()["sign_in_link"]
    assert (await owner.delete(f"/api/editors/{me}/sessions")).status_code == 204
    explained(await client.get("/api/session"), 401)
    explained(await desk.browser().post("/api/session", json={"link": link.partition("=")[2]}), 401)
    explained(await owner.delete("/api/editors/123456/sessions"), 404)


async def test_there_is_always_an_owner_left(desk: Desk, owner: httpx.AsyncClient) -> None:
    async with transaction(desk.sessions) as session:
        everybody = list(await session.scalars(select(Editor).where(Editor.role == Role.OWNER)))
        for other in everybody:
            if other.email != "owner@news.example":
                other.role = Role.EDITOR
        [me] = [one.id for one in everybody if one.email == "owner@news.example"]
    for change in ({"role": "editor"}, {"disabled": True}, {"role": "owner", "disabled": True}):
        assert "last owner" in explained(await owner.patch(f"/api/editors/{me}", json=change), 422)
    assert (await owner.patch(f"/api/editors/{me}", json={"role": "owner", "name": "Olga"})).status_code == 200


# Keys


@pytest.fixture(scope="module")
async def topic(desk: Desk) -> Topic:
    async with transaction(desk.sessions) as session:
        return await a_topic_row(session, "ukraine")


async def test_a_key_is_shown_once_and_opens_what_it_may_until_it_is_revoked(
    desk: Desk, owner: httpx.AsyncClient, topic: Topic
) -> None:
    wish = {"name": "CMS", "role": "editor", "topics": ["ukraine"], "levels": ["normal", "low"]}
    answer = await owner.post("/api/keys", json=wish)
    assert answer.status_code == 201
    made = answer.json()
    secret = made.pop("key")
    assert secret.startswith("nb_") and len(secret) >= 46 and secret.startswith(made["start"])
    assert {name: made[name] for name in wish} == wish | {"levels": ["low", "normal"]}
    assert made["created_by"] == "owner@news.example"
    program = desk.program(secret)
    assert "role owner" in explained(await program.get("/api/audit"), 403)  # it is let in, and not so far
    [listed] = [one for one in (await owner.get("/api/keys")).json()["items"] if one["id"] == made["id"]]
    assert listed["used_at"] and listed.keys() == made.keys()
    async with transaction(desk.sessions) as session:
        kept = await session.get_one(ApiKey, made["id"])
    assert kept.key_hash == hash_of(secret) and secret not in str(vars(kept))
    assert (await owner.delete(f"/api/keys/{made['id']}")).status_code == 204
    explained(await program.get("/api/audit"), 401)
    explained(await owner.delete(f"/api/keys/{made['id']}"), 409)
    explained(await owner.delete("/api/keys/123456"), 404)
    assert await last_noted(desk, "CMS") == {
        "actor": "owner@news.example",
        "action": "key.revoke",
        "start": made["start"],
    }


async def test_of_several_keys_of_one_name_that_are_made_at_once_one_is_made(
    desk: Desk, owner: httpx.AsyncClient
) -> None:
    wish = {"name": "Pressed twice", "role": "writer"}
    answers = await asyncio.gather(*(owner.post("/api/keys", json=wish) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5


@pytest.mark.parametrize(
    "wrong, status",
    [
        ({"role": "owner"}, 422),
        ({"topics": ["atlantis"]}, 422),
        ({"topics": ["nul\x00"]}, 422),
        ({"levels": ["shouting"]}, 422),
        ({"name": " "}, 422),
        ({"name": "nul\x00"}, 422),
        ({"name": ""}, 422),
    ],
)
async def test_a_key_that_cannot_be_is_refused(owner: httpx.AsyncClient, wrong: dict[str, Any], status: int) -> None:
    explained(await owner.post("/api/keys", json={"name": "Wrong", "role": "editor"} | wrong), status)


async def test_no_two_living_keys_share_a_name(owner: httpx.AsyncClient) -> None:
    wish = {"name": "Radio", "role": "writer"}
    first = (await owner.post("/api/keys", json=wish)).json()
    assert "Radio" in explained(await owner.post("/api/keys", json=wish), 409)
    await owner.delete(f"/api/keys/{first['id']}")
    assert (await owner.post("/api/keys", json=wish)).status_code == 201


async def test_a_repeated_request_makes_one_key_and_keeps_no_secret(desk: Desk, owner: httpx.AsyncClient) -> None:
    wish, key = {"name": "TV", "role": "writer"}, {"Idempotency-Key": "tv"}
    first, again = [await owner.post("/api/keys", json=wish, headers=key) for _ in range(2)]
    assert first.json()["key"] and again.json() == first.json() | {"key": None}
    async with transaction(desk.sessions) as session:
        answers = [str(one.answer) for one in await session.scalars(select(AnsweredRequest))]
    assert not [answer for answer in answers if first.json()["key"] in answer]


# The audit


async def test_the_audit_is_read_page_by_page(desk: Desk, owner: httpx.AsyncClient) -> None:
    async with transaction(desk.sessions) as session:
        for number in range(5):
            audit.note(session, NOW, actor="key Page", action="page.turn", subject=f"page {number}", number=number)
            await session.flush()
    read: list[dict[str, Any]] = []
    after = None
    while True:
        asked = {"action": "page", "limit": "2"} | ({"after": after} if after else {})
        page = (await owner.get("/api/audit", params=asked)).json()
        assert len(page["items"]) <= 2
        read += page["items"]
        if (after := page["next"]) is None:
            break
    assert [entry["detail"]["number"] for entry in read] == [4, 3, 2, 1, 0]
    assert read[0] == {
        "id": read[0]["id"],
        "at": "2026-08-01T12:00:00Z",
        "actor": "key Page",
        "action": "page.turn",
        "subject": "page 4",
        "detail": {"number": 4},
    }


@pytest.mark.parametrize(
    "asked, found",
    [
        ({"action": "fruit"}, ["fig", "date"]),
        ({"action": "fruit.eat"}, ["date"]),
        ({"action": "fru"}, []),
        ({"action": "%"}, []),
        ({"subject": "fig"}, ["fig"]),
        ({"by": "Adam"}, ["fig"]),
        ({"subject": "nul\x00"}, None),
    ],
)
async def test_the_audit_is_filtered(
    desk: Desk, owner: httpx.AsyncClient, asked: dict[str, str], found: list[str] | None
) -> None:
    async with transaction(desk.sessions) as session:
        if not await audit.read(session, limit=1, action="fruit"):
            audit.note(session, NOW, actor="Eve", action="fruit.eat", subject="date")
            await session.flush()
            audit.note(session, NOW, actor="Adam", action="fruit.pick", subject="fig")
    answer = await owner.get("/api/audit", params=asked)
    if found is None:
        explained(answer, 422)
    else:
        assert [entry["subject"] for entry in answer.json()["items"]] == found


@pytest.mark.parametrize(
    "asked", [{"after": "x"}, {"after": "-1"}, {"after": "9" * 20}, {"after": "²"}, {"limit": "0"}]
)
async def test_a_page_that_there_is_not_is_a_sentence(owner: httpx.AsyncClient, asked: dict[str, str]) -> None:
    explained(await owner.get("/api/audit", params=asked), 422)


@pytest.mark.parametrize("sql", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"])
async def test_nobody_can_change_the_audit(desk: Desk, sql: str) -> None:
    with pytest.raises(DBAPIError, match="only ever added to"):
        async with transaction(desk.sessions) as session:
            await session.execute(text(sql))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_there_is_no_request_that_changes_the_audit(owner: httpx.AsyncClient, method: str) -> None:
    explained(await owner.request(method, "/api/audit"), 405)
