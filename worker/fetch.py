"""Fetch: a feed's address → the bytes of its document, politely and within bounds. The only door to httpx."""

import asyncio
import base64
import logging
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Self, TypeVar

import anyio.to_thread
import httpcore
import httpx

from app import clock
from app.addresses import is_public
from app.domain.refusals import Refusal
from worker.fetch_slots import Crowded, FetchSlots

log = logging.getLogger("newsbell.fetch")

MIB = 2**20
WIRE = 4 * MIB  # bytes as they were sent; the largest of 314 real documents has 2.7 MB
PIECES = 100_000  # Each costs 20 µs, however small: a body in chunks of one byte would hold up everybody else.
# Bytes until an answer's own head has come, and those that may come with a body beside it (the sizes of its pieces). Of
# "please wait" (1xx) a server may send any number; each costs 50 µs, and 30 s of them held up all that a worker does.
HEAD, FRAMING = 256 * 1024, 2 * MIB
LOOKED_AT = 64 * 1024  # bytes of a page that is only looked at: its title stands at the top
LOOK_LIMIT = 10.0  # seconds where a person waits for the answer
REDIRECTS = 5
LONGEST_WAIT = timedelta(hours=24)  # Some publishers say "ten years" and do not mean it.
PORTS = frozenset({80, 443, 8080, 8443})
MOVED = frozenset({301, 302, 303, 307, 308})
ACCEPT_PAGE = "text/html, application/xhtml+xml;q=0.9, */*;q=0.5"
ACCEPT = (
    "application/rss+xml, application/atom+xml, application/rdf+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.1"
)


@dataclass(frozen=True)
class Validators:
    """What the publisher gave us to ask "anything new?" with, byte for byte (read and written as latin-1)."""

    etag: str | None = None
    last_modified: str | None = None


NO_VALIDATORS = Validators()


@dataclass(frozen=True)
class Fetched:
    body: bytes
    content_type: str | None
    validators: Validators
    wait: timedelta | None  # The publisher calls this answer fresh for so long; None: no word about it.


@dataclass(frozen=True)
class NotModified:
    validators: Validators  # what to store now
    wait: timedelta | None


@dataclass(frozen=True)
class Seen:
    """A page that somebody would click on: what it answers, where it really is, and how it begins."""

    status: int
    moved_to: str | None  # None: it is where it was said to be
    beginning: bytes  # at most LOOKED_AT


@dataclass(frozen=True)
class Unreachable:
    reason: str  # one plain sentence for a person
    wait: timedelta | None = None  # The publisher asked us not to come back sooner.
    gone: bool = False  # The publisher says that there will never be a feed here again (410).


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, best first. Not by the loop's own few threads: slow names would fill them."""

    def look_up() -> list[str]:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]

    try:
        return await anyio.to_thread.run_sync(look_up, abandon_on_cancel=True)
    except (OSError, UnicodeError):
        raise Refusal(f"The name {host} could not be found.") from None


class Metered(httpcore.AsyncNetworkStream):
    """A connection on which a server may say only so much, whatever it says: all of it has to be read."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream, self._left = stream, HEAD

    def expect_body(self) -> None:
        self._left = WIRE + FRAMING

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        data = await self._stream.read(max_bytes, timeout)
        self._left -= len(data)
        if self._left < 0:
            raise Refusal("The publisher's server says too much that is no document.")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return Metered(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class Guard(httpcore.AsyncNetworkBackend):
    """Opens connections to public addresses and the usual ports of the web only.

    A name is looked up once, and the address that was checked is the one we connect to: a name that answers
    differently the second time, or any spelling of an address (127.1, 0x7f000001), gains nothing. TLS and the Host
    header keep the name.
    """

    def __init__(
        self,
        *,
        public: Callable[[str], bool] = is_public,
        ports: Collection[int] | None = PORTS,  # None: any
        resolve: Callable[[str, int], Awaitable[Sequence[str]]] = resolve,
    ) -> None:
        self._public, self._ports, self._resolve = public, ports, resolve
        self._sockets = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        *others, last = await self._addresses(host, port)
        for address in others:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return Metered(await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options))
        return Metered(await self._sockets.connect_tcp(last, port, timeout, local_address, socket_options))

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        if self._ports is not None and port not in self._ports:
            raise Refusal(f"Port {port} is not one that feeds are read from.")
        addresses = await self._resolve(host, port)
        if not addresses or not all(map(self._public, addresses)):
            raise Refusal(f"{host} is not on the public internet.")
        return addresses


@dataclass(frozen=True)
class Busy:
    """Not asked: other feeds of this host are being asked, and it is slow. To be tried again in a moment."""


T = TypeVar("T")
Answer = Fetched | NotModified | Unreachable
# What to make of the last answer, at the address that redirects have led to.
Judge = Callable[[httpcore.Response, httpx.Headers, httpx.URL], Awaitable[T]]


class Publishers:
    """Everybody whose feeds we read: one fetch is one polite, bounded, conditional GET."""

    def __init__(
        self,
        *,
        allow_private_addresses: bool,
        contact: str,
        limit: float = 30.0,  # seconds for the whole fetch: httpx's own limits are for each single read
        largest: int = 8 * MIB,  # bytes after inflation
        network: httpcore.AsyncNetworkBackend | None = None,  # how connections are opened; tests bring their own
        slots: FetchSlots | None = None,
    ) -> None:
        self._slots = slots or FetchSlots()
        self._trusting, self._limit, self._largest = allow_private_addresses, limit, largest
        self._agent = f"Newsbell/0.1 (+{''.join(c for c in contact if c.isascii() and c.isprintable())})"
        anywhere = Guard(public=lambda _: True, ports=None)
        # The pool rather than httpx.AsyncClient: the client keeps cookies, logs whole addresses and inflates unbounded.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=None,
            max_keepalive_connections=0,  # Minutes pass between two fetches from one publisher.
            network_backend=network or (anywhere if allow_private_addresses else Guard()),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def fetch(
        self, url: str, validators: Validators, *, limit: float | None = None, doubtful: bool = False
    ) -> Fetched | NotModified | Unreachable | Busy:
        """Whatever a server or a network does is an answer here, never an exception.

        limit: seconds after which a person has waited long enough. doubtful: it did not answer last time.
        """

        async def judge(response: httpcore.Response, headers: httpx.Headers, at: httpx.URL) -> Answer:
            return await self._judge(response, headers, validators)

        return await self._ask(url, judge, accept=ACCEPT, validators=validators, limit=limit, doubtful=doubtful)

    async def look(self, url: str) -> Seen | Unreachable | Busy:
        """What readers who click would find. Any status is an answer; only the beginning of the page is read."""

        async def judge(response: httpcore.Response, headers: httpx.Headers, at: httpx.URL) -> Seen:
            moved = at.copy_with(fragment=None) != httpx.URL(url).copy_with(fragment=None)
            return Seen(response.status, _shown(at) if moved else None, await _beginning(response, headers))

        return await self._ask(url, judge, accept=ACCEPT_PAGE, limit=LOOK_LIMIT)

    async def _ask(
        self,
        url: str,
        judge: "Judge[T]",
        *,
        accept: str,
        validators: Validators = NO_VALIDATORS,
        limit: float | None = None,
        doubtful: bool = False,
    ) -> T | Unreachable | Busy:
        answer: T | Unreachable | Busy
        try:
            at = httpx.URL(url)
            async with asyncio.timeout(min(limit or self._limit, self._limit)) as deadline:
                async with self._slots.one(at.netloc.decode(), deadline, doubtful=doubtful, may_go=limit is None):
                    answer = await self._follow(at, judge, validators, accept)
        except Crowded:
            answer = Busy()
        except Refusal as refusal:
            answer = Unreachable(str(refusal))
        except tuple(TROUBLES) as trouble:
            answer = Unreachable(explain(trouble))
        log.debug("%s: %s", bare(url), answer.reason if isinstance(answer, Unreachable) else type(answer).__name__)
        return answer

    async def _follow(self, url: httpx.URL, judge: "Judge[T]", validators: Validators, accept: str) -> T:
        check(url)
        for _ in range(REDIRECTS + 1):
            async with self._get(url, validators, accept) as response:
                if isinstance(stream := response.extensions.get("network_stream"), Metered):
                    stream.expect_body()
                headers = httpx.Headers(response.headers)
                headers.encoding = "latin-1"
                if response.status not in MOVED:
                    return await judge(response, headers, url)
                url = next_hop(url, headers.get("location"), trusting=self._trusting)
        raise Refusal(f"The address leads on to another one more than {REDIRECTS} times.")

    def _get(
        self, url: httpx.URL, validators: Validators, accept: str
    ) -> AbstractAsyncContextManager[httpcore.Response]:
        address = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        limits = dict.fromkeys(("connect", "read", "write"), min(10.0, self._limit))
        headers = self._headers(url, validators, accept)
        return self._pool.stream("GET", address, headers=headers, extensions={"timeout": limits})

    def _headers(self, url: httpx.URL, validators: Validators, accept: str) -> list[tuple[bytes, bytes]]:
        """No cookies, no referrer; coded gzip only, for that is what we can inflate within bounds."""
        fields = {
            "User-Agent": self._agent,
            "Accept": accept,
            "Accept-Encoding": "gzip",
            "If-None-Match": validators.etag,
            "If-Modified-Since": validators.last_modified,
            "Authorization": _basic(url),
        }
        return [(name.encode(), value.encode("latin-1")) for name, value in fields.items() if value]

    async def _judge(
        self, response: httpcore.Response, headers: httpx.Headers, sent: Validators
    ) -> Fetched | NotModified | Unreachable:
        given = Validators(headers.get("etag") or None, headers.get("last-modified") or None)
        match response.status:
            case 200:
                body = await self._body(response, headers)
                return Fetched(body, headers.get("content-type"), given, wait=freshness(headers))
            case 304 if sent != Validators():
                kept = Validators(given.etag or sent.etag, given.last_modified or sent.last_modified)
                return NotModified(kept, wait=freshness(headers))
            case status:
                wait = retry_after(headers) if status in (429, 503) else None
                return Unreachable(in_words(status, headers), wait=wait, gone=status == 410)

    async def _body(self, response: httpcore.Response, headers: httpx.Headers) -> bytes:
        body = Body(headers.get("content-encoding", ""), self._largest)
        async for piece in response.aiter_stream():
            body.add(piece)
        return body.whole()


async def _beginning(response: httpcore.Response, headers: httpx.Headers) -> bytes:
    """Of a page that is not read to its end: LOOKED_AT bytes at most, as they came and as they are."""
    gzipped = "gzip" in headers.get("content-encoding", "").lower()
    inflater = zlib.decompressobj(wbits=31) if gzipped else None
    beginning, came = bytearray(), 0
    with suppress(zlib.error):  # a title that cannot be read is no reason to call the page unreachable
        async for piece in response.aiter_stream():
            room = LOOKED_AT - len(beginning)
            beginning += inflater.decompress(piece[:LOOKED_AT], room) if inflater else piece[:room]
            came += len(piece)
            if max(came, len(beginning)) >= LOOKED_AT:
                break
    return bytes(beginning)


def _basic(url: httpx.URL) -> str | None:
    """Some wires are read with a name and a password, written into the address."""
    if not url.userinfo:
        return None
    return "Basic " + base64.b64encode(f"{url.username}:{url.password}".encode()).decode()


def bare(url: str) -> str:
    """The address for a log line: names, passwords and keys stay out of it."""
    try:
        return str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))
    except httpx.InvalidURL:
        return "(not an address)"


def _shown(url: httpx.URL) -> str:
    """Where a redirect leads, for the person who asked: all of it but a password, and no more than fits in a line."""
    address = str(url.copy_with(userinfo=b"", fragment=None))
    return address if len(address) <= 200 else f"{address[:199]}…"


def check(url: httpx.URL) -> None:
    if url.scheme not in ("http", "https") or not url.host:
        raise Refusal("This is not an address of the web: it must begin with https:// or http://.")


def next_hop(url: httpx.URL, location: str | None, *, trusting: bool) -> httpx.URL:
    """Where a redirect leads. Encrypted once is encrypted to the end; the address itself is checked when we connect."""
    if not location:
        raise Refusal("The publisher sends us to another address without saying which.")
    onward = url.join(location)
    check(onward)
    if url.scheme == "https" and onward.scheme == "http" and not trusting:
        raise Refusal("The publisher sends us from an encrypted address to an unencrypted one.")
    return onward


class Body:
    """The bytes so far, inflated and counted by us: a library would make 67 MB of the first chunk of a gzip bomb."""

    def __init__(self, coding: str, largest: int) -> None:
        coding = coding.strip().lower()
        if coding not in ("", "identity", "gzip", "x-gzip"):
            raise Refusal(f"The publisher sent a coding that was not asked for ({coding[:40]}).")
        self._inflater = zlib.decompressobj(wbits=31) if "gzip" in coding else None
        self._content, self._largest = bytearray(), largest
        self._received = self._pieces = 0

    def add(self, piece: bytes) -> None:
        self._received += len(piece)
        self._pieces += 1
        room = self._largest + 1 - len(self._content)
        if self._inflater is None:
            self._content += piece
        elif not self._inflater.eof:  # What follows the end of a gzip stream is not part of the document.
            self._content += self._inflater.decompress(piece, room)
        if self._received > WIRE or self._pieces > PIECES or len(self._content) > self._largest:
            raise Refusal("The document is too big to be read.")

    def whole(self) -> bytes:
        if self._inflater and self._received and not self._inflater.eof:
            raise Refusal("The publisher's answer broke off.")
        return bytes(self._content)


def freshness(headers: httpx.Headers) -> timedelta | None:
    """How long the publisher calls this answer fresh (RFC 9111, 4.2). A bound to obey, unlike the ttl in a feed."""
    directives = dict(_directive(part) for part in headers.get("cache-control", "").split(","))
    if directives.get("no-cache") == "":  # "no-cache, max-age=315360000" exists: the first word counts.
        return None
    fresh = _seconds(directives.get("max-age"))
    if fresh is not None:
        return _wait(fresh - (_seconds(headers.get("age")) or timedelta(0)))
    expires, sent = _date(headers.get("expires")), _date(headers.get("date"))
    return _wait(expires - sent) if expires and sent else None


def retry_after(headers: httpx.Headers) -> timedelta | None:
    """Seconds, or a date by the publisher's own clock (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after")
    until = _date(text)
    if until:
        return _wait(until - (_date(headers.get("date")) or clock.now()))
    return _wait(_seconds(text) or timedelta(0))


def _wait(wait: timedelta) -> timedelta | None:
    return min(wait, LONGEST_WAIT) if wait > timedelta(0) else None


def _directive(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


def _seconds(text: str | None) -> timedelta | None:
    text = (text or "").strip()
    if not (text.isascii() and text.isdigit()):
        return None
    return timedelta(seconds=int(text[:9]))  # Nine digits are 31 years, and no overflow.


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def in_words(status: int, headers: httpx.Headers) -> str:
    """What an unwelcome status means for the person who runs this server."""
    match status:
        case 401 | 403 if "cf-mitigated" in headers:
            return f"The publisher's robot check keeps us out ({status}); they would have to let Newsbell through."
        case 401 | 403:
            return f"The publisher does not let us read this feed ({status})."
        case 404:
            return "The publisher has nothing at this address (404)."
        case 410:
            return "The publisher has given this feed up (410)."
        case 429:
            return "The publisher asks us to come less often (429)."
        case _ if status >= 500:
            return f"The publisher's server is in trouble ({status})."
        case _:
            return f"The publisher's answer makes no sense for a feed ({status})."


# What can go wrong between us and a server, the particular before the general. TimeoutError is an OSError,
# and names that cannot be encoded are ValueErrors.
TROUBLES: dict[type[Exception], str] = {
    httpx.InvalidURL: "This is not an address of the web.",
    TimeoutError: "The publisher did not answer in time.",
    httpcore.TimeoutException: "The publisher did not answer in time.",
    httpcore.ConnectError: "Nobody answers at the publisher's address.",
    httpcore.NetworkError: "The publisher's answer broke off.",
    httpcore.ProtocolError: "The publisher's server does not speak proper HTTP, or broke off.",
    httpcore.UnsupportedProtocol: "This is not an address of the web.",
    zlib.error: "The publisher's answer is damaged.",
    OSError: "The connection to the publisher failed.",
    ValueError: "The publisher's answer makes no sense.",
}


def explain(trouble: Exception) -> str:
    behind = trouble.__context__  # httpcore raises "from None", which hides the cause but keeps the context.
    if isinstance(behind, ssl.SSLCertVerificationError):
        return f"The publisher's certificate is not valid: {behind.verify_message}."
    return next(words for kind, words in TROUBLES.items() if isinstance(trouble, kind))
