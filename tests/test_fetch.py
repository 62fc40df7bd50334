"""Fetch: against real servers on loopback that answer as told."""

import asyncio
import datetime
import gzip
import random
import resource
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.domain.refusals import Refusal
from worker.fetch import (
    LOOKED_AT,
    PIECES,
    Body,
    Fetched,
    Guard,
    NotModified,
    Publishers,
    Seen,
    Unreachable,
    Validators,
    bare,
)

NONE = Validators()
FEED = b'<?xml version="1.0"?><rss version="2.0"><channel><title>Gazette</title></channel></rss>'
MONDAY = "Mon, 05 Jan 2026 10:00:00 GMT"
Reply = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


class Asked:
    """A request, as its bytes came."""

    def __init__(self, head: bytes) -> None:
        line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.path = line.split(" ")[1]
        self.headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}


class Site:
    """A publisher that answers as told and remembers what it was asked."""

    def __init__(self, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.host, self.tls = host, tls
        self.replies: dict[str, Reply] = {}
        self.asked: list[Asked] = []
        self.connections = 0

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    async def __aenter__(self) -> "Site":
        self.server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls)
        self.port: int = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(OSError, EOFError):
            asked = Asked(await reader.readuntil(b"\r\n\r\n"))
            self.asked.append(asked)
            reply = self.replies[asked.path]
            if isinstance(reply, bytes):
                writer.write(reply)
            else:
                await reply(writer)
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def reply(status: str = "200 OK", body: bytes = b"", /, *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


@pytest.fixture(scope="module")
async def publishers() -> AsyncIterator[Publishers]:
    async with Publishers(allow_private_addresses=True, contact="https://gazette.test/", limit=10) as publishers:
        yield publishers


@asynccontextmanager
async def careful(network: httpcore.AsyncNetworkBackend | None = None) -> AsyncIterator[Publishers]:
    """Publishers as in production, but for the network that a test may bring."""
    async with Publishers(allow_private_addresses=False, contact="", limit=10, network=network) as publishers:
        yield publishers


async def reason(publishers: Publishers, url: str) -> str:
    answer = await publishers.fetch(url, NONE)
    assert isinstance(answer, Unreachable), answer
    return answer.reason


# ── What is asked, what is kept ──


async def test_a_document_comes_with_its_type_and_validators(site: Site, publishers: Publishers) -> None:
    site.replies["/feed"] = reply("200 OK", FEED, "Content-Type: text/html", 'ETag: "1"', f"Last-Modified: {MONDAY}")
    answer = await publishers.fetch(f"{site.url}/feed", NONE)
    assert answer == Fetched(FEED, "text/html", Validators('"1"', MONDAY), wait=None)


async def test_validators_go_back_byte_for_byte(site: Site, publishers: Publishers) -> None:
    etag, date = 'W/"caf\xe9  x"', "sometime in  2041"
    site.replies["/feed"] = reply("200 OK", FEED, f"ETag: {etag}", f"Last-Modified: {date}")
    first = await publishers.fetch(f"{site.url}/feed", NONE)
    assert isinstance(first, Fetched)
    site.replies["/feed"] = reply("304 Not Modified", b"", "Cache-Control: max-age=600")
    second = await publishers.fetch(f"{site.url}/feed", first.validators)
    assert "if-none-match" not in site.asked[0].headers and "if-modified-since" not in site.asked[0].headers
    assert site.asked[1].headers["if-none-match"] == etag
    assert site.asked[1].headers["if-modified-since"] == date
    assert second == NotModified(Validators(etag, date), wait=timedelta(minutes=10))


async def test_a_304_may_bring_a_newer_validator(site: Site, publishers: Publishers) -> None:
    site.replies["/feed"] = reply("304 Not Modified", b"", 'ETag: "2"')
    answer = await publishers.fetch(f"{site.url}/feed", Validators('"1"', MONDAY))
    assert answer == NotModified(Validators('"2"', MONDAY), wait=None)


async def test_unchanged_is_no_answer_to_a_first_visit(site: Site, publishers: Publishers) -> None:
    site.replies["/feed"] = reply("304 Not Modified")
    assert "makes no sense" in await reason(publishers, f"{site.url}/feed")


async def test_a_request_says_who_asks_and_nothing_about_readers(site: Site, publishers: Publishers) -> None:
    site.replies["/feed?topic=a%20b"] = reply("200 OK", FEED, "Set-Cookie: track=me; Path=/")
    for _ in range(2):
        assert isinstance(await publishers.fetch(f"{site.url}/feed?topic=a%20b#top", NONE), Fetched)
    headers = site.asked[1].headers
    assert headers["user-agent"] == "Newsbell/0.1 (+https://gazette.test/)"
    assert headers["accept-encoding"] == "gzip"
    assert "application/rss+xml" in headers["accept"] and "application/atom+xml" in headers["accept"]
    assert headers["host"] == f"127.0.0.1:{site.port}"
    assert not {"cookie", "referer", "authorization"} & headers.keys()


async def test_proxies_of_the_environment_are_not_used(
    site: Site, publishers: Publishers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    site.replies["/feed"] = reply("200 OK", FEED)
    assert isinstance(await publishers.fetch(f"{site.url}/feed", NONE), Fetched)


async def test_a_name_and_password_in_the_address_stay_with_their_host(site: Site, publishers: Publishers) -> None:
    async with Site(host="127.0.0.2") as other:
        site.replies["/wire"] = reply("302 Found", b"", f"Location: {other.url}/feed")
        other.replies["/feed"] = reply("200 OK", FEED)
        url = f"http://desk:s%40fe@127.0.0.1:{site.port}/wire"
        assert isinstance(await publishers.fetch(url, NONE), Fetched)
        assert site.asked[0].headers["authorization"] == "Basic ZGVzazpzQGZl"
        assert "authorization" not in other.asked[0].headers


def test_a_log_line_has_no_secrets_of_an_address() -> None:
    assert bare("https://desk:secret@wire.test:8443/feed.xml?key=secret#x") == "https://wire.test:8443/feed.xml"
    assert bare("http://a:b:c") == "(not an address)"


# ── When to come back ──


@pytest.mark.parametrize(
    "fields, wait",
    [
        (["Cache-Control: max-age=300"], timedelta(minutes=5)),
        (["Cache-Control: public, MAX-AGE=300", "Age: 100"], timedelta(seconds=200)),
        (['Cache-Control: max-age="300"', "Age: nonsense"], timedelta(minutes=5)),
        (["Cache-Control: max-age=60", "Age: 300"], None),
        (["Cache-Control: max-age=0"], None),
        (["Cache-Control: no-cache, max-age=315360000"], None),
        (["Cache-Control: max-age=315360000"], timedelta(hours=24)),
        (["Cache-Control: max-age=" + "9" * 5000], timedelta(hours=24)),
        (["Cache-Control: max-age=-5"], None),
        (["Cache-Control: max-age=²"], None),
        (["Cache-Control: max-age=60", "Cache-Control: public"], timedelta(minutes=1)),
        (["Cache-Control: max-age=9", f"Date: {MONDAY}", "Expires: Mon, 05 Jan 2026 11:00:00 GMT"], timedelta(0, 9)),
        ([f"Date: {MONDAY}", "Expires: Mon, 05 Jan 2026 10:20:00 GMT"], timedelta(minutes=20)),
        ([f"Date: {MONDAY}", "Expires: Mon, 05 Jan 2027 10:20:00 GMT"], timedelta(hours=24)),
        ([f"Date: {MONDAY}", "Expires: Thu, 19 Nov 1981 08:52:00 GMT"], None),
        ([f"Date: {MONDAY}", "Expires: 0"], None),
        (["Cache-Control: no-cache", f"Date: {MONDAY}", "Expires: Mon, 05 Jan 2026 10:20:00 GMT"], None),
        (["Expires: Mon, 05 Jan 2126 10:20:00 GMT"], None),
        ([], None),
    ],
)  # fmt: skip
async def test_how_long_an_answer_is_fresh(
    site: Site, publishers: Publishers, fields: list[str], wait: timedelta | None
) -> None:
    site.replies["/feed"] = reply("200 OK", FEED, *fields)
    answer = await publishers.fetch(f"{site.url}/feed", NONE)
    assert isinstance(answer, Fetched) and answer.wait == wait


@pytest.mark.parametrize(
    "status, fields, wait",
    [
        ("429 Too Many Requests", ["Retry-After: 120"], timedelta(minutes=2)),
        ("503 Service Unavailable", ["Retry-After: 120"], timedelta(minutes=2)),
        ("503 Busy", [f"Date: {MONDAY}", "Retry-After: Mon, 05 Jan 2026 10:07:00 GMT"], timedelta(minutes=7)),
        ("429 Busy", [f"Date: {MONDAY}", "Retry-After: Mon, 05 Jan 2026 09:00:00 GMT"], None),
        ("429 Busy", ["Retry-After: Mon, 05 Jan 2126 09:00:00 GMT"], timedelta(hours=24)),
        ("429 Busy", ["Retry-After: 99999999999"], timedelta(hours=24)),
        ("429 Busy", ["Retry-After: soon"], None),
        ("429 Busy", ["Retry-After: -1"], None),
        ("429 Busy", ["Retry-After: Mon, 99 Jan 9999999 99:00:00 +9999999"], None),
        ("429 Busy", [], None),
        ("500 Oops", ["Retry-After: 120"], None),
    ],
)
async def test_a_busy_publisher_may_say_when_to_come_back(
    site: Site, publishers: Publishers, status: str, fields: list[str], wait: timedelta | None
) -> None:
    site.replies["/feed"] = reply(status, b"busy", *fields)
    answer = await publishers.fetch(f"{site.url}/feed", NONE)
    assert isinstance(answer, Unreachable) and answer.wait == wait


@pytest.mark.parametrize(
    "status, words",
    [
        (401, "does not let us"),
        (403, "does not let us"),
        (404, "nothing at this address"),
        (410, "given this feed up"),
        (429, "less often"),
        (500, "in trouble"),
        (503, "in trouble"),
        (204, "makes no sense"),
        (206, "makes no sense"),
        (226, "makes no sense"),
        (418, "makes no sense"),
    ],
)
async def test_only_410_is_gone(site: Site, publishers: Publishers, status: int, words: str) -> None:
    site.replies["/feed"] = reply(f"{status} X")
    answer = await publishers.fetch(f"{site.url}/feed", Validators('"1"'))
    assert isinstance(answer, Unreachable)
    assert words in answer.reason and str(status) in answer.reason
    assert answer.gone == (status == 410)


async def test_a_robot_check_is_called_by_its_name(site: Site, publishers: Publishers) -> None:
    site.replies["/feed"] = reply("403 Forbidden", b"<html>", "cf-mitigated: challenge")
    assert "robot check" in await reason(publishers, f"{site.url}/feed")


# ── Bounds ──


async def test_gzip_is_inflated(site: Site, publishers: Publishers) -> None:
    site.replies["/feed"] = reply("200 OK", gzip.compress(FEED) + b"padding", "Content-Encoding: GZip")
    answer = await publishers.fetch(f"{site.url}/feed", NONE)
    assert isinstance(answer, Fetched) and answer.body == FEED


async def test_a_gzip_bomb_costs_little_memory(site: Site, publishers: Publishers) -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(200)) + packer.flush()
    site.replies["/feed"] = reply("200 OK", bomb, "Content-Encoding: gzip")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "too big" in await reason(publishers, f"{site.url}/feed")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB


async def test_the_largest_document_is_a_bound_after_inflation(site: Site) -> None:
    async with Publishers(allow_private_addresses=True, contact="", largest=len(FEED)) as publishers:
        for body, fits in ((FEED, True), (FEED + b"\n", False)):
            site.replies["/plain"] = reply("200 OK", body)
            site.replies["/packed"] = reply("200 OK", gzip.compress(body), "Content-Encoding: gzip")
            for path in ("/plain", "/packed"):
                answer = await publishers.fetch(site.url + path, NONE)
                assert isinstance(answer, Fetched) == fits


async def test_what_comes_over_the_wire_is_bounded_too(site: Site, publishers: Publishers) -> None:
    site.replies["/feed"] = reply("200 OK", bytes(5 * 2**20))
    assert "too big" in await reason(publishers, f"{site.url}/feed")


def test_a_body_of_countless_pieces_is_given_up() -> None:
    body = Body("", 2**20)
    with pytest.raises(Refusal):
        for _ in range(PIECES + 1):
            body.add(b"x")


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "gzip, br"])
async def test_other_codings_are_refused(site: Site, publishers: Publishers, coding: str) -> None:
    site.replies["/feed"] = reply("200 OK", gzip.compress(FEED), f"Content-Encoding: {coding}")
    assert "not asked for" in await reason(publishers, f"{site.url}/feed")


async def test_half_a_document_is_no_document(site: Site, publishers: Publishers) -> None:
    packed = gzip.compress(FEED * 100)
    site.replies["/packed"] = reply("200 OK", packed[:-12], "Content-Encoding: gzip")
    site.replies["/plain"] = reply("200 OK", FEED)[:-10]
    site.replies["/damaged"] = reply("200 OK", b"\x1f\x8b" + FEED, "Content-Encoding: gzip")
    assert "broke off" in await reason(publishers, f"{site.url}/packed")
    assert "broke off" in await reason(publishers, f"{site.url}/plain")
    assert "damaged" in await reason(publishers, f"{site.url}/damaged")


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def drip_fields(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: yes\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3)


@pytest.mark.parametrize("slow", [drip, drip_fields, silence])
async def test_one_clock_runs_for_the_whole_fetch(site: Site, slow: Reply) -> None:
    site.replies["/feed"] = slow
    async with Publishers(allow_private_addresses=True, contact="", limit=0.4) as publishers, asyncio.timeout(5):
        assert "in time" in await reason(publishers, f"{site.url}/feed")


async def please_wait(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 500)
        await writer.drain()


async def sizes(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1;" + b"x" * 60_000 + b"\r\na\r\n")
        await writer.drain()


@pytest.mark.parametrize("much", [please_wait, sizes])
@pytest.mark.parametrize("encrypted", [False, True])
async def test_what_is_no_document_is_not_read_without_end(
    much: Reply, encrypted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 s of "102 Processing" took all of a worker's time: nothing else of it moved."""
    tls = self_signed(tmp_path) if encrypted else None
    trusting = ssl.create_default_context(cafile=str(tmp_path / "site.pem") if encrypted else None)
    monkeypatch.setattr("httpx.create_ssl_context", lambda **_: trusting)
    async with Site(tls=tls) as site, Publishers(allow_private_addresses=True, contact="", limit=10) as publishers:
        site.replies["/feed"] = much
        assert "no document" in await reason(publishers, f"{site.url}/feed")


# ── Redirects ──


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_with_the_validators(site: Site, publishers: Publishers, status: int) -> None:
    site.replies["/old"] = reply(f"{status} Moved", b"", "Location: ../new?x=1#part")
    site.replies["/new?x=1"] = reply("304 Not Modified")
    answer = await publishers.fetch(f"{site.url}/old", Validators('"1"'))
    assert answer == NotModified(Validators('"1"'), wait=None)


async def test_five_redirects_and_no_more(site: Site, publishers: Publishers) -> None:
    for n in range(6):
        site.replies[f"/{n}"] = reply("302 Found", b"", f"Location: /{n + 1}")
    site.replies["/6"] = reply("200 OK", FEED)
    assert isinstance(await publishers.fetch(f"{site.url}/1", NONE), Fetched)
    assert "more than 5 times" in await reason(publishers, f"{site.url}/0")


async def test_a_circle_of_redirects_ends(site: Site, publishers: Publishers) -> None:
    site.replies["/feed"] = reply("301 Moved", b"", "Location: /feed")
    assert "more than 5 times" in await reason(publishers, f"{site.url}/feed")
    assert len(site.asked) == 6


@pytest.mark.parametrize(
    "field",
    [
        "X: y",
        "Location: ",
        "Location: file:///etc/passwd",
        "Location: ftp://a/",
        "Location: http://[",
        "Location: javascript:void(0)",
    ],
)
async def test_a_redirect_to_nowhere_is_not_followed(site: Site, publishers: Publishers, field: str) -> None:
    site.replies["/feed"] = reply("302 Found", b"", field)
    await reason(publishers, f"{site.url}/feed")
    assert len(site.asked) == 1


# ── Addresses ──


class Unencrypted(httpcore.AsyncNetworkStream):
    """A connection that only says it is encrypted: the server at its other end speaks plain HTTP."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self.stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self.stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self.stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self.stream.aclose()

    async def start_tls(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        return self

    def get_extra_info(self, info: str) -> Any:
        return None


class Network(Guard):
    """Loopback as if it were the internet: 127.0.0.1 is public, all else is not."""

    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return Unencrypted(await super().connect_tcp(*args, **options))


def only_this(address: str) -> bool:
    return address == "127.0.0.1"


async def test_encrypted_stays_encrypted(site: Site) -> None:
    site.replies["/feed"] = reply("301 Moved", b"", f"Location: {site.url}/plain")
    site.replies["/plain"] = reply("200 OK", FEED)
    url = f"https://127.0.0.1:{site.port}/feed"
    network = Network(public=only_this, ports=None)
    async with careful(network) as publishers:
        assert "unencrypted" in await reason(publishers, url)
        assert isinstance(await publishers.fetch(f"{site.url}/plain", NONE), Fetched)
    async with Publishers(allow_private_addresses=True, contact="", network=network) as trusting:
        assert isinstance(await trusting.fetch(url, NONE), Fetched)


async def test_a_redirect_to_a_private_address_is_refused(site: Site) -> None:
    async with Site(host="127.0.0.2") as inside, careful(Guard(public=only_this, ports=None)) as publishers:
        site.replies["/feed"] = reply("302 Found", b"", f"Location: {inside.url}/secret")
        inside.replies["/secret"] = reply("200 OK", FEED)
        assert "public internet" in await reason(publishers, f"{site.url}/feed")
        assert (len(site.asked), inside.connections) == (1, 0)


async def test_one_private_address_among_the_addresses_of_a_name_is_enough(site: Site) -> None:
    async def mixed(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1", "127.0.0.2"]

    async with careful(Guard(public=only_this, ports=None, resolve=mixed)) as publishers:
        assert "public internet" in await reason(publishers, f"http://gazette.test:{site.port}/feed")
    assert site.connections == 0


async def test_the_address_that_was_checked_is_the_one_that_is_used(site: Site) -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return next(answers)

    site.replies["/feed"] = reply("200 OK", FEED)
    async with careful(Guard(public=only_this, ports=None, resolve=rebinding)) as publishers:
        assert isinstance(await publishers.fetch(f"http://gazette.test:{site.port}/feed", NONE), Fetched)
    assert site.asked[0].headers["host"] == f"gazette.test:{site.port}"
    assert next(answers) == ["127.0.0.2"], "the name was looked up once"


async def test_the_next_address_of_a_name_is_tried(site: Site) -> None:
    async def two(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.3", "127.0.0.1"]

    site.replies["/feed"] = reply("200 OK", FEED)
    async with careful(Guard(public=lambda _: True, ports=None, resolve=two)) as publishers:
        assert isinstance(await publishers.fetch(f"http://gazette.test:{site.port}/feed", NONE), Fetched)


@pytest.fixture
def door() -> Iterator[socket.socket]:
    """Somebody who listens on this machine at a port that is allowed, so that only the address can be the objection."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for port in (8080, 8443):
            with suppress(OSError):
                listener.bind(("0.0.0.0", port))
                break
        listener.listen()
        listener.setblocking(False)
        yield listener


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0.0.0.0",
        "2130706433",
        "0x7f000001",
        "127.1",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
    ],
)
async def test_no_spelling_of_a_private_address_is_connected_to(door: socket.socket, host: str) -> None:
    port = door.getsockname()[1]
    async with careful() as publishers:
        assert "public internet" in await reason(publishers, f"http://{host}:{port if port in (8080, 8443) else 80}/")
    with pytest.raises(BlockingIOError):
        door.accept()


@pytest.mark.parametrize("port", [22, 25, 5432, 6379, 8000])
async def test_feeds_are_read_from_the_ports_of_the_web_only(port: int) -> None:
    async with careful() as publishers:
        assert f"Port {port} " in await reason(publishers, f"https://127.0.0.1:{port}/feed")


# ── What goes wrong ──


async def test_a_certificate_that_nobody_signed_is_not_trusted(tmp_path: Path, publishers: Publishers) -> None:
    async with Site(tls=self_signed(tmp_path)) as site:
        assert "certificate is not valid" in await reason(publishers, f"{site.url}/feed")
        assert site.asked == []


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
    )
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem, bare_key = serialization.Encoding.PEM, serialization.NoEncryption()
    file = folder / "site.pem"
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, bare_key) + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_nobody_listens_and_nobody_knows_the_name(publishers: Publishers) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert "Nobody answers" in await reason(publishers, f"http://127.0.0.1:{closed.getsockname()[1]}/")
    assert "could not be found" in await reason(publishers, "http://gazette.invalid/")


@pytest.mark.parametrize(
    "url",
    ["", "gazette", "/feed", "http://", "http://[::1", "http:///feed", "ftp://gazette.test/", "file:///etc/passwd",
     "javascript:alert(1)", "http://a b/", "http://a\0b/", "http://a\nb/", "http://" + "a" * 300 + ".test/",
     "http://" + "é" * 100 + ".test/", "http://gazette.test:99999/", "http://gazette.test:x/", "http://\ud800.test/",
     "http://.", "http://..test/", "http://%00/"],
)  # fmt: skip
async def test_no_address_whatever_raises(url: str) -> None:
    async with careful() as publishers:
        assert (await reason(publishers, url)).endswith(".")


def garbage(luck: random.Random) -> Iterable[bytes]:
    good = reply("200 OK", gzip.compress(FEED), "Content-Encoding: gzip", "ETag: x", "Cache-Control: max-age=1")
    for _ in range(60):
        bad = bytearray(good)
        for _ in range(luck.randrange(1, 8)):
            bad[luck.randrange(len(bad))] = luck.randrange(256)
        yield bytes(bad[: luck.randrange(len(bad))]) if luck.random() < 0.3 else bytes(bad)
    yield from (
        b"",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 99999 X\r\n\r\n",
    )
    yield b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"


async def test_no_answer_whatever_raises(site: Site, publishers: Publishers) -> None:
    for answer in garbage(random.Random(7)):
        site.replies["/feed"] = answer
        await publishers.fetch(f"{site.url}/feed", NONE)
    site.replies["/feed"] = reply("200 OK", FEED)
    assert isinstance(await publishers.fetch(f"{site.url}/feed", NONE), Fetched)


# ── A page that is only looked at ──


@pytest.mark.parametrize("status", [200, 206, 304, 401, 404, 410, 500])
async def test_any_status_of_a_page_is_an_answer(site: Site, publishers: Publishers, status: int) -> None:
    page = b"" if status == 304 else b"<title>Gazette</title>"
    site.replies["/page?id=1"] = reply(f"{status} So", page)
    assert await publishers.look(f"{site.url}/page?id=1#part") == Seen(status, None, page)
    assert site.asked[0].headers["accept"].startswith("text/html")


async def test_where_a_page_really_is_is_said_without_passwords(site: Site, publishers: Publishers) -> None:
    onward = f"http://editor:s3cret@127.0.0.1:{site.port}/new?id=2#part"
    site.replies["/old"] = reply("301 Moved", b"", f"Location: {onward}")
    site.replies["/new?id=2"] = reply("200 OK", b"here")
    assert await publishers.look(f"{site.url}/old") == Seen(200, f"{site.url}/new?id=2", b"here")
    site.replies["/long"] = reply("301 Moved", b"", f"Location: /{'a' * 1000}")
    site.replies[f"/{'a' * 1000}"] = reply("404 Not Found")
    seen = await publishers.look(f"{site.url}/long")
    assert isinstance(seen, Seen) and seen.moved_to and len(seen.moved_to) == 200


async def test_only_the_beginning_of_a_page_is_read(site: Site, publishers: Publishers) -> None:
    page = b"<title>Gazette</title>" + b" " * 2**20
    site.replies["/plain"] = reply("200 OK", page)
    site.replies["/packed"] = reply("200 OK", gzip.compress(page), "Content-Encoding: gzip")
    site.replies["/bomb"] = reply("200 OK", gzip.compress(bytes(2**26)), "Content-Encoding: GZIP")
    site.replies["/endless"] = drip
    for path in ("/plain", "/packed"):
        assert await publishers.look(site.url + path) == Seen(200, None, page[:LOOKED_AT])
    assert await publishers.look(f"{site.url}/bomb") == Seen(200, None, bytes(LOOKED_AT))
    async with Publishers(allow_private_addresses=True, contact="", limit=0.4) as hasty:
        assert isinstance(await hasty.look(f"{site.url}/endless"), Unreachable)


async def test_a_page_that_cannot_be_unpacked_is_there_all_the_same(site: Site, publishers: Publishers) -> None:
    site.replies["/page"] = reply("200 OK", b"not gzip", "Content-Encoding: gzip")
    assert await publishers.look(f"{site.url}/page") == Seen(200, None, b"")


async def test_a_page_inside_the_house_is_not_looked_at(site: Site) -> None:
    async with Site(host="127.0.0.2") as inside, careful(Guard(public=only_this, ports=None)) as publishers:
        site.replies["/page"] = reply("302 Found", b"", f"Location: {inside.url}/secret")
        inside.replies["/secret"] = reply("200 OK", b"<title>Secret</title>")
        for url in (f"{site.url}/page", f"{inside.url}/secret"):
            seen = await publishers.look(url)
            assert isinstance(seen, Unreachable) and "public internet" in seen.reason
        assert inside.connections == 0


async def test_no_page_whatever_raises(site: Site, publishers: Publishers) -> None:
    for answer in garbage(random.Random(8)):
        site.replies["/page"] = answer
        await publishers.look(f"{site.url}/page")
