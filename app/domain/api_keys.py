"""API keys: let a program (a CMS) act at the desk, within limits."""

import secrets
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import BigInteger, Identity, LargeBinary, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base
from app.domain.editors import SEEN_EVERY, Actor, Role, a_name, hash_of
from app.domain.refusals import Conflict, NotFound, Refusal

PREFIX = "nb_"  # So that people, and programs that look for leaked secrets, know it when they see it.
NAMED = "key "  # Before its name, where the audit names who acted.
SHOWN = len(PREFIX) + 6  # Characters by which an owner recognises a key; 216 bits stay unsaid.


class ApiKey(Base):
    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str]
    start: Mapped[str]  # Its first characters, by which people recognise it.
    key_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    role: Mapped[Role]  # writer or editor
    # Slugs. None: all; empty: none, so that no key whose limits were taken away becomes one without limits.
    topics: Mapped[list[str] | None]
    levels: Mapped[list[str] | None]  # The same.
    created_by: Mapped[str]
    # The editor who made it, and whoever may have been in their place. It counts as theirs, also when they have left.
    makers: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), default=list, server_default="{}")
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


def an_api_key(
    *,
    name: str,
    role: Role,
    created_by: str,
    now: datetime,
    topics: Collection[str] = (),
    levels: Collection[str] = (),
    makers: Collection[int] = (),
) -> tuple[ApiKey, str]:
    """A key and its secret, which nobody can be shown again. The caller knows that the topics and levels exist.

    No topics (or levels): without that limit.
    """
    if role is Role.OWNER:
        raise Refusal("A key is a writer or an editor: people, keys and feeds are a person's business.")
    if not (name := a_name(name)):
        raise Refusal("A key needs a name, such as that of the program that will have it.")
    secret = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        name=name,
        start=secret[:SHOWN],
        key_hash=hash_of(secret),
        role=role,
        topics=sorted(set(topics)) or None,
        levels=sorted(set(levels)) or None,
        created_by=created_by,
        makers=sorted(makers),
        created_at=now,
    )
    return key, secret


async def must_be_free(session: AsyncSession, name: str) -> None:
    """The audit names a program by its key's name, so no two that live share one.

    From here to the end of their transactions those who make keys go one after the other.
    """
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtext("api key"))))
    if await session.scalar(select(ApiKey.id).where(ApiKey.name == name, ApiKey.revoked_at.is_(None))):
        raise Conflict(f"There is a key named {name} already. Revoke it first, or choose another name.")


async def every_key(session: AsyncSession) -> Sequence[ApiKey]:
    """The newest first; those that were revoked stay, for whoever reads the audit."""
    return (await session.scalars(select(ApiKey).order_by(ApiKey.id.desc()))).all()


async def revoke(session: AsyncSession, key_id: int, now: datetime) -> ApiKey:
    found = await session.scalar(select(ApiKey).where(ApiKey.id == key_id).with_for_update())
    if found is None:
        raise NotFound("There is no such key.")
    if found.revoked_at is not None:
        raise Conflict("This key was revoked already.")
    found.revoked_at = now
    return found


async def actor_of_key(session: AsyncSession, secret: str, now: datetime) -> Actor | None:
    """Which program shows this key; None if none may (any more)."""
    query = select(ApiKey).where(ApiKey.key_hash == hash_of(secret), ApiKey.revoked_at.is_(None))
    found = await session.scalar(query)
    if found is None:
        return None
    if found.used_at is None or now - found.used_at > SEEN_EVERY:
        await session.execute(update(ApiKey).where(ApiKey.id == found.id).values(used_at=now))
    topics, levels = (None if limit is None else frozenset(limit) for limit in (found.topics, found.levels))
    makers = frozenset(found.makers)
    return Actor(NAMED + found.name, found.role, key_id=found.id, topics=topics, levels=levels, makers=makers)


async def still_good(session: AsyncSession, key_ids: Iterable[int]) -> set[int]:
    """Those of these keys that were not revoked. (Another one may bear the name of one that was.)"""
    return set(await session.scalars(select(ApiKey.id).where(ApiKey.id.in_(key_ids), ApiKey.revoked_at.is_(None))))
