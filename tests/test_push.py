"""The pusher against real servers on loopback, which answer as told and remember what they were sent."""

import asyncio
import datetime
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.domain.outcomes import Answer
from worker.push import LATE, Drawn, Errand, Pusher
from worker.wire import Envelope

HEADERS = ["TTL: 60", "Content-Type: application/octet-stream", "Content-Encoding: aes128gcm"]


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class PushService:
    """Answers 201 unless told otherwise for a path; a behaviour writes the answer, or does something worse."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.received: list[Request] = []
        self.connections = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            while True:
                await self.answer_one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = first.split(" ")
        assert method == "POST"
        self.received.append(Request(path, headers, body))
        await self.behaviours.get(path, says(201))(writer)
        await writer.drain()

    async def hang_up(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def says(status: int, *headers: str, body: bytes = b"") -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {status} Whatever", *headers, f"Content-Length: {len(body)}", "", ""]
        writer.write("\r\n".join(head).encode() + body)

    return behave


def writes(raw: bytes, *, then: Behaviour | None = None) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        if then:
            await then(writer)

    return behave


def waits_for(gate: asyncio.Event, then: Behaviour) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await then(writer)

    return behave


async def hangs(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def drips(writer: asyncio.StreamWriter) -> None:
    """A little at a time, and never all of it."""
    writer.write(b"HTTP/1.1 201 Created\r\n"[:9])
    while True:
        await asyncio.sleep(0.05)
        writer.write(b"0")


async def hangs_up(writer: asyncio.StreamWriter) -> None:
    raise ConnectionError


async def resets(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionError


@asynccontextmanager
async def a_service(tls: ssl.SSLContext | None = None) -> AsyncIterator[PushService]:
    service = PushService()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, ssl=tls)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()
        await service.hang_up()
        await server.wait_closed()


@pytest.fixture
async def service() -> AsyncIterator[PushService]:
    async with a_service() as service:
        yield service


@asynccontextmanager
async def a_pusher(
    *,
    allow_private_addresses: bool = True,
    in_flight: int = 256,
    limit: float = 5.0,
    ca_file: Path | None = None,
) -> AsyncIterator[Pusher]:
    pusher = Pusher(
        allow_private_addresses=allow_private_addresses, in_flight=in_flight, timeout=limit, ca_file=ca_file
    )
    pusher.start()
    try:
        yield pusher
    finally:
        await pusher.aclose(0)


@pytest.fixture
async def pusher() -> AsyncIterator[Pusher]:
    async with a_pusher() as pusher:
        yield pusher


def envelope(endpoint: str) -> Envelope:
    return Envelope(endpoint, HEADERS, b"sealed")


def numbered(endpoints: list[str]) -> Iterator[Drawn]:
    return ((number, envelope(endpoint)) for number, endpoint in enumerate(endpoints))


async def everything(errand: Errand) -> dict[int, Answer]:
    known: dict[int, Answer] = {}
    async for batch in errand.answers(0.05):
        assert batch
        for number, answer in batch:
            assert number not in known
            known[number] = answer
    return known


async def sent(pusher: Pusher, *endpoints: str) -> list[Answer]:
    known = await everything(pusher.send(numbered(list(endpoints)), origin=endpoints[0].rsplit("/", 1)[0]))
    return [known[number] for number in range(len(endpoints))]


async def told(pusher: Pusher, service: PushService, behaviour: Behaviour) -> Answer:
    """What comes back for one envelope."""
    service.behaviours["/one"] = behaviour
    [answer] = await sent(pusher, service.origin + "/one")
    return answer


# What is sent


async def test_an_envelope_arrives_as_it_is(pusher: Pusher, service: PushService) -> None:
    path = "/w/../p//%2F+%61?token=a%2Bb/==&x=.."
    body = bytes(range(256)) * 16
    errand = pusher.send(iter([(7, Envelope(service.origin + path, HEADERS, body))]), origin=service.origin)
    assert (await everything(errand))[7].status == 201
    [request] = service.received
    assert (request.path, request.body) == (path, body)
    assert request.headers["ttl"] == "60"
    assert request.headers["content-type"] == "application/octet-stream"
    assert not {"expect", "cookie", "transfer-encoding", "upgrade"} & set(request.headers)


async def test_the_headers_of_one_shard_do_not_leak_into_the_next(service: PushService) -> None:
    async with a_pusher(in_flight=1) as pusher:
        for urgency in ("low", "high", "low"):
            headers = [*HEADERS, f"Urgency: {urgency}"]
            letters = ((n, Envelope(f"{service.origin}/{urgency}", headers, b"x")) for n in range(3))
            await everything(pusher.send(letters, origin=service.origin))
    assert [request.headers["urgency"] for request in service.received] == ["low"] * 3 + ["high"] * 3 + ["low"] * 3


async def test_connections_are_kept_and_few(service: PushService) -> None:
    async with a_pusher(in_flight=4) as pusher:
        answers = await sent(pusher, *[f"{service.origin}/{n}" for n in range(200)])
    assert Counter(answer.status for answer in answers) == {201: 200}
    assert len({request.path for request in service.received}) == 200
    assert service.connections <= 4


async def test_no_proxy_is_taken_from_the_environment(service: PushService, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with a_pusher() as pusher:
        [answer] = await sent(pusher, service.origin + "/one")
    assert answer.status == 201


async def test_an_envelope_does_not_print_its_endpoint() -> None:
    assert "secret" not in repr(envelope("https://push.example/secret"))


# What comes back


@pytest.mark.parametrize("status", [200, 201, 202, 204, 400, 401, 403, 404, 406, 410, 413, 429, 500, 503])
async def test_every_status_is_reported(pusher: Pusher, service: PushService, status: int) -> None:
    body = b"" if status == 204 else b'{"reason": "why"}'
    answer = await told(pusher, service, says(status, body=body))
    assert (answer.status, answer.trouble) == (status, "")
    assert answer.body == (b"" if status == 201 else body)


async def test_the_headers_that_judging_needs_are_kept(pusher: Pusher, service: PushService) -> None:
    headers = [
        "Retry-After: 120",
        "DATE:Sat, 01 Aug 2026 12:00:00 GMT",
        "Content-Type: text/html; charset=\xff",
        "TTL: 60",
        "X-WNS-NotificationStatus:  channelthrottled ",
        "X-WNS-Error-Description: " + "x" * 5000,
        "Set-Cookie: a=b",
        "Location: /m/secret",
        "no colon at all",
    ]
    answer = await told(pusher, service, says(429, *headers))
    assert answer.headers == {
        "retry-after": "120",
        "date": "Sat, 01 Aug 2026 12:00:00 GMT",
        "content-type": "text/html; charset=Ã¿",
        "ttl": "60",
        "x-wns-notificationstatus": "channelthrottled",
        "x-wns-error-description": "x" * 511,
    }


async def test_one_answer_does_not_leak_into_the_next(service: PushService) -> None:
    service.behaviours["/0"] = says(503, "Retry-After: 9", body=b"busy")
    service.behaviours["/2"] = says(410)
    service.behaviours["/3"] = hangs_up
    async with a_pusher(in_flight=1) as pusher:
        answers = await sent(pusher, *[f"{service.origin}/{n}" for n in range(5)])
    assert answers == [
        Answer(503, {"retry-after": "9"}, b"busy"),
        Answer(201),
        Answer(410),
        Answer(0, trouble="reset"),
        Answer(201),
    ]


async def test_an_interim_answer_is_not_the_answer(pusher: Pusher, service: PushService) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 5\r\n\r\n"
    assert (await told(pusher, service, writes(interim, then=says(410)))).status == 410
    assert await told(pusher, service, writes(interim, then=hangs_up)) == Answer(0, trouble="reset")


async def test_a_redirect_is_reported_and_never_followed(pusher: Pusher, service: PushService) -> None:
    async with a_service() as elsewhere:
        for status in (301, 302, 303, 307, 308):
            answer = await told(pusher, service, says(status, f"Location: {elsewhere.origin}/internal"))
            assert answer.status == status
        assert elsewhere.connections == 0
    assert len(service.received) == 5


# Servers that misbehave


def endless(head: str, chunk: bytes, counted: list[int]) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())
        while True:
            writer.write(chunk)
            counted.append(len(chunk))
            await writer.drain()

    return behave


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1 410 Gone\r\nRetry-After: 1\r\n\r\n",
        "HTTP/1.1 410 Gone\r\nRetry-After: 1\r\nContent-Length: 209715200\r\n\r\n",
    ],
)
async def test_of_an_endless_body_only_the_beginning_is_read(pusher: Pusher, service: PushService, head: str) -> None:
    counted: list[int] = []
    answer = await told(pusher, service, endless(head, b"x" * 10_000, counted))
    assert answer == Answer(410, {"retry-after": "1"}, b"x" * 4096)
    assert sum(counted) < 20_000_000  # What fits into the buffers of the kernel, not 200 MB.


async def test_endless_headers_are_cut(pusher: Pusher, service: PushService) -> None:
    counted: list[int] = []
    answer = await told(
        pusher, service, endless("HTTP/1.1 410 Gone\r\n", b"X-WNS-A: " + b"x" * 9000 + b"\r\n", counted)
    )
    assert answer.status in (0, 410)
    assert sum(len(value) for value in answer.headers.values()) <= 512
    assert sum(counted) < 20_000_000


@pytest.mark.parametrize(
    "behaviour, trouble",
    [
        (hangs, "timeout"),
        (drips, "timeout"),
        (writes(b"HTTP/1.1 ", then=hangs), "timeout"),
        (hangs_up, "reset"),
        (resets, "reset"),
        (writes(b"HTTP/1.1 ", then=resets), "reset"),
        (writes(b"\x00\x01garbage\r\n\r\n", then=hangs_up), "protocol"),
        (writes(b"HTTP/9.9 999999 What\r\n\r\n", then=hangs_up), "protocol"),
        (writes(b"SSH-2.0-OpenSSH_9.2\r\n", then=hangs_up), "protocol"),
    ],
)
async def test_what_is_no_answer_is_trouble(service: PushService, behaviour: Behaviour, trouble: str) -> None:
    async with a_pusher(limit=0.3) as pusher:
        assert await told(pusher, service, behaviour) == Answer(0, trouble=trouble)


@pytest.mark.parametrize("after", [hangs, resets, hangs_up])
async def test_a_status_counts_even_if_the_rest_is_lost(service: PushService, after: Behaviour) -> None:
    half = b"HTTP/1.1 503 Busy\r\nRetry-After: 5\r\nContent-Length: 100\r\n\r\nhalf of it"
    async with a_pusher(limit=0.3) as pusher:
        assert await told(pusher, service, writes(half, then=after)) == Answer(503, {"retry-after": "5"}, b"half of it")


async def test_a_port_where_nobody_listens(pusher: Pusher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert await sent(pusher, f"http://127.0.0.1:{port}/one") == [Answer(0, trouble="connect")]


async def test_a_name_that_does_not_exist() -> None:
    async with a_pusher(limit=2.0) as pusher:
        [answer] = await sent(pusher, "https://push.invalid/one")
    assert answer.trouble in ("dns", "timeout")  # The latter where there is nobody to ask.


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:1/\N{SNOWMAN}", "http://127.0.0.1:1/\0", "http://[/", "http://a:b:c/", "http://"]
)
async def test_what_is_no_address_hurts_nobody_else(pusher: Pusher, service: PushService, endpoint: str) -> None:
    letters = iter([(0, envelope(endpoint)), (1, envelope(service.origin + "/1"))])
    known = await everything(pusher.send(letters, origin=service.origin))
    assert known == {0: Answer(0, trouble="malformed"), 1: Answer(201)}


# TLS


def a_certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context, and the file a client has to trust."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context, folder / "ca.pem"


async def test_a_certificate_must_be_trusted_and_fit_the_name(tmp_path: Path) -> None:
    context, ca_file = a_certificate(tmp_path)
    async with a_service(context) as service:
        async with a_pusher() as pusher:
            assert await sent(pusher, f"https://localhost:{service.port}/one") == [Answer(0, trouble="tls")]
        async with a_pusher(ca_file=ca_file) as pusher:
            assert await sent(pusher, f"https://127.0.0.1:{service.port}/one") == [Answer(0, trouble="tls")]
            assert await sent(pusher, f"https://localhost:{service.port}/one") == [Answer(201)]


async def test_a_service_without_http2_is_served_over_more_connections(tmp_path: Path) -> None:
    context, ca_file = a_certificate(tmp_path)
    async with a_service(context) as service:
        async with a_pusher(ca_file=ca_file) as pusher:
            answers = await sent(pusher, *[f"https://localhost:{service.port}/{n}" for n in range(600)])
        assert Counter(answer.status for answer in answers) == {201: 600}
        assert 4 < service.connections <= 36


async def test_a_service_without_tls_gets_nothing_from_us(service: PushService) -> None:
    async with a_pusher(limit=0.3) as pusher:
        [answer] = await sent(pusher, f"https://127.0.0.1:{service.port}/one")
    assert answer.trouble in ("tls", "timeout")
    assert service.received == []


# The guard


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0x7f000001", "2130706433", "0177.0.0.1", "127.1", "0.0.0.0", "[::ffff:127.0.0.1]"],
)
async def test_no_spelling_of_loopback_is_connected_to(service: PushService, scheme: str, host: str) -> None:
    async with a_pusher(allow_private_addresses=False) as pusher:
        answers = await sent(pusher, *[f"{scheme}://{host}:{service.port}/{n}" for n in range(20)])
    assert answers == [Answer(0, trouble="blocked")] * 20
    assert service.connections == 0


@pytest.mark.parametrize("host", ["[::1]", "[::]", "169.254.169.254", "10.0.0.1", "[fe80::1]", "[64:ff9b::7f00:1]"])
async def test_nor_is_anything_else_inside(host: str) -> None:
    async with a_pusher(allow_private_addresses=False) as pusher:
        assert await sent(pusher, f"https://{host}/one") == [Answer(0, trouble="blocked")]


async def test_an_address_that_passes_the_guard_is_connected_to(tmp_path: Path) -> None:
    context, ca_file = a_certificate(tmp_path)
    async with a_service(context) as service:
        pusher = Pusher(ca_file=ca_file, guard="127.0.0.1".__eq__)
        pusher.start()
        endpoints = [f"https://localhost:{service.port}/{n}" for n in range(40)]
        assert await sent(pusher, *endpoints) == [Answer(201)] * 40
        await pusher.aclose(0)


@pytest.mark.parametrize(
    "endpoint", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "127.0.0.1/", ""]
)
async def test_only_the_web_is_spoken(pusher: Pusher, endpoint: str) -> None:
    known = await everything(pusher.send(numbered([endpoint]), origin="http://127.0.0.1"))
    assert known == {0: Answer(0, trouble="blocked")}


# Whose turn it is


class Watched:
    """Endpoints, and how many of them were drawn."""

    def __init__(self, endpoints: list[str]) -> None:
        self.endpoints, self.drawn = endpoints, 0

    def __iter__(self) -> Iterator[Drawn]:
        for number, endpoint in enumerate(self.endpoints):
            self.drawn += 1
            yield number, envelope(endpoint)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for happens on another thread
            await asyncio.sleep(0.01)


def gated(service: PushService, *prefixes: str) -> tuple[asyncio.Event, list[list[str]]]:
    """Endpoints that are answered only when the gate opens."""
    gate = asyncio.Event()
    groups = [[f"/{prefix}/{n}" for n in range(20)] for prefix in prefixes]
    for group in groups:
        service.behaviours |= dict.fromkeys(group, waits_for(gate, says(201)))
    return gate, [[service.origin + path for path in group] for group in groups]


async def test_envelopes_are_drawn_only_as_places_become_free(service: PushService) -> None:
    gate, [endpoints] = gated(service, "a")
    watched = Watched(endpoints)
    async with a_pusher(in_flight=3) as pusher:
        errand = pusher.send(iter(watched), origin=service.origin)
        await until(lambda: len(service.received) == 3)
        await asyncio.sleep(0.05)
        assert watched.drawn == 3
        gate.set()
        most = 0
        known = 0
        async for batch in errand.answers(0.001):
            known += len(batch)
            most = max(most, watched.drawn - len(service.received))
        assert known == watched.drawn == 20
        assert most <= 3


async def test_a_service_that_hangs_takes_no_places_from_another(service: PushService) -> None:
    async with a_service() as sick:
        _, [endpoints] = gated(sick, "a")
        async with a_pusher(in_flight=4) as pusher:
            stuck = pusher.send(numbered(endpoints), origin=sick.origin)
            await until(lambda: len(sick.received) == 4)
            answers = await sent(pusher, *[f"{service.origin}/{n}" for n in range(100)])
            assert Counter(answer.status for answer in answers) == {201: 100}
            stuck.stop()


async def test_what_is_urgent_overtakes(service: PushService) -> None:
    gate, [slow, fast] = gated(service, "slow", "fast")
    async with a_pusher(in_flight=2) as pusher:
        normal = pusher.send(numbered(slow), origin=service.origin)
        await until(lambda: len(service.received) == 2)
        urgent = pusher.send(numbered(fast), origin=service.origin, urgent=True)
        gate.set()
        await asyncio.gather(everything(normal), everything(urgent))
    order = [request.path.split("/")[1] for request in service.received]
    assert order[:2] == ["slow", "slow"]
    assert "slow" not in order[4:20]
    assert Counter(order) == {"slow": 20, "fast": 20}


async def test_an_errand_is_drawn_to_its_end_before_the_next_of_its_lane(service: PushService) -> None:
    gate, [first, second] = gated(service, "first", "second")
    async with a_pusher(in_flight=2) as pusher:
        errands = [pusher.send(numbered(group), origin=service.origin) for group in (first, second)]
        await until(lambda: len(service.received) == 2)
        gate.set()
        await asyncio.gather(*map(everything, errands))
    order = [request.path.split("/")[1] for request in service.received]
    assert (set(order[:19]), set(order[21:])) == ({"first"}, {"second"})


async def test_the_next_does_not_wait_for_the_slowest_answer(service: PushService) -> None:
    gate, [slow, fast] = gated(service, "slow", "fast")
    service.behaviours |= dict.fromkeys((f"/fast/{n}" for n in range(20)), says(201))
    async with a_pusher(in_flight=21) as pusher:
        errands = [pusher.send(numbered(group), origin=service.origin) for group in (slow, fast)]
        assert len(await everything(errands[1])) == 20
        gate.set()
        assert len(await everything(errands[0])) == 20


async def test_lanes_take_turns(service: PushService) -> None:
    drawn: list[str] = []

    def noted(name: str, endpoints: list[str]) -> Iterator[Drawn]:
        for letter in numbered(endpoints):
            drawn.append(name)
            yield letter

    async with a_service() as other, a_pusher() as pusher:
        errands = [
            pusher.send(noted(each.origin, [f"{each.origin}/{n}" for n in range(200)]), origin=each.origin)
            for each in (service, other)
        ]
        await asyncio.gather(*map(everything, errands))
    assert set(drawn[:100]) == {service.origin, other.origin}


# Endings


async def test_an_errand_without_envelopes_ends(pusher: Pusher) -> None:
    assert await everything(pusher.send(iter([]), origin="https://push.example")) == {}


async def test_what_is_known_without_sending_is_reported_too(pusher: Pusher, service: PushService) -> None:
    bad = Answer(0, trouble="bad_keys")
    letters: list[Drawn] = [(n, bad if n % 2 else envelope(f"{service.origin}/{n}")) for n in range(20)]
    known = await everything(pusher.send(iter(letters), origin=service.origin))
    assert known == {n: bad if n % 2 else Answer(201) for n in range(20)}
    assert len(service.received) == 10


async def test_a_stopped_errand_draws_no_more_but_reports_what_is_in_flight(service: PushService) -> None:
    gate, [endpoints] = gated(service, "a")
    watched = Watched(endpoints)
    async with a_pusher(in_flight=4) as pusher:
        errand = pusher.send(iter(watched), origin=service.origin)
        await until(lambda: len(service.received) == 4)
        errand.stop()
        gate.set()
        assert await everything(errand) == dict.fromkeys(range(4), Answer(201))
    assert watched.drawn == len(service.received) == 4


async def test_an_errand_that_is_stopped_before_its_turn_ends_at_once(service: PushService) -> None:
    _, [endpoints, others] = gated(service, "a", "b")
    async with a_pusher(in_flight=2) as pusher:
        pusher.send(numbered(endpoints), origin=service.origin)
        await until(lambda: len(service.received) == 2)
        watched = Watched(others)
        errand = pusher.send(iter(watched), origin=service.origin)
        errand.stop()
        errand.stop()
        assert await everything(errand) == {}
        assert watched.drawn == 0


async def test_who_stops_listening_stops_the_errand(service: PushService) -> None:
    watched = Watched([f"{service.origin}/{n}" for n in range(100_000)])
    async with a_pusher(in_flight=4) as pusher:
        errand = pusher.send(iter(watched), origin=service.origin)
        async with aclosing(errand.answers(0.01)) as answers:
            async for _ in answers:
                break
        assert errand.stopped
        await everything(errand)
    assert watched.drawn < 100_000


async def test_what_comes_while_a_batch_is_worked_on_is_not_lost(service: PushService) -> None:
    gate, [endpoints] = gated(service, "a")
    service.behaviours["/a/0"] = says(201)
    async with a_pusher() as pusher:
        known: list[int] = []
        errand = pusher.send(numbered(endpoints), origin=service.origin)
        async for batch in errand.answers(0.01):
            known += [number for number, _ in batch]
            gate.set()
            await until(lambda: errand.over)
    assert sorted(known) == list(range(20))


async def test_nothing_more_is_sent_while_what_is_known_cannot_be_written_down(service: PushService) -> None:
    watched = Watched([f"{service.origin}/{number}" for number in range(100_000)])
    async with a_pusher() as pusher:
        errand = pusher.send(iter(watched), origin=service.origin)
        async for _ in errand.answers(0.01):
            await asyncio.sleep(LATE + 0.1)  # the database is away
            await until(lambda: errand.in_flight == 0)
            drawn = watched.drawn
            await asyncio.sleep(0.2)
            assert drawn == watched.drawn < 100_000
            another = await sent(pusher, f"{service.origin}/another")  # whose book is kept elsewhere
            assert another == [Answer(201)]
            break


async def test_what_was_held_goes_on_when_it_is_written_down(service: PushService) -> None:
    watched = Watched([f"{service.origin}/{number}" for number in range(6000)])
    async with asyncio.timeout(30), a_pusher(in_flight=4) as pusher:
        errand, known, waited = pusher.send(iter(watched), origin=service.origin), 0, False
        async for batch in errand.answers(0.01):
            known += len(batch)
            if not waited:
                waited = True
                await until(lambda: errand.held and errand.in_flight == 0)
                assert watched.drawn < 6000
    assert known == 6000


async def test_who_is_held_costs_nothing_in_a_lane_with_a_pace(service: PushService) -> None:
    async with a_pusher() as pusher:
        pusher.pace(service.origin, 500)
        errand = pusher.send(numbered([f"{service.origin}/{number}" for number in range(2000)]), origin=service.origin)
        async for _ in errand.answers(0.01):
            await until(lambda: errand.held and errand.in_flight == 0)
            began = time.process_time()
            await asyncio.sleep(0.5)
            assert time.process_time() - began < 0.25  # it would have been all of it
            break


async def test_an_iterator_that_raises_is_reported_after_what_is_known(pusher: Pusher, service: PushService) -> None:
    def broken() -> Iterator[Drawn]:
        yield from numbered([f"{service.origin}/{n}" for n in range(5)])
        raise LookupError("the page is gone")

    known: dict[int, Answer] = {}
    with pytest.raises(LookupError, match="the page is gone"):
        async for batch in pusher.send(broken(), origin=service.origin).answers(0.01):
            known |= dict(batch)
    assert known == dict.fromkeys(range(5), Answer(201))
    assert await sent(pusher, service.origin + "/still-works") == [Answer(201)]


async def test_closing_waits_for_what_is_in_flight(service: PushService) -> None:
    gate, [endpoints] = gated(service, "a")
    watched = Watched(endpoints)
    async with a_pusher(in_flight=4) as pusher:
        errand = pusher.send(iter(watched), origin=service.origin)
        await until(lambda: len(service.received) == 4)
        closing = asyncio.create_task(pusher.aclose(5))
        await asyncio.sleep(0.05)
        gate.set()
        await closing
        assert await everything(errand) == dict.fromkeys(range(4), Answer(201))
        assert watched.drawn == 4


async def test_closing_does_not_wait_for_ever(service: PushService) -> None:
    _, [endpoints] = gated(service, "a")
    async with a_pusher(in_flight=4) as pusher:
        errand = pusher.send(numbered(endpoints), origin=service.origin)
        await until(lambda: len(service.received) == 4)
        began = time.monotonic()
        await pusher.aclose(0.1)
        assert time.monotonic() - began < 3
        assert await everything(errand) == dict.fromkeys(range(4), Answer(0, trouble="interrupted"))


async def test_a_closed_pusher_takes_no_errands() -> None:
    async with a_pusher() as pusher:
        await pusher.aclose(0)
        await pusher.aclose(0)
        with pytest.raises(RuntimeError):
            pusher.send(iter([]), origin="https://push.example")


async def test_a_pusher_that_never_started_leaves_nobody_waiting() -> None:
    pusher = Pusher()
    errand = pusher.send(numbered(["https://push.example/1"]), origin="https://push.example")
    await pusher.aclose(1)
    assert await everything(errand) == {}


async def test_the_pusher_sleeps_when_idle_and_wakes_at_once(pusher: Pusher, service: PushService) -> None:
    service.behaviours["/slow"] = hangs
    pusher.send(numbered([service.origin + "/slow"]), origin=service.origin)
    await until(lambda: len(service.received) == 1)
    began = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - began < 0.25
    for n in range(50):
        assert await asyncio.wait_for(sent(pusher, f"{service.origin}/{n}"), 2) == [Answer(201)]


async def test_errands_from_many_tasks_are_all_answered(pusher: Pusher, service: PushService) -> None:
    answers = await asyncio.gather(*[sent(pusher, f"{service.origin}/{n}") for n in range(100)])
    assert answers == [[Answer(201)]] * 100


async def test_readers_on_probation_wait_while_the_proven_are_sent_to(service: PushService) -> None:
    async with a_pusher() as pusher:
        strangers = numbered([f"{service.origin}/new/{n}" for n in range(100)])
        readers = numbered([f"{service.origin}/proven/{n}" for n in range(2000)])
        late = pusher.send(strangers, origin=service.origin, on_probation=True)
        first = pusher.send(readers, origin=service.origin)
        assert pusher.readers_first
        answers = await asyncio.gather(everything(first), everything(late))
        assert not pusher.readers_first
    assert [len(each) for each in answers] == [2000, 100]
    paths = [request.path for request in service.received]
    assert sum(path.startswith("/new/") for path in paths[:1800]) == 0  # the last of the proven are still on their way


async def test_readers_on_probation_have_their_share_of_what_takes_long(
    service: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.push.HEAD_START", 0.0)
    async with a_pusher() as pusher:
        strangers = numbered([f"{service.origin}/new/{n}" for n in range(100)])
        readers = numbered([f"{service.origin}/proven/{n}" for n in range(2000)])
        late = pusher.send(strangers, origin=service.origin, on_probation=True)
        first = pusher.send(readers, origin=service.origin)
        answers = await asyncio.gather(everything(first), everything(late))
    assert [len(each) for each in answers] == [2000, 100]
    paths = [request.path for request in service.received]
    beside = paths[: max(place for place, path in enumerate(paths) if path.startswith("/proven/"))]
    assert 0 < sum(path.startswith("/new/") for path in beside) < len(beside) / 5
