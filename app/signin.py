"""Signing in at the desk and out again, and what of it belongs to one person: browsers, sessions, the password."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from app import admission, clock
from app.admission import Admitted, Visitor
from app.context import STATIC, HereSite, Site, WriterActor, must_be_own_origin, session_cookie
from app.database import transaction
from app.domain import audit, own_browsers, sign_ins
from app.domain.audit import AuditEntry
from app.domain.decisions import UNDO
from app.domain.editors import Actor, Editor, Role, a_name, an_owner_has_signed_in
from app.domain.refusals import Forbidden, NotFound, Refusal, TooMany, Unauthenticated
from app.domain.sign_ins import LONGEST, EditorSession, browser_in_words
from app.domain.subscriptions import keep_without_topics
from app.domain.time_zones import a_browsers_zone
from app.editor_shapes import (
    BrowserIn,
    BrowserOut,
    NewPasswordIn,
    NewsroomOut,
    RulesOut,
    SessionOut,
    SignedInListOut,
    SignInIn,
    SignInOut,
    SingleSignOnOut,
    TwoPeopleOut,
    browser_out,
    me_out,
    note_out,
    signed_in_out,
)
from app.known_browsers import LIFE
from app.oidc import CALLBACK, PATIENCE, Attempt, BeginAgain, BrokenOff, ProviderTrouble, SingleSignOn
from app.once import Once
from app.shapes import problems

log = logging.getLogger("newsbell.signin")

router = APIRouter(tags=["signing in"])
START = "/api/oidc/start"
NOTED = timedelta(days=7)  # for which it stands at the desk who was let in
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]


class Person(NamedTuple):
    """Somebody who is signed in with a browser: programs have no password, no sessions and no browsers."""

    actor: Actor
    editor_id: int
    session_id: int


async def _person(actor: WriterActor) -> Person:
    if actor.editor_id is None or actor.session_id is None:
        raise Forbidden("This takes a person who is signed in; a key does not reach so far.")
    return Person(actor, actor.editor_id, actor.session_id)


SignedIn = Annotated[Person, Depends(_person)]


@router.get("/desk", include_in_schema=False)
@router.get("/desk/sign-in", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(STATIC / "desk.html")


@router.get("/api/sign-in")
async def ways_in(here: HereSite) -> SignInOut:
    """How one signs in here. Open to everybody."""
    async with transaction(here.sessions) as session:
        owned = await an_owner_has_signed_in(session)
    sign_on = SingleSignOnOut(name=here.settings.oidc_name, url=START) if here.sign_on else None
    return SignInOut(password=True, single_sign_on=sign_on, first_owner=not owned)


@router.get("/api/session", responses=problems(401, 403))
async def who_am_i(here: HereSite, person: SignedIn) -> SessionOut:
    """Who is signed in, in which of their browsers tests ring, and the rules of the house."""
    async with transaction(here.sessions) as session:
        return await _session_out(here, session, await _own_session(session, person))


@router.post("/api/session", responses=problems(401, 403, 409, 413, 422, 429))
async def sign_in(here: HereSite, request: Request, response: Response, wish: SignInIn) -> SessionOut:
    """Sets the session's cookie. What does not fit is one sentence, which does not say what of it was wrong."""
    if "origin" in request.headers:  # A foreign page must not sign somebody in as somebody else, unnoticed.
        must_be_own_origin(request, here.settings)
    visitor = _visitor(here, request)
    if wish.link is not None:
        admitted = await admission.by_link(here, visitor, wish.link, email=wish.email, password=wish.password)
    elif wish.email is not None and wish.password is not None:
        admitted = await admission.by_password(here, visitor, wish.email, wish.password)
    else:
        raise Refusal("Signing in takes an e-mail address and its password, or a link.")
    _hand_over(here, response, admitted)
    async with transaction(here.sessions) as session:
        return await _session_out(here, session, admitted.session)


@router.delete("/api/session", status_code=204, responses=problems(401, 403))
async def sign_out(here: HereSite, person: SignedIn, response: Response) -> None:
    """The session is over here and at the server."""
    await end(here, person, person.session_id)
    _take_away(here, response, session_cookie(here.settings))


@router.get("/api/sessions", responses=problems(401, 403))
async def sessions(here: HereSite, person: SignedIn) -> SignedInListOut:
    """The browsers in which one is signed in."""
    async with transaction(here.sessions) as session:
        found = await sign_ins.sessions_of_editor(session, person.editor_id, clock.now())
    return SignedInListOut(items=[signed_in_out(one, current=one.id == person.session_id) for one in found])


@router.delete("/api/sessions/{id}", status_code=204, responses=problems(401, 403, 404, 422))
async def end(here: HereSite, person: SignedIn, id: Id) -> None:
    """Sign oneself out somewhere else."""
    async with transaction(here.sessions) as session:
        ended = await sign_ins.end_session(session, person.editor_id, id)
        _note(session, person, "session.end", browser=ended.about)


@router.post("/api/session/password", status_code=204, responses=problems(401, 403, 409, 413, 422, 429))
async def new_password(here: HereSite, person: SignedIn, wish: NewPasswordIn) -> None:
    """Everywhere else one is signed out by it."""
    await admission.change_password(here, person.editor_id, person.session_id, old=wish.old, new=wish.new)


@router.post("/api/session/browsers", status_code=201, responses=problems(401, 403, 409, 413, 422))
async def add_browser(here: HereSite, person: SignedIn, request: Request, once: Once, wish: BrowserIn) -> BrowserOut:
    """This browser becomes one's own: tests ring here, and requests to approve. It need not follow any topic."""
    browser = here.browser(endpoint=wish.subscription.endpoint, **wish.subscription.keys.model_dump())
    name = a_name(wish.name) or browser_in_words(request.headers.get("user-agent", ""))
    time_zone, language = a_browsers_zone(wish.time_zone, here.settings.time_zone), wish.language

    async def work(session: AsyncSession) -> BrowserOut:
        stored = await keep_without_topics(
            session, browser, time_zone=time_zone, language=language, vapid_key_id=here.vapid_key_id, now=once.now
        )
        kept = await own_browsers.keep(session, person.editor_id, stored, name=name, now=once.now)
        _note(session, person, "browser.add", browser=name)
        return browser_out(kept)

    return await once(person.actor, BrowserOut, work)


@router.delete("/api/session/browsers/{id}", status_code=204, responses=problems(401, 403, 404, 422))
async def remove_browser(here: HereSite, person: SignedIn, id: Id) -> None:
    """No tests ring there any more."""
    async with transaction(here.sessions) as session:
        name = await own_browsers.let_go(session, person.editor_id, id)
        _note(session, person, "browser.remove", browser=name)


@router.get(START, include_in_schema=False)
async def sign_on(here: HereSite) -> RedirectResponse:
    """Off to the newsroom's own provider."""
    attempt = Attempt.begin()
    try:
        answer = RedirectResponse(await _sign_on_of(here).begin(attempt), 302)
    except ProviderTrouble as trouble:
        return _back(trouble)
    kept = attempt.signed(here.attempts_key, clock.now())
    _set(here, answer, _attempt_cookie(here), kept, int(PATIENCE.total_seconds()))
    return answer


@router.get(CALLBACK, include_in_schema=False)
async def signed_on(here: HereSite, request: Request) -> RedirectResponse:
    """Back from there. What went wrong is one word behind the address: the page has the sentence."""
    name, provider = _attempt_cookie(here), _sign_on_of(here)
    try:
        attempt = Attempt.read(request.cookies.get(name, ""), here.attempts_key, clock.now())
        attempt.code(request.query_params)  # or nobody is asked
        finish = partial(provider.finish, attempt, request.query_params)
        admitted = await admission.by_sign_on(here, _visitor(here, request), finish)
    except Refusal as refusal:
        answer = _back(refusal)
    else:
        answer = RedirectResponse("/desk", 302)
        _hand_over(here, answer, admitted)
    _take_away(here, answer, name)
    return answer


def _back(refusal: Refusal) -> RedirectResponse:
    match refusal:
        case ProviderTrouble():
            log.warning("Single sign-on: %s", refusal)
            behind = "#sign-in=unreachable"
        case BeginAgain():
            behind = "#sign-in=again"
        case BrokenOff():
            behind = ""
        case TooMany():
            behind = "#sign-in=slower"
        case _:
            behind = "#sign-in=refused"
    return RedirectResponse(f"/desk{behind}", 302)


def _sign_on_of(here: Site) -> SingleSignOn:
    if here.sign_on is None:
        raise NotFound("This newsroom has no single sign-on.")
    return here.sign_on


def _visitor(here: Site, request: Request) -> Visitor:
    return Visitor(
        about=browser_in_words(request.headers.get("user-agent", "")),
        address=request.client.host if request.client else "",
        previous=request.cookies.get(session_cookie(here.settings)),
        known=here.known_browsers.read(request.cookies.get(_known_cookie(here))),
    )


def _attempt_cookie(here: Site) -> str:
    return session_cookie(here.settings) + "-sign-on"


def _known_cookie(here: Site) -> str:
    return session_cookie(here.settings) + "-known"


def _hand_over(here: Site, response: Response, admitted: Admitted) -> None:
    """How long it is good for is the server's to say; no browser needs it after that."""
    _set(here, response, session_cookie(here.settings), admitted.secret, int(LONGEST.total_seconds()))
    _set(here, response, _known_cookie(here), admitted.known_browser, int(LIFE.total_seconds()))


def _set(here: Site, response: Response, name: str, value: str, seconds: int) -> None:
    """Lax, not Strict: whoever follows a link to the desk from an e-mail is signed in there. It changes nothing."""
    secure = here.settings.site_url.startswith("https://")
    response.set_cookie(name, value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="lax")


def _take_away(here: Site, response: Response, name: str) -> None:
    _set(here, response, name, "", 0)


def _note(session: AsyncSession, person: Person, action: str, **detail: str) -> None:
    name = person.actor.name
    audit.note(session, clock.now(), actor=name, action=action, subject=name, **detail)


async def _own_session(session: AsyncSession, person: Person) -> EditorSession:
    found = await sign_ins.session_by_id(session, person.session_id)
    if found is None:  # ended since it was let in
        raise Unauthenticated("You were signed out.")
    return found


async def _notes(session: AsyncSession, editor: Editor) -> Sequence[AuditEntry]:
    owner = editor.role is Role.OWNER
    return await audit.notes_for(session, editor.email, owner=owner, since=clock.now() - NOTED)


async def _session_out(here: Site, session: AsyncSession, signed_in: EditorSession) -> SessionOut:
    settings, editor = here.settings, signed_in.editor
    two_people = TwoPeopleOut(levels=list(settings.two_people_levels), audience=settings.two_people_audience or None)
    return SessionOut(
        editor=me_out(editor),
        has_password=editor.password_hash is not None,
        expires_at=signed_in.expires_at,
        browsers=[browser_out(one) for one in await own_browsers.browsers_of(session, editor.id)],
        rules=RulesOut(undo_seconds=int(UNDO.total_seconds()), two_people=two_people),
        site=NewsroomOut(name=settings.site_name, time_zone=settings.time_zone),
        now=clock.now(),
        notes=[note_out(entry, editor.email) for entry in await _notes(session, editor)],
    )
