"""What a route is given."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app import clock
from app.database import Sessions, transaction
from app.domain.api_keys import actor_of_key
from app.domain.editors import Actor, Role
from app.domain.proofs import Proofs
from app.domain.refusals import Forbidden, Unauthenticated
from app.domain.sign_ins import actor_of_session
from app.domain.subscriptions import Browser, a_browser
from app.known_browsers import KnownBrowsers
from app.oidc import SingleSignOn
from app.passwords import Passwords
from app.receipt_box import ReceiptBox
from app.settings import Settings
from app.streams import Streams

STATIC = Path(__file__).parent.parent / "static"


@dataclass(frozen=True)
class Site:
    """This newsroom's service: built once by create_app, the same for every request."""

    settings: Settings
    sessions: Sessions
    vapid_public_key: str
    vapid_key_id: str
    sign_on: SingleSignOn | None = None
    passwords: Passwords = field(default_factory=Passwords)
    streams: Streams = field(default_factory=Streams)
    receipts: ReceiptBox = field(default_factory=ReceiptBox)
    # Addresses that are being looked at for somebody: each holds a request and a worker's place.
    questions: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(10))
    # Under which addresses are counted that guess at passwords: it dies with the process, and with it what they mean.
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    proofs: Proofs = field(default_factory=lambda: Proofs(secrets.token_bytes(32)))
    known_browsers: KnownBrowsers = field(default_factory=lambda: KnownBrowsers(secrets.token_bytes(32)))
    # Under which attempts at single sign-on are signed: no stranger can make one up.
    attempts_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def browser(self, *, endpoint: str, p256dh: str, auth: str) -> Browser:
        """Checked against the push services that this site sends to."""
        return a_browser(
            endpoint=endpoint,
            p256dh=p256dh,
            auth=auth,
            extra_hosts=self.settings.push_hosts,
            plain_http=self.settings.allow_private_addresses,
        )


# FastAPI sends what is not async to a thread, which costs every request more than the thing itself.
async def _site(request: Request) -> Site:
    return cast(Site, request.app.state.site)


_bearer = HTTPBearer(
    auto_error=False, scheme_name="reader key", description="The key that subscribing returned; the browser keeps it."
)


def _shown_key(shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str | None:
    return shown.credentials if shown else None


def _needed_key(shown: Annotated[str | None, Depends(_shown_key)]) -> str:
    if shown is None:
        raise Unauthenticated("This needs the key that subscribing returned, as Authorization: Bearer.")
    return shown


HereSite = Annotated[Site, Depends(_site)]
ShownKey = Annotated[str | None, Depends(_shown_key)]
ReaderKey = Annotated[str, Depends(_needed_key)]

# --- the desk -------------------------------------------------------------------------------------------------------

SAFE = {"GET", "HEAD", "OPTIONS"}


def session_cookie(settings: Settings) -> str:
    """Its name. Behind HTTPS the prefix makes browsers refuse one that another host or a plain page has set."""
    return "__Host-newsbell" if settings.site_url.startswith("https://") else "newsbell"


def must_be_own_origin(request: Request, settings: Settings) -> None:
    """A browser sends its cookie along whoever's page makes the request; the Origin says whose it is."""
    parts = urlsplit(settings.site_url)
    own = {f"{parts.scheme}://{parts.netloc}", f"{request.url.scheme}://{request.headers.get('host', '')}"}
    if request.headers.get("origin") not in own:
        raise Forbidden("This request did not come from the desk's own pages, so nothing was changed.")


_desk_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="desk key",
    description="An API key, which an owner makes at the desk. The desk's own pages use a session cookie instead.",
)


async def _actor(
    request: Request,
    here: HereSite,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_desk_bearer)],
) -> Actor:
    shown = _shown_key(credentials)
    now, cookie = clock.now(), request.cookies.get(session_cookie(here.settings))
    if shown is None and cookie and request.method not in SAFE:
        must_be_own_origin(request, here.settings)
    async with transaction(here.sessions) as session:
        if shown is not None:
            actor = await actor_of_key(session, shown, now)
        else:
            actor = await actor_of_session(session, cookie, now) if cookie else None
    if actor is None:
        raise Unauthenticated("Sign in at the desk, or show an API key, as Authorization: Bearer.")
    return actor


def _at_least(role: Role) -> Callable[[Actor], Awaitable[Actor]]:
    async def check(actor: Annotated[Actor, Depends(_actor)]) -> Actor:
        actor.must_be(role)
        return actor

    return check


# The scopes only write the role into /openapi.json, from where /docs has it.
WriterActor = Annotated[Actor, Security(_at_least(Role.WRITER), scopes=[Role.WRITER.value])]
EditorActor = Annotated[Actor, Security(_at_least(Role.EDITOR), scopes=[Role.EDITOR.value])]
OwnerActor = Annotated[Actor, Security(_at_least(Role.OWNER), scopes=[Role.OWNER.value])]
