"""Parser process: documents are read in processes that may be killed, and what takes long apart from the rest."""

import asyncio
import json
import os
import resource
import signal
import struct
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from app.domain.entries import Entry
from worker.parse import Parsed, Unreadable, parse

QUICK = 0.5  # seconds of computing; the largest of 314 real documents (2.7 MB) takes 0.4, half of them 0.02
COSTLY = 5.0  # seconds of computing, after which a document is given up
LONG_ONES = 8  # documents that take long and wait for each other; each waits for a few seconds at most
PROJECT = Path(__file__).parents[1]
START = 60.0  # seconds that a new process may take on a busy machine
STUBBORN = 0.5  # seconds of computing after which a child that was told to give up is ended
GRACE = 2.0  # seconds after which a child ends by itself, should nobody be left to end it
LENGTH = struct.Struct("!I")
LONGEST = 64 * 2**20  # bytes of an answer; 500 items of the greatest length have less


class ParserProcess:
    """Parses one document after another in one child: a hostile document costs its own time and the child.

    Whatever is wrong with a document, or with the child because of it, is an `Unreadable`.
    """

    def __init__(
        self,
        *,
        limit: float = 10.0,  # seconds for one document, however busy the machine is
        memory: int = 2**29,  # bytes of address space; a real document of 2.7 MB takes 80 MB, a hostile one 250
        recycle: int = 200,  # documents, after which a new child starts with a clean memory
    ) -> None:
        self._limit, self._memory, self._recycle = limit, memory, recycle
        self._turn = asyncio.Lock()
        self._child: Process | None = None
        self._left = 0

    async def parse(
        self, body: bytes, *, content_type: str | None, url: str, computing: float = COSTLY
    ) -> Parsed | Unreadable:
        """`computing`: seconds of the processor's time that this document may take."""
        question = json.dumps([content_type, url, computing]).encode()
        answer: Parsed | Unreadable | None = None
        async with self._turn:
            try:
                answer = await self._ask(await self._ready(), question, body)
            except TimeoutError:
                return Unreadable(f"Reading this feed took longer than {self._limit:g} s.")
            except (OSError, EOFError, ValueError, TypeError, KeyError):
                return await self._broken(computing)
            finally:
                # An answer that did not come (too late, broken, or the caller gave up) leaves a child in mid-sentence.
                if answer is None or self._left <= 0:
                    await self._end()
            return answer

    async def aclose(self) -> None:
        async with self._turn:
            await self._end()

    @property
    def pid(self) -> int | None:
        """The child's, when there is one."""
        return self._child.pid if self._child else None

    async def _ready(self) -> Process:
        if self._child is None:
            command = (sys.executable, "-m", "worker.parser_process", str(self._limit + GRACE), str(self._memory))
            self._child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, cwd=PROJECT)
            self._left = self._recycle
            async with asyncio.timeout(START):
                await hear(self._child)
        return self._child

    async def _ask(self, child: Process, question: bytes, body: bytes) -> Parsed | Unreadable:
        assert child.stdin
        self._left -= 1
        async with asyncio.timeout(self._limit):
            child.stdin.write(frame(question) + frame(body))
            await child.stdin.drain()
            return understood(await hear(child))

    async def _broken(self, computing: float) -> Unreadable:
        """The kernel ends a child that computes for too long, and says so once it has."""
        if self._child is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._child.wait(), 1)
        child = self._child
        await self._end()
        if child is not None and child.returncode == -signal.SIGPROF:
            return too_costly(computing)
        return Unreadable("Reading this feed broke the reader.")

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with suppress(ProcessLookupError):  # It was quicker.
                child.kill()
            await child.communicate()


class Parser:
    """The readers of one worker. Nobody waits for another one's document for longer than a moment.

    Nearly every document takes milliseconds: `at_once` processes read them, and let go of what takes longer than QUICK.
    That is read by a process of its own, one after the other, and given up after COSTLY. Who remembers that a feed
    takes long says so, and it does not come into the others' way at all.
    """

    def __init__(self, *, at_once: int = 2, quick: float = QUICK, costly: float = COSTLY) -> None:
        self._quick, self._costly = quick, costly
        self._all = [ParserProcess() for _ in range(at_once)]
        self._free: asyncio.LifoQueue[ParserProcess] = asyncio.LifoQueue()  # The same one, as long as one is enough.
        for process in reversed(self._all):
            self._free.put_nowait(process)
        self._patient = ParserProcess()
        self._long_ones = 0

    async def parse(
        self, body: bytes, *, content_type: str | None, url: str, takes_long: bool = False
    ) -> Parsed | Unreadable:
        if not takes_long:
            process = await self._free.get()
            try:
                answer = await process.parse(body, content_type=content_type, url=url, computing=self._quick)
            finally:
                self._free.put_nowait(process)
            if not (isinstance(answer, Unreadable) and answer.costly):
                return answer
        if self._long_ones >= LONG_ONES:
            return Unreadable("Too many feeds that take long to read came together; it is asked again.", self._quick)
        self._long_ones += 1
        try:
            return await self._patient.parse(body, content_type=content_type, url=url, computing=self._costly)
        finally:
            self._long_ones -= 1

    async def aclose(self) -> None:
        await asyncio.gather(*(process.aclose() for process in (*self._all, self._patient)))


async def hear(child: Process) -> bytes:
    assert child.stdout
    (length,) = LENGTH.unpack(await child.stdout.readexactly(LENGTH.size))
    if length > LONGEST:
        raise ValueError("The child talks nonsense.")
    return await child.stdout.readexactly(length)


def frame(content: bytes) -> bytes:
    return LENGTH.pack(len(content)) + content


def told(answer: Parsed | Unreadable) -> bytes:
    return json.dumps(asdict(answer), default=datetime.isoformat).encode()


def understood(text: bytes) -> Parsed | Unreadable:
    """JSON and not pickle: the child has read what strangers wrote, so its word is data."""
    answer = json.loads(text)
    if "reason" in answer:
        return Unreadable(**answer)
    return Parsed(answer["title"], tuple(as_entry(fields) for fields in answer["entries"]), answer["seconds"])


def as_entry(fields: dict[str, Any]) -> Entry:
    date = fields.pop("published_at")
    return Entry(**fields | {"tags": tuple(fields["tags"])}, published_at=date and datetime.fromisoformat(date))


def serve(limit: float, memory: int) -> None:
    """The child's life: one document after another from the parent, until there is no parent."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What a library prints must not mix with the answers.
    for number in (signal.SIGINT, signal.SIGTERM):  # Meant for the whole group; the parent says when we end.
        signal.signal(number, signal.SIG_IGN)
    os.nice(5)  # Sending comes first.
    with suppress(ValueError, OSError):  # not every system can limit this
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    say(answers, b"")
    while (question := listen(sys.stdin.buffer)) is not None:
        body = listen(sys.stdin.buffer)
        content_type, url, computing = json.loads(question)
        signal.setitimer(signal.ITIMER_REAL, limit)  # ends this process, unless it is told to stop
        answer = told(read_within(computing, body or b"", content_type=content_type, url=url))
        signal.setitimer(signal.ITIMER_REAL, 0)
        say(answers, answer)


class TookTooLong(BaseException):
    """Nothing that catches exceptions may catch this one."""


def read_within(computing: float, body: bytes, *, content_type: str | None, url: str) -> Parsed | Unreadable:
    """Of its own accord a child gives up at once, and lives on. What does not listen then is ended by the kernel."""

    def give_up(*_: object) -> None:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        raise TookTooLong

    before = time.process_time()
    signal.signal(signal.SIGPROF, give_up)
    try:
        signal.setitimer(signal.ITIMER_PROF, computing, STUBBORN)
        answer = parse(body, content_type=content_type, url=url)
        signal.setitimer(signal.ITIMER_PROF, 0)
    except TookTooLong:
        signal.setitimer(signal.ITIMER_PROF, 0)
        return too_costly(computing)
    return replace(answer, seconds=time.process_time() - before)


def too_costly(computing: float) -> Unreadable:
    sentence = f"Reading this feed takes more than {computing:g} s of computing, so it was given up."
    return Unreadable(sentence, computing, costly=True)


def say(stream: BinaryIO, content: bytes) -> None:
    stream.write(frame(content))
    stream.flush()


def listen(stream: BinaryIO) -> bytes | None:
    """The next frame; None when the other end is gone."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return stream.read(*LENGTH.unpack(head))


if __name__ == "__main__":
    serve(float(sys.argv[1]), int(sys.argv[2]))
