"""Push: envelopes go to the push services, answers come back.

One task works at all errands at once. It draws an envelope when there is a place for it, so the sealing that happens
inside an errand's iterator overlaps the sending.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import NamedTuple
from urllib.parse import urlsplit

from app.addresses import is_public
from app.domain.outcomes import Answer
from app.domain.probation import HEAD_START
from worker.wire import CREATED, Envelope, Guard, Place, Wire, common_options

# Drawn from one errand before the next has its turn, and between two looks at the network. What is sent together shares
# system calls: 8 cost 14 % more time a message, and 32 keep everything else on the loop waiting for 6 ms at most.
BURST = 32
# Connections to a service that speaks HTTP/1.1, where each carries one request at a time.
HTTP1_CONNECTIONS = 32
# Requests under way to a service that has not answered yet, or no longer does: what is sealed for one that hangs is
# work that the others' readers wait for.
UNHEARD_WINDOW = 16
# Seconds for which a service counts as one that answers, since it last took something.
HEARD_FOR = 60.0
# For readers on probation, in place of the above: the smallest window of their lanes, a quarter of the usual one, and
# how long each may take. It grows by one with each message that is taken and shrinks by several with any other answer.
# (With 16, new readers waited two minutes behind 500 who hang.)
PROBATION_WINDOW, SETBACK = 64, 8
# While they are not accepted, or anything else is to be drawn, so many of them are at most, every so many seconds:
# a burst of strangers who answer at once took as much of a worker as the readers' own lane, and tripled the time of the
# next alert. While there is anything else, it is one at a time: each may need a connection of its own.
PROBATION_BURST, PROBATION_EVERY = 4, 0.02
PROBATION_TIMEOUT, PROBATION_CONNECT_TIMEOUT = 5.0, 3.0
# Seconds without anything to draw for proven readers after which the next thing counts as another alert.
SAME_ALERT = 1.0
# Answers that may refuse our authorisation. So many in a row are handed over at once and nothing more is drawn until
# they have been judged: a wrong key or clock is known by a handful of refusals, and not by all that a third of a second
# can bring.
REFUSALS, IN_A_ROW = (400, 401, 403), 5
# Seconds that whoever fetches an errand's answers may take to write them down; a busy machine needs 0.2. After that
# nothing more of it is sent until they are back: should we die, all of it would be sent again.
LATE = 0.5
# Apple closes HTTP/2 connections and cuts the number of streams to one at the first refusal.
HTTP1_ONLY = "push.apple.com"


class Wires(NamedTuple):
    """To readers of one kind, proven or on probation: these cost those no connection, name look-up or patience."""

    http1: "Wire[Token]"
    http2: "Wire[Token]"


# A recipient's number, and the envelope for them or what is known without sending.
Drawn = tuple[int, Envelope | Answer]


class Lane:
    """Everything we send to one push service: its window keeps a hanging service from taking the others' places."""

    def __init__(self, wires: "Wires", *, http1: bool, on_probation: bool) -> None:
        self.wire, self.wires = wires.http1 if http1 else wires.http2, wires
        self.http_is_known = http1
        self.taken_at = -math.inf  # When it last took a message, unless it was silent since.
        self.on_probation, self.earned = on_probation, PROBATION_WINDOW
        self.busy = 0
        self.in_doubt = 0  # Errands whose refusals are being judged.
        self.per_second: float | None = None  # None: as fast as it goes.
        self._saved, self._counted = 0.0, monotonic()

    @property
    def is_usual(self) -> bool:
        """There is nothing to learn of a message that was taken."""
        return self.http_is_known and not self.on_probation

    @property
    def places(self) -> int:
        """How many requests may follow now: none if it is not above 0."""
        free = 0 if self.in_doubt else self.window - self.busy
        return free if self.per_second is None else min(free, math.floor(self._saved_up(self.per_second)))

    @property
    def window(self) -> int:
        if self.on_probation:
            return min(self.wire.window, self.earned)
        is_heard = monotonic() - self.taken_at < HEARD_FOR
        return self.wire.window if is_heard else min(self.wire.window, UNHEARD_WINDOW)

    def note(self, answer: Answer, place: Place, now: float) -> None:
        good = 200 <= answer.status < 300
        if good:
            self.taken_at = now
        elif answer.trouble == "timeout":
            self.taken_at = -math.inf
        if answer.status and not self.http_is_known:
            self.http_is_known = True
            if not place.spoke_http2:
                self.wire = self.wires.http1
        self.earned = max(self.earned + (1 if good else -SETBACK), PROBATION_WINDOW)

    def next_turn(self) -> float:
        """Seconds until the pace allows another request."""
        pace = self.per_second
        return 0.0 if pace is None else max(0.0, (1 - self._saved_up(pace)) / pace)

    def _saved_up(self, pace: float) -> float:
        """Requests. What was not used is saved up, for a tenth of a second."""
        now = monotonic()
        self._saved = min(self._saved + (now - self._counted) * pace, max(1.0, pace / 10))
        self._counted = now
        return self._saved

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
        self._known: list[tuple[int, Answer]] = []
        self._refusals, self._too_many = 0, IN_A_ROW
        self._is_read = self._in_doubt = False
        self._news = asyncio.Event()  # Something that need not wait for the next batch.
        self._handed_over = math.inf  # When the batch was that is being written down.
        self._error: BaseException | None = None
        self._over: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def answers(self, every: float = 0.5) -> AsyncGenerator[list[tuple[int, Answer]], None]:
        """What is newly known, every so many seconds (also if the caller took some of them), until everything that was
        drawn has been answered. Many refusals in a row do not wait for that.

        Raises what the iterator raised, at the end. To leave early is to stop the errand.
        """
        self._is_read = True
        try:
            due = monotonic() + every
            while not self.over or self._known:
                await self._news_or(due)
                if monotonic() >= due:
                    due = max(due + every, monotonic())
                if self._known:
                    batch, self._known = self._known, []
                    self._handed_over = monotonic()
                    yield batch
                    self._handed_over = math.inf
                    self._go_on()
            if error := self._over.result():
                raise error
        finally:
            self._is_read = False
            self._go_on()
            self.stop()

    async def _news_or(self, due: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(due - monotonic()):
                await self._news.wait()

    def _go_on(self) -> None:
        """What was handed over has been judged. Who goes on in spite of refusals is asked less often from now on."""
        if self._in_doubt:
            self._in_doubt, self._refusals, self._too_many = False, 0, 2 * self._too_many
            self.lane.in_doubt -= 1
            if not self.over:
                self._news.clear()
        self._pusher.wake()

    @property
    def over(self) -> bool:
        """Nothing more will come, though some of what came may not have been fetched."""
        return self._over.done()

    def stop(self) -> None:
        """Draw no more. What is in flight is finished and still reported."""
        if not self.stopped and not self.over:
            self.stopped = True
            self._pusher.retire(self)

    # What follows is for the pusher.

    @property
    def held(self) -> bool:
        return monotonic() - self._handed_over > LATE

    def draw(self) -> Drawn | None:
        """The next one, or None if there is none."""
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
        if answer is CREATED:
            self._refusals = 0
        elif answer.status in REFUSALS:
            self._refusals += 1
            if self._refusals >= self._too_many and self._is_read and not self._in_doubt:
                self._in_doubt = True
                self.lane.in_doubt += 1
                self._news.set()

    def settle(self, error: BaseException | None = None) -> None:
        """Nothing more will come."""
        if not self.over:
            self._over.set_result(self._error or error)
            self._news.set()


# What a request is known by: its errand, and the recipient's number.
Token = tuple[Errand, int]


class Turns:
    """Lanes take turns; within a lane the errand that came first is drawn to its end first.

    (Unless it is held: then the next one is begun as well.) So a page of the ledger is soon finished once it is begun,
    and needs few checkpoints: with all pages begun at once, a worker spent a third of its time on them.
    """

    def __init__(self) -> None:
        self._errands: dict[Lane, deque[Errand]] = {}

    def __iter__(self) -> Iterator[Errand]:
        return chain.from_iterable(self._errands.values())

    def __bool__(self) -> bool:
        return bool(self._errands)

    @property
    def lanes(self) -> Iterable[Lane]:
        """Those with an errand that is not held."""
        return (lane for lane, errands in self._errands.items() if not all(each.held for each in errands))

    def add(self, errand: Errand) -> None:
        self._errands.setdefault(errand.lane, deque()).append(errand)

    def remove(self, errand: Errand) -> None:
        errands = self._errands.get(errand.lane, deque())
        with suppress(ValueError):
            errands.remove(errand)
        if not errands:
            self._errands.pop(errand.lane, None)

    def next(self) -> Errand | None:
        """The first that is not held, of a lane that has a free place; the lane goes to the end of the line."""
        for lane, errands in self._errands.items():
            if lane.places > 0 and (errand := next((each for each in errands if not each.held), None)):
                self._errands[lane] = self._errands.pop(lane)
                return errand
        return None


class Pusher:
    """Sends for all errands at once.

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
        doorman = None if allow_private_addresses else guard
        few = min(in_flight, HTTP1_CONNECTIONS)
        self._woken = asyncio.Event()

        def wires(timeout: float, connect_timeout: float) -> Wires:
            make = partial(Wire[Token], common_options(ca_file, timeout, connect_timeout), guard=doorman)
            return Wires(
                make(http1=True, connections=few, window=few, stirred=self.wake),
                make(http1=False, connections=connections, window=in_flight, stirred=self.wake),
            )

        self._proven = wires(timeout, connect_timeout)
        self._on_probation = wires(min(timeout, PROBATION_TIMEOUT), min(connect_timeout, PROBATION_CONNECT_TIMEOUT))
        self._wires = (self._proven.http2, self._proven.http1, self._on_probation.http2, self._on_probation.http1)
        self._lanes: dict[tuple[str, bool], Lane] = {}
        self._urgent, self._normal, self._strangers = Turns(), Turns(), Turns()
        self._strangers_at = 0.0  # When it is their turn, while there is anything else to do.
        # When sending to the proven began, and when there was last nothing more to draw for them.
        self._readers_since, self._readers_until = -math.inf, -math.inf
        self._close_by = math.inf
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """The task that does the work. It ends with an error only if something is broken that no new errand mends."""
        self._task = asyncio.create_task(self._run(), name="pusher")
        return self._task

    async def aclose(self, within: float) -> None:
        """Draw no more, and wait that many seconds for the answers to what is in flight."""
        self._close_by = min(self._close_by, monotonic() + within)
        for errand in [*self._urgent, *self._normal, *self._strangers]:
            self.retire(errand)
        self.wake()
        if self._task:
            await asyncio.wait([self._task])
        else:
            self._end(None)

    def send(
        self, envelopes: Iterator[Drawn], *, origin: str, urgent: bool = False, on_probation: bool = False
    ) -> Errand:
        """The iterator is drawn one by one, only as places become free.

        on_probation: the readers are; they have a small window of their own, and may be at any origin if this is empty.
        """
        if self._close_by < math.inf or self._ended:
            raise RuntimeError("The pusher is closed.")
        errand = Errand(self, envelopes, self._lane(origin, on_probation), urgent)
        if not on_probation and not self._has_readers and monotonic() - self._readers_until > SAME_ALERT:
            self._readers_since = monotonic()
        self._turns_of(errand).add(errand)
        self.wake()
        return errand

    def pace(self, origin: str, per_second: float | None) -> None:
        """Draw no faster than this for that origin; None lifts it."""
        for lane in (self._lane(origin), self._lane(origin, on_probation=True)):
            if lane.per_second != per_second:
                lane.per_second = per_second
                self.wake()

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    def retire(self, errand: Errand) -> None:
        """No more will be drawn from it."""
        errand.let_go()
        self._turns_of(errand).remove(errand)
        if not errand.lane.on_probation:
            self._readers_until = monotonic()
        if not errand.in_flight:
            errand.settle()

    @property
    def readers_first(self) -> bool:
        """The proven are being sent to, and not for so long that those on probation have to have their share."""
        return self._has_readers and monotonic() - self._readers_since < HEAD_START

    @property
    def _has_readers(self) -> bool:
        return bool(self._urgent or self._normal)

    def _turns_of(self, errand: Errand) -> Turns:
        if errand.lane.on_probation:
            return self._strangers
        return self._urgent if errand.urgent else self._normal

    def _next(self) -> Errand | None:
        if self._strangers and self._strangers_wait() <= 0 and (errand := self._strangers.next()):
            self._strangers_at = monotonic() + PROBATION_EVERY
            return errand
        return self._urgent.next() or self._normal.next()

    def _strangers_wait(self) -> float:
        """Seconds until those on probation may have a turn; 0 or less: now."""
        now = monotonic()
        if self._has_readers:
            return max(self._strangers_at, self._readers_since + HEAD_START) - now
        return 0.0 if self._strangers_are_good else self._strangers_at - now

    @property
    def _strangers_are_good(self) -> bool:
        """They have been accepted, mostly: what they are sent is as good as an alert of its own."""
        return all(lane.earned > PROBATION_WINDOW for lane in self._strangers.lanes)

    def _lane(self, origin: str, on_probation: bool = False) -> Lane:
        key = origin, on_probation
        if key not in self._lanes:
            url = urlsplit(origin)
            host = url.hostname or ""
            http1 = url.scheme != "https" or host == HTTP1_ONLY or host.endswith("." + HTTP1_ONLY)
            wires = self._on_probation if on_probation else self._proven
            self._lanes[key] = Lane(wires, http1=http1, on_probation=on_probation)
        return self._lanes[key]

    async def _run(self) -> None:
        error: Exception | None = None
        try:
            while self._is_needed:
                drew, moved = self._draw(), self._move()
                await (asyncio.sleep(0) if drew or moved else self._rest())
        except Exception as caught:
            error = caught
            raise
        finally:
            self._end(error)

    @property
    def _is_needed(self) -> bool:
        under_way = any(wire.is_busy for wire in self._wires)
        return self._close_by == math.inf or (under_way and monotonic() < self._close_by)

    def _draw(self) -> bool:
        """A burst from the errand whose turn it is; False if there is none."""
        errand = self._next()
        if errand is None:
            return False
        for _ in range(min(self._burst(errand), errand.lane.places)):
            drawn = errand.draw()
            if drawn is None:
                self.retire(errand)
                break
            self._post(errand, *drawn)
        return True

    def _burst(self, errand: Errand) -> int:
        if not errand.lane.on_probation:
            return BURST
        return 1 if self._has_readers else PROBATION_BURST

    def _post(self, errand: Errand, number: int, drawn: Envelope | Answer) -> None:
        if isinstance(drawn, Answer):
            errand.tell(number, drawn)
        elif not drawn.endpoint.startswith(self._schemes):
            errand.tell(number, Answer(0, trouble="blocked"))
        elif errand.lane.wire.post((errand, number), drawn):
            errand.in_flight += 1
            errand.lane.spend()
        else:
            errand.tell(number, Answer(0, trouble="malformed"))

    def _move(self) -> bool:
        """Let the network move, and report what has come in; False if nothing has."""
        moved, now = False, monotonic()
        for wire in self._wires:
            wire.move()
            for (errand, number), answer, place in wire.finished():
                lane = errand.lane
                if answer is CREATED and lane.is_usual:
                    lane.taken_at = now
                else:
                    lane.note(answer, place, now)
                self._report(errand, number, answer)
                moved = True
        return moved

    def _report(self, errand: Errand, number: int, answer: Answer) -> None:
        errand.in_flight -= 1
        errand.lane.busy -= 1
        errand.tell(number, answer)
        if errand.drawn_out and not errand.in_flight:
            errand.settle()

    async def _rest(self) -> None:
        """Until something happens, or is due."""
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience()):
                await self._woken.wait()

    def _patience(self) -> float | None:
        until = min(self._close_by, *(wire.deadline for wire in self._wires))
        lanes = (*self._urgent.lanes, *self._normal.lanes, *self._strangers.lanes)
        paced = (lane for lane in lanes if lane.per_second is not None)
        turns = [lane.next_turn() for lane in paced if lane.busy < lane.window]
        if self._strangers and any(lane.places > 0 for lane in self._strangers.lanes):
            turns.append(max(0.0, self._strangers_wait()))
        return min([*turns, max(0.0, until - monotonic())]) if turns or until < math.inf else None

    def _end(self, error: BaseException | None) -> None:
        """Leave no errand waiting, whatever happened."""
        if self._ended:
            return
        self._ended = True
        errands = {*self._urgent, *self._normal, *self._strangers}
        for wire in self._wires:
            for errand, number in wire.under_way:
                errand.tell(number, Answer(0, trouble="interrupted"))
                errands.add(errand)
            wire.close()
        for errand in errands:
            errand.settle(error)
