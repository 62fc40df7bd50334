"""The demo: a made-up publisher on loopback that brings out a story every 20 seconds."""

import sys
from datetime import UTC, datetime
from email.utils import format_datetime
from html import escape

import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from app.logs import speak
from app.supervisor import hold_lifeline

EVERY = 20  # seconds between stories
LISTED = 10

# (tag, place, what happened): combined by the story's number, so that neighbours differ.
PLACES = (
    ("Ukraine", ("Lviv", "Odesa", "Kharkiv", "Poltava", "Uzhhorod")),
    ("Russia", ("Kazan", "Omsk", "Murmansk", "Perm", "Tomsk")),
    ("World News", ("Lisbon", "Nairobi", "Osaka", "Lima", "Wellington")),
)
EVENTS = (
    "reopens its oldest tram line",
    "votes on a new library",
    "counts more storks than last year",
    "finds a lost map in an attic",
    "plants ten thousand lime trees",
    "opens a bridge for cyclists",
    "names a comet hunter citizen of the year",
)


def create_publisher() -> FastAPI:
    """GET /feed.xml and the stories it links to. Stories are numbered by the clock, so a restart loses none."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/feed.xml", feed)
    app.add_api_route("/story/{number}", story)
    return app


def feed() -> Response:
    newest = int(datetime.now(UTC).timestamp()) // EVERY
    items = "".join(item(number) for number in range(newest, newest - LISTED, -1))
    document = (
        '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel><title>The Demo Courier</title>'
        f"<link>/</link><description>Made-up news</description>{items}</channel></rss>"
    )
    return Response(document, media_type="application/rss+xml", headers={"ETag": f'"{newest}"'})


def item(number: int) -> str:
    tag, title = headline(number)
    when = format_datetime(datetime.fromtimestamp(number * EVERY, UTC))
    return (
        f"<item><title>{escape(title)}</title><link>/story/{number}</link><guid>demo-{number}</guid>"
        f"<category>{escape(tag)}</category><pubDate>{when}</pubDate>"
        "<description>A made-up story of the Newsbell demo: nothing of it happened.</description></item>"
    )


def headline(number: int) -> tuple[str, str]:
    tag, places = PLACES[number % len(PLACES)]
    return tag, f"{places[number // 3 % len(places)]} {EVENTS[number % len(EVENTS)]}"


def story(number: int) -> HTMLResponse:
    tag, title = headline(number)
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<h1>{escape(title)}</h1><p>{escape(tag)}. A made-up story of the Newsbell demo: nothing of it happened.</p>"
    )


def main() -> None:
    hold_lifeline()
    speak()
    uvicorn.run(create_publisher(), host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)


if __name__ == "__main__":
    main()
