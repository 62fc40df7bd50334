"""Small functions that make valid objects; a test says only what it is about."""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.alerts import Alert, AlertState, Level, an_alert
from app.domain.api_keys import an_api_key
from app.domain.editors import Editor, Role, an_editor
from app.domain.entries import Entry
from app.domain.feeds import Feed, Policy, a_feed
from app.domain.proofs import Proofs
from app.domain.receipts import Event, Told, told
from app.domain.sign_ins import open_session
from app.domain.stories import Story, a_story
from app.domain.subscriptions import Browser, Subscription, a_browser, subscribe
from app.domain.topics import Topic, a_topic

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
MOZILLA = "updates.push.services.mozilla.com"
GOOGLE = "fcm.googleapis.com"

# A browser's public key, in base64url as a PushSubscription has it. The private one is 7, so it protects nobody.
POINT = (
    ec.derive_private_key(7, ec.SECP256R1()).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
)
P256DH = urlsafe_b64encode(POINT).decode().rstrip("=")

_number = count(1)


def an_endpoint(host: str = MOZILLA) -> str:
    """One that no other test has."""
    return f"https://{host}/wpush/v2/reader-{next(_number)}"


def an_auth() -> str:
    return urlsafe_b64encode(next(_number).to_bytes(16)).decode().rstrip("=")


def a_push_subscription(
    endpoint: str | None = None, *, auth: str | None = None, p256dh: str = P256DH
) -> dict[str, Any]:
    """What PushSubscription.toJSON() gives."""
    keys = {"p256dh": p256dh, "auth": auth or an_auth()}
    return {"endpoint": endpoint or an_endpoint(), "expirationTime": None, "keys": keys}


def some_browser(endpoint: str | None = None, *, auth: str | None = None, p256dh: str = P256DH) -> Browser:
    return a_browser(endpoint=endpoint or an_endpoint(), p256dh=p256dh, auth=auth or an_auth())


async def a_reader(
    session: AsyncSession,
    *topics: Topic,
    browser: Browser | None = None,
    paused_until: datetime | None = None,
    ended_at: datetime | None = None,
    proven_at: datetime | None = NOW,
    now: datetime = NOW,
) -> Subscription:
    """A push service has accepted a message for it, if nothing else is said."""
    reader, _ = await a_reader_with_key(session, *topics, browser=browser, now=now)
    reader.paused_until, reader.ended_at, reader.proven_at = paused_until, ended_at, proven_at
    await session.flush()
    return reader


async def a_reader_with_key(
    session: AsyncSession, *topics: Topic, browser: Browser | None = None, now: datetime = NOW
) -> tuple[Subscription, str]:
    reader, key, _ = await subscribe(
        session,
        browser or some_browser(),
        topics=topics,
        time_zone="Europe/Kyiv",
        language="uk",
        vapid_key_id="key",
        key=None,
        now=now,
    )
    await session.flush()
    return reader, key


async def many_readers(session: AsyncSession, topic: Topic, number: int, *, lane: str = f"https://{MOZILLA}") -> None:
    """Rows as `subscribe` would write them, quicker."""
    await session.execute(
        text("""
            WITH made AS (
                INSERT INTO subscriptions (endpoint, endpoint_hash, lane, p256dh, auth, key_hash, vapid_key_id,
                                           time_zone, language, created_at, seen_at, proven_at, ended_because)
                SELECT :lane || '/' || n, sha256((:lane || '/' || n)::bytea), :lane, :point,
                       uuid_send(gen_random_uuid()), sha256((:lane || ' key ' || n)::bytea), 'key',
                       'UTC', 'en', :now, :now, :now, ''
                FROM generate_series(1, :number) AS n
                RETURNING id)
            INSERT INTO follows (topic_id, subscription_id) SELECT :topic, id FROM made
        """),
        {"lane": lane, "point": POINT, "now": NOW, "number": number, "topic": topic.id},
    )


async def a_topic_row(session: AsyncSession, slug: str = "ukraine", *synonyms: str, name: str | None = None) -> Topic:
    topic = a_topic(slug, name or slug.replace("-", " ").title(), synonyms=synonyms)
    session.add(topic)
    await session.flush()
    return topic


async def a_feed_row(
    session: AsyncSession, *topics: Topic, url: str | None = None, policy: Policy = Policy.AUTO, now: datetime = NOW
) -> Feed:
    feed = a_feed(url or f"https://publisher-{next(_number)}.example/rss", topics=topics, policy=policy, now=now)
    session.add(feed)
    await session.flush()
    return feed


def an_entry(
    path: str = "",
    *,
    url: str | None = None,
    title: str = "Kyiv reopens its metro",
    guid: str | None = None,
    summary: str = "",
    published_at: datetime | None = None,
    tags: Sequence[str] = (),
) -> Entry:
    address = url or f"https://publisher.example/{path or next(_number)}"
    return Entry(title=title, url=address, guid=guid, summary=summary, published_at=published_at, tags=tuple(tags))


async def a_story_row(session: AsyncSession, *topics: Topic, entry: Entry | None = None, now: datetime = NOW) -> Story:
    story = a_story(entry or an_entry(), now)
    story.topics.extend(topics)
    session.add(story)
    await session.flush()
    return story


def some_alert(*topics: Topic, title: str = "Ceasefire agreed", level: Level = Level.NORMAL) -> Alert:
    """A draft that is in no database."""
    followed = topics or (Topic(slug="ukraine", name="Ukraine"),)
    return an_alert(title=title, url="https://news.example/1", topics=followed, level=level, now=NOW)


async def an_alert_row(
    session: AsyncSession, *topics: Topic, state: AlertState = AlertState.DRAFT, ttl: timedelta = timedelta(hours=12)
) -> Alert:
    alert = an_alert(title="Ceasefire agreed", url="https://news.example/1", topics=topics, ttl=ttl, now=NOW)
    session.add(alert)
    if state is not AlertState.DRAFT:
        alert.release(NOW)
        alert.state = state
    await session.flush()
    return alert


PROOFS = Proofs(b"of the tests")


def some_receipts(times: int, alert_id: UUID, event: Event, service: str | None, now: datetime) -> list[Told]:
    """Of so many deliveries."""
    return [told(alert_id, event, secrets.token_bytes(9), service, now) for _ in range(times)]


async def an_editor_row(
    session: AsyncSession, role: Role = Role.EDITOR, email: str | None = None, *, now: datetime = NOW
) -> Editor:
    """Without a password: `signed_in` needs none."""
    editor = an_editor(email or f"{role}-{next(_number)}@news.example", role=role, now=now)
    session.add(editor)
    await session.flush()
    return editor


async def signed_in(session: AsyncSession, editor: Editor, *, now: datetime | None = None) -> str:
    """The value of the session cookie (its name: app.context.session_cookie). From the real time on, as routes ask."""
    _, secret = open_session(session, editor, about="Firefox on Linux", now=now or datetime.now(UTC))
    await session.flush()
    return secret


async def an_api_key_row(
    session: AsyncSession,
    role: Role = Role.EDITOR,
    topics: Sequence[str] = (),
    levels: Sequence[str] = (),
    *,
    now: datetime = NOW,
) -> str:
    """What a program shows as Authorization: Bearer."""
    key, secret = an_api_key(
        name=f"CMS {next(_number)}", role=role, topics=topics, levels=levels, created_by="owner@news.example", now=now
    )
    session.add(key)
    await session.flush()
    return secret
