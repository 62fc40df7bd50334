"""Keeps child processes alive, and sees to it that none outlives us."""

import errno
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from app.domain.refusals import Refusal

log = logging.getLogger("newsbell.supervisor")

LIFELINE = "NEWSBELL_LIFELINE"
NAME = "NEWSBELL_CHILD"  # what a child calls itself in the log
# The exit code of a child that cannot work as it is set up: it is not started again. (EX_CONFIG of sysexits.h.)
REFUSED = 78
LAST_WORDS = 2.0  # seconds that a child has to end by itself once its supervisor is gone
LONGEST_PAUSE = 15.0
LONG_LIFE = 30.0  # seconds after which a child counts as sound again


@dataclass(frozen=True)
class Child:
    name: str
    command: list[str]


def supervise(
    children: Sequence[Child],
    *,
    environment: Mapping[str, str],
    grace: float = 4.0,
    ready: Callable[[], None] | None = None,
) -> None:
    """Keep `children` running until SIGINT, SIGTERM or SIGHUP; then end them all and return.

    `environment` is all of theirs but the lifeline. They get SIGTERM, and SIGKILL after `grace` seconds or at a second
    Ctrl-C. Where supervisors are nested, the inner one needs the shorter grace. `ready` is called on a thread of its
    own once all have been started. Only for the main thread, since it handles signals.
    """
    with _Signals() as signals, _lifeline() as held:
        keepers = [_Keeper(child, {**environment, LIFELINE: str(held), NAME: child.name}, held) for child in children]
        try:
            for keeper in keepers:
                keeper.start()
            if ready:
                threading.Thread(target=ready, daemon=True).start()
            _keep_alive(keepers, signals)
        finally:
            _end(keepers, signals, grace)
    if all(keeper.refused for keeper in keepers):
        raise Refusal("Nothing is left that could run; the lines above say why.")


@contextmanager
def refusals_end_it() -> Iterator[None]:
    """For a supervised process: a refusal is one line of the log and the exit code that nobody starts again."""
    try:
        yield
    except Refusal as refusal:
        log.error("%s", refusal)
        sys.exit(REFUSED)


def hold_lifeline() -> None:
    """For a supervised process, at its start: end when the supervisor does, however that came about.

    A process without a supervisor is left alone. It works by a pipe, since only Linux offers more.
    """
    if held := os.environ.pop(LIFELINE, ""):
        os.set_inheritable(int(held), False)
        threading.Thread(target=_end_with_supervisor, args=[int(held)], daemon=True).start()


def port_is_free(host: str, port: int) -> bool:
    """False if somebody listens there; anything else that stands in the way (rights, not our address) is an OSError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections don't count
            probe.bind(address)
    except OSError as problem:
        if problem.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def pause_before_restart(deaths: int) -> float:
    """Seconds to wait after so many deaths in a row; an accident is made good at once."""
    return 0.0 if deaths < 2 else min(2.0 ** min(deaths - 2, 10), LONGEST_PAUSE)  # 2.0**1024 overflows


@dataclass
class _Keeper:
    """One child, whichever process it is at the time."""

    child: Child
    environment: dict[str, str]
    lifeline: int
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0  # in a row
    started: float = 0.0
    due: float = 0.0  # when to start it again
    refused: bool = False

    def start(self) -> None:
        self.started = time.monotonic()
        try:
            self.process = subprocess.Popen(
                self.child.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[self.lifeline],
                start_new_session=True,  # Ctrl-C in the terminal reaches us alone
            )
        except OSError as problem:
            self._count_death(f"could not be started ({problem.strerror})")

    def tend(self, now: float) -> None:
        """Notice a death; start again what is due."""
        if self.process and self.process.poll() is not None:
            ended, self.process = self.process, None
            _kill_group(ended.pid)
            if ended.returncode == REFUSED:
                self.refused = True
                log.error("%s cannot work as it is set up; it is not started again.", self.child.name)
                return
            self._count_death(_how(ended.returncode))
        if self.is_away and now >= self.due:
            self.start()

    @property
    def is_away(self) -> bool:
        """It is to be started again."""
        return not self.process and not self.refused

    def _count_death(self, how: str) -> None:
        now = time.monotonic()
        self.deaths = 1 if now - self.started > LONG_LIFE else self.deaths + 1
        pause = pause_before_restart(self.deaths)
        self.due = now + pause
        log.warning("%s %s; starting it again %s.", self.child.name, how, f"in {pause:.0f} s" if pause else "at once")

    def ask_to_end(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def end(self) -> None:
        """Whatever is left of it, by force."""
        if self.process:
            if self.process.poll() is None:
                log.warning("%s has not ended; killing it.", self.child.name)
            _kill_group(self.process.pid)
            self.process.wait()


def _keep_alive(keepers: Sequence[_Keeper], signals: "_Signals") -> None:
    while not signals.stop:
        now = time.monotonic()
        for keeper in keepers:
            keeper.tend(now)
        if all(keeper.refused for keeper in keepers):
            return
        due = [keeper.due - now for keeper in keepers if keeper.is_away]
        signals.wait(max(min(due), 0.0) if due else None)


def _end(keepers: Sequence[_Keeper], signals: "_Signals", grace: float) -> None:
    deadline = time.monotonic() + grace
    for keeper in keepers:
        keeper.ask_to_end()
    while not all(keeper.has_ended() for keeper in keepers) and signals.interrupts < 2:
        if (left := deadline - time.monotonic()) <= 0:
            break
        signals.wait(left)
    for keeper in keepers:
        keeper.end()


class _Signals:
    """The signals that matter to us, as something to wait for."""

    def __init__(self) -> None:
        self.stop = False
        self.interrupts = 0

    def __enter__(self) -> "_Signals":
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        os.set_blocking(self._reading, False)
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        # nohup ignores SIGHUP, and that is to stay so.
        wanted = [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            wanted.append(signal.SIGHUP)
        self._before = {number: signal.signal(number, self._note) for number in wanted}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reading)
        os.close(self._writing)

    def _note(self, number: int, _: object) -> None:
        self.stop = self.stop or number != signal.SIGCHLD
        self.interrupts += number == signal.SIGINT

    def wait(self, seconds: float | None) -> None:
        """Until the next signal (a child's end is one), for `seconds` at most."""
        select.select([self._reading], [], [], seconds)
        with suppress(BlockingIOError):
            os.read(self._reading, 4096)


@contextmanager
def _lifeline() -> Iterator[int]:
    """The end that children hold of a pipe whose other end closes when this process is gone."""
    held, ours = os.pipe()
    try:
        yield held
    finally:
        os.close(held)
        os.close(ours)


def _end_with_supervisor(held: int) -> None:
    os.read(held, 1)  # nobody ever writes: it returns when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_WORDS)
    os._exit(1)


def _kill_group(leader: int) -> None:
    """The child, and what it may have left behind."""
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of dead processes
        os.killpg(leader, signal.SIGKILL)


def _how(code: int) -> str:
    return f"was ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with code {code}"
