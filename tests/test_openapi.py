"""What /openapi.json promises, held against the real application: no 5xx, no status or shape that it does not name.

Schemathesis makes the requests, the same in every run; a failure shows its own as a curl command.
"""

import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import requests
import schemathesis
import uvicorn
from argon2 import PasswordHasher
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from pytest import Subtests
from schemathesis import APIOperation, BaseSchema, Case, GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import connect, sessions_of, transaction
from app.domain.alerts import Alert, AlertState
from app.domain.api_keys import ApiKey
from app.domain.editors import Editor, Role
from app.domain.feeds import Feed
from app.domain.own_browsers import MOST, EditorBrowser, keep
from app.domain.sign_ins import EditorSession
from app.domain.topics import Topic
from app.main import create_app
from app.passwords import Passwords
from app.settings import Settings
from app.streams import Streams
from app.vapid import make_key
from tests.browser import free_port, until
from tests.desk import a_database
from tests.makers import (
    NOW,
    a_feed_row,
    a_push_subscription,
    a_reader,
    a_reader_with_key,
    a_story_row,
    a_topic_row,
    an_alert_row,
    an_api_key_row,
    an_editor_row,
    signed_in,
)

# It would mean strategies that are not repeatable; here it is the application on its thread that draws some.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the .random. module")

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
Request = Case[Any]
Operation = APIOperation[Any, Any, Any, Any]
Described = BaseSchema

# Whoever asks stays who they are, whatever they have asked for; and a worker knows every page already.
STEADY = """
    CREATE TABLE kept AS SELECT * FROM editor_sessions ORDER BY id DESC LIMIT 1;
    CREATE TABLE kept_key AS SELECT * FROM api_keys ORDER BY id DESC LIMIT 1;
    CREATE TABLE kept_reader AS SELECT * FROM subscriptions ORDER BY id DESC LIMIT 1;
    CREATE FUNCTION answered() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.answer = CASE NEW.kind
            WHEN 'link' THEN '{"status": 200, "ok": true, "sentence": "It answers.", "title": "A page"}'
            ELSE '{"title": "A feed", "trouble": "", "entries": [], "count": 0}' END::jsonb;
        RETURN NEW; END $$;
    CREATE TRIGGER answered BEFORE INSERT ON lookups FOR EACH ROW EXECUTE FUNCTION answered();
"""
STEADY_AGAIN = """
    INSERT INTO editor_sessions OVERRIDING SYSTEM VALUE SELECT * FROM kept ON CONFLICT DO NOTHING;
    INSERT INTO subscriptions OVERRIDING SYSTEM VALUE SELECT * FROM kept_reader ON CONFLICT DO NOTHING;
    UPDATE editors SET role = 'owner', disabled_at = NULL WHERE email = 'olga@news.example';
    UPDATE api_keys SET revoked_at = NULL WHERE id = (SELECT max(id) FROM kept_key);
"""
SOME = 40  # of everything that can be named in an address


@dataclass
class Asked:
    """The application on a port, who may ask it, and what there is to ask about."""

    url: str
    database: psycopg.Connection
    owner: dict[str, str]  # headers
    program: dict[str, str]
    reader: dict[str, str]
    known: dict[str, Iterator[str]]  # what can stand in an address, by its first words


@pytest.fixture(scope="module")
async def asked(server: str, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Asked]:
    folder = tmp_path_factory.mktemp("openapi")
    with a_database(server, "openapi") as url, psycopg.connect(url, autocommit=True) as database:
        engine = connect(url, pool_size=1)
        async with transaction(sessions_of(engine)) as session:
            known, (cookie, key, reader) = await what_there_is(session), await who_asks(session)
        await engine.dispose()
        database.execute(STEADY.encode())
        with served(url, folder) as address:
            owner = {"Cookie": f"newsbell={cookie}", "Origin": address}
            program, reading = ({"Authorization": f"Bearer {secret}"} for secret in (key, reader))
            yield Asked(address, database, owner, program, reading, known)


async def who_asks(session: AsyncSession) -> tuple[str, str, str]:
    """The secrets of an owner, a program and a reader."""
    olga = (await session.scalars(select(Editor).where(Editor.email == "olga@news.example"))).one()
    topic = (await session.scalars(select(Topic).where(Topic.slug == "ukraine"))).one()
    _, reader = await a_reader_with_key(session, topic)
    return await signed_in(session, olga), await an_api_key_row(session), reader


async def what_there_is(session: AsyncSession) -> dict[str, Iterator[str]]:
    olga = await an_editor_row(session, Role.OWNER, "olga@news.example")
    topics = [await a_topic_row(session, slug) for slug in ("ukraine", *(f"topic-{n}" for n in range(SOME)))]
    await a_story_row(session, topics[0])
    for number in range(SOME):
        await an_editor_row(session, list(Role)[number % 3])
        await a_feed_row(session, topics[0])
        await an_api_key_row(session)
        await signed_in(session, olga)
        if number < MOST // 2:  # There is room for more.
            await keep(session, olga.id, await a_reader(session, topics[0]), name="Mine", now=NOW)
    for number in range(4 * SOME):
        state = list(AlertState)[number % len(AlertState)] if number % 2 else AlertState.DRAFT
        alert = await an_alert_row(session, topics[0], state=state)
        alert.title, alert.url = f"{alert.title}, {number}", f"https://news.example/{number}"
        alert.proposed_by = "somebody@news.example" if state is AlertState.PROPOSED else None
    ids = {
        "alerts": select(Alert.id),
        **{
            f"alerts/{{id}}{what}": select(Alert.id).where(Alert.state == AlertState.DRAFT)
            for what in ("", "/release", "/schedule", "/test")
        },
        "alerts/{id}/approve": select(Alert.id).where(Alert.state == AlertState.PROPOSED),
        "alerts/{id}/undo": select(Alert.id).where(Alert.state.in_((AlertState.PROPOSED, AlertState.SCHEDULED))),
        "alerts/{id}/correct": select(Alert.id).where(Alert.state == AlertState.FINISHED),
        "editors": select(Editor.id).where(Editor.id != olga.id),
        "feeds": select(Feed.id),
        "keys": select(ApiKey.id),
        "sessions": select(EditorSession.id),
        "session": select(EditorBrowser.subscription_id),  # /api/session/browsers/{id}
        "topics": select(Topic.slug).where(Topic.id > 1),
    }
    known = {name: (await session.scalars(query)).all() for name, query in ids.items()}
    return {f"/api/{name}": cycle(map(str, found)) for name, found in known.items()}


@contextmanager
def served(database_url: str, folder: Path) -> Iterator[str]:
    """The application as uvicorn has it, on a thread of its own. Only passwords and streams are quicker."""
    make_key(folder / "vapid.pem")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    app: FastAPI = create_app(Settings(database_url=database_url, data_dir=folder, site_url=address))
    quick = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    # Where nothing happens, a stream says nothing until its end.
    app.state.site = replace(app.state.site, passwords=quick, streams=Streams(longest=0.5))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started, "the application")
        yield address
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def described(asked: Asked) -> Described:
    wanted = {"base-url": asked.url, "max-stream-events": 1, "request-timeout": 5}
    config = schemathesis.Config.from_dict({"seed": 7, "generation": {"with-security-parameters": False}} | wanted)
    answer = requests.get(f"{asked.url}/openapi.json", timeout=10)
    return schemathesis.openapi.from_dict(answer.json(), config=config)


def cases(described: Described, operation: Operation, edges: int, by_chance: int) -> Iterator[Request]:
    """The edges of its rules, on either side, from first to last; then some by chance, right and wrong."""
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    generation = described.config.generation
    all_edges = described.iter_coverage_cases(operation, generation_modes=modes, generation_config=generation)
    own = [case for case in all_edges if case.method == operation.method.upper()]
    yield from own[:: max(1, len(own) // edges)]
    for mode in modes:
        with suppress(Unsatisfiable):  # where nothing is asked for, nothing can be wrong
            yield from drawn(operation.as_strategy(generation_mode=mode), by_chance)


def drawn(strategy: SearchStrategy[Request], number: int) -> list[Request]:
    found: list[Request] = []

    @settings(max_examples=number, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def draw(case: Request) -> None:
        found.append(case)

    draw()
    return found


def about_what_there_is(case: Request, asked: Asked) -> None:
    """Else hardly any request would come further than that there is no such thing."""
    beginning = "/".join(case.path.split("/")[:3])
    choice = asked.known.get(case.path) or asked.known.get(beginning)
    if case.path_parameters and choice:
        case.path_parameters = dict.fromkeys(case.path_parameters, next(choice))
    body, query, new = case.body, case.query, str(uuid4())[:8]
    if isinstance(body, dict):
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        sensible: dict[str, Any] = {"at": tomorrow, "topics": ["ukraine"], "subscription": a_push_subscription()}
        sensible["story_id"] = sensible["version"] = None  # each has one alert only, and nobody knows what was read
        if case.path.endswith("/correct"):
            sensible |= {"title": f"Title {new}", "url": f"https://news.example/{new}", "image": ""}
        sensible |= {"slug": f"topic-{new}", "name": f"Topic {new}"} if "slug" in body else {}
        body.update({name: value for name, value in sensible.items() if name in body})
    if case.path == "/api/audience":
        case.query = {**(query or {}), "topics": "ukraine"}
        case.query.pop("corrects", None)  # instead of topics


# Nobody here has a password, or knows the keys of a browser whose subscription they move. A program has no browser.
REFUSED = {"POST /api/session", "POST /api/session/password", "POST /api/subscriptions/renew"}
REFUSED_TO_PROGRAMS = {"POST /api/alerts/{id}/approve", "POST /api/alerts/{id}/test"}


def ask(
    described: Described, asked: Asked, headers: dict[str, str], operation: Operation, *, edges: int, by_chance: int
) -> set[int]:
    """The statuses of the answers."""
    statuses = set()
    with requests.Session() as connection:
        for turn, case in enumerate(cases(described, operation, edges, by_chance)):
            if turn % 2:
                about_what_there_is(case, asked)
            asked.database.execute(STEADY_AGAIN.encode())
            answer = case.call(headers=headers, session=connection)
            statuses.add(answer.status_code)
            case.validate_response(answer, checks=CHECKS)
    return statuses


def did_something(statuses: set[int]) -> bool:
    """Or it would only be proven that everything can be refused."""
    return any(status < 300 for status in statuses)


def test_an_owner_or_a_reader_is_answered_as_described(described: Described, asked: Asked, subtests: Subtests) -> None:
    for operation in every_operation(described):
        streams = operation.path.endswith("/events")
        who = asked.reader if "/subscriptions" in operation.path else asked.owner
        with subtests.test(operation.label):
            edges, by_chance = (4, 1) if streams else (8, 2)
            statuses = ask(described, asked, who, operation, edges=edges, by_chance=by_chance)
            assert did_something(statuses) is (operation.label not in REFUSED)


def test_a_program_is_answered_as_described(described: Described, asked: Asked, subtests: Subtests) -> None:
    for operation in every_operation(described):
        if re.match("/api/(stories|alerts|audience|advice|links|reports|pace)", operation.path):
            with subtests.test(operation.label):
                edges = 4 if operation.path.endswith("/events") else 6
                statuses = ask(described, asked, asked.program, operation, edges=edges, by_chance=1)
                assert did_something(statuses) is (operation.label not in REFUSED_TO_PROGRAMS)


def every_operation(described: Described) -> Iterator[Operation]:
    for found in described.get_all_operations():
        assert isinstance(found, Ok)
        yield found.ok()
