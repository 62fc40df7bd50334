"""Who may not: every request that /openapi.json knows is tried by those for whom it is not."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import text

from app.database import transaction
from app.domain.editors import Role
from tests.desk import Desk
from tests.makers import an_editor_row, signed_in

# What needs nobody from the desk: readers' own requests, and the ways in.
OPEN = {
    "GET /api/site",
    "GET /api/front",
    "GET /api/latest",
    "POST /api/subscriptions",
    "POST /api/subscriptions/renew",
    "GET /api/subscriptions/me",
    "PATCH /api/subscriptions/me",
    "DELETE /api/subscriptions/me",
    "POST /api/receipts",
    "GET /api/sign-in",
    "POST /api/session",
}
NOT_DESCRIBED = {"GET /api/oidc/start", "GET /api/oidc/callback"}  # a browser is sent there
SAFE = {"GET"}
# Nobody but a person with a session: programs have no account of their own, and none over others.
FOR_PEOPLE = ("/api/session", "/api/editors", "/api/keys", "/api/audit")
EXAMPLES = {"uuid": str(UUID(int=7)), "integer": "7", "string": "ukraine"}


class Operation(NamedTuple):
    method: str
    path: str
    role: Role | None  # the least that may; None: anybody
    streams: bool

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    def url(self, parameters: dict[str, str]) -> str:
        return self.path.format(**parameters)


def operations(desk: Desk) -> list[tuple[Operation, str]]:
    """With an address to ask each at."""
    found = []
    for path, methods in desk.app.openapi()["paths"].items():
        for method, described in methods.items():
            needed = [scopes["desk key"] for scopes in described.get("security", []) if "desk key" in scopes]
            role = Role(needed[0][0]) if needed else None
            streams = "text/event-stream" in described["responses"].get("200", {}).get("content", {})
            operation = Operation(method.upper(), path, role, streams)
            found.append((operation, operation.url(examples(described))))
    return found


def examples(described: dict[str, Any]) -> dict[str, str]:
    parameters = [p for p in described.get("parameters", []) if p["in"] == "path"]
    return {p["name"]: EXAMPLES[p["schema"].get("format") or p["schema"]["type"]] for p in parameters}


Asking = Callable[[Operation, str], Awaitable[httpx.Response]]


async def others(desk: Desk, ask: Asking, expected: int, *, of: Callable[[Operation], bool]) -> list[str]:
    """Whatever is not answered so, or not with a sentence, although it is one of those."""
    asked = [(operation, address) for operation, address in operations(desk) if operation.role and of(operation)]
    assert len(asked) > 5
    wrong = []
    for operation, address in asked:
        answer = await ask(operation, address)
        is_problem = answer.headers.get("content-type") == "application/problem+json"
        if answer.status_code != expected or not is_problem or not answer.json()["detail"].endswith("."):
            wrong.append(f"{operation.name}: {answer.status_code} {answer.text[:80]}")
    return wrong


async def everything(desk: Desk) -> dict[str, int]:
    """How many rows each table has; sessions say when they were last seen, which is no change."""
    async with transaction(desk.sessions) as session:
        names = (await session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))).all()
        return {name: await session.scalar(text(f'SELECT count(*) FROM "{name}"')) or 0 for name in names}


@pytest.fixture(autouse=True)
async def somebody(desk: Desk) -> None:
    """Or the desk would be open to its first owner."""
    (await desk.somebody(Role.OWNER)).headers.clear()


def test_only_what_is_meant_to_be_open_is(desk: Desk) -> None:
    described = {operation.name: operation.role for operation, _ in operations(desk)}
    assert {name for name, role in described.items() if role is None} == OPEN
    routers = [getattr(route, "original_router", desk.app.router) for route in desk.app.routes]
    served = {
        f"{method} {route.path}"
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and route.path.startswith("/api/")
        for method in route.methods or ()
    }
    assert served - described.keys() == NOT_DESCRIBED


async def test_nobody_comes_in_without_a_session_or_a_key(desk: Desk) -> None:
    before = await everything(desk)
    async with desk.browser() as anybody:
        strangers = {
            "nothing": {},
            "an unknown session": {"Cookie": f"{desk.cookie}=nobody"},
            "an unknown key": {"Authorization": "Bearer nb_nobody"},
            "no key at all": {"Authorization": "Basic b2xnYTpzZWNyZXQ="},
        }
        for headers in strangers.values():

            async def ask(operation: Operation, address: str, shown: dict[str, str] = headers) -> httpx.Response:
                return await anybody.request(operation.method, address, headers=shown, json={})

            assert await others(desk, ask, 401, of=lambda operation: True) == []
    assert await everything(desk) == before


@pytest.mark.parametrize(
    ("role", "more"), [(Role.WRITER, Role.EDITOR), (Role.WRITER, Role.OWNER), (Role.EDITOR, Role.OWNER)]
)
async def test_whose_role_is_less_is_refused(desk: Desk, role: Role, more: Role) -> None:
    person, program = await desk.somebody(role), await desk.key(role)
    before = await everything(desk)
    for somebody in (person, program):

        async def ask(operation: Operation, address: str, who: httpx.AsyncClient = somebody) -> httpx.Response:
            return await who.request(operation.method, address, json={})

        assert await others(desk, ask, 403, of=lambda operation: operation.role is more) == []
    assert await everything(desk) == before


async def test_no_program_reaches_people_keys_or_the_audit(desk: Desk) -> None:
    program = await desk.key(Role.EDITOR)
    before = await everything(desk)

    async def ask(operation: Operation, address: str) -> httpx.Response:
        return await program.request(operation.method, address, json={})

    assert await others(desk, ask, 403, of=lambda operation: operation.path.startswith(FOR_PEOPLE)) == []
    assert await everything(desk) == before


@pytest.mark.parametrize(
    "origin",
    [None, "null", "https://evil.example", "http://news.example", "https://news.example.evil.example"],
)
async def test_no_other_site_changes_anything_with_an_owners_cookie(desk: Desk, origin: str | None) -> None:
    async with transaction(desk.sessions) as session:
        secret = await signed_in(session, await an_editor_row(session, Role.OWNER))
    owner = desk.browser(secret, origin=origin)
    before = await everything(desk)

    async def ask(operation: Operation, address: str) -> httpx.Response:
        return await owner.request(operation.method, address, json={})

    assert await others(desk, ask, 403, of=lambda operation: operation.method not in SAFE) == []
    assert await everything(desk) == before
    assert (await owner.get("/api/session")).status_code == 200  # the cookie was a good one


async def test_no_other_site_reads_anything_with_an_owners_cookie(desk: Desk) -> None:
    async with transaction(desk.sessions) as session:
        secret = await signed_in(session, await an_editor_row(session, Role.OWNER))
    owner = desk.browser(secret, origin="https://evil.example")
    for operation, address in operations(desk):
        if operation.role and operation.method in SAFE and not operation.streams:
            answer = await owner.get(address)
            assert "access-control-allow-origin" not in answer.headers, operation.name


async def test_an_owner_on_the_desks_own_pages_is_refused_nowhere(desk: Desk) -> None:
    """Or the others would prove nothing."""
    refused = []
    for operation, address in operations(desk):
        if operation.streams:
            continue
        async with await desk.somebody(Role.OWNER) as owner:  # a new one each time: some of it signs them out
            answer = await owner.request(operation.method, address, json={})
            if operation.role and answer.status_code in (401, 403):
                refused.append(f"{operation.name}: {answer.status_code}")
    assert refused == []
