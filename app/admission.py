"""Admission: who comes in at the desk, by a password, by a link or by the newsroom's single sign-on."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address

from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.context import Site
from app.database import transaction
from app.domain import audit, guesses, sign_ins
from app.domain.editors import (
    Editor,
    Role,
    add_editor,
    an_editor,
    an_email,
    an_owner_has_signed_in,
    by_subject,
    editor_by_email,
    editor_by_id,
    makers_of_password,
    set_password,
)
from app.domain.guesses import Guesser
from app.domain.refusals import Conflict, Forbidden, Refusal, TooMany, Unauthenticated
from app.domain.sign_ins import EditorSession, open_session
from app.known_browsers import NOBODY, KnownBrowser
from app.oidc import Identity
from app.passwords import a_password

# One sentence for all of it: whoever guesses learns neither which addresses there are nor who is shut out.
WRONG = "This e-mail address and password open nothing here."
ACCOUNTS_WAIT, ADDRESSES_WAIT = timedelta(minutes=1), timedelta(minutes=15)
# Since when one must be signed in to do without the password that one has not got.
JUST = timedelta(minutes=10)


@dataclass(frozen=True)
class Visitor:
    """What of a request matters when somebody signs in."""

    about: str  # The browser, in words.
    address: str  # Used under a keyed hash and not kept.
    previous: str | None = None  # Secret of the session that this browser had until now.
    known: KnownBrowser | None = None


@dataclass(frozen=True)
class Admitted:
    session: EditorSession
    secret: str
    known_browser: str  # The cookie by which this browser is known from now on.


async def by_password(here: Site, visitor: Visitor, email: str, password: str) -> Admitted:
    charged = await _charge(here, visitor, _account(email))
    async with transaction(here.sessions) as session:
        editor = await editor_by_email(session, _folded(email))
    kept = editor.password_hash if editor and editor.disabled_at is None else None
    # Outside of any transaction: it takes a while, on purpose.
    apart = here.known_browsers.has_seen(visitor.known, _account(email).name)
    if not await here.passwords.fits(password, kept, apart=apart) or editor is None or kept is None:
        await _note_refusal(here, visitor, email, by="password")
        raise Unauthenticated(WRONG)
    fresh = await here.passwords.hash(password) if here.passwords.is_outdated(kept) else kept
    async with transaction(here.sessions) as session:
        editor = await editor_by_id(session, editor.id, lock=True)
        if editor.disabled_at is not None or editor.password_hash != kept:  # in the meantime
            raise Unauthenticated(WRONG)
        editor.password_hash = fresh
        await guesses.pardon(session, charged)
        return await _admit(here, session, editor, visitor, by="password", makers=makers_of_password(editor, _now()))


async def by_link(here: Site, visitor: Visitor, link: str, *, email: str | None, password: str | None) -> Admitted:
    """With a password, that is the editor's from now on; the first owner needs one."""
    charged = await _charge(here, visitor)
    try:
        async with transaction(here.sessions) as session:
            whose = await _whose(session, link, email)
        hashed = None
        if password:
            hashed = await here.passwords.hash(a_password(password, email=whose.email))
        elif whose.id is None:
            raise Refusal("Choose a password as well: it is how you come in the next time.")
        async with transaction(here.sessions) as session:
            admitted = await _through(here, session, visitor, link, whose, hashed)
            await guesses.pardon(session, charged)
            return admitted
    except Unauthenticated:
        await _note_refusal(here, visitor, "", by="link")
        raise


async def by_sign_on(here: Site, visitor: Visitor, ask: Callable[[], Awaitable[Identity]]) -> Admitted:
    """An editor, known by the provider's name for them or (once) by their address; or anybody of a domain of ours.

    Asking the provider is charged like a guess: nobody makes us ask it again and again.
    """
    charged = await _charge(here, visitor)
    who = await ask()
    try:
        async with transaction(here.sessions) as session:
            editor = await by_subject(session, who.subject) or await _met_first(here, session, who)
            if editor.disabled_at is not None:
                raise Forbidden("This editor may not sign in any more.")
            await guesses.pardon(session, charged)
            return await _admit(here, session, editor, visitor, by="single sign-on")
    except Forbidden:
        await _note_refusal(here, visitor, who.email, by="single sign-on")
        raise


async def change_password(here: Site, editor_id: int, session_id: int, *, old: str, new: str) -> None:
    """Whoever has a password shows it: a browser that was left open must not be enough to take an account over."""
    charged = {Guesser(hashlib.sha256(f"signed in {editor_id}".encode()).digest(), ADDRESSES_WAIT, is_cleared=True)}
    async with transaction(here.sessions) as session:
        editor = await editor_by_id(session, editor_id)
        if editor.password_hash is None:
            await _must_have_just_signed_in(session, session_id)
        await guesses.charge(session, charged, _now())
    kept = editor.password_hash
    if kept is not None and not await here.passwords.fits(old, kept):
        raise Refusal("The old password is not right.")
    hashed = await here.passwords.hash(a_password(new, email=editor.email))
    async with transaction(here.sessions) as session:
        editor = await editor_by_id(session, editor_id, lock=True)
        if editor.password_hash != kept:
            raise Conflict("The password was changed elsewhere at the same moment. Sign in with that one.")
        await guesses.pardon(session, charged)
        makers = await _makers_of_next(session, editor, session_id)
        await _set_password(session, editor, hashed, makers=makers, but=session_id)


async def _makers_of_next(session: AsyncSession, editor: Editor, session_id: int) -> frozenset[int]:
    """Whoever may know the password that was shown may be the one who sets the next; without one, who may sit here."""
    if editor.password_hash is not None:
        return makers_of_password(editor, _now())
    signed_in = await sign_ins.session_by_id(session, session_id)
    return frozenset(signed_in.makers if signed_in else ())


async def _must_have_just_signed_in(session: AsyncSession, session_id: int) -> None:
    """Who has no password has shown a link, or the provider's word. That is asked for again, for the same reason."""
    signed_in = await sign_ins.session_by_id(session, session_id)
    if signed_in is None or signed_in.created_at < _now() - JUST:
        minutes = int(JUST.total_seconds() / 60)
        raise Forbidden(
            f"To set a first password, sign in anew, by a link or single sign-on, and set it within {minutes} minutes."
        )


def _now() -> datetime:
    return clock.now()


def _folded(email: str) -> str:
    """As it would be stored; what is no address at all finds nobody."""
    try:
        return an_email(email)
    except Refusal:
        return ""


async def _charge(here: Site, visitor: Visitor, account: Guesser | None = None) -> set[Guesser]:
    """Count a guess: of a browser that we know by itself, so that strangers' guesses do not keep its owner out.

    When the browser has used up its own (perhaps somebody has stolen its cookie), it is a stranger like any other.
    """
    budgets = [{account, _address(here, visitor)} if account else {_address(here, visitor)}]
    if visitor.known and (account is None or here.known_browsers.has_seen(visitor.known, account.name)):
        name = visitor.known.budget(account.name if account else NOBODY)
        budgets.insert(0, {Guesser(name, ADDRESSES_WAIT, is_cleared=account is not None)})
    for budget in budgets:
        try:
            async with transaction(here.sessions) as session:
                await guesses.charge(session, budget, _now())
        except TooMany:
            if budget is budgets[-1]:
                raise
        else:
            return budget
    raise AssertionError("the last budget was charged or refused")


def _account(email: str) -> Guesser:
    name = hashlib.sha256(f"account {_folded(email)}".encode()).digest()
    return Guesser(name, ACCOUNTS_WAIT, is_cleared=True)


def _address(here: Site, visitor: Visitor) -> Guesser:
    """Of IPv6, the network: providers give a customer up to a /56, which is 2⁷² addresses (RFC 6177)."""
    try:
        address = ip_address(visitor.address)
    except ValueError:
        named = visitor.address.encode()
    else:
        named = address.packed[:7] if isinstance(address, IPv6Address) and not address.ipv4_mapped else address.packed
    return Guesser(hmac.digest(here.secret, b"address " + named, "sha256"), ADDRESSES_WAIT)


async def _note_refusal(here: Site, visitor: Visitor, email: str, *, by: str) -> None:
    """What is no e-mail address is not written down: people type their password into the wrong field."""
    async with transaction(here.sessions) as session:
        detail = {"by": by, "browser": visitor.about}
        audit.note(session, _now(), actor="newsbell", action="session.refused", subject=_folded(email), **detail)


async def _admit(
    here: Site, session: AsyncSession, editor: Editor, visitor: Visitor, *, by: str, makers: Collection[int] = ()
) -> Admitted:
    now = _now()
    await sign_ins.forget(session, now)
    await guesses.forget(session, now)
    if visitor.previous:
        await sign_ins.end_session_of(session, visitor.previous)
    opened, secret = open_session(session, editor, about=visitor.about, now=now, makers=makers)
    audit.note(
        session, now, actor=editor.email, action="session.open", subject=editor.email, by=by, browser=visitor.about
    )
    await session.flush()
    return Admitted(opened, secret, here.known_browsers.remember(visitor.known, _account(editor.email).name))


async def _whose(session: AsyncSession, link: str, email: str | None) -> Editor:
    """Whom the link lets in. One without an id is the first owner, who is nobody yet."""
    found = await sign_ins.link_of(session, link, _now())
    if found.editor_id is not None:
        return await editor_by_id(session, found.editor_id)
    if await an_owner_has_signed_in(session):
        raise Conflict("This newsroom has an owner already, who can invite you.")
    if not email:
        raise Refusal("Say by which e-mail address you will sign in.")
    return an_editor(email, role=Role.OWNER, now=_now())


async def _through(
    here: Site, session: AsyncSession, visitor: Visitor, link: str, whose: Editor, hashed: str | None
) -> Admitted:
    makers = await sign_ins.use_link(session, link, _now())
    if whose.id is None:
        editor = await _first_owner(session, whose.email)
    else:
        editor = await editor_by_id(session, whose.id, lock=True)
        if editor.disabled_at is not None:
            raise Unauthenticated(sign_ins.SPENT)
    audit.note(session, _now(), actor=editor.email, action="link.used", subject=editor.email)
    if hashed is not None:
        await _set_password(session, editor, hashed, makers=makers)
    return await _admit(here, session, editor, visitor, by="link", makers=makers)


async def _first_owner(session: AsyncSession, email: str) -> Editor:
    """Whoever has this link has the terminal of the server, so an editor of this address becomes the owner as well."""
    editor = await editor_by_email(session, email, lock=True)
    if editor is None:
        editor = await add_editor(session, an_editor(email, role=Role.OWNER, now=_now()))
    editor.role, editor.disabled_at = Role.OWNER, None
    audit.note(session, _now(), actor=email, action="editor.add", subject=email, role=Role.OWNER, first_owner=True)
    return editor


async def _set_password(
    session: AsyncSession, editor: Editor, hashed: str, *, makers: Collection[int], but: int | None = None
) -> None:
    """Whoever came in by the old one is out, and so is a link that may be lying about."""
    set_password(editor, hashed, makers=makers, now=_now())
    ended = await sign_ins.end_sessions(session, editor.id, but=but)
    await sign_ins.end_links(session, editor.id)
    audit.note(
        session,
        _now(),
        actor=editor.email,
        action="editor.change",
        subject=editor.email,
        password=True,
        sessions_ended=ended,
    )


async def _met_first(here: Site, session: AsyncSession, who: Identity) -> Editor:
    editor = await editor_by_email(session, who.email, lock=True)
    if editor is not None:
        if editor.subject is not None:
            # An address that passed from one person to the next must not pass the account on as well.
            raise Forbidden("Another person has signed in with this e-mail address before.")
        editor.subject = who.subject
        return editor
    if who.email.rpartition("@")[2] not in here.settings.oidc_domains:
        raise Forbidden("Nobody here knows this e-mail address. An owner can add it.")
    editor = an_editor(who.email, role=Role.WRITER, name=who.name, now=_now())
    editor.subject = who.subject
    audit.note(
        session,
        _now(),
        actor="newsbell",
        action="editor.add",
        subject=editor.email,
        role=editor.role,
        by="single sign-on",
    )
    return await add_editor(session, editor)
