"""Subscriptions: a reader's browser as we store it, and what we check before we do."""

import binascii
import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64decode
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Table,
    case,
    delete,
    exists,
    func,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload

from app.domain.base import Base, driver_connection
from app.domain.marks import Happening, mark
from app.domain.outcomes import Outcome
from app.domain.probation import FORGOTTEN_AFTER, PATIENCE, STANDING, VAIN_ALERTS, Standing
from app.domain.push_services import service_of, service_with_odd_path
from app.domain.refusals import Forbidden, NotFound, Refusal, Unauthenticated
from app.domain.topics import Topic

NO_TOPIC = "Choose at least one topic to be reminded of."
UNKNOWN = "We do not know this browser (any more). Choose your topics again."
LONGEST_ENDPOINT = 2048
HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")

# P-256 (FIPS 186-4, D.1.2.3): y² = x³ - 3x + b over the field of PRIME.
PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
CURVE_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B

follows = Table(
    "follows",
    Base.metadata,
    Column("topic_id", ForeignKey("topics.id", ondelete="CASCADE"), primary_key=True),
    Column("subscription_id", ForeignKey("subscriptions.id", ondelete="CASCADE"), primary_key=True, index=True),
)


class Subscription(Base):
    __tablename__ = "subscriptions"
    __table_args__ = (
        Index("ix_subscriptions_ended", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        Index("ix_subscriptions_to_welcome", "id", postgresql_where=text("is_to_welcome")),
        Index("ix_subscriptions_quiet", "time_zone", postgresql_where=text("quiet_from IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    endpoint: Mapped[str]
    # Endpoints are capabilities of up to 2 KiB: looked up and named by this hash.
    endpoint_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    lane: Mapped[str]
    p256dh: Mapped[bytes] = mapped_column(LargeBinary)
    auth: Mapped[bytes] = mapped_column(LargeBinary)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)  # Of the secret that the browser keeps.
    vapid_key_id: Mapped[str]
    time_zone: Mapped[str]
    language: Mapped[str]
    paused_until: Mapped[datetime | None]
    # Between these, where the reader is, only breaking alerts ring; the night may pass midnight. Both or neither.
    quiet_from: Mapped[time | None]
    quiet_to: Mapped[time | None]
    daily_limit: Mapped[int | None]  # Alerts in any 24 hours, breaking ones aside.
    levels: Mapped[list[str] | None]  # Which ring; None: all.
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]  # The last visit that re-synced it.
    ended_at: Mapped[datetime | None]
    ended_because: Mapped[str] = mapped_column(default="")
    # A welcome is due: they came since the last one was sent. (Only where the newsroom wants welcomes.)
    is_to_welcome: Mapped[bool] = mapped_column(default=False, server_default="false")
    # When a push service first accepted a message for the endpoint that it has now; None: on probation.
    proven_at: Mapped[datetime | None]
    # Answers that nobody can explain, in a row, and when the first came: three over more than a day end it. On
    # probation, alerts in vain.
    strikes: Mapped[int] = mapped_column(default=0, server_default="0")
    struck_at: Mapped[datetime | None]
    topics: Mapped[list[Topic]] = relationship(secondary=follows, lazy="raise", order_by=Topic.id)

    def is_proven_by(self, auth: bytes) -> bool:
        return hmac.compare_digest(self.auth, auth)


@dataclass(frozen=True, kw_only=True)
class Browser:
    """A checked PushSubscription: what a message to this browser needs."""

    endpoint: str
    lane: str
    p256dh: bytes
    auth: bytes

    @property
    def endpoint_hash(self) -> bytes:
        return hash_of(self.endpoint)


def hash_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def a_browser(
    *, endpoint: str, p256dh: str, auth: str, extra_hosts: Collection[str] = (), plain_http: bool = False
) -> Browser:
    """Check what a browser (or somebody else) sent us; a wrong one is refused with a sentence.

    extra_hosts: `host` or `host:port` that the operator trusts besides the well-known push services.
    """
    return Browser(
        endpoint=endpoint,
        lane=lane_of(endpoint, extra_hosts=extra_hosts, plain_http=plain_http),
        p256dh=_public_key(p256dh),
        auth=_auth_secret(auth),
    )


def lane_of(endpoint: str, *, extra_hosts: Collection[str] = (), plain_http: bool = False) -> str:
    """The origin of a push service's address, if it is one that we send to.

    Strict on purpose: what two programs could read in two ways (control characters, backslashes, user names, encoded
    or dotted hosts) is how requests get smuggled to hosts that nobody allowed.
    """
    if len(endpoint) > LONGEST_ENDPOINT or not re.fullmatch(r"[!-~]+", endpoint) or "\\" in endpoint:
        raise Refusal("The push service's address is not one that a browser gives out.")
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Refusal("The push service's address cannot be read.") from None
    scheme = parts.scheme
    if host.endswith("permanently-removed.invalid"):
        raise Refusal("This browser has no push service, so it cannot receive notifications. Another browser can.")
    plain = plain_http and scheme == "http"
    if scheme != "https" and not plain:
        raise Refusal("A push service's address starts with https://.")
    usual = 80 if plain else 443
    lane = f"{scheme}://{host}" + (f":{port}" if port is not None else "")
    # Spelt as browsers spell it: no user name, capitals, needless port, empty label or fragment.
    if not HOST.fullmatch(host) or port == usual or not endpoint.startswith(f"{lane}/") or "#" in endpoint:
        raise Refusal("The push service's address is not one that a browser gives out.")
    if f"{host}:{port or usual}" in extra_hosts or (port is None and (host in extra_hosts or service_of(host))):
        return lane
    raise Refusal("This browser's push service is not one that we send to.")


def _public_key(text: str) -> bytes:
    point = _bytes(text)
    if point is None or len(point) != 65 or point[0] != 4 or not _on_curve(point):
        raise Refusal("The browser's public key (p256dh) is not a point of the curve P-256.")
    return point


def _auth_secret(text: str) -> bytes:
    secret = _bytes(text)
    if secret is None or len(secret) != 16:
        raise Refusal("The browser's secret (auth) must have 16 bytes.")
    return secret


def _bytes(text: str) -> bytes | None:
    """Strict base64url, padded or not; None for anything else."""
    bare = text.rstrip("=")
    if len(text) - len(bare) > 2 or not re.fullmatch(r"[A-Za-z0-9_-]*", bare):
        return None
    try:
        return urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error:
        return None


def _on_curve(point: bytes) -> bool:
    x, y = int.from_bytes(point[1:33]), int.from_bytes(point[33:])
    return x < PRIME and y < PRIME and (y * y - (x * x * x - 3 * x + CURVE_B)) % PRIME == 0


LONGEST_LANGUAGE = 35
_SUBTAGS = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*(?![A-Za-z0-9])")


def a_browsers_language(tag: str) -> str:
    """The readable part of what a browser says of its language (RFC 5646), such as de-DE of `de_DE@posix`; or "".

    Subtags beyond 35 letters go, the last one first (RFC 5646, section 4.4.2).
    """
    readable = _SUBTAGS.match(tag)
    subtags = readable[0].replace("_", "-").split("-") if readable else []
    while len("-".join(subtags)) > LONGEST_LANGUAGE:
        subtags.pop()
    return "-".join(subtags)


async def subscribe(
    session: AsyncSession,
    browser: Browser,
    *,
    topics: Sequence[Topic] | None,
    time_zone: str,
    language: str,
    vapid_key_id: str,
    key: str | None,
    now: datetime,
) -> tuple[Subscription, str, bool]:
    """Store a browser, or greet one that we know: (subscription, its key, whether it is new).

    The same endpoint must come with the same `auth`, or anybody who learnt an endpoint could take it over. Without
    topics a known browser keeps those it has. A browser that shows its key keeps it; one that lost it gets another.
    """
    await _in_turn(session, browser)
    known = await _by_endpoint(session, browser.endpoint)
    if known is None:
        if not topics:
            raise Refusal(NO_TOPIC)
        secret = secrets.token_urlsafe(32)
        fresh = _fresh(browser, topics, secret, vapid_key_id=vapid_key_id, now=now)
        _greet(fresh, time_zone, language, now)
        session.add(fresh)
        await session.flush()
        if service := service_with_odd_path(browser.endpoint):
            await mark(session, Happening.ODD_PATH, service.name, now)
        return fresh, secret, True
    if not topics and not known.is_proven_by(browser.auth):
        raise Refusal(NO_TOPIC)
    prove(known, browser.auth)
    known.p256dh, known.vapid_key_id = browser.p256dh, vapid_key_id
    if topics:
        known.topics = list(topics)
    _greet(known, time_zone, language, now)
    return known, _same_key(known, key), False


async def keep_without_topics(
    session: AsyncSession, browser: Browser, *, time_zone: str, language: str, vapid_key_id: str, now: datetime
) -> Subscription:
    """An editor's own browser, which need not follow anything. One that we know stays as its reader wants it.

    It gets a key that nobody knows: should its owner become a reader as well, subscribing gives out another one.
    """
    await _in_turn(session, browser)
    known = await _by_endpoint(session, browser.endpoint)
    if known is None:
        known = _fresh(browser, (), secrets.token_urlsafe(32), vapid_key_id=vapid_key_id, now=now)
        session.add(known)
    prove(known, browser.auth)
    known.p256dh, known.vapid_key_id = browser.p256dh, vapid_key_id
    _greet(known, time_zone, language, now)
    await session.flush()
    return known


def _fresh(browser: Browser, topics: Sequence[Topic], secret: str, *, vapid_key_id: str, now: datetime) -> Subscription:
    fresh = Subscription(key_hash=hash_of(secret), vapid_key_id=vapid_key_id, created_at=now, topics=list(topics))
    _put(fresh, browser)
    return fresh


async def _in_turn(session: AsyncSession, browser: Browser) -> None:
    """Two clicks, or the page and its service worker, may bring the same new endpoint at the same moment."""
    number = int.from_bytes(browser.endpoint_hash[:8], signed=True)
    await session.execute(select(func.pg_advisory_xact_lock(number)))


async def renew(
    session: AsyncSession,
    *,
    old_endpoint: str,
    old_auth: str,
    browser: Browser,
    vapid_key_id: str,
    key: str | None,
    now: datetime,
) -> tuple[Subscription, str]:
    """The browser changed its endpoint; everything else stays. Proven by the old endpoint's `auth`."""
    await _in_turn(session, browser)
    known, other = await _by_endpoint(session, old_endpoint), None
    if known is None:
        # A renewal whose answer was lost is asked for again: the new endpoint is there and proves itself.
        known, auth = await _by_endpoint(session, browser.endpoint), browser.auth
    else:
        auth = _bytes(old_auth) or b""
    # Whoever cannot prove it learns no more than of an endpoint that nobody has.
    if known is None or not known.is_proven_by(auth):
        raise NotFound(UNKNOWN)
    if known.endpoint != browser.endpoint:
        other = await _forget_other(session, browser, known)
    _put(known, browser)
    known.vapid_key_id = vapid_key_id
    _greet(known, known.time_zone, known.language, now)
    if other is not None:  # The proof is the new endpoint's, and over if that has ended.
        known.proven_at = other.proven_at if other.ended_at is None else None
    return known, _same_key(known, key)


def prove(subscription: Subscription, auth: bytes) -> None:
    if not subscription.is_proven_by(auth):
        raise Forbidden("This browser could not prove that the subscription is its own.")


def _put(subscription: Subscription, browser: Browser) -> None:
    """Another endpoint has to prove itself, also one at the same service: an old proof opens no door for new ones."""
    if subscription.endpoint != browser.endpoint:
        subscription.proven_at = None
    subscription.endpoint, subscription.endpoint_hash = browser.endpoint, browser.endpoint_hash
    subscription.lane, subscription.p256dh, subscription.auth = browser.lane, browser.p256dh, browser.auth


def _greet(subscription: Subscription, time_zone: str, language: str, now: datetime) -> None:
    """A visit: the reader is there, so a subscription that had ended lives again, and has to prove itself again."""
    if subscription.ended_at is not None:
        subscription.proven_at = None
    subscription.time_zone, subscription.language = time_zone, language
    subscription.seen_at, subscription.ended_at, subscription.ended_because = now, None, ""
    subscription.strikes, subscription.struck_at = 0, None


def _same_key(subscription: Subscription, key: str | None) -> str:
    if key and hmac.compare_digest(hash_of(key), subscription.key_hash):
        return key
    key = secrets.token_urlsafe(32)
    subscription.key_hash = hash_of(key)
    return key


async def _forget_other(session: AsyncSession, browser: Browser, known: Subscription) -> Subscription | None:
    """The page and the service worker may both have told us of the new endpoint: one browser, one row."""
    other = await _by_endpoint(session, browser.endpoint)
    if other is None or other is known:
        return None
    prove(other, browser.auth)
    # It may have become an editor's own meanwhile, where tests and requests to approve ring.
    own = text("""
        UPDATE editor_browsers AS theirs SET subscription_id = :known WHERE subscription_id = :other AND NOT EXISTS (
            SELECT FROM editor_browsers WHERE subscription_id = :known AND editor_id = theirs.editor_id)""")
    await session.execute(own, {"known": known.id, "other": other.id})
    await session.delete(other)
    await session.flush()
    return other


async def _by_endpoint(session: AsyncSession, endpoint: str) -> Subscription | None:
    query = select(Subscription).where(Subscription.endpoint_hash == hash_of(endpoint))
    return await session.scalar(query.options(selectinload(Subscription.topics)).with_for_update(of=Subscription))


async def subscription_of_key(session: AsyncSession, key: str) -> Subscription:
    query = select(Subscription).where(Subscription.key_hash == hash_of(key)).options(selectinload(Subscription.topics))
    found = await session.scalar(query.with_for_update(of=Subscription))
    if found is None:
        raise Unauthenticated("This key opens no subscription (any more).")
    return found


async def newcomers(session: AsyncSession) -> dict[tuple[int, ...], list[int]]:
    """Those to whom a welcome is due, by the topics that they follow. From now on it is not."""
    rows = await session.execute(
        text("""
            WITH due AS (
                UPDATE subscriptions SET is_to_welcome = false WHERE is_to_welcome RETURNING id, ended_at)
            SELECT due.id, array_agg(topic_id ORDER BY topic_id) FROM due JOIN follows ON subscription_id = due.id
            WHERE ended_at IS NULL GROUP BY due.id ORDER BY due.id""")
    )
    found: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for id_, topic_ids in rows:
        found[tuple(topic_ids)].append(id_)
    return found


async def any_to_welcome(session: AsyncSession) -> bool:
    return bool(await session.scalar(select(exists().where(Subscription.is_to_welcome))))


class Recipient(NamedTuple):
    """Where one copy goes."""

    id: int
    endpoint: str
    lane: str
    p256dh: bytes
    auth: bytes
    strikes: int = 0
    standing: int = Standing.PROVEN


_RECIPIENTS = f"""
    SELECT {", ".join(Recipient._fields[:-1])}, {STANDING} AS standing
    FROM subscriptions WHERE id = ANY(%s) AND ended_at IS NULL
"""


async def recipients(session: AsyncSession, ids: Collection[int]) -> dict[int, Recipient]:
    """Those of `ids` that live; a reader who stopped after the plan is not among them.

    A thousand rows at a time, for every message that is sent: straight from the driver, in binary, takes half as long.
    """
    async with (await driver_connection(session)).cursor(binary=True) as cursor:
        await cursor.execute(_RECIPIENTS, (list(ids),))
        return {row[0]: Recipient(*row) for row in await cursor.fetchall()}


async def end(session: AsyncSession, gone: Iterable[Recipient], because: str, now: datetime) -> int:
    """End subscriptions that their push service no longer knows.

    Only while they still have the endpoint that was answered for: one that was renewed meanwhile lives.
    """
    hashes = [hash_of(recipient.endpoint) for recipient in gone]
    ended = await session.scalars(
        update(Subscription)
        .where(Subscription.endpoint_hash.in_(hashes), Subscription.ended_at.is_(None))
        .values(ended_at=now, ended_because=because)
        .returning(Subscription.id)
    )
    return len(ended.all())


async def note_proven(session: AsyncSession, accepted: Iterable[Recipient], now: datetime) -> None:
    """Their probation is over, if they still have the endpoint that was answered for."""
    hashes = [hash_of(recipient.endpoint) for recipient in accepted]
    await session.execute(
        update(Subscription)
        .where(Subscription.endpoint_hash.in_(hashes), Subscription.proven_at.is_(None))
        .values(proven_at=now, strikes=0, struck_at=None)
    )


async def note_vain(session: AsyncSession, tried: Iterable[Recipient], now: datetime) -> None:
    """An alert in vain for readers on probation. After a few over some days they end."""
    of = Subscription
    hashes = [hash_of(recipient.endpoint) for recipient in tried]
    since = func.coalesce(of.struck_at, now)
    over = (of.strikes + 1 >= VAIN_ALERTS) & (since < now - PATIENCE)
    await session.execute(
        update(of)
        .where(of.endpoint_hash.in_(hashes), of.proven_at.is_(None), of.ended_at.is_(None))
        .values(
            strikes=of.strikes + 1,
            struck_at=since,
            ended_at=case((over, now), else_=None),
            ended_because=case((over, "never_accepted"), else_=""),
        )
    )


async def strike(session: AsyncSession, ids: Collection[int], now: datetime) -> None:
    """An answer that nobody can explain; the third, more than a day after the first, ends the subscription."""
    of = Subscription
    since = func.coalesce(of.struck_at, now)
    over = (of.strikes >= 2) & (since < now - timedelta(days=1))
    await session.execute(
        update(of)
        .where(of.id.in_(ids), of.ended_at.is_(None))
        .values(
            strikes=of.strikes + 1,
            struck_at=since,
            ended_at=case((over, now), else_=None),
            ended_because=case((over, "unclear"), else_=""),
        )
    )


async def forgive(session: AsyncSession, ids: Collection[int]) -> None:
    await session.execute(update(Subscription).where(Subscription.id.in_(ids)).values(strikes=0, struck_at=None))


async def end_those_gone(session: AsyncSession, lane: str, now: datetime) -> int:
    """A person has confirmed it: end everybody of the lane whom the ledger of the last days calls gone."""
    ended = await session.execute(
        text("""
            UPDATE subscriptions SET ended_at = :now, ended_because = 'gone'
            WHERE ended_at IS NULL AND lane = :lane AND id IN (
                SELECT member.id FROM shards JOIN alerts ON alerts.id = alert_id,
                    unnest(subscription_ids) WITH ORDINALITY AS member(id, n)
                WHERE shards.lane = :lane AND gone > 0 AND get_byte(outcomes, n::int - 1) = :gone
                  AND alerts.released_at > subscriptions.seen_at AND alerts.released_at > :since)
            RETURNING id"""),
        {"now": now, "lane": lane, "gone": int(Outcome.GONE), "since": now - timedelta(days=7)},
    )
    return len(ended.all())


async def forget(session: AsyncSession, *, kept: timedelta, now: datetime) -> int:
    """Endpoints are personal data: those that ended long ago go for good, and those that never took anything sooner."""
    of = Subscription
    never_accepted = of.proven_at.is_(None) & (of.ended_at < now - min(kept, FORGOTTEN_AFTER))
    gone = await session.scalars(delete(of).where((of.ended_at < now - kept) | never_accepted).returning(of.id))
    return len(gone.all())


async def count_followers(session: AsyncSession) -> dict[int, int]:
    """Living subscriptions by the topic they follow."""
    query = (
        select(follows.c.topic_id, func.count())
        .join(Subscription, Subscription.id == follows.c.subscription_id)
        .where(Subscription.ended_at.is_(None))
        .group_by(follows.c.topic_id)
    )
    return {topic_id: count for topic_id, count in await session.execute(query)}
