"""The front page and the soft prompt: what there is to follow, and a browser that wants to be reminded."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from app import clock
from app.context import STATIC, HereSite, ShownKey, Site
from app.database import transaction
from app.domain import stories, subscriptions
from app.domain.refusals import Refusal
from app.domain.subscriptions import Browser
from app.domain.time_zones import a_browsers_zone
from app.domain.topics import every_topic, topics_named
from app.pages import document
from app.release import welcome
from app.service_worker import service_worker
from app.shapes import (
    FrontOut,
    PushSubscription,
    RenewalIn,
    SectionOut,
    SiteOut,
    StoriesOut,
    SubscriptionIn,
    SubscriptionOut,
    TopicOut,
    problems,
    story_out,
    subscription_out,
)

PROMPT = {
    "text": "To make sure you never miss out on your favourite NEW stories, we're happy to send you some reminders. "
    "Click 'OK' then 'Allow' to enable notifications",
    "ok": "OK",
    "not_now": "Not now",
}

router = APIRouter(tags=["readers"])


@router.get("/", include_in_schema=False)
async def front_page(here: HereSite) -> Response:
    return document("index.html", here)


@router.get("/favicon.ico", include_in_schema=False)
async def icon() -> FileResponse:
    """Browsers ask for it by themselves where a document names no icon, such as JSON."""
    return FileResponse(STATIC / "icon-192.png")


@router.get("/sw.js", include_in_schema=False)
async def worker(here: HereSite, request: Request) -> Response:
    return service_worker(request, here.settings.site_name)


@router.get("/api/site")
async def site(here: HereSite) -> SiteOut:
    """What a browser needs to subscribe, and what there is to follow."""
    async with transaction(here.sessions) as session:
        topics = await every_topic(session)
    return SiteOut(
        name=here.settings.site_name,
        vapid_public_key=here.vapid_public_key,
        topics=[TopicOut(slug=t.slug, name=t.name, description=t.description) for t in topics],
        prompt=PROMPT,
    )


@router.get("/api/latest", responses=problems(422))
async def latest(
    here: HereSite,
    topic: Annotated[str | None, Query(max_length=64, pattern=r"^[a-z0-9-]*$")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(description="`next` of the page before")] = None,
) -> StoriesOut:
    """The newest stories, by when they were first seen."""
    async with transaction(here.sessions) as session:
        found = await stories.latest(session, topic=topic, before=_cursor(after), limit=limit + 1)
    page = found[:limit]
    more = f"{page[-1].seen_at.timestamp():.6f}-{page[-1].id}" if len(found) > limit else None
    return StoriesOut(items=[story_out(story) for story in page], next=more)


@router.get("/api/front", responses=problems(422))
async def front(
    here: HereSite,
    topics: Annotated[int, Query(ge=1, le=20)] = 6,
    each: Annotated[int, Query(ge=1, le=20, description="stories of a topic")] = 6,
) -> FrontOut:
    """What the front page shows first: the topics that have the newest stories, each story under one of them."""
    async with transaction(here.sessions) as session:
        found = await stories.front(session, topics=topics, each=each)
    sections = [SectionOut(topic=topic.slug, items=[story_out(story) for story in some]) for topic, some in found]
    return FrontOut(sections=sections)


@router.post("/api/subscriptions", responses=problems(403, 409, 413, 422) | {201: {"model": SubscriptionOut}})
async def subscribe(here: HereSite, key: ShownKey, wish: SubscriptionIn, response: Response) -> SubscriptionOut:
    """201: stored. 200: known already, greeted again; never a second row."""
    browser = _checked(here, wish.subscription)
    time_zone = a_browsers_zone(wish.time_zone, here.settings.time_zone)
    async with transaction(here.sessions) as session:
        topics = await topics_named(session, wish.topics) if wish.topics is not None else None
        stored, secret, new = await subscriptions.subscribe(
            session,
            browser,
            topics=topics,
            time_zone=time_zone,
            language=wish.language,
            vapid_key_id=here.vapid_key_id,
            key=key,
            now=clock.now(),
        )
        if new and here.settings.welcome:
            await welcome(session, stored, clock.now())
        response.status_code = 201 if new else 200
        return subscription_out(stored, secret)


@router.post("/api/subscriptions/renew", responses=problems(403, 404, 409, 413, 422))
async def renew(here: HereSite, key: ShownKey, renewal: RenewalIn) -> SubscriptionOut:
    """The browser changed its endpoint; topics and everything else stay."""
    browser = _checked(here, renewal.subscription)
    async with transaction(here.sessions) as session:
        stored, secret = await subscriptions.renew(
            session,
            old_endpoint=renewal.old.endpoint,
            old_auth=renewal.old.auth,
            browser=browser,
            vapid_key_id=here.vapid_key_id,
            key=key,
            now=clock.now(),
        )
        return subscription_out(stored, secret)


def _checked(here: Site, sent: PushSubscription) -> Browser:
    return here.browser(endpoint=sent.endpoint, p256dh=sent.keys.p256dh, auth=sent.keys.auth)


def _cursor(text: str | None) -> tuple[datetime, int] | None:
    if text is None:
        return None
    try:
        seen, _, story_id = text.partition("-")
        int(story_id).to_bytes(8, signed=True)  # as many as the database counts to
        return datetime.fromtimestamp(float(seen), UTC), int(story_id)
    except (ValueError, OverflowError, OSError):
        raise Refusal("This is not a page that we gave out.") from None
