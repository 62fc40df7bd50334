"""The web application: wiring, error → HTTP table, headers, static files."""

import asyncio
import math
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

import psycopg
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import (
    alerts,
    bell,
    clock,
    database,
    desk,
    docs,
    feeds,
    heart,
    links,
    live,
    people,
    preferences,
    prompt,
    queue,
    reports,
    signin,
)
from app.context import SAFE, STATIC, Site
from app.cookies import only_ours
from app.domain.proofs import Proofs
from app.domain.refusals import Conflict, Forbidden, NotFound, Refusal, TooMany, Unauthenticated, Unavailable
from app.known_browsers import KnownBrowsers
from app.logs import speak
from app.oidc import SingleSignOn
from app.outage import Outage, trouble_of
from app.readiness import Readiness
from app.settings import Settings, read_settings
from app.streams import Streams
from app.supervisor import hold_lifeline, refusals_end_it
from app.vapid import RECEIPTS, load_key

# The most specific first; the domain knows nothing of HTTP.
HTTP_STATUS: dict[type[Exception], int] = {Unauthenticated: 401, Forbidden: 403, NotFound: 404} | {
    Conflict: 409,
    TooMany: 429,
    Unavailable: 503,
    Refusal: 422,
}

LARGEST_BODY = 16 * 1024
COMING = 30.0  # seconds in which a request has to be here: 16 KB, on a very bad line
READING = 60.0  # seconds in which an answer's next piece has to be taken: 64 KB, on a very bad line
WEB = "newsbell web"
MEANWHILE = "Requests that need it are answered 503 until then; readers' pages are served as far as they go without."

HANG_UP = {"Connection": "close"}  # or the rest of the request could go on coming
TRY_AGAIN = "Please try again: it is not done twice."
LOOK_FIRST = "Please look before you try again."
# What others did between our question and our answer to it, by SQLSTATE.
AT_THE_SAME_MOMENT = {"23503": "Something that this needs was deleted", "23505": "Somebody else made the same"}

HEADERS = {
    # Stories' pictures come from publishers; everything else is ours.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' https: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # kept, and asked about each time: an old service worker is a lasting bug
}

# Everything else of the API is one reader's, or the desk's own: nothing keeps it, on disk or on the way.
FOR_ALL = {"/api/site", "/api/latest", "/api/sign-in"}


def create_app(settings: Settings) -> FastAPI:
    """The application on the database that settings.database_url names (the embedded one is the caller's matter)."""
    key = load_key(settings.vapid_key_file)
    engine = database.connect(settings.database_url, name=WEB)
    outage = Outage(settings.database_url, WEB, meanwhile=MEANWHILE)
    sessions = database.sessions_of(engine, outage)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        site: Site = app.state.site
        keeping_time = asyncio.create_task(clock.clock.follow(site.sessions))
        async with site.receipts.emptied(site.sessions), site.streams.guarded(site.sessions):
            yield
        keeping_time.cancel()
        await outage.aclose()
        await engine.dispose()

    app = FastAPI(title="Newsbell", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_tags=docs.TAGS)
    app.state.site = Site(
        settings,
        sessions,
        key.public_key,
        key.id,
        SingleSignOn.of(settings),
        proofs=Proofs(key.secret_for(RECEIPTS)),
        known_browsers=KnownBrowsers(key.secret_for("known browsers")),
        attempts_key=key.secret_for("single sign-on"),
    )
    app.state.readiness = Readiness(sessions, outage)
    app.include_router(prompt.router)
    app.include_router(preferences.router)
    app.include_router(docs.router)
    app.include_router(signin.router)
    app.include_router(people.router)
    app.include_router(desk.router)
    app.include_router(alerts.router)
    app.include_router(bell.router)
    app.include_router(live.router)
    app.include_router(reports.router)
    app.include_router(feeds.router)
    app.include_router(links.router)
    for path, check in (("/healthz", healthz), ("/readyz", readyz)):
        app.add_api_route(path, check, methods=["GET", "HEAD"], include_in_schema=False)  # some monitors ask by HEAD
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    _explain_errors(app)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.origins),
        allow_methods=["*"],
        allow_headers=["authorization", "content-type"],
    )
    app.add_middleware(Bounded)  # the outermost: every answer passes it
    return app


async def healthz() -> dict[str, str]:
    return {"status": "alive"}


async def readyz(request: Request) -> Response:
    """200 when every request could be served. `warnings`: what a person should put right all the same."""
    readiness: Readiness = request.app.state.readiness
    reason, warnings = await readiness.look()
    return problem(503, reason) if reason else JSONResponse({"status": "ready", "warnings": warnings})


def problem(status: int, detail: str) -> Response:
    """RFC 9457; the detail is a sentence for a person."""
    body = {"type": "about:blank", "title": TITLES.get(status, "Refused"), "status": status, "detail": detail}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": "5"} if status == 503 else None
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


TITLES = {
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Not allowed",
    408: "Too slow",
    409: "Too late",
} | {
    413: "Too large",
    422: "Refused",
    429: "Too often",
    500: "Our mistake",
    503: "Not now",
}


def _explain_errors(app: FastAPI) -> None:
    async def refused(request: Request, error: Exception) -> Response:
        status = next(status for kind, status in HTTP_STATUS.items() if isinstance(error, kind))
        response = problem(status, str(error))
        if isinstance(error, TooMany):
            response.headers["Retry-After"] = str(math.ceil(error.wait))
        return response

    async def malformed(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        unreadable = first["type"] == "json_invalid"
        where = "" if unreadable else ".".join(str(part) for part in first["loc"][1:])
        return problem(422, f"{where or 'The request'}: {first['msg']}.")

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 400:  # FastAPI's word for a body that is no text at all; other wrong ones are 422
            return problem(422, "The request: this is not JSON in UTF-8.")
        response = problem(error.status_code, f"{error.detail}.")
        response.headers.update(error.headers or {})  # such as Allow
        return response

    async def no_database(request: Request, error: Exception) -> Response:
        trouble = trouble_of(error)
        if trouble is None:
            raise error  # ours: what we asked for made no sense
        then = "Nothing was changed; please try again."
        if isinstance(error, database.InDoubt) and request.method not in SAFE:
            once = "idempotency-key" in request.headers
            then = f"Whether this was done is not known. {TRY_AGAIN if once else LOOK_FIRST}"
        return problem(503, f"{trouble.sentence} {then}")

    async def unfitting(request: Request, error: Exception) -> Response:
        state = getattr(error.orig, "sqlstate", None) if isinstance(error, IntegrityError) else None
        if state not in AT_THE_SAME_MOMENT:
            raise error  # ours, like the above
        return problem(409, f"{AT_THE_SAME_MOMENT[state]} at the same moment. Nothing was changed; please try again.")

    async def our_mistake(request: Request, error: Exception) -> Response:
        response = problem(500, "Something went wrong on our side. Nothing was changed.")
        response.headers.update(HEADERS)  # written outside of Bounded
        return response

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, http_error)
    for kind in (DBAPIError, PoolTimeout, queue.NotWritten, psycopg.Error):
        app.add_exception_handler(kind, no_database)
    app.add_exception_handler(IntegrityError, unfitting)
    app.add_exception_handler(Exception, our_mistake)


class Bounded:
    """Every answer gets our headers. No request has a body above LARGEST_BODY, whatever length it claims, nor cookies
    of others. Whoever does not send what they ask for, or read it, is left: they would keep their place for ever.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["headers"] = only_ours(scope["headers"])
        taken, whole, unread = 0, False, False
        late = asyncio.get_running_loop().time() + COMING

        async def bounded() -> Message:
            nonlocal taken, whole
            try:
                # When all of it is here, the next message is that somebody has gone, which may be never.
                async with asyncio.timeout_at(None if whole else late):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "The request did not come to its end", HANG_UP) from None
            whole = not message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > LARGEST_BODY:
                raise HTTPException(413, "The request is larger than anything we take", HANG_UP)
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *ours(message["headers"], scope["path"])]
            nonlocal unread
            try:
                async with asyncio.timeout(READING):
                    await send(message)
            except TimeoutError:
                unread = True
                raise ConnectionAbortedError("The answer is not read.") from None

        try:
            await self.app(scope, bounded, with_headers)
        except Exception:
            if not unread:
                raise


def ours(theirs: list[tuple[bytes, bytes]], path: str) -> list[tuple[bytes, bytes]]:
    present = {name.lower() for name, _ in theirs}
    private = path.startswith("/api/") and path not in FOR_ALL
    headers = HEADERS | ({"Cache-Control": "no-store"} if private else {})
    wanted = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return [(name, value) for name, value in wanted if name not in present]


class Server(uvicorn.Server):
    """Uvicorn waits for open requests before it stops; streams would not end by themselves."""

    def __init__(self, config: uvicorn.Config, streams: Streams) -> None:
        super().__init__(config)
        self.streams = streams

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        heart.start()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.streams.end()
        super().handle_exit(sig, frame)


def main(host: str, port: int) -> None:
    """The web process. No access log: it would hold readers' addresses."""
    hold_lifeline()
    speak()
    with refusals_end_it():
        app = create_app(read_settings())
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = Server(config, app.state.site.streams)
    server.run()
    if not server.started:
        sys.exit(3)  # as uvicorn.run does


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
