"""Editors: the people of the desk, and what each may do."""

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import BigInteger, Identity, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base
from app.domain.refusals import Conflict, Forbidden, NotFound, Refusal


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
    session_id: int | None = None  # Of the browser in which the editor is signed in.
    key_id: int | None = None  # Of the API key that a program shows.
    # Editors who may be acting here themselves: the maker of the key, of the link or of the password that let them in.
    makers: frozenset[int] = frozenset()
    # A key may be limited to topics (slugs) and levels; None: all.
    topics: frozenset[str] | None = None
    levels: frozenset[str] | None = None

    @property
    def people(self) -> frozenset[int]:
        """Every editor who may be behind it. Two words are two people's if nobody can be behind both."""
        return self.makers if self.editor_id is None else self.makers | {self.editor_id}

    def must_be(self, role: Role) -> None:
        if self.role.rank < role.rank:
            raise Forbidden(f"This takes the role {role}; {self.name} is a {self.role}.")

    @property
    def is_limited(self) -> bool:
        return self.topics is not None or self.levels is not None

    def must_reach(self, topics: Collection[str], level: str) -> None:
        """Refuses an alert of another topic or level than a key is limited to."""
        if self.levels is not None and level not in self.levels:
            raise Forbidden(f"{self.name} may not touch alerts of the level {level}.")
        if self.topics is None:
            return
        if not topics:  # Its topics were deleted: whose it was is not known any more.
            raise Forbidden(f"{self.name} may not touch alerts that have no topic.")
        if beyond := sorted(set(topics) - self.topics):
            raise Forbidden(f"{self.name} may not touch alerts of the topic {beyond[0]}.")

    def reaches(self, topics: Collection[str], level: str) -> bool:
        try:
            self.must_reach(topics, level)
        except Forbidden:
            return False
        return True

    def must_reach_story(self, topics: Collection[str]) -> None:
        """Refuses a story of another topic than a key is limited to."""
        if self.topics is not None and not self.topics.issuperset(topics):
            beyond = sorted(set(topics) - self.topics)
            raise Forbidden(f"{self.name} may not make an alert of a story of the topic {beyond[0]}.")

    def must_see_all(self, what: str) -> None:
        """Refuses what is about the whole site to a key that is limited to a part of it."""
        if self.is_limited:
            raise Forbidden(f"{self.name} is limited to some topics or levels, and {what} about all of them.")


class Editor(Base):
    __tablename__ = "editors"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)  # In small letters.
    name: Mapped[str] = mapped_column(default="")
    role: Mapped[Role]
    password_hash: Mapped[str | None]  # Argon2; None: signs in by a link or the newsroom's single sign-on only.
    # Other editors who know the password, since they made the link by which it was set, or typed it themselves.
    password_makers: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), default=list, server_default="{}")
    password_set_at: Mapped[datetime | None]
    subject: Mapped[str | None] = mapped_column(unique=True)  # Issuer and subject of the single sign-on.
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    signed_in_at: Mapped[datetime | None]  # Last; None: never yet.


# What mail programs take, not all that RFC 5322 allows (comments, quotes).
EMAIL = re.compile(r"[^\s@\"(),:;<>\[\\\]]+@[^\s@\"(),:;<>\[\\\]]+")
# For so long a password counts as its makers' too. Meanwhile everybody concerned has been told of the link or the new
# account and can object; and a newsroom whose owner invites everybody can work by its rule from the next day on.
SETTLED = timedelta(days=1)
# How exactly "last seen" is kept: writing it at every request would be a write for every glance.
SEEN_EVERY = timedelta(minutes=1)


def hash_of(secret: str) -> bytes:
    """Secrets of ours are long and random, so a plain hash keeps them."""
    return hashlib.sha256(secret.encode()).digest()


def an_email(text: str) -> str:
    """In small letters; a wrong one is refused. Whether it reaches anybody, only a message could tell."""
    email = text.strip().lower()
    # RFC 5321, section 4.5.3.1.3: 256 with the brackets around it.
    if len(email) > 254 or not email.isprintable() or not EMAIL.fullmatch(email):
        raise Refusal("An e-mail address looks like name@example.org.")
    return email


def a_name(text: str) -> str:
    """What people are called on the pages: printable, on one line, and not endless."""
    name = " ".join(text.split())
    if len(name) > 100 or not name.isprintable():
        raise Refusal("A name has at most 100 characters, all of them printable.")
    return name


def an_editor(email: str, *, role: Role, now: datetime, name: str = "") -> Editor:
    return Editor(email=an_email(email), name=a_name(name), role=role, created_at=now)


def set_password(editor: Editor, hashed: str, *, makers: Iterable[int], now: datetime) -> None:
    """`makers`: other editors who know it, as far as we can tell."""
    editor.password_hash = hashed
    editor.password_makers, editor.password_set_at = sorted({*makers} - {editor.id}), now


def makers_of_password(editor: Editor, now: datetime) -> frozenset[int]:
    """Editors who may be signing in with it in this one's place."""
    if editor.password_set_at is None or now >= editor.password_set_at + SETTLED:
        return frozenset()
    return frozenset(editor.password_makers)


async def add_editor(session: AsyncSession, editor: Editor) -> Editor:
    """Store a new one; of two with the same address that come at once, one is refused."""
    try:
        async with session.begin_nested():
            session.add(editor)
    except IntegrityError:
        raise Conflict(f"There is an editor {editor.email} already.") from None
    return editor


async def editor_by_email(session: AsyncSession, email: str, *, lock: bool = False) -> Editor | None:
    query = select(Editor).where(Editor.email == email)
    return await session.scalar(query.with_for_update() if lock else query)


async def by_subject(session: AsyncSession, subject: str) -> Editor | None:
    """Whom the newsroom's single sign-on has vouched for under this name before."""
    return await session.scalar(select(Editor).where(Editor.subject == subject).with_for_update())


async def editor_by_id(session: AsyncSession, editor_id: int, *, lock: bool = False) -> Editor:
    query = select(Editor).where(Editor.id == editor_id)
    found = await session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFound("There is no such editor.")
    return found


async def every_editor(session: AsyncSession) -> Sequence[Editor]:
    return (await session.scalars(select(Editor).order_by(Editor.email))).all()


async def must_leave_an_owner(session: AsyncSession, editor_id: int) -> None:
    """Refuses to take the last owner away: nobody could make another one.

    All owners' rows are locked, so of two who take each other away at the same moment, the second is refused. To be
    asked before the editor's own row is locked: then everybody locks in the same order.
    """
    owners = select(Editor.id).where(Editor.role == Role.OWNER, Editor.disabled_at.is_(None))
    left = (await session.scalars(owners.order_by(Editor.id).with_for_update())).all()
    if list(left) == [editor_id]:
        raise Refusal("This is the last owner. Make somebody else an owner first.")


async def an_owner_has_signed_in(session: AsyncSession) -> bool:
    """Until one has, whoever set this newsroom up may still become its first owner."""
    owner = select(Editor.id).where(
        Editor.role == Role.OWNER, Editor.disabled_at.is_(None), Editor.signed_in_at.is_not(None)
    )
    return await session.scalar(owner.limit(1)) is not None
