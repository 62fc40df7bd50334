"""Readers who do not exist: enough of them to measure with."""

import hashlib
import os
from collections.abc import Callable, Iterable

import psycopg
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

TOPIC = "world-news"
KEYS = 1000  # distinct ones; a key costs more to make than a row
STEP = 1000

COLUMNS = {
    "endpoint": "text",
    "endpoint_hash": "bytea",
    "lane": "text",
    "p256dh": "bytea",
    "auth": "bytea",
    "key_hash": "bytea",
    "vapid_key_id": "text",
    "time_zone": "text",
    "language": "text",
    "created_at": "timestamptz",
    "seen_at": "timestamptz",
    "proven_at": "timestamptz",
    "ended_because": "text",
}


def fill(url: str, *, origin: str, count: int, key_id: str, tell: Callable[[int], object], topic: str = TOPIC) -> None:
    """`count` subscriptions at one push service, all of which follow one topic; `tell` hears how many there are."""
    endpoints = (f"{origin}/wpush/v2/{number:012d}{'g' * 170}" for number in range(count))  # as long as Mozilla's
    fill_with(url, endpoints, key_id=key_id, tell=tell, topic=topic, are_proven=True)


def fill_with(
    url: str,
    endpoints: Iterable[str],
    *,
    key_id: str,
    topic: str,
    are_proven: bool,
    tell: Callable[[int], object] = lambda done: None,
) -> None:
    """The same for any endpoints and a new topic. are_proven: push services have accepted messages for them."""
    with psycopg.connect(url, autocommit=True) as db:
        before = _newest(db)
        db.execute("INSERT INTO topics (slug, name, description, synonyms) VALUES (%s, %s, '', '{}')", (topic, topic))
        _copy(db, endpoints, key_id, are_proven, tell)
        db.execute(
            "INSERT INTO follows (topic_id, subscription_id)"
            " SELECT t.id, s.id FROM topics t, subscriptions s WHERE t.slug = %s AND s.id > %s",
            (topic, before),
        )
        db.execute("VACUUM ANALYZE")
        db.execute("CHECKPOINT")  # what loading left to be written is not the alert's to pay for


def _newest(db: psycopg.Connection) -> int:
    row = db.execute("SELECT coalesce(max(id), 0) FROM subscriptions").fetchone()
    assert row
    return int(row[0])


def _copy(
    db: psycopg.Connection, endpoints: Iterable[str], key_id: str, are_proven: bool, tell: Callable[[int], object]
) -> None:
    row = db.execute("SELECT now()").fetchone()
    assert row
    [now], points, number = row, [_point() for _ in range(KEYS)], 0
    with db.cursor().copy(f"COPY subscriptions ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)") as rows:
        rows.set_types(list(COLUMNS.values()))
        for number, endpoint in enumerate(endpoints, 1):
            lane, point, auth = "/".join(endpoint.split("/", 3)[:3]), points[number % KEYS], os.urandom(16)
            key_hash, proven_at = os.urandom(32), now if are_proven else None
            rows.write_row(
                (endpoint, _hash(endpoint), lane, point, auth, key_hash, key_id, "UTC", "en", now, now, proven_at, "")
            )
            if number % STEP == 0:
                tell(number)
    tell(number)


def _hash(endpoint: str) -> bytes:
    return hashlib.sha256(endpoint.encode()).digest()


def _point() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
