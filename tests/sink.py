"""A push service that answers as told and counts what it was sent; it opens no envelope and checks no signature."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Sink:
    """POST /<name>: answered by `answer(name, how often it was asked)` with a status line and headers."""

    answer: Callable[[str, int], str] = lambda name, times: "201 Created"
    delay: float = 0.0  # seconds before each answer
    received: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    headers: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                request, *lines = head.decode("latin-1").split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
                await reader.readexactly(int(headers.get("content-length", 0)))
                writer.write(await self._take(request.split(" ")[1].strip("/"), headers))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the other end has gone, or the test is over
        finally:
            writer.close()

    async def _take(self, name: str, headers: dict[str, str]) -> bytes:
        self.received[name] += 1
        self.headers.setdefault(name, []).append(headers)
        if self.delay:
            await asyncio.sleep(self.delay)
        status = self.answer(name, self.received[name])
        self.accepted[name] += status.startswith("201")
        return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()


@contextmanager
def a_sink() -> Iterator[Sink]:
    sink, loop, ready = Sink(), asyncio.new_event_loop(), threading.Event()

    async def run() -> None:
        server = await asyncio.start_server(sink.serve, "127.0.0.1", 0, backlog=512)
        sink.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await stopped.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    stopped = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield sink
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
        loop.close()
