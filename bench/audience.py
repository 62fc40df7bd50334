"""Readers who do not exist: enough of them to measure with."""

import hashlib
import os
from collections.abc import Callable

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
    "ended_because": "text",
}


def fill(url: str, *, origin: str, count: int, key_id: str, tell: Callable[[int], object], topic: str = TOPIC) -> None:
    """`count` subscriptions at one push service, all of which follow one topic; `tell` hears how many there are."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("INSERT INTO topics (slug, name, description, synonyms) VALUES (%s, %s, '', '{}')", (topic, topic))
        _copy(db, origin, count, key_id, tell)
        db.execute(
            "INSERT INTO follows (topic_id, subscription_id)"
            " SELECT t.id, s.id FROM topics t, subscriptions s WHERE t.slug = %s AND s.lane = %s",
            (topic, origin),
        )
        db.execute("VACUUM ANALYZE")
        db.execute("CHECKPOINT")  # what loading left to be written is not the alert's to pay for


def _copy(db: psycopg.Connection, origin: str, count: int, key_id: str, tell: Callable[[int], object]) -> None:
    row = db.execute("SELECT now()").fetchone()
    assert row
    points = [_point() for _ in range(min(KEYS, count))]
    with db.cursor().copy(f"COPY subscriptions ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)") as rows:
        rows.set_types(list(COLUMNS.values()))
        for number in range(count):
            endpoint = f"{origin}/wpush/v2/{number:012d}{'g' * 170}"  # as long as Mozilla's
            point, auth, key_hash = points[number % len(points)], os.urandom(16), os.urandom(32)
            rows.write_row(
                (endpoint, _hash(endpoint), origin, point, auth, key_hash, key_id, "UTC", "en", row[0], row[0], "")
            )
            if number % STEP == 0:
                tell(number)
    tell(count)


def _hash(endpoint: str) -> bytes:
    return hashlib.sha256(endpoint.encode()).digest()


def _point() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
