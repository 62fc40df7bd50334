"""Push: envelopes go to the push services, answers come back. The only place that knows libcurl.

One thread works at all errands at once. It draws an envelope when there is a place for it, so the sealing that happens
inside an errand's iterator overlaps the sending; libcurl multiplexes the rest over a few connections.
"""

import asyncio
import math
import selectors
import socket
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import certifi
import pycurl

from app.addresses import is_public
from app.domain.outcomes import Answer

# Drawn from one errand before the next has its turn, and between two looks at the network.
BURST = 8
# Of an answer's body and of a header's value; enough to judge by.
BODY_LIMIT, VALUE_LIMIT = 4096, 512
# What judging needs.
KEPT_HEADERS = frozenset({b"retry-after", b"date", b"content-type", b"ttl"})
KEPT_PREFIX = b"x-wns-"
# Connections to a service that speaks HTTP/1.1, where each carries one request at a time.
HTTP1_CONNECTIONS = 32
# Apple closes HTTP/2 connections and cuts the number of streams to one at the first refusal.
HTTP1_ONLY = "push.apple.com"

# The usual answer, which says everything by itself.
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


@dataclass(frozen=True, slots=True, repr=False)
class Envelope:
    """A sealed request to a push service. It has no repr, because an endpoint must not get into a log."""

    endpoint: str
    headers: list[str]  # "Name: value", Content-Type among them. Cheapest if one list serves a whole shard.
    body: bytes


# Whether an address may be connected to.
Guard = Callable[[str], bool]
# A recipient's number, and the envelope for them or what is known without sending.
Drawn = tuple[int, Envelope | Answer]


class Lane:
    """Everything we send to one push service: its window keeps a hanging service from taking the others' places."""

    def __init__(self, wire: "Wire") -> None:
        self.wire = wire
        self.http_is_known = wire.http1
        self.busy = 0
        self.per_second: float | None = None  # Set by other threads; None: as fast as it goes.
        self._saved, self._counted = 0.0, monotonic()

    @property
    def full(self) -> bool:
        return self.busy >= self.wire.window or (self.per_second is not None and self.next_turn() > 0)

    def next_turn(self) -> float:
        """Seconds until the pace allows another request. What was not used is saved up, for a tenth of a second."""
        pace, now = self.per_second, monotonic()
        if pace is None:
            return 0.0
        self._saved = min(self._saved + (now - self._counted) * pace, max(1.0, pace / 10))
        self._counted = now
        return max(0.0, (1 - self._saved) / pace)

    def spend(self) -> None:
        self.busy += 1
        if self.per_second is not None:
            self._saved -= 1


class Errand:
    """Envelopes for one push service, and what became of them."""

    def __init__(self, pusher: "Pusher", envelopes: Iterator[Drawn], lane: Lane, urgent: bool) -> None:
        self.lane, self.urgent = lane, urgent
        self.in_flight = 0
        self.stopped = self.drawn_out = False
        self._pusher, self._envelopes = pusher, envelopes
        self._known: deque[tuple[int, Answer]] = deque()
        self._error: BaseException | None = None
        self._over: Future[BaseException | None] = Future()

    async def answers(self, every: float = 0.5) -> AsyncGenerator[list[tuple[int, Answer]], None]:
        """What is newly known, until everything that was drawn has been answered.

        Raises what the iterator raised, at the end. To leave early is to stop the errand.
        """
        # The answers wait to be fetched: the two threads meet once per batch, not once per message.
        over = asyncio.wrap_future(self._over)
        try:
            while not over.done():
                await asyncio.wait([over], timeout=every)
                if batch := [self._known.popleft() for _ in range(len(self._known))]:
                    yield batch
            if batch := list(self._known):
                yield batch
            if error := over.result():
                raise error
        finally:
            self.stop()

    def stop(self) -> None:
        """Draw no more. What is in flight is finished and still reported."""
        if not self.stopped and not self._over.done():
            self.stopped = True
            self._pusher.look_at(self)

    # What follows is called on the pusher's thread.

    def draw(self) -> Drawn | None:
        """The next one, or None if there is none."""
        if self.stopped:
            return None
        try:
            return next(self._envelopes, None)
        except Exception as error:
            self._error = error
            return None

    def let_go(self) -> None:
        """No more will be drawn; what the iterator holds on to is free."""
        self.drawn_out = True
        self._envelopes = iter(())

    def tell(self, number: int, answer: Answer) -> None:
        self._known.append((number, answer))

    def settle(self, error: BaseException | None = None) -> None:
        """Nothing more will come."""
        if not self._over.done():
            self._over.set_result(self._error or error)


class Place:
    """A request under way. Made once and used for many, for a new curl handle costs more than a message."""

    def __init__(self, options: dict[int, object], guard: Guard | None) -> None:
        self.curl = pycurl.Curl()
        self._guard = guard
        self._headers: list[str] = []
        self._lines: list[bytes] = []
        self._body = b""
        self._opened = self._blocked = False
        for option, value in options.items():
            self.curl.setopt(option, value)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._lines.append)  # libcurl ends it at 300 KB.
        self.curl.setopt(pycurl.WRITEFUNCTION, self._read)
        if guard:
            self.curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open)

    def load(self, errand: Errand, number: int, envelope: Envelope) -> None:
        self.errand, self.number = errand, number
        self.curl.setopt(pycurl.URL, envelope.endpoint)
        self.curl.setopt(pycurl.POSTFIELDS, envelope.body)
        if envelope.headers is not self._headers:
            self.curl.setopt(pycurl.HTTPHEADER, envelope.headers)
            self._headers = envelope.headers

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
        if status == 201:
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


class Wire:
    """One curl multi handle, driven by socket events.

    Its `select()` and `fdset()` would be shorter, but know only the first 1,024 file descriptors of a process.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        options: dict[int, object],
        *,
        connections: int,
        window: int,
        guard: Guard | None,
    ) -> None:
        self.window = window
        self.http1 = options[pycurl.HTTP_VERSION] == pycurl.CURL_HTTP_VERSION_1_1
        self.under_way: dict[pycurl.Curl, Place] = {}
        self.deadline = math.inf
        self._selector, self._options, self._guard = selector, options, guard
        self._idle: list[Place] = []
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, connections)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._wind)

    def post(self, errand: Errand, number: int, envelope: Envelope) -> bool:
        """Whether it is under way; if not, no curl would ever take it."""
        place = self._idle.pop() if self._idle else Place(self._options, self._guard)
        try:
            place.load(errand, number, envelope)
        except (ValueError, TypeError, pycurl.error):  # Letters beyond ASCII, a NUL, …
            self._idle.append(place)
            return False
        self._multi.add_handle(place.curl)
        self.under_way[place.curl] = place
        return True

    def act(self, fd: int, events: int) -> None:
        """A socket is ready."""
        readable = pycurl.CSELECT_IN if events & selectors.EVENT_READ else 0
        writable = pycurl.CSELECT_OUT if events & selectors.EVENT_WRITE else 0
        self._multi.socket_action(fd, readable | writable)

    def tick(self) -> None:
        if self.deadline <= monotonic():
            self.deadline = math.inf
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def finished(self) -> Iterator[tuple[Place, Answer]]:
        _, good, bad = self._multi.info_read()
        for curl, code in [*((curl, 0) for curl in good), *((curl, code) for curl, code, _ in bad)]:
            place = self.under_way.pop(curl)
            yield place, place.answer(code)
            self._multi.remove_handle(curl)
            self._put_back(place)

    def _put_back(self, place: Place) -> None:
        if len(self._idle) < 2 * self.window:
            self._idle.append(place)
        else:
            place.curl.close()

    def _watch(self, what: int, fd: int, multi: pycurl.CurlMulti, data: object) -> None:
        """libcurl says which sockets it waits for, and for what."""
        known = fd in self._selector.get_map()
        if what == pycurl.POLL_REMOVE:
            if known:
                self._selector.unregister(fd)
            return
        events = selectors.EVENT_READ if what & pycurl.POLL_IN else 0
        events |= selectors.EVENT_WRITE if what & pycurl.POLL_OUT else 0
        (self._selector.modify if known else self._selector.register)(fd, events, self)

    def _wind(self, milliseconds: int) -> None:
        """libcurl says when it wants to be called even if nothing happens."""
        self.deadline = math.inf if milliseconds < 0 else monotonic() + milliseconds / 1000

    def close(self) -> None:
        for curl in self.under_way:
            self._multi.remove_handle(curl)
        self._multi.close()
        for place in [*self.under_way.values(), *self._idle]:
            place.curl.close()


class Pusher:
    """Sends for all errands at once, on a thread of its own.

    `in_flight` requests at most are under way to one origin, over `connections` connections.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        allow_private_addresses: bool = False,
        in_flight: int = 256,
        connections: int = 4,
        timeout: float = 15.0,
        connect_timeout: float = 5.0,
        guard: Guard = is_public,
    ) -> None:
        self._schemes = ("https://", "http://") if allow_private_addresses else ("https://",)
        options = _options(ca_file, timeout, connect_timeout)
        doorman = None if allow_private_addresses else guard
        http1 = {**options, pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1}
        http2 = {**options, pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2TLS, pycurl.PIPEWAIT: 1}
        window = min(in_flight, HTTP1_CONNECTIONS)
        self._selector = selectors.DefaultSelector()
        self._http1 = Wire(self._selector, http1, connections=window, window=window, guard=doorman)
        self._http2 = Wire(self._selector, http2, connections=connections, window=in_flight, guard=doorman)
        self._lanes: dict[str, Lane] = {}
        self._urgent: deque[Errand] = deque()
        self._normal: deque[Errand] = deque()
        self._to_look_at: deque[Errand] = deque()  # New ones and stopped ones; all that other threads may touch.
        self._close_by = math.inf
        self._ended = False
        self._ending = threading.Lock()
        # A byte that waits in a socket cannot be missed: it wakes the thread even if it comes before the thread sleeps.
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="pusher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, within: float) -> None:
        """Draw no more, and wait that many seconds for the answers to what is in flight."""
        self._close_by = min(self._close_by, monotonic() + within)
        self._wake()
        if self._thread.ident is None:
            self._end(None)
        else:
            self._thread.join(within + 1)  # An iterator may hang; then the thread dies with the process.

    def send(self, envelopes: Iterator[Drawn], *, origin: str, urgent: bool = False) -> Errand:
        """The iterator is drawn on the pusher's thread, one by one, only as places become free."""
        with self._ending:
            if self._ended or self._close_by < math.inf:
                raise RuntimeError("The pusher is closed.")
            errand = Errand(self, envelopes, self._lane(origin), urgent)
            self._to_look_at.append(errand)
        self._wake()
        return errand

    def pace(self, origin: str, per_second: float | None) -> None:
        """Draw no faster than this for that origin; None lifts it."""
        lane = self._lane(origin)
        if lane.per_second != per_second:
            lane.per_second = per_second
            self._wake()

    def look_at(self, errand: Errand) -> None:
        """Something about the errand has changed."""
        self._to_look_at.append(errand)
        self._wake()

    def _lane(self, origin: str) -> Lane:
        if origin not in self._lanes:
            url = urlsplit(origin)
            host = url.hostname or ""
            http1 = url.scheme == "http" or host == HTTP1_ONLY or host.endswith("." + HTTP1_ONLY)
            self._lanes[origin] = Lane(self._http1 if http1 else self._http2)
        return self._lanes[origin]

    def _wake(self) -> None:
        with suppress(OSError):  # Full: it is being woken. Closed: it has ended.
            self._bell.send(b"!")

    # What follows runs on the thread.

    def _run(self) -> None:
        try:
            while self._is_needed():
                self._welcome()
                drew = self._draw()
                self._turn(0 if drew else self._patience())
        except BaseException as error:
            self._end(error)
            raise
        self._end(None)

    def _is_needed(self) -> bool:
        under_way = self._http1.under_way or self._http2.under_way
        return self._close_by == math.inf or bool(under_way and monotonic() < self._close_by)

    def _welcome(self) -> None:
        while self._to_look_at:
            errand = self._to_look_at.popleft()
            if errand.stopped:
                self._retire(errand)
            else:
                (self._urgent if errand.urgent else self._normal).append(errand)
        if self._close_by < math.inf:
            for errand in [*self._urgent, *self._normal]:
                self._retire(errand)

    def _draw(self) -> bool:
        """A burst from the errand whose turn it is; False if there is none."""
        errand = self._next()
        if errand is None:
            return False
        for _ in range(BURST):
            if errand.lane.full:
                break
            drawn = errand.draw()
            if drawn is None:
                self._retire(errand)
                break
            self._post(errand, *drawn)
        return True

    def _next(self) -> Errand | None:
        """Round robin among those with a free place, the urgent ones first."""
        for queue in (self._urgent, self._normal):
            for _ in range(len(queue)):
                errand = queue[0]
                queue.rotate(-1)
                if not errand.lane.full:
                    return errand
        return None

    def _post(self, errand: Errand, number: int, drawn: Envelope | Answer) -> None:
        if isinstance(drawn, Answer):
            errand.tell(number, drawn)
        elif not drawn.endpoint.startswith(self._schemes):
            errand.tell(number, Answer(0, trouble="blocked"))
        elif errand.lane.wire.post(errand, number, drawn):
            errand.in_flight += 1
            errand.lane.spend()
        else:
            errand.tell(number, Answer(0, trouble="malformed"))

    def _retire(self, errand: Errand) -> None:
        """No more will be drawn from it."""
        errand.let_go()
        with suppress(ValueError):
            (self._urgent if errand.urgent else self._normal).remove(errand)
        if not errand.in_flight:
            errand.settle()

    def _turn(self, patience: float | None) -> None:
        """Let the network move, and report what has come in."""
        for key, events in self._selector.select(patience):
            if key.data is None:
                self._ear.recv(4096)
            else:
                key.data.act(key.fd, events)
        for wire in (self._http2, self._http1):
            wire.tick()
            for place, answer in wire.finished():
                self._report(place, answer)

    def _patience(self) -> float | None:
        """How long to sleep unless something happens."""
        until = min(self._http1.deadline, self._http2.deadline, self._close_by)
        paced = {e.lane for e in (*self._urgent, *self._normal) if e.lane.per_second is not None}
        turns = [lane.next_turn() for lane in paced if lane.busy < lane.wire.window]
        return min([*turns, max(0.0, until - monotonic())]) if turns or until < math.inf else None

    def _report(self, place: Place, answer: Answer) -> None:
        errand, lane = place.errand, place.errand.lane
        errand.in_flight -= 1
        lane.busy -= 1
        if answer.status and not lane.http_is_known:
            lane.http_is_known = True
            if place.curl.getinfo(pycurl.INFO_HTTP_VERSION) < pycurl.CURL_HTTP_VERSION_2_0:
                lane.wire = self._http1
        errand.tell(place.number, answer)
        if errand.drawn_out and not errand.in_flight:
            errand.settle()

    def _end(self, error: BaseException | None) -> None:
        """Leave no errand waiting, whatever happened."""
        with self._ending:
            if self._ended:
                return
            self._ended = True
        errands = {*self._urgent, *self._normal, *self._to_look_at}
        for wire in (self._http1, self._http2):
            for place in wire.under_way.values():
                place.errand.tell(place.number, Answer(0, trouble="interrupted"))
                errands.add(place.errand)
            wire.close()
        for errand in errands:
            errand.settle(error)
        for door in (self._selector, self._bell, self._ear):
            door.close()


def _options(ca_file: Path | None, timeout: float, connect_timeout: float) -> dict[int, object]:
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
