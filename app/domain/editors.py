"""Editors: the people of the desk, how they sign in, and keys for programs."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Identity, LargeBinary, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, joinedload, mapped_column, relationship

from app.domain.base import Base
from app.domain.refusals import Forbidden


class Role(StrEnum):
    """Each may do what those before it may."""

    WRITER = "writer"  # Drafts, and tests on their own browsers.
    EDITOR = "editor"  # Releases, approves, recalls, corrects.
    OWNER = "owner"  # People, keys, feeds and topics.

    @property
    def rank(self) -> int:
        return list(Role).index(self)


@dataclass(frozen=True)
class Actor:
    """Who acts at the desk: an editor who signed in, a program with a key, or the command line."""

    name: str  # As the audit has it: an e-mail address, "key NAME", "command line".
    role: Role
    editor_id: int | None = None
    # A key may be limited to topics (slugs) and levels; None: all.
    topics: frozenset[str] | None = None
    levels: frozenset[str] | None = None

    def must_be(self, role: Role) -> None:
        if self.role.rank < role.rank:
            raise Forbidden(f"This takes the role {role}; {self.name} is a {self.role}.")

    def must_reach(self, topics: Iterable[str], level: str) -> None:
        """Refuses an alert of another topic or level than a key is limited to."""
        if self.levels is not None and level not in self.levels:
            raise Forbidden(f"{self.name} may not touch alerts of the level {level}.")
        if self.topics is not None and (beyond := sorted(set(topics) - self.topics)):
            raise Forbidden(f"{self.name} may not touch alerts of the topic {beyond[0]}.")


class Editor(Base):
    __tablename__ = "editors"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)  # In small letters.
    name: Mapped[str] = mapped_column(default="")
    role: Mapped[Role]
    password_hash: Mapped[str | None]  # Argon2; None: signs in by a link or the newsroom's single sign-on only.
    subject: Mapped[str | None] = mapped_column(unique=True)  # Issuer and subject of the single sign-on.
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class EditorSession(Base):
    """A browser in which an editor is signed in."""

    __tablename__ = "editor_sessions"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)  # Of the cookie's secret.
    editor_id: Mapped[int] = mapped_column(ForeignKey("editors.id", ondelete="CASCADE"), index=True)
    about: Mapped[str]  # Which browser, in words: "Firefox on Linux".
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    editor: Mapped[Editor] = relationship(lazy="raise")


class SignInLink(Base):
    """A secret that signs somebody in once: the first owner, or an editor who has no password (any more)."""

    __tablename__ = "sign_in_links"

    key_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    # None: for whoever sets this newsroom up, and thereby becomes its first owner.
    editor_id: Mapped[int | None] = mapped_column(ForeignKey("editors.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Guess(Base):
    """Failed sign-ins of late, by account and by address. Names are keyed hashes: no address is stored."""

    __tablename__ = "guesses"

    name: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    count: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(index=True)


class ApiKey(Base):
    """Lets a program (a CMS) act at the desk, within limits."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str]
    start: Mapped[str]  # Its first characters, by which people recognise it.
    key_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    role: Mapped[Role]  # writer or editor
    topics: Mapped[list[str]] = mapped_column(default=list)  # Slugs; empty: all.
    levels: Mapped[list[str]] = mapped_column(default=list)  # Empty: all.
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


# How exactly "last seen" is kept: writing it at every request would be a write for every glance.
SEEN_EVERY = timedelta(minutes=1)


def hash_of(secret: str) -> bytes:
    """Secrets of ours are long and random, so a plain hash keeps them."""
    return hashlib.sha256(secret.encode()).digest()


async def actor_of_session(session: AsyncSession, secret: str, now: datetime) -> Actor | None:
    """Who is signed in with this cookie; None if nobody is (any more)."""
    query = select(EditorSession).where(EditorSession.key_hash == hash_of(secret), EditorSession.expires_at > now)
    found = await session.scalar(query.options(joinedload(EditorSession.editor)))
    if found is None or found.editor.disabled_at is not None:
        return None
    if now - found.seen_at > SEEN_EVERY:
        found.seen_at = now
    return Actor(found.editor.email, found.editor.role, editor_id=found.editor_id)


async def actor_of_key(session: AsyncSession, secret: str, now: datetime) -> Actor | None:
    """Which program shows this key; None if none may (any more)."""
    query = select(ApiKey).where(ApiKey.key_hash == hash_of(secret), ApiKey.revoked_at.is_(None))
    found = await session.scalar(query)
    if found is None:
        return None
    if found.used_at is None or now - found.used_at > SEEN_EVERY:
        found.used_at = now
    topics, levels = (frozenset(limit) or None for limit in (found.topics, found.levels))
    return Actor(f"key {found.name}", found.role, topics=topics, levels=levels)
