"""Streams of events: they end with the right to watch, and nobody takes everybody's places."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
import uvicorn
from sqlalchemy import select
from starlette.types import Receive, Scope, Send

from app import main
from app.database import transaction
from app.domain.api_keys import ApiKey
from app.domain.editors import Editor, Role
from tests.desk import Desk
from tests.test_alert_routes import done
from tests.test_api import explained

STORIES = "/api/stories/events"


@asynccontextmanager
async def watching(desk: Desk, *clients: httpx.AsyncClient) -> AsyncIterator[Sequence[asyncio.Task[httpx.Response]]]:
    """Each of them has a stream open; a task is done when its stream has ended."""
    before = len(desk.site.streams.open)
    tasks = [asyncio.create_task(client.get(STORIES)) for client in clients]
    await until(lambda: len(desk.site.streams.open) == before + len(tasks))
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def until(condition: Callable[[], object], within: float = 20) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "timed out"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["signed out", "signed out elsewhere", "disabled", "revoked"])
async def test_a_stream_ends_within_a_second_of_the_right_to_watch(desk: Desk, how: str) -> None:
    owner = await desk.somebody(Role.OWNER)
    email = f"{how.replace(' ', '-')}@news.example"
    person, program = await desk.somebody(Role.WRITER, email), await desk.key()
    async with transaction(desk.sessions) as session:
        editor_id = await session.scalar(select(Editor.id).where(Editor.email == email))
        key_id = await session.scalar(select(ApiKey.id).order_by(ApiKey.id.desc()).limit(1))
    async with watching(desk, owner, person if how != "revoked" else program) as (bystander, watcher):
        match how:
            case "signed out":
                assert (await person.delete("/api/session")).status_code == 204
            case "signed out elsewhere":
                [browser] = done(await person.get("/api/sessions"))["items"]
                assert (await person.delete(f"/api/sessions/{browser['id']}")).status_code == 204
            case "disabled":
                done(await owner.patch(f"/api/editors/{editor_id}", json={"disabled": True}))
            case "revoked":
                assert (await owner.delete(f"/api/keys/{key_id}")).status_code == 204
        ended, _ = await asyncio.wait([watcher], timeout=1.5)  # half a second of it for a busy machine
        assert ended, "the stream goes on"
        assert not bystander.done()


async def test_a_key_that_takes_the_name_of_a_revoked_one_does_not_keep_its_streams_open(desk: Desk) -> None:
    owner = await desk.somebody(Role.OWNER)
    first = done(await owner.post("/api/keys", json={"name": "Rotated", "role": "editor"}), 201)
    async with watching(desk, desk.program(first["key"])) as [watcher]:
        assert (await owner.delete(f"/api/keys/{first['id']}")).status_code == 204
        done(await owner.post("/api/keys", json={"name": "Rotated", "role": "writer"}), 201)
        ended, _ = await asyncio.wait([watcher], timeout=1.5)
        assert ended, "the stream goes on"


async def test_an_account_has_a_share_of_the_streams_and_leaves_the_rest_to_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk.site.streams, "each", 2)
    program, other = await desk.key(), await desk.key()
    async with watching(desk, program, program):
        refused = await program.get(STORIES)
        assert "2 pages are being kept up to date for you" in explained(refused, 429)
        assert refused.headers["retry-after"] == "5"
        async with watching(desk, other):
            pass
    async with watching(desk, program):  # who leaves makes room
        pass


async def test_streams_are_watched_over_by_one_look_for_all(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    streams = desk.site.streams
    look = streams._end_what_is_over

    async def counted(*sessions: object) -> None:
        looks.append(len(streams.open))
        await look(*sessions)  # type: ignore[arg-type]

    monkeypatch.setattr(streams, "_end_what_is_over", counted)
    program = await desk.key()
    async with watching(desk, *[program] * 5):
        await until(lambda: 5 in looks)
        begun, since = len(looks), time.monotonic()
        await asyncio.sleep(1.2)
        assert len(looks) - begun <= (time.monotonic() - since) / 0.5 + 1
    await until(lambda: looks[-1] == 0)
    seen = len(looks)
    await asyncio.sleep(0.7)
    assert len(looks) == seen  # nobody watches: nobody looks


async def test_a_stream_that_nobody_reads_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "READING", 0.3)
    ended = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": bytes(64 * 1024), "more_body": True})
        finally:
            ended.set()

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(main.Bounded(endless), log_config=None, lifespan="off"))
    serving = asyncio.create_task(server._serve([listener]))  # without its signal handlers
    with socket.create_connection(listener.getsockname()) as deaf:
        deaf.sendall(b"GET / HTTP/1.1\r\nHost: news.example\r\n\r\n")
        try:
            await asyncio.wait_for(ended.wait(), 5)
        finally:
            server.should_exit = server.force_exit = True
            await asyncio.wait_for(serving, 5)


@pytest.mark.parametrize("body, answer", [(b"{", b"408 "), (b"{" + b" " * 20_000, b"413 ")], ids=["slow", "large"])
async def test_a_request_that_does_not_come_to_its_end_is_left(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, body: bytes, answer: bytes
) -> None:
    monkeypatch.setattr(main, "COMING", 0.5)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(desk.app, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server._serve([listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"POST /api/receipts HTTP/1.1\r\nHost: news.example\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: 99999\r\n\r\n" + body)

    async def drip() -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.1)

    dripping = asyncio.create_task(drip())
    try:
        answered = await asyncio.wait_for(reader.read(), 5)  # until the connection ends
    finally:
        dripping.cancel()
        writer.close()
        server.should_exit = server.force_exit = True
        await asyncio.wait_for(serving, 5)
    assert answered.startswith(b"HTTP/1.1 " + answer), answered


async def test_a_request_that_is_all_here_may_take_its_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "COMING", 0.5)
    async with watching(desk, await desk.key()) as [watcher]:
        ended, _ = await asyncio.wait([watcher], timeout=1.5)
        assert not ended
