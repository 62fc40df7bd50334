"""Wire: one request out, one answer in, many at once. The only place that knows libcurl."""

import asyncio
import math
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

import certifi
import pycurl

from app.domain.outcomes import WNS, Answer

# Of an answer's body and of a header's value; enough to judge by.
BODY_LIMIT, VALUE_LIMIT = 4096, 512
# What judging needs.
KEPT_HEADERS = frozenset({b"retry-after", b"date", b"content-type", b"ttl"})
KEPT_PREFIX = b"x-wns-"

# The usual answer, which says everything by itself; except from Microsoft, whose headers may say the contrary.
CREATED = Answer(201)

TROUBLES = {
    pycurl.E_URL_MALFORMAT: "malformed",
    pycurl.E_COULDNT_RESOLVE_HOST: "dns",
    pycurl.E_COULDNT_CONNECT: "connect",
    pycurl.E_OPERATION_TIMEDOUT: "timeout",
    pycurl.E_SSL_CONNECT_ERROR: "tls",
    pycurl.E_SSL_CERTPROBLEM: "tls",
    pycurl.E_SSL_CIPHER: "tls",
    pycurl.E_SSL_CACERT_BADFILE: "tls",
    pycurl.E_SSL_ISSUER_ERROR: "tls",
    pycurl.E_SSL_INVALIDCERTSTATUS: "tls",
    pycurl.E_PEER_FAILED_VERIFICATION: "tls",
    pycurl.E_GOT_NOTHING: "reset",
    pycurl.E_SEND_ERROR: "reset",
    pycurl.E_RECV_ERROR: "reset",
    pycurl.E_PARTIAL_FILE: "reset",
    pycurl.E_HTTP2: "reset",
    92: "reset",  # CURLE_HTTP2_STREAM, which pycurl has no name for.
}


class Envelope(NamedTuple):
    """A sealed request to a push service."""

    endpoint: str
    # "Name: value", Content-Type among them. One list serves all of an origin's in a shard, and of no other origin.
    headers: list[str]
    body: bytes

    def __repr__(self) -> str:
        return "Envelope(…)"  # an endpoint must not get into a log


HTTP1 = {pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1}
# A request waits for the connection that is being made, to share it, instead of making one more.
HTTP2 = {pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2TLS, pycurl.PIPEWAIT: 1}

# Whether an address may be connected to.
Guard = Callable[[str], bool]
# What the caller knows a request by.
Ticket = TypeVar("Ticket")


class Place:
    """A request under way. Made once and used for many, for a new curl handle costs more than a message."""

    def __init__(self, options: dict[int, object], guard: Guard | None) -> None:
        self.curl = pycurl.Curl()
        self._guard = guard
        self._headers: list[str] = []
        self._lines: list[bytes] = []
        self._body = b""
        self._opened = self._blocked = False
        self._says_more = False
        for option, value in options.items():
            self.curl.setopt(option, value)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._lines.append)  # libcurl ends it at 300 KB.
        self.curl.setopt(pycurl.WRITEFUNCTION, self._read)
        if guard:
            self.curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open)

    @property
    def spoke_http2(self) -> bool:
        return bool(self.curl.getinfo(pycurl.INFO_HTTP_VERSION) >= pycurl.CURL_HTTP_VERSION_2_0)

    def load(self, envelope: Envelope) -> None:
        self.curl.setopt(pycurl.URL, envelope.endpoint)
        self.curl.setopt(pycurl.POSTFIELDS, envelope.body)
        if envelope.headers is not self._headers:
            self.curl.setopt(pycurl.HTTPHEADER, envelope.headers)
            self._headers = envelope.headers
            self._says_more = WNS in envelope.endpoint

    def _read(self, data: bytes) -> int | None:
        """Takes the first 4 KiB; after that, the transfer is ended."""
        self._body += data
        return None if len(self._body) <= BODY_LIMIT else 0

    def _open(self, purpose: int, address: pycurl.CurlSockAddr) -> int:
        """Here libcurl has the address it will connect to, whatever a name resolved to or a number was spelled like."""
        host = address.addr[0]
        if purpose != pycurl.SOCKTYPE_IPCXN or not isinstance(host, str) or not (self._guard and self._guard(host)):
            self._blocked = True
            return pycurl.SOCKET_BAD
        self._opened = True
        try:
            return socket.socket(address.family, address.socktype, address.protocol).detach()  # libcurl will close it.
        except OSError:  # No IPv6 here, or too many open files.
            return pycurl.SOCKET_BAD

    def answer(self, code: int) -> Answer:
        """What came back, given how libcurl ended. A status counts even if the rest of the answer was lost."""
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        if status == 201 and not self._says_more:
            answer = CREATED
        elif status >= 200:
            answer = Answer(status, kept(self._lines), self._body[:BODY_LIMIT])
        elif self._blocked and not self._opened:
            answer = Answer(0, trouble="blocked")
        else:
            answer = Answer(0, trouble=TROUBLES.get(code, "protocol"))
        self._lines.clear()
        self._body = b""
        self._opened = self._blocked = False
        return answer


def kept(lines: list[bytes]) -> dict[str, str]:
    """The headers that judging needs."""
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in KEPT_HEADERS or name.startswith(KEPT_PREFIX):
            headers[name.decode("latin-1")] = value[:VALUE_LIMIT].strip().decode("latin-1")
    return headers


class Wire(Generic[Ticket]):
    """One curl multi handle on the running event loop, driven by socket events.

    Its `select()` and `fdset()` would be shorter, but know only the first 1,024 file descriptors of a process.
    """

    def __init__(
        self,
        options: dict[int, object],
        *,
        http1: bool,
        connections: int,
        window: int,
        guard: Guard | None,
        stirred: Callable[[], None],
    ) -> None:
        """options: from common_options(). stirred: called when there may be something new in `finished()`."""
        self.window, self.http1 = window, http1
        self.deadline = math.inf  # When libcurl wants to be called even if nothing happens.
        self._options = options | (HTTP1 if http1 else HTTP2)
        self._guard, self._stirred = guard, stirred
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[pycurl.Curl, tuple[Place, Ticket]] = {}
        self._idle: list[Place] = []
        self._wishes: dict[int, int] = {}  # What libcurl waits for, by socket.
        self._unsent: set[int] = set()  # Sockets that it has just begun to wait for to send.
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, connections)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._wind)

    @property
    def under_way(self) -> list[Ticket]:
        return [ticket for _, ticket in self._under_way.values()]

    @property
    def is_busy(self) -> bool:
        return bool(self._under_way)

    def post(self, ticket: Ticket, envelope: Envelope) -> bool:
        """Whether it is under way; if not, no curl would ever take it."""
        place = self._idle.pop() if self._idle else Place(self._options, self._guard)
        try:
            place.load(envelope)
        except (ValueError, TypeError, pycurl.error):  # Letters beyond ASCII, a NUL, …
            self._idle.append(place)
            return False
        self._multi.add_handle(place.curl)
        self._under_way[place.curl] = place, ticket
        return True

    def move(self) -> None:
        """Take up what was posted, and whatever else is due."""
        if self.deadline <= monotonic():
            self.deadline = math.inf
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        while self._unsent:
            fd = self._unsent.pop()
            self._multi.socket_action(fd, pycurl.CSELECT_OUT)
            if self._wishes.get(fd, 0) & pycurl.POLL_OUT:  # it is really full
                self._loop.add_writer(fd, self._act, fd, pycurl.CSELECT_OUT)

    def finished(self) -> Iterator[tuple[Ticket, Answer, Place]]:
        """What has been answered, or never will be, since the last call."""
        _, good, bad = self._multi.info_read()
        for curl in good:
            yield self._take(curl, 0)
        for curl, code, _ in bad:
            yield self._take(curl, code)

    def _take(self, curl: pycurl.Curl, code: int) -> tuple[Ticket, Answer, Place]:
        place, ticket = self._under_way.pop(curl)
        answer = place.answer(code)
        self._multi.remove_handle(curl)
        self._put_back(place)
        return ticket, answer, place

    def _put_back(self, place: Place) -> None:
        if len(self._idle) < 2 * self.window:
            self._idle.append(place)
        else:
            place.curl.close()

    def _act(self, fd: int, what: int) -> None:
        """A socket is ready."""
        self._multi.socket_action(fd, what)
        self._stirred()

    def _watch(self, what: int, fd: int, multi: pycurl.CurlMulti, data: object) -> None:
        """libcurl says which sockets it waits for, and for what.

        It wants to send for every request and nearly always can, so that is tried before the system is asked.
        """
        wishes, wished = (0 if what == pycurl.POLL_REMOVE else what), self._wishes.get(fd, 0)
        self._wishes[fd] = wishes
        if (wishes ^ wished) & pycurl.POLL_IN:
            if wishes & pycurl.POLL_IN:
                self._loop.add_reader(fd, self._act, fd, pycurl.CSELECT_IN)
            else:
                self._loop.remove_reader(fd)
        if (wishes ^ wished) & pycurl.POLL_OUT:
            if wishes & pycurl.POLL_OUT:
                self._unsent.add(fd)
            elif fd in self._unsent:
                self._unsent.discard(fd)
            else:
                self._loop.remove_writer(fd)
        if not wishes:
            del self._wishes[fd]

    def _wind(self, milliseconds: int) -> None:
        self.deadline = math.inf if milliseconds < 0 else monotonic() + milliseconds / 1000

    def close(self) -> None:
        for curl in self._under_way:
            self._multi.remove_handle(curl)
        self._multi.close()
        for place in [*(place for place, _ in self._under_way.values()), *self._idle]:
            place.curl.close()
        self._under_way.clear()


def common_options(ca_file: Path | None, timeout: float, connect_timeout: float) -> dict[int, object]:
    """What is the same for every request."""
    return {
        pycurl.POST: 1,
        pycurl.PROTOCOLS: pycurl.PROTO_HTTPS | pycurl.PROTO_HTTP,
        pycurl.FOLLOWLOCATION: 0,
        pycurl.PROXY: "",  # Not even one from the environment.
        pycurl.NOPROXY: "*",
        pycurl.SSL_VERIFYPEER: 1,
        pycurl.SSL_VERIFYHOST: 2,
        # The libcurl in pycurl's wheels looks for certificates where Red Hat keeps them, and nowhere else.
        pycurl.CAINFO: str(ca_file or certifi.where()),
        pycurl.PATH_AS_IS: 1,  # An endpoint is opaque; libcurl would tidy dots away.
        pycurl.NOSIGNAL: 1,
        pycurl.TIMEOUT_MS: int(timeout * 1000),
        pycurl.CONNECTTIMEOUT_MS: int(connect_timeout * 1000),
    }
