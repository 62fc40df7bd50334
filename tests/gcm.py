"""Google's side of Web Push on loopback, for a real Chromium; what senders post goes through our PushService.

Chromium registers over HTTP and is given its messages over a TLS connection of its own, in frames of protocol buffers
(the names of messages and fields: google_apis/gcm/protocol/*.proto in Chromium's source).
"""

import asyncio
import secrets
import ssl
import threading
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.push_service import Channel, PushService, served

# The version that both ends say first, and the numbers of the frames that we know.
VERSION = 41
PING, PONG, LOGIN_REQUEST, LOGIN_RESPONSE, DATA = 0, 1, 2, 3, 8

CHECKED_IN = b"\x08\x01" + b"\x39" + (1).to_bytes(8, "little") + b"\x41" + (2).to_bytes(8, "little")
BROWSER = "chromium"  # there is one


def varint(number: int) -> bytes:
    low = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(part | 0x80 for part in low[:-1]), low[-1]])


def text(number: int, value: str | bytes) -> bytes:
    """A field that holds text, bytes or another message."""
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def frame(kind: int, message: bytes = b"") -> bytes:
    return bytes([kind]) + varint(len(message)) + message


def texts(message: bytes, wanted: int) -> Iterator[str]:
    """What stands in the fields of that number."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte, at = message[at], at + 1
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = number()
        if (kind := tag & 7) == 0:
            number()
            continue
        size = number() if kind == 2 else {1: 8, 5: 4}[kind]
        if (tag >> 3, kind) == (wanted, 2):
            yield message[at : at + size].decode()
        at += size


@dataclass
class Line:
    """The connection to the browser, which PushService writes to as it does to a Firefox."""

    google: "Google"
    writer: asyncio.StreamWriter
    loop: asyncio.AbstractEventLoop

    async def send_json(self, said: dict[str, Any]) -> None:
        if message := self.google.stanza(said):
            self.loop.call_soon_threadsafe(self.writer.write, frame(DATA, message))


class Google:
    """Subscriptions of Chromium are channels of the push service as all others are."""

    def __init__(self, push_service: PushService) -> None:
        self.push_service = push_service
        self.checkin = Starlette(routes=[Route("/{what}", self._ask, methods=["POST"])])
        self.http_port = self.mcs_port = 0

    @property
    def flags(self) -> list[str]:
        """What tells Chromium where Google is."""
        return [
            f"--gcm-checkin-url=http://127.0.0.1:{self.http_port}/checkin",
            f"--gcm-registration-url=http://127.0.0.1:{self.http_port}/register",
            f"--gcm-mcs-endpoint=https://localhost:{self.mcs_port}",
            "--ignore-certificate-errors",
        ]

    async def _ask(self, request: Request) -> Response:
        if request.path_params["what"] == "checkin":
            return Response(CHECKED_IN, media_type="application/x-protobuf")
        return PlainTextResponse(f"token={self._registered(dict(parse_qsl((await request.body()).decode())))}")

    def _registered(self, asked: dict[str, str]) -> str:
        """The end of the endpoint; that of one which has just come to its end, when that was asked."""
        name = f"{asked.get('X-subtype', '')} {asked['app']}"  # parts of the browser itself have no subtype
        channel = Channel(secrets.token_urlsafe(32), name, BROWSER, asked.get("sender"))
        if "delete" in asked:
            for other in self.push_service.channels.values():
                if (other.channel_id, other.browser) == (channel.channel_id, BROWSER):
                    other.alive = False
        else:
            self.push_service.channels[channel.token] = channel
        return channel.token

    def stanza(self, said: dict[str, Any]) -> bytes | None:
        """A message as this browser is told it (DataMessageStanza)."""
        if said["messageType"] != "notification":
            return None
        (channel,) = (c for c in self.push_service.channels.values() if c.channel_id == said["channelID"] and c.alive)
        subtype, _, category = channel.channel_id.rpartition(" ")
        notes = {"subtype": subtype, "content-encoding": "aes128gcm"}
        body = urlsafe_b64decode(said.get("data", "") + "==")
        return (
            text(3, channel.key or "")
            + text(5, category)
            + b"".join(text(7, text(1, name) + text(2, value)) for name, value in notes.items())
            + text(9, said["version"])
            + text(21, body)
        )

    async def welcome(self, line: Line, login: bytes) -> None:
        """What came while the browser was away; it says what it has already (LoginRequest)."""
        self.push_service.elsewhere[BROWSER] = line
        known = set(texts(login, 10))
        for channel in self.push_service.channels.values():
            channel.stored = {name: message for name, message in channel.stored.items() if name not in known}
        await self.push_service.hand_over(line, BROWSER)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(self, writer, asyncio.get_running_loop())
        try:
            await reader.readexactly(1)  # its version
            writer.write(bytes([VERSION]))
            while True:
                kind, said = (await reader.readexactly(1))[0], await self._message(reader)
                if kind == LOGIN_REQUEST:
                    writer.write(frame(LOGIN_RESPONSE, text(1, "here")))
                    await self.welcome(line, said)
                elif kind == PING:
                    writer.write(frame(PONG))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            if self.push_service.elsewhere.get(BROWSER) is line:
                del self.push_service.elsewhere[BROWSER]
            writer.close()

    async def _message(self, reader: asyncio.StreamReader) -> bytes:
        size = shift = 0
        while (byte := (await reader.readexactly(1))[0]) & 0x80:
            size, shift = size | (byte & 0x7F) << shift, shift + 7
        return await reader.readexactly(size | byte << shift)


@contextmanager
def google(push_service: PushService, folder: Path) -> Iterator[Google]:
    made = Google(push_service)
    with served(made.checkin) as made.http_port, messaging(made, certificate(folder)) as made.mcs_port:
        yield made


@contextmanager
def messaging(google: Google, context: ssl.SSLContext) -> Iterator[int]:
    """The TLS side, on a thread of its own; its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    starting = asyncio.start_server(google.talk, "127.0.0.1", 0, ssl=context)
    server = asyncio.run_coroutine_threadsafe(starting, loop).result(5)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(hang_up(server), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


async def hang_up(server: asyncio.Server) -> None:
    server.close()
    talking = asyncio.all_tasks() - {asyncio.current_task()}
    for task in talking:
        task.cancel()
    await asyncio.gather(*talking, return_exceptions=True)


def certificate(folder: Path) -> ssl.SSLContext:
    """Of localhost, by nobody."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "google.pem").write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "google.pem")
    return context
