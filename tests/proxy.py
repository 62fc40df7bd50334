"""A TCP proxy before the database whose connections can go silent, in both directions, and stay open; or break."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy.engine import make_url


class Proxy:
    """New connections always work. What was open when `silence()` came carries nothing any more, and nobody is told.

    loses_commits: whoever commits does so, and finds the connection broken instead of the answer.
    """

    def __init__(self, database_url: str) -> None:
        url = make_url(database_url)
        folder = url.query.get("host")
        self._target = f"{folder}/.s.PGSQL.{url.port or 5432}" if folder else (url.host, url.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = url.set(
            host="127.0.0.1", port=self._listener.getsockname()[1], query={"sslmode": "disable"}
        ).render_as_string(hide_password=False)
        self.loses_commits = False
        self._lines: list[Line] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def silent(self) -> int:
        """Connections that are open and silent."""
        return sum(line.silent and not line.over for line in self._lines)

    def silence(self) -> int:
        """How many connections went silent."""
        lines = [line for line in self._lines if not line.over]
        for line in lines:
            line.silent = True
        return len(lines)

    def close(self) -> None:
        self._listener.close()
        for line in self._lines:
            line.end()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                theirs = socket.socket(socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET)
                theirs.connect(self._target)
                self._lines.append(Line(ours, theirs, self))


class Line:
    """One connection through the proxy."""

    def __init__(self, ours: socket.socket, theirs: socket.socket, proxy: Proxy) -> None:
        self.ends, self.silent, self.over = (ours, theirs), False, False
        self.proxy = proxy
        threading.Thread(target=self._carry, daemon=True).start()

    def _carry(self) -> None:
        with suppress(OSError, ValueError):
            while not self.silent:
                for source in select.select(self.ends, [], [], 0.2)[0]:
                    if self.silent:
                        return
                    data = source.recv(65536)
                    if not data:
                        self.end()
                        return
                    self.ends[source is self.ends[0]].sendall(data)
                    if self.proxy.loses_commits and source is self.ends[0] and b"COMMIT" in data:
                        self.ends[1].recv(65536)
                        self.end()
                        return

    def end(self) -> None:
        self.over = True
        for one in self.ends:
            one.close()


@contextmanager
def proxied(database_url: str) -> Iterator[Proxy]:
    proxy = Proxy(database_url)
    try:
        yield proxy
    finally:
        proxy.close()
