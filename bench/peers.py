"""The others: the bare ceiling, and what people send web push with today.

Each runs in processes of its own that say "ready", wait for a line, send their part of the audience and say "done".
Libraries are imported where they are used, so that each process holds only its contender's.
"""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import sys
import warnings
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

from app.domain.messages import message, topic_header
from app.domain.refusals import Refusal
from app.supervisor import hold_lifeline
from app.vapid import Signer, load_key
from bench.children import Child, cpu_seconds, line_of, module, peak_mb, running
from bench.report import CEILING, Result, result
from bench.sink import Sink

TITLE = "Kremlin says a million people were moved"
BODY = "Officials called it the largest evacuation in a decade; observers could not confirm the number. " * 2

URL = "https://news.example/world/2026/evacuation"
CONTACT = "mailto:bench@news.example"
TTL = 12 * 3600

PAGE = 2000
AT_ONCE = 100  # requests that asynchronous peers have in flight
IN_FLIGHT, CONNECTIONS = 256, 4  # the ceiling's, as many as ours
NODE = Path(__file__).with_name("peer.cjs")


@dataclass(frozen=True)
class Part:
    """What one process has to do: the recipients with low <= id < high."""

    contender: str
    url: str
    origin: str
    ca_file: str
    key_file: str
    low: int
    high: int


@dataclass(frozen=True)
class Contender:
    what: str
    most: int  # messages it is given; more would only take longer


PYTHON = (
    Contender("pywebpush-async", 6000),  # with aiohttp
    Contender("pywebpush-sync", 2000),  # with requests.Session
)
NODE_WEB_PUSH = Contender("node-web-push", 3000)


# --- starting and measuring them ------------------------------------------------------------------------------------


def ceiling(url: str, sink: Sink, key_file: Path, *, count: int, processes: int) -> Result:
    return _python(Contender(CEILING, count), url, sink, key_file, count=count, processes=processes)


def others(
    url: str, sink: Sink, key_file: Path, *, count: int, processes: int, say: Callable[[str], None]
) -> list[Result]:
    done = []
    for contender in PYTHON:
        say(f"Measuring {contender.what}")
        done.append(_python(contender, url, sink, key_file, count=count, processes=processes))
    say(f"Measuring {NODE_WEB_PUSH.what}")
    try:
        done.append(_node(url, sink, key_file.parent, count=count, processes=processes))
    except Refusal as refusal:
        say(str(refusal))
    return done


def _python(contender: Contender, url: str, sink: Sink, key_file: Path, *, count: int, processes: int) -> Result:
    count = min(count, contender.most)
    commands = []
    for low, high in _shares(count, processes):
        part = Part(contender.what, url, sink.origin, str(sink.ca_file or ""), str(key_file), low, high)
        commands.append(module("bench.peers", json.dumps(asdict(part))))
    return _race(contender.what, commands, count, sink, key_file.with_name(f"{contender.what}.log"))


def _node(url: str, sink: Sink, folder: Path, *, count: int, processes: int) -> Result:
    if not sink.ca_file:
        raise Refusal("node web-push is left out: it speaks HTTPS only.")
    node, count = _with_web_push(folder), min(count, NODE_WEB_PUSH.most)
    commands = []
    for number, (low, high) in enumerate(_shares(count, processes)):
        work = folder / f"node-{number}.json"
        wanted = {"subscriptions": _subscriptions(url, low, high), "message": _message().decode(), "ttl": TTL}
        work.write_text(json.dumps({**wanted, "contact": CONTACT, "atOnce": AT_ONCE}))
        commands.append([node, str(NODE), str(work)])
    environment = os.environ | {
        "NODE_PATH": str(folder / "node_modules"),
        "NODE_EXTRA_CA_CERTS": str(sink.ca_file),
    }
    return _race(NODE_WEB_PUSH.what, commands, count, sink, folder / "node.log", environment)


def _with_web_push(folder: Path) -> str:
    """Node's program, with web-push installed where it will find it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        raise Refusal("node web-push is left out: there is no node and npm here.")
    if (folder / "node_modules" / "web-push").exists():  # since the last round
        return node
    command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--silent", "web-push"]
    try:
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
    except (OSError, subprocess.SubprocessError):
        raise Refusal("node web-push is left out: npm could not install it.") from None
    return node


def _shares(count: int, processes: int) -> list[tuple[int, int]]:
    edges = [1 + count * number // processes for number in range(processes + 1)]
    return list(pairwise(edges))


def _race(
    what: str,
    commands: Sequence[Sequence[str]],
    count: int,
    sink: Sink,
    errors: Path,
    environment: dict[str, str] | None = None,
) -> Result:
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                running(command, environment=environment, errors=errors, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            for command in commands
        ]
        _hear(children, "ready", errors, what)
        mark, sink_cpu, cpu, started = sink.mark(), sink.cpu, _cpu(children), time()
        for child in children:
            assert child.stdin
            child.stdin.write("go\n")
            child.stdin.flush()
        _hear(children, "done", errors, what)
        return result(
            what,
            processes=len(children),
            sent=count,
            started=started,
            cpu=_cpu(children) - cpu,
            sink_cpu=sink.cpu - sink_cpu,
            rss_mb=max(peak_mb(child.pid) for child in children),
            accepted_at=sink.accepted_since(mark),
        )


def _cpu(children: Sequence[Child]) -> float:
    return sum(cpu_seconds(child.pid) for child in children)


def _hear(children: Sequence[Child], word: str, errors: Path, what: str) -> None:
    for child in children:
        if line_of(child.stdout, errors, what) != word:
            raise Refusal(f"{what} said something unexpected.")


def _message() -> bytes:
    return message(alert=uuid4(), title=TITLE, body=BODY, url=URL, image=None, level="breaking")


def _rows(url: str, low: int, high: int) -> list[tuple[str, bytes, bytes]]:
    import psycopg

    query = "SELECT endpoint, p256dh, auth FROM subscriptions WHERE id >= %s AND id < %s AND ended_at IS NULL"
    with psycopg.connect(url) as db:
        return db.execute(query, (low, high), binary=True).fetchall()


def _subscriptions(url: str, low: int, high: int) -> list[dict[str, Any]]:
    return [
        {"endpoint": endpoint, "keys": {"p256dh": _base64url(p256dh), "auth": _base64url(auth)}}
        for endpoint, p256dh, auth in _rows(url, low, high)
    ]


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


# --- what runs in a process of its own ------------------------------------------------------------------------------


def _bare_curl(part: Part) -> Callable[[], None]:
    """Read, seal, send: what no program can do without."""
    import psycopg
    import pycurl

    from worker.seal import seal

    authorization = Signer(load_key(Path(part.key_file)), CONTACT).authorization(part.origin, datetime.now(UTC))
    headers = [f"Authorization: {authorization}", f"TTL: {TTL}", "Urgency: high", f"Topic: {topic_header(uuid4())}"]
    headers += ["Content-Encoding: aes128gcm", "Content-Type: application/octet-stream"]
    options: dict[int, object] = {pycurl.POST: 1, pycurl.HTTPHEADER: headers, pycurl.WRITEFUNCTION: lambda _: None}
    options |= {pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2TLS, pycurl.PIPEWAIT: 1, pycurl.TIMEOUT: 15}
    if part.ca_file:
        options[pycurl.CAINFO] = part.ca_file
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
    multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, CONNECTIONS if part.ca_file else 32)
    idle = [_curl(pycurl.Curl(), options) for _ in range(IN_FLIGHT)]
    clear = _message()

    def turn(*, wait: bool) -> None:
        multi.perform()
        done = 0
        while True:
            left, good, bad = multi.info_read()
            for curl in (*good, *(failed[0] for failed in bad)):
                multi.remove_handle(curl)
                idle.append(curl)
                done += 1
            if not left:
                break
        if wait and not done:
            multi.select(1.0)

    def post(number: int, endpoint: str, p256dh: bytes, auth: bytes) -> None:
        body = seal(p256dh, auth, clear)
        while not idle:
            turn(wait=True)
        curl = idle.pop()
        curl.setopt(pycurl.URL, endpoint)
        curl.setopt(pycurl.POSTFIELDS, body)
        multi.add_handle(curl)
        if number % 8 == 0:
            turn(wait=False)

    def work() -> None:
        query = "SELECT endpoint, p256dh, auth FROM subscriptions WHERE id >= %s AND id < %s AND ended_at IS NULL"
        with psycopg.connect(part.url, autocommit=True) as db:
            for low in range(part.low, part.high, PAGE):
                page = db.execute(query, (low, min(low + PAGE, part.high)), binary=True).fetchall()
                for number, row in enumerate(page):
                    post(number, *row)
        while len(idle) < IN_FLIGHT:
            turn(wait=True)

    return work


def _curl(curl: Any, options: dict[int, object]) -> Any:
    for option, value in options.items():
        curl.setopt(option, value)
    return curl


def _pywebpush_sync(part: Part) -> Callable[[], None]:
    import requests
    from pywebpush import WebPushException, webpush

    subscriptions, common = _subscriptions(part.url, part.low, part.high), _pywebpush_arguments(part)
    session = requests.Session()
    session.trust_env, session.verify = False, part.ca_file or True

    def work() -> None:
        for subscription in subscriptions:
            try:
                webpush(subscription, requests_session=session, vapid_claims={"sub": CONTACT}, **common)
            except (WebPushException, requests.RequestException):
                continue  # The sink's notes count what was accepted.

    return work


def _pywebpush_async(part: Part) -> Callable[[], None]:
    import aiohttp
    from pywebpush import WebPushException, webpush_async

    todo, common = iter(_subscriptions(part.url, part.low, part.high)), _pywebpush_arguments(part)

    async def send(session: aiohttp.ClientSession) -> None:
        for subscription in todo:
            try:
                await webpush_async(subscription, aiohttp_session=session, vapid_claims={"sub": CONTACT}, **common)
            except (WebPushException, aiohttp.ClientError, TimeoutError):
                continue

    async def all_at_once() -> None:
        trust = ssl.create_default_context(cafile=part.ca_file or None)
        connector = aiohttp.TCPConnector(limit=AT_ONCE, ssl=trust)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(send(session) for _ in range(AT_ONCE)))

    return lambda: asyncio.run(all_at_once())


def _pywebpush_arguments(part: Part) -> dict[str, Any]:
    from py_vapid import Vapid02

    key = Vapid02.from_file(part.key_file)
    return {"data": _message(), "vapid_private_key": key, "ttl": TTL, "timeout": 15}


WORK = {CEILING: _bare_curl, "pywebpush-async": _pywebpush_async, "pywebpush-sync": _pywebpush_sync}


def main() -> None:
    hold_lifeline()
    warnings.simplefilter("ignore")
    part = Part(**json.loads(sys.argv[1]))
    work = WORK[part.contender](part)
    _say("ready")
    sys.stdin.readline()
    work()
    _say("done")
    sys.stdin.readline()  # until the memory has been read


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
