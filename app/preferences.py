"""The preferences page: what a reader follows, a pause, and the way out. Opened by the key the browser kept."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter
from fastapi.responses import FileResponse

from app.context import STATIC, HereSite, ReaderKey
from app.database import transaction
from app.domain import receipts
from app.domain.refusals import Refusal
from app.domain.subscriptions import a_time_zone, subscription_of_key
from app.domain.topics import topics_named
from app.shapes import PreferencesIn, PreferencesOut, preferences_of

LONGEST_PAUSE = timedelta(days=366)

router = APIRouter(tags=["readers"])


@router.get("/preferences", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(STATIC / "preferences.html")


@router.get("/api/subscriptions/me")
async def mine(here: HereSite, key: ReaderKey) -> PreferencesOut:
    async with transaction(here.sessions) as session:
        return preferences_of(await subscription_of_key(session, key))


@router.patch("/api/subscriptions/me")
async def change(here: HereSite, key: ReaderKey, wish: PreferencesIn) -> PreferencesOut:
    """What is not named stays; `paused_until: null` ends a pause; no topics at all means silence, not the end."""
    async with transaction(here.sessions) as session:
        subscription = await subscription_of_key(session, key)
        if wish.topics is not None:
            chosen = await topics_named(session, wish.topics)
            given_up = {topic.id for topic in subscription.topics} - {topic.id for topic in chosen}
            subscription.topics = chosen
            await receipts.gave_up(session, subscription.id, subscription.lane, given_up, datetime.now(UTC))
        if "paused_until" in wish.model_fields_set:
            subscription.paused_until = _a_pause(wish.paused_until, datetime.now(UTC))
        if wish.time_zone is not None:
            subscription.time_zone = a_time_zone(wish.time_zone)
        if wish.language is not None:
            subscription.language = wish.language
        return preferences_of(subscription)


@router.delete("/api/subscriptions/me", status_code=204)
async def stop(here: HereSite, key: ReaderKey) -> None:
    """Forget this browser: the row goes, and with it the endpoint, the keys and what it followed."""
    async with transaction(here.sessions) as session:
        subscription = await subscription_of_key(session, key)
        await receipts.stopped(session, subscription.id, subscription.lane, datetime.now(UTC))
        await session.delete(subscription)


def _a_pause(until: datetime | None, now: datetime) -> datetime | None:
    if until is not None and until > now + LONGEST_PAUSE:
        raise Refusal("A pause lasts a year at most. Stop the notifications instead.")
    return until if until and until > now else None
