"""Sign-ins: the browsers in which editors are signed in, and links that sign somebody in once."""

import secrets
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, ColumnElement, ForeignKey, Identity, LargeBinary, delete, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, joinedload, mapped_column, relationship

from app.domain.base import Base
from app.domain.editors import SEEN_EVERY, Actor, Editor, hash_of
from app.domain.refusals import NotFound, Unauthenticated

# A shift and its overtime, but not the night: whoever leaves the desk without signing out is out by the next morning.
IDLE = timedelta(hours=12)
# Somebody who never leaves proves who they are once a month, and no stolen cookie outlives that.
LONGEST = timedelta(days=30)
LINK_LIFE = timedelta(hours=24)
SPENT = "This link was used already, or is too old. Ask for another one."

# The first mark that is there names it: every browser claims to be most of the others as well.
BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
SYSTEMS = (
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


class EditorSession(Base):
    """A browser in which an editor is signed in."""

    __tablename__ = "editor_sessions"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)  # Of the cookie's secret.
    editor_id: Mapped[int] = mapped_column(ForeignKey("editors.id", ondelete="CASCADE"), index=True)
    about: Mapped[str]  # Which browser, in words: "Firefox on Linux".
    # Other editors who may sit there: who made the link by which it was opened, or knew the password.
    makers: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), default=list, server_default="{}")
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
    # The editor who made it, and whoever may have been in their place; nobody: made by a command at the server.
    makers: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), default=list, server_default="{}")
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


def expiry(created_at: datetime, now: datetime) -> datetime:
    """When a session ends that was last seen now."""
    return min(now + IDLE, created_at + LONGEST)


def browser_in_words(user_agent: str) -> str:
    """Enough for people to tell their own browsers apart."""
    browser = next((name for mark, name in BROWSERS if mark in user_agent), "A browser")
    system = next((name for mark, name in SYSTEMS if mark in user_agent), "")
    return f"{browser} on {system}" if system else browser


def open_session(
    session: AsyncSession, editor: Editor, *, about: str, now: datetime, makers: Collection[int] = ()
) -> tuple[EditorSession, str]:
    """Sign somebody in who has proven who they are: the session, and the secret for the cookie, new each time.

    `makers`: other editors who could have shown the same proof.
    """
    secret = secrets.token_urlsafe(32)
    opened = EditorSession(
        key_hash=hash_of(secret),
        editor=editor,
        about=about,
        makers=sorted({*makers} - {editor.id}),
        created_at=now,
        seen_at=now,
        expires_at=expiry(now, now),
    )
    editor.signed_in_at = now
    session.add(opened)
    return opened, secret


async def session_of(session: AsyncSession, secret: str, now: datetime) -> EditorSession | None:
    """The session of this cookie with its editor; None if there is none (any more)."""
    query = select(EditorSession).where(EditorSession.key_hash == hash_of(secret), EditorSession.expires_at > now)
    found = await session.scalar(query.options(joinedload(EditorSession.editor)))
    return None if found is None or found.editor.disabled_at is not None else found


async def session_by_id(session: AsyncSession, session_id: int) -> EditorSession | None:
    query = select(EditorSession).where(EditorSession.id == session_id)
    return await session.scalar(query.options(joinedload(EditorSession.editor)))


async def actor_of_session(session: AsyncSession, secret: str, now: datetime) -> Actor | None:
    """Who is signed in with this cookie; None if nobody is (any more)."""
    found = await session_of(session, secret, now)
    if found is None:
        return None
    if now - found.seen_at > SEEN_EVERY:
        # By a statement of its own: a session that is ended at the same moment is no error.
        seen = update(EditorSession).where(EditorSession.id == found.id)
        await session.execute(seen.values(seen_at=now, expires_at=expiry(found.created_at, now)))
    return Actor(
        found.editor.email,
        found.editor.role,
        editor_id=found.editor_id,
        session_id=found.id,
        makers=frozenset(found.makers),
    )


async def still_signed_in(session: AsyncSession, session_ids: Iterable[int]) -> set[int]:
    """Those of these sessions that are good now, by the database's time."""
    of = EditorSession
    query = select(of.id).join(of.editor).where(of.id.in_(session_ids), of.expires_at > func.now())
    return set(await session.scalars(query.where(Editor.disabled_at.is_(None))))


async def sessions_of_editor(session: AsyncSession, editor_id: int, now: datetime) -> Sequence[EditorSession]:
    """Where this editor is signed in; the last seen first."""
    query = select(EditorSession).where(EditorSession.editor_id == editor_id, EditorSession.expires_at > now)
    return (await session.scalars(query.order_by(EditorSession.seen_at.desc(), EditorSession.id))).all()


async def end_session(session: AsyncSession, editor_id: int, session_id: int) -> EditorSession:
    """One of the editor's own."""
    query = delete(EditorSession).where(EditorSession.id == session_id, EditorSession.editor_id == editor_id)
    ended: EditorSession | None = await session.scalar(query.returning(EditorSession))
    if ended is None:
        raise NotFound("You are not signed in there (any more).")
    return ended


async def end_session_of(session: AsyncSession, secret: str) -> None:
    """Of the browser that shows this cookie, if it has one."""
    await session.execute(delete(EditorSession).where(EditorSession.key_hash == hash_of(secret)))


async def end_sessions(session: AsyncSession, editor_id: int, *, but: int | None = None) -> int:
    """All of the editor's, or all but one: how many there were."""
    query = delete(EditorSession).where(EditorSession.editor_id == editor_id)
    if but is not None:
        query = query.where(EditorSession.id != but)
    return len((await session.scalars(query.returning(EditorSession.id))).all())


async def make_link(
    session: AsyncSession, editor: Editor | None, now: datetime, *, makers: Collection[int] = ()
) -> str:
    """The secret of a link that signs this editor in once, or (None) makes the first owner.

    Whoever asks for another one has lost the one before, so that one ends. `makers`: who has the link in their hands.
    """
    await end_links(session, editor.id if editor else None)
    secret = secrets.token_urlsafe(32)
    link = SignInLink(
        key_hash=hash_of(secret),
        editor_id=editor.id if editor else None,
        makers=sorted(makers),
        expires_at=now + LINK_LIFE,
    )
    session.add(link)
    return secret


def link_address(site_url: str, secret: str) -> str:
    """Behind the #: browsers keep that to themselves, so it is in no server's log and no Referer."""
    return f"{site_url}/desk#link={secret}"


async def end_links(session: AsyncSession, editor_id: int | None) -> None:
    theirs = SignInLink.editor_id.is_(None) if editor_id is None else SignInLink.editor_id == editor_id
    await session.execute(delete(SignInLink).where(theirs, SignInLink.used_at.is_(None)))


async def link_of(session: AsyncSession, secret: str, now: datetime) -> SignInLink:
    """A link that can be used; looking at it does not use it up."""
    found = await session.scalar(select(SignInLink).where(*_usable(secret, now)))
    if found is None:
        raise Unauthenticated(SPENT)
    return found


async def use_link(session: AsyncSession, secret: str, now: datetime) -> frozenset[int]:
    """Who made it. Of two who use it at once, one is let in."""
    used = update(SignInLink).where(*_usable(secret, now)).values(used_at=now).returning(SignInLink.makers)
    makers = await session.scalar(used)
    if makers is None:
        raise Unauthenticated(SPENT)
    return frozenset(makers)


def _usable(secret: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return SignInLink.key_hash == hash_of(secret), SignInLink.used_at.is_(None), SignInLink.expires_at > now


async def disable(session: AsyncSession, editor: Editor, now: datetime) -> int:
    """Nobody is deleted, for the audit names them. In how many browsers the editor was signed in."""
    editor.disabled_at = editor.disabled_at or now
    await end_links(session, editor.id)
    return await end_sessions(session, editor.id)


async def count_sessions(session: AsyncSession, now: datetime) -> dict[int, int]:
    """In how many browsers each editor is signed in."""
    of = EditorSession
    rows = await session.execute(select(of.editor_id, func.count()).where(of.expires_at > now).group_by(of.editor_id))
    return {editor_id: count for editor_id, count in rows}


async def forget(session: AsyncSession, now: datetime) -> None:
    """Sessions and links that are over; what somebody else is just ending needs nobody to wait for it."""
    of, links = EditorSession, SignInLink
    over = select(of.id).where(of.expires_at < now).with_for_update(skip_locked=True)
    await session.execute(delete(of).where(of.id.in_(over)))
    spent = select(links.key_hash).where(links.expires_at < now - LINK_LIFE).with_for_update(skip_locked=True)
    await session.execute(delete(links).where(links.key_hash.in_(spent)))
