"""A push service of our own on loopback: RFC 8030 and 8292 for senders, Mozilla's autopush protocol for a real Firefox.

It is stricter than the real ones: what RFC 8030, 8188, 8291 and 8292 ask of a sender is asked here.
"""

import asyncio
import json
import re
import secrets
import socket
import struct
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

LARGEST_BODY = 4096
URGENCIES = {"very-low", "low", "normal", "high"}
A_DAY = 24 * 60 * 60  # seconds
SEALED_HEADER = 16 + 4 + 1 + 65  # bytes: salt, record size, length of the key's name, the sender's key (RFC 8188)

DELIVERED, NOT_DECRYPTED, NOT_DELIVERED = 100, 101, 102  # what a browser says of a message


@contextmanager
def served(app: ASGIApp) -> Iterator[int]:
    """The application on a free port of loopback, on a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(5)


@dataclass(frozen=True, kw_only=True)
class Post:
    """What a sender sent, and what it was answered."""

    token: str  # the end of the endpoint
    headers: Mapping[str, str]
    body: bytes
    at: float  # time.time()
    status: int


@dataclass(frozen=True, kw_only=True)
class Ack:
    """What a browser said about a message that it was given."""

    channel_id: str
    version: str
    code: int
    at: float


@dataclass(eq=False)
class Refused(Exception):
    """A rule of the protocol was broken."""

    status: int
    errno: int  # Mozilla's numbers
    why: str


@dataclass(frozen=True, kw_only=True)
class Message:
    """On its way to a browser."""

    channel_id: str
    body: bytes
    topic: str | None
    expires_at: float
    version: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    @property
    def frame(self) -> dict[str, Any]:
        frame: dict[str, Any] = {"messageType": "notification", "channelID": self.channel_id, "version": self.version}
        if self.body:
            frame |= {"data": base64url(self.body), "headers": {"encoding": "aes128gcm"}}
        return frame


@dataclass
class Channel:
    """One subscription of one browser."""

    token: str
    channel_id: str
    browser: str  # its uaid
    key: str | None  # the only VAPID key that may send to it
    alive: bool = True
    stored: dict[str, Message] = field(default_factory=dict)  # by version, until it is acknowledged


class Line(Protocol):
    """A connection to a browser."""

    async def send_json(self, data: Any) -> None: ...


@dataclass
class Lever:
    """An answer that a test asked for, whatever the request is like."""

    status: int
    headers: Mapping[str, str]
    left: float  # how many times

    def __bool__(self) -> bool:
        return self.left > 0


class PushService:
    """What senders posted is in `posts`, what browsers acknowledged in `acks`; the rest are levers for tests."""

    def __init__(self) -> None:
        self.origin = ""  # http://127.0.0.1:PORT, once the port is known
        self.channels: dict[str, Channel] = {}  # by token
        self.connected: dict[str, Line] = {}  # by uaid
        self.elsewhere: dict[str, Line] = {}  # the same for browsers with another protocol
        self.posts: list[Post] = []
        self.acks: list[Ack] = []
        self.faults: list[dict[str, Any]] = []  # what browsers complained of, or said against the protocol
        self._known: set[str] = set()  # uaids
        self._levers: dict[str | None, Lever] = {}  # by token; None: all
        self.app = Starlette(
            routes=[
                WebSocketRoute("/", self._browser),
                Route("/wpush/v2/{token}", self._post, methods=["POST"]),
            ]
        )

    # Levers.

    def reset(self) -> None:
        """Nothing happened, and everybody is answered as they deserve. Browsers stay connected."""
        self.posts.clear()
        self.acks.clear()
        self.faults.clear()
        self._levers.clear()
        for channel in self.channels.values():
            channel.stored.clear()

    def answer(
        self, status: int, *, token: str | None = None, times: float = float("inf"), headers: Mapping[str, str] = {}
    ) -> None:
        """Answer so, whatever is sent: to everybody or for one endpoint, for ever or some times."""
        self._levers[token] = Lever(status, headers, times)

    def answer_properly(self) -> None:
        self._levers.clear()

    def forget_browsers(self) -> None:
        """As after a loss of data: a browser that comes back gets another name and so loses its subscriptions."""
        self._known.clear()
        for channel in self.channels.values():
            channel.alive = False

    def end(self, token: str) -> None:
        """The endpoint is gone, and the browser does not know yet."""
        self.channels[token].alive = False

    # What tests ask.

    @property
    def living(self) -> list[Channel]:
        return [channel for channel in self.channels.values() if channel.alive]

    def endpoint(self, channel: Channel) -> str:
        return f"{self.origin}/wpush/v2/{channel.token}"

    def endpoint_of(self, post: Post) -> str:
        return self.endpoint(self.channels[post.token])

    def seen(self) -> str:
        """For a test that waits in vain: what was posted, and who is there to get it."""
        posts = [(self.channels[post.token].browser, post.status) for post in self.posts if post.token in self.channels]
        return f"posted: {posts}; connected: {[*self.connected, *self.elsewhere]}; said: {self.acks}"

    def delivered(self) -> list[Ack]:
        return [ack for ack in self.acks if ack.code == DELIVERED]

    # The senders' side.

    async def _post(self, request: Request) -> Response:
        token, body = request.path_params["token"], await request.body()
        try:
            response = self._lever(token) or await self._accept(self._addressee(token), request.headers, body)
        except Refused as refused:
            told = {"code": refused.status, "errno": refused.errno, "error": "Refused", "message": refused.why}
            response = JSONResponse(told, refused.status)
        post = Post(token=token, headers=dict(request.headers), body=body, at=time.time(), status=response.status_code)
        self.posts.append(post)
        return response

    def _lever(self, token: str) -> Response | None:
        lever = self._levers.get(token) or self._levers.get(None)
        if not lever:
            return None
        lever.left -= 1
        return Response(status_code=lever.status, headers=lever.headers)

    def _addressee(self, token: str) -> Channel:
        channel = self.channels.get(token)
        if channel is None:
            raise Refused(404, 102, "There never was such an endpoint.")
        if not channel.alive:
            raise Refused(410, 106, "The reader has unsubscribed.")
        return channel

    async def _accept(self, channel: Channel, headers: Headers, body: bytes) -> Response:
        check_vapid(headers, audience=self.origin, key=channel.key)
        ttl, topic = check_headers(headers)
        check_body(headers, body)
        message = Message(channel_id=channel.channel_id, body=body, topic=topic, expires_at=time.time() + ttl)
        if ttl:
            if topic:
                channel.stored = {name: old for name, old in channel.stored.items() if old.topic != topic}
            channel.stored[message.version] = message
        if browser := self.connected.get(channel.browser) or self.elsewhere.get(channel.browser):
            await browser.send_json(message.frame)
        return Response(status_code=201, headers={"Location": f"{self.origin}/m/{message.version}", "TTL": str(ttl)})

    # The browsers' side.

    async def _browser(self, socket: WebSocket) -> None:
        await socket.accept("push-notification" if "push-notification" in socket.scope["subprotocols"] else None)
        name = ""
        try:
            while True:
                said = await socket.receive_json()
                if said.get("messageType") == "hello":
                    name = await self._hello(socket, said)
                elif name:
                    await self._hear(socket, name, said)
                else:
                    self.faults.append(said)
                    return await socket.close(1008)
        except (WebSocketDisconnect, asyncio.CancelledError):
            pass
        finally:
            if self.connected.get(name) is socket:
                del self.connected[name]

    async def _hello(self, socket: WebSocket, said: dict[str, Any]) -> str:
        name = said.get("uaid") or ""
        if name not in self._known:
            name = uuid4().hex
            self._known.add(name)
        await socket.send_json(
            {"messageType": "hello", "status": 200, "uaid": name, "use_webpush": True, "broadcasts": {}}
        )
        self.connected[name] = socket
        await self.hand_over(socket, name)
        return name

    async def hand_over(self, line: Line, browser: str) -> None:
        """What came while the browser was away."""
        for channel in self.living:
            for message in list(channel.stored.values()):
                if channel.browser == browser and message.expires_at > time.time():
                    await line.send_json(message.frame)

    async def _hear(self, socket: WebSocket, browser: str, said: dict[str, Any]) -> None:
        match said:
            case {"messageType": "register", "channelID": channel_id}:
                channel = Channel(secrets.token_urlsafe(32), channel_id, browser, said.get("key"))
                self.channels[channel.token] = channel
                told = {"messageType": "register", "channelID": channel_id, "status": 200}
                await socket.send_json(told | {"pushEndpoint": self.endpoint(channel)})
            case {"messageType": "unregister", "channelID": channel_id}:
                for channel in self.channels.values():
                    if (channel.browser, channel.channel_id) == (browser, channel_id):
                        channel.alive = False
                await socket.send_json({"messageType": "unregister", "channelID": channel_id, "status": 200})
            case {"messageType": "ack", "updates": updates}:
                for update in updates:
                    self._acknowledged(browser, update)
            case {"messageType": "broadcast_subscribe"}:
                pass
            case {"messageType": "ping"} | {} if said.keys() <= {"messageType"}:
                await socket.send_json(said)
            case _:
                self.faults.append(said)

    def _acknowledged(self, browser: str, update: dict[str, Any]) -> None:
        channel_id, version = update["channelID"], update["version"]
        self.acks.append(Ack(channel_id=channel_id, version=version, code=update["code"], at=time.time()))
        for channel in self.channels.values():
            if (channel.browser, channel.channel_id) == (browser, channel_id):
                channel.stored.pop(version, None)


# What a sender must keep to.


def check_headers(headers: Headers) -> tuple[int, str | None]:
    """TTL and Topic."""
    ttl, topic = only(headers, "ttl"), only(headers, "topic")
    if ttl is None:
        raise Refused(400, 111, "TTL is missing.")
    if not re.fullmatch(r"[0-9]{1,10}", ttl):
        raise Refused(400, 112, "TTL is not a number of seconds.")
    if topic is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", topic):
        raise Refused(400, 113, "Topic is not a word of up to 32 base64url characters.")
    if only(headers, "urgency") not in URGENCIES | {None}:
        raise Refused(400, 114, "Urgency is none of the four that there are.")
    return int(ttl), topic


def check_body(headers: Headers, body: bytes) -> None:
    """One record of aes128gcm, as RFC 8291 section 4 has it."""
    if len(body) > LARGEST_BODY:
        raise Refused(413, 104, f"A message has at most {LARGEST_BODY} bytes.")
    if not body:
        return
    if only(headers, "content-encoding") != "aes128gcm":
        raise Refused(400, 110, "Content-Encoding is not aes128gcm.")
    if len(body) < SEALED_HEADER + 1 + 16 or body[20] != 65 or body[21] != 4:
        raise Refused(400, 110, "The body does not begin with salt, record size and the sender's key.")
    (record,) = struct.unpack(">L", body[16:20])
    if len(body) - SEALED_HEADER > record:
        raise Refused(400, 110, "A message is one record only.")
    if base64url(body[21:SEALED_HEADER]) in (only(headers, "authorization") or ""):
        raise Refused(400, 110, "The key that sealed the message must not be the VAPID key.")


def check_vapid(headers: Headers, *, audience: str, key: str | None) -> None:
    """RFC 8292: who sends, to whom and until when."""
    shown = only(headers, "authorization")
    if shown is None:
        raise Refused(401, 109, "Authorization is missing.")
    scheme, _, parameters = shown.partition(" ")
    told = dict(part.strip().split("=", 1) for part in parameters.split(",") if "=" in part)
    if scheme.lower() != "vapid" or told.keys() != {"t", "k"}:
        raise Refused(401, 109, "Authorization is not vapid t=…, k=….")
    if key is not None and told["k"] != key.rstrip("="):
        raise Refused(403, 109, "The public key is not the one that the subscription was made with.")
    claims = signed_claims(told["t"], told["k"])
    if claims.get("aud") != audience:
        raise Refused(403, 109, f"aud is not {audience}.")
    now, expiry = time.time(), claims.get("exp")
    if not isinstance(expiry, int) or not now < expiry <= now + A_DAY:
        raise Refused(403, 109, "exp is not within the next 24 hours.")
    contact = claims.get("sub")
    if not isinstance(contact, str) or urlsplit(contact).scheme not in ("mailto", "https"):
        raise Refused(403, 109, "sub is neither a mailto: nor an https: address.")


def signed_claims(token: str, key: str) -> dict[str, Any]:
    """What the token says, if the key signed it."""
    try:
        head, claims, signature = token.split(".")
        raw = from_base64url(signature)
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_base64url(key))
        numbers = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
        public.verify(encode_dss_signature(*numbers), f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
        header, said = json.loads(from_base64url(head)), json.loads(from_base64url(claims))
    except (ValueError, NotBase64, InvalidSignature):
        raise Refused(403, 109, "The token's signature is not valid.") from None
    if len(raw) != 64 or header.get("alg") != "ES256" or not isinstance(said, dict):
        raise Refused(403, 109, "The token is not an ES256 one.")
    return said


def only(headers: Headers, name: str) -> str | None:
    values = headers.getlist(name)
    if len(values) > 1:
        raise Refused(400, 110, f"{name} is there more than once.")
    return values[0] if values else None


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("not base64url without padding")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
