"""What a route is given."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.database import Sessions
from app.domain.refusals import Unauthenticated
from app.settings import Settings

STATIC = Path(__file__).parent.parent / "static"


@dataclass(frozen=True)
class Site:
    """This newsroom's service: built once by create_app, the same for every request."""

    settings: Settings
    sessions: Sessions
    vapid_public_key: str
    vapid_key_id: str


def _site(request: Request) -> Site:
    return cast(Site, request.app.state.site)


_bearer = HTTPBearer(auto_error=False, description="The key that subscribing returned; the browser keeps it.")


def _shown_key(shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str | None:
    return shown.credentials if shown else None


def _needed_key(shown: Annotated[str | None, Depends(_shown_key)]) -> str:
    if shown is None:
        raise Unauthenticated("This needs the key that subscribing returned, as Authorization: Bearer.")
    return shown


HereSite = Annotated[Site, Depends(_site)]
ShownKey = Annotated[str | None, Depends(_shown_key)]
ReaderKey = Annotated[str, Depends(_needed_key)]
