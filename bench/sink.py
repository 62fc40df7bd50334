"""A push service on this machine that answers 201, or badly on request, and notes when it answered what."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from app.domain.refusals import Refusal
from app.supervisor import hold_lifeline
from bench.children import cpu_seconds, line_of, module, running, wait_for

ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")  # comes with Debian's nginx-light
SLOW, HANGING = 2.0, 60.0  # seconds
FLUSH = 0.2  # seconds after which nginx has written its notes

# What becomes of one request in ten thousand, under --faults; the others are answered 201.
FATES = {"gone": 200, "throttled": 100, "busy": 100, "slow": 50, "hanging": 2}
STATUS_LINES = {
    "gone": "410 Gone",
    "throttled": "429 Too Many Requests\r\nRetry-After: 1",
    "busy": "503 Service Unavailable",
}


# What hostile endpoints of a push service do, by the path below /hostile/: where strangers may name any path.
HANG, HANG_UP = "hang", "hang-up"
HOSTILE = {
    "401": "401 Unauthorized",
    "403": "403 Forbidden",
    "404": "404 Not Found",
    "410": "410 Gone",
    "429": "429 Too Many Requests\r\nRetry-After: 86400",
    "500": "500 Internal Server Error",
    "302": "302 Found\r\nLocation: http://127.0.0.1:1/",
    HANG: "",
    HANG_UP: "",
}


# Requests that one connection carries at a time, as usual push services allow.
STREAMS = 100


class Kind(StrEnum):
    NGINX = "nginx"  # HTTPS and HTTP/2, as push services have it.
    BUILTIN = "builtin"  # Plain HTTP/1.1: needs nothing, but is slow enough to be what is measured.


class Sent(NamedTuple):
    at: float
    path: str  # of the reader's endpoint
    topic: str  # of the alert: RFC 8030 section 5.4


@dataclass(frozen=True)
class Sink:
    origin: str
    ca_file: Path | None
    notes: Path  # a line for each answer: when, (to whom, what,) and its status
    process: int

    @property
    def cpu(self) -> float:
        return cpu_seconds(self.process)

    def mark(self) -> int:
        """Where the notes of what comes next begin."""
        return self.notes.stat().st_size if self.notes.exists() else 0

    def accepted_since(self, mark: int) -> list[float]:
        """When each 201 was given, in order."""
        return sorted(float(line.split(" ", 1)[0]) for line in self._lines_since(mark) if line.endswith(" 201\n"))

    def sent_since(self, mark: int) -> list[Sent]:
        """Each 201, in order; of a sink that notes who is sent what."""
        told = (line.split() for line in self._lines_since(mark) if line.endswith(" 201\n"))
        return sorted(Sent(float(at), path, topic) for at, path, topic, _ in told)

    def _lines_since(self, mark: int) -> Iterator[str]:
        time.sleep(2.5 * FLUSH)
        with self.notes.open() as lines:
            lines.seek(mark)
            yield from lines


@contextmanager
def serving(kind: Kind, folder: Path, *, latency: float, faults: bool) -> Iterator[Sink]:
    """latency: seconds before each answer."""
    serve = nginx if kind is Kind.NGINX else builtin
    with serve(folder, latency, faults) as sink:
        yield sink


# --- nginx ----------------------------------------------------------------------------------------------------------


@contextmanager
def nginx(
    folder: Path, latency: float = 0, faults: bool = False, *, who: bool = False, hostile: bool = False
) -> Iterator[Sink]:
    """who: the notes say who is sent what. hostile: there are endpoints as in HOSTILE."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not program or ((latency or faults or hostile) and not ECHO.exists()):
        raise Refusal("The benchmark sends to nginx. Debian and Ubuntu: apt-get install nginx-light.")
    if not (folder / "leaf.pem").exists():
        _certificates(folder)
    port, errors = free_port(), folder / "nginx.log"
    configuration, notes = folder / f"nginx-{port}.conf", folder / f"answers-{port}.log"
    configuration.write_text(_configuration(folder, port, notes, latency, faults, who, hostile))
    with running([program, "-e", errors, "-c", configuration], errors=folder / "nginx.err") as process:
        wait_for(lambda: _listens(port), [process], "nginx", errors, limit=10)
        yield Sink(f"https://localhost:{port}", folder / "ca.pem", notes, process.pid)


def _configuration(folder: Path, port: int, notes: Path, latency: float, faults: bool, who: bool, hostile: bool) -> str:
    usual = _late(latency) if latency else "return 201;"
    temporary = (f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""
        {f"load_module {ECHO};" if latency or faults or hostile else ""}
        worker_processes 1; daemon off; pid {folder}/nginx-{port}.pid;
        events {{ worker_connections 4096; }}
        http {{
          log_format answer '$msec {"$request_uri $http_topic " if who else ""}$status';
          access_log {notes} answer buffer=64k flush={FLUSH * 1000:.0f}ms;
          keepalive_requests 100000000; keepalive_timeout 300s; http2_max_concurrent_streams {STREAMS};
          {" ".join(temporary)}
          {_shares() if faults else ""}
          server {{
            listen 127.0.0.1:{port} ssl http2;
            ssl_certificate {folder}/leaf.pem; ssl_certificate_key {folder}/key.pem;
            {_hostile_locations() if hostile else ""}
            {_locations(usual) if faults else f"location / {{ {usual} }}"}
          }}
        }}"""


def _late(seconds: float) -> str:
    return f"echo_sleep {seconds}; echo_status 201; echo -n '';"


def _shares() -> str:
    shares = "".join(f"{share / 100}% {fate}; " for fate, share in FATES.items())
    return f"split_clients $request_id $fate {{ {shares} * usual; }}"


def _locations(usual: str) -> str:
    answers = {
        "usual": usual,
        "gone": "return 410;",
        "throttled": "add_header Retry-After 1 always; return 429;",
        "busy": "return 503;",
        "slow": _late(SLOW),
        "hanging": _late(HANGING),
    }
    named = "".join(f"location = /{fate} {{ {answer} }} " for fate, answer in answers.items())
    return f"location / {{ rewrite ^ /$fate last; }} {named}"


def _hostile_locations() -> str:
    answers = {name: f"add_header Retry-After 86400 always; return {name};" for name in HOSTILE}
    answers |= {HANG: _late(HANGING), HANG_UP: "return 444;", "302": "return 302 http://127.0.0.1:1/;"}
    return "".join(f"location /hostile/{name}/ {{ {answer} }} " for name, answer in answers.items())


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def _certificates(folder: Path) -> None:
    """An authority of our own, and what it says of localhost."""
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    local = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    ca = _certificate(authority, authority, x509.BasicConstraints(ca=True, path_length=None))
    leaf = _certificate(server, authority, local)
    (folder / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    (folder / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (folder / "key.pem").touch(mode=0o600)
    (folder / "key.pem").write_bytes(server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _certificate(
    key: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
) -> x509.Certificate:
    now, is_authority = datetime.now(UTC), key is issuer
    name = "benchmark" if is_authority else "localhost"
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named("benchmark"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(extension, critical=is_authority)
        .sign(issuer, hashes.SHA256())
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


# --- built in -------------------------------------------------------------------------------------------------------


@contextmanager
def builtin(folder: Path, latency: float = 0, faults: bool = False, *, name: str = "sink") -> Iterator[Sink]:
    """There are always endpoints as in HOSTILE, and the notes say who is sent what."""
    notes, errors = folder / f"{name}-answers.log", folder / f"{name}.log"
    command = module("bench.sink", str(notes), str(latency), str(int(faults)))
    with running(command, errors=errors, stdout=subprocess.PIPE) as process:
        yield Sink(line_of(process.stdout, errors, "The sink"), None, notes, process.pid)


def _header(head: bytes, name: bytes) -> str:
    """Its value, as it was sent; empty if there is none."""
    at = head.lower().find(b"\r\n" + name + b":")
    return head[at + len(name) + 3 :].split(b"\r\n", 1)[0].strip().decode("latin-1") if at >= 0 else ""


class _Builtin:
    """The fates take turns, so that a small run meets the common ones for certain."""

    def __init__(self, notes: Path, latency: float, faults: bool) -> None:
        self.notes, self.latency, self.faults = notes.open("w", buffering=1), latency, faults
        self.taken = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(_header(head, b"content-length") or 0))
                path = head.split(b" ", 2)[1].decode("latin-1")
                if path.startswith(f"/hostile/{HANG_UP}/"):
                    break
                is_hostile = path.startswith("/hostile/")
                answer = self._hostile(path) if is_hostile else self._answer(path, _header(head, b"topic"))
                writer.write(await answer)
                await writer.drain()
        writer.close()

    async def _hostile(self, path: str) -> bytes:
        name = path.split("/")[2]
        if name == HANG:
            await asyncio.sleep(HANGING)
        return f"HTTP/1.1 {HOSTILE[name] or '201 Created'}\r\nContent-Length: 0\r\n\r\n".encode()

    async def _answer(self, path: str, topic: str) -> bytes:
        fate = self._next_fate()
        await asyncio.sleep({"slow": SLOW, "hanging": HANGING}.get(fate, self.latency))
        status = STATUS_LINES.get(fate, "201 Created")
        self.notes.write(f"{time.time():.3f} {path} {topic} {status[:3]}\n")
        return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()

    def _next_fate(self) -> str:
        self.taken += 1
        periods = ((name, 10_000 // share) for name, share in FATES.items())
        due = (name for turn, (name, period) in enumerate(periods, 1) if self.taken % period == period - turn)
        return next(due, "usual") if self.faults else "usual"


async def _serve(notes: Path, latency: float, faults: bool) -> None:
    server = await asyncio.start_server(_Builtin(notes, latency, faults).serve, "127.0.0.1", 0, backlog=512)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    hold_lifeline()
    asyncio.run(_serve(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "1"))
