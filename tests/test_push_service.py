"""The push service that the tests use is as strict as the RFCs: otherwise what passes here proves nothing."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.push_service import DELIVERED, LARGEST_BODY, PushService, base64url, served

CHANNEL = "5a4dd1c7-97b5-4cd1-8d4b-0b8f3b2f1f0e"


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@dataclass
class Sender:
    """Sends what it is told to, right or wrong."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)

    def claims(self, audience: str, **others: object) -> dict[str, object]:
        return {"aud": audience, "exp": int(time.time()) + 3600, "sub": "mailto:desk@courier.example", **others}

    def authorization(self, claims: Mapping[str, object]) -> str:
        text = ".".join(base64url(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ES256"}, claims))
        r, s = decode_dss_signature(self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"vapid t={text}.{base64url(r.to_bytes(32) + s.to_bytes(32))}, k={base64url(point(self.key))}"

    def body(self, length: int = 300, *, record: int = LARGEST_BODY) -> bytes:
        """Has the form of a sealed message."""
        return (bytes(16) + record.to_bytes(4) + b"\x41" + point(new_key())).ljust(length, b"x")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message


def post(endpoint: str, body: bytes, headers: Mapping[str, str | None]) -> Answer:
    request = urllib.request.Request(endpoint, body, {name: value for name, value in headers.items() if value})
    try:
        with urllib.request.urlopen(request) as response:
            return Answer(response.status, response.headers)
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers)


@dataclass
class Browser:
    """The browser's side, without a browser."""

    socket: ClientConnection
    name: str = ""

    def tell(self, **said: Any) -> None:
        self.socket.send(json.dumps(said))

    def hear(self) -> dict[str, Any]:
        heard: dict[str, Any] = json.loads(self.socket.recv(timeout=10))
        return heard

    def hello(self, name: str = "") -> str:
        self.tell(messageType="hello", use_webpush=True, broadcasts={}, **({"uaid": name} if name else {}))
        self.name = self.hear()["uaid"]
        return self.name

    def register(self, key: bytes) -> str:
        self.tell(messageType="register", channelID=CHANNEL, key=base64url(key) + "=")
        return str(self.hear()["pushEndpoint"])

    def acknowledge(self, version: str) -> None:
        self.tell(messageType="ack", updates=[{"channelID": CHANNEL, "version": version, "code": DELIVERED}])

    def catch_up(self) -> None:
        """Come to the point where the service has dealt with everything that was said."""
        self.tell()
        assert self.hear() == {}


@pytest.fixture
def service() -> Iterator[PushService]:
    made = PushService()
    with served(made.app) as port:
        made.origin = f"http://127.0.0.1:{port}"
        yield made


@pytest.fixture
def browser(service: PushService) -> Iterator[Browser]:
    with connect(service.origin.replace("http", "ws"), proxy=None) as socket:
        browser = Browser(socket)
        browser.hello()
        yield browser


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def endpoint(browser: Browser, sender: Sender) -> str:
    return browser.register(point(sender.key))


@pytest.fixture
def proper(service: PushService, sender: Sender) -> dict[str, str | None]:
    """The headers of a message that nobody can object to."""
    return {
        "Authorization": sender.authorization(sender.claims(service.origin)),
        "TTL": "60",
        "Urgency": "normal",
        "Topic": "a" * 32,
        "Content-Encoding": "aes128gcm",
    }


def test_a_proper_message_is_handed_to_the_browser(
    service: PushService, browser: Browser, sender: Sender, endpoint: str, proper: dict[str, str | None]
) -> None:
    body = sender.body(LARGEST_BODY)
    answer = post(endpoint, body, proper)
    assert (answer.status, answer.headers["TTL"]) == (201, "60")
    assert answer.headers["Location"].startswith(service.origin)
    heard = browser.hear()
    assert (heard["channelID"], heard["data"], heard["headers"]) == (
        CHANNEL,
        base64url(body),
        {"encoding": "aes128gcm"},
    )
    browser.acknowledge(heard["version"])
    browser.catch_up()
    assert [(ack.version, ack.code) for ack in service.acks] == [(heard["version"], DELIVERED)]
    (seen,) = service.posts
    assert (seen.body, seen.status, seen.headers["topic"]) == (body, 201, "a" * 32)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("TTL", None),
        ("TTL", "-1"),
        ("TTL", "1.5"),
        ("TTL", "soon"),
        ("Topic", "a" * 33),
        ("Topic", "a topic"),
        ("Topic", "naïve"),
        ("Urgency", "urgent"),
        ("Urgency", "high, low"),
        ("Content-Encoding", None),
        ("Content-Encoding", "aesgcm"),
    ],
)
def test_a_wrong_header_is_refused(
    header: str, value: str | None, sender: Sender, endpoint: str, proper: dict[str, str | None]
) -> None:
    assert post(endpoint, sender.body(), proper | {header: value}).status == 400


def test_a_wrong_body_is_refused(sender: Sender, endpoint: str, proper: dict[str, str | None]) -> None:
    assert post(endpoint, sender.body(LARGEST_BODY + 1), proper).status == 413
    assert post(endpoint, sender.body(300, record=100), proper).status == 400  # more than one record
    assert post(endpoint, b"in clear", proper).status == 400
    mine = bytes(16) + LARGEST_BODY.to_bytes(4) + b"\x41" + point(sender.key)
    assert post(endpoint, mine.ljust(300, b"x"), proper).status == 400  # sealed with the VAPID key


NOW = int(time.time())


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://push.example"},
        {"exp": NOW - 1},
        {"exp": NOW + 25 * 3600},
        {"exp": str(NOW + 3600)},
        {"sub": None},
        {"sub": "http://localhost:8000"},
    ],
)
def test_a_wrong_claim_is_refused(
    claims: dict[str, object],
    service: PushService,
    sender: Sender,
    endpoint: str,
    proper: dict[str, str | None],
) -> None:
    shown = sender.authorization(sender.claims(service.origin, **claims))
    assert post(endpoint, sender.body(), proper | {"Authorization": shown}).status == 403


def test_the_audience_is_an_origin_without_a_slash(
    service: PushService, sender: Sender, endpoint: str, proper: dict[str, str | None]
) -> None:
    shown = sender.authorization(sender.claims(f"{service.origin}/"))
    assert post(endpoint, sender.body(), proper | {"Authorization": shown}).status == 403


def test_only_the_key_of_the_subscription_may_send(
    service: PushService, sender: Sender, endpoint: str, proper: dict[str, str | None]
) -> None:
    other = Sender()
    theirs = other.authorization(other.claims(service.origin))
    ours = str(proper["Authorization"])
    mixed = theirs.split(", k=")[0] + ", k=" + ours.split(", k=")[1]
    tampered = ours.replace("t=", "t=x", 1)
    for shown, status in ((None, 401), ("Bearer abc", 401), (theirs, 403), (mixed, 403), (tampered, 403)):
        assert post(endpoint, sender.body(), proper | {"Authorization": shown}).status == status


def test_an_endpoint_ends_with_its_subscription(
    service: PushService, browser: Browser, sender: Sender, endpoint: str, proper: dict[str, str | None]
) -> None:
    assert post(endpoint + "x", sender.body(), proper).status == 404
    browser.tell(messageType="unregister", channelID=CHANNEL, code=200)
    assert browser.hear()["status"] == 200
    assert post(endpoint, sender.body(), proper).status == 410
    assert service.living == []


def test_a_browser_gets_what_it_missed_until_it_says_so(
    service: PushService, browser: Browser, sender: Sender, endpoint: str, proper: dict[str, str | None]
) -> None:
    browser.socket.close()
    for ttl, topic, length in (("60", "first", 301), ("60", "second", 302), ("60", "first", 303), ("0", None, 304)):
        assert post(endpoint, sender.body(length), proper | {"TTL": ttl, "Topic": topic}).status == 201
    for _ in range(2):  # the first time, it says nothing
        with connect(service.origin.replace("http", "ws"), proxy=None) as socket:
            back = Browser(socket)
            assert back.hello(browser.name) == browser.name
            missed = [back.hear(), back.hear()]
            back.catch_up()  # and nothing more
            assert {len(message["data"]) * 3 // 4 for message in missed} == {302, 303}
    (channel,) = service.channels.values()
    assert len(channel.stored) == 2
    with connect(service.origin.replace("http", "ws"), proxy=None) as socket:
        back = Browser(socket)
        back.hello(browser.name)
        for _ in range(2):
            back.acknowledge(back.hear()["version"])
        back.catch_up()
    assert channel.stored == {}


def test_a_forgotten_browser_gets_another_name(
    service: PushService, browser: Browser, sender: Sender, endpoint: str, proper: dict[str, str | None]
) -> None:
    service.forget_browsers()
    with connect(service.origin.replace("http", "ws"), proxy=None) as socket:
        assert Browser(socket).hello(browser.name) != browser.name
    assert post(endpoint, sender.body(), proper).status == 410


def test_a_browser_says_hello_first(service: PushService) -> None:
    with connect(service.origin.replace("http", "ws"), proxy=None) as socket:
        Browser(socket).tell(messageType="register", channelID=CHANNEL)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
    assert service.faults == [{"messageType": "register", "channelID": CHANNEL}]


def test_answers_may_be_ordered(
    service: PushService, browser: Browser, sender: Sender, endpoint: str, proper: dict[str, str | None]
) -> None:
    token = endpoint.rpartition("/")[2]
    service.answer(503, times=2, headers={"Retry-After": "1"})
    service.answer(429, token=token, times=1)
    answers = [post(endpoint, sender.body(), proper) for _ in range(4)]
    assert [answer.status for answer in answers] == [429, 503, 503, 201]
    assert answers[1].headers["Retry-After"] == "1"
    service.answer(404)
    service.reset()
    assert post(endpoint, sender.body(), proper).status == 201
