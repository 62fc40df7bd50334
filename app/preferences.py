"""The preferences page: what a reader follows and wants to hear, and the way out. Opened by the key a browser kept."""

from collections.abc import Collection
from datetime import datetime, time, timedelta

from fastapi import APIRouter
from fastapi.responses import FileResponse

from app import clock
from app.context import STATIC, HereSite, ReaderKey
from app.database import transaction
from app.domain import receipts
from app.domain.alerts import Level
from app.domain.refusals import Refusal
from app.domain.subscriptions import Subscription, subscription_of_key
from app.domain.time_zones import a_browsers_zone
from app.domain.topics import topics_named
from app.shapes import PreferencesIn, PreferencesOut, QuietHours, preferences_of, problems

LONGEST_PAUSE = timedelta(days=366)

router = APIRouter(tags=["readers"])


@router.get("/preferences", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(STATIC / "preferences.html")


@router.get("/api/subscriptions/me", responses=problems(401))
async def mine(here: HereSite, key: ReaderKey) -> PreferencesOut:
    """What this browser follows, and when it wants to be left alone."""
    async with transaction(here.sessions) as session:
        return preferences_of(await subscription_of_key(session, key))


@router.patch("/api/subscriptions/me", responses=problems(401, 413, 422))
async def change(here: HereSite, key: ReaderKey, wish: PreferencesIn) -> PreferencesOut:
    """What is not named stays; `paused_until: null` ends a pause; no topics at all means silence, not the end.

    Breaking alerts pass quiet hours and the daily limit; a reader who does not want even those leaves out their level.
    """
    async with transaction(here.sessions) as session:
        subscription = await subscription_of_key(session, key)
        if wish.topics is not None:
            chosen = await topics_named(session, wish.topics)
            given_up = {topic.id for topic in subscription.topics} - {topic.id for topic in chosen}
            subscription.topics = chosen
            await receipts.gave_up(session, subscription.id, subscription.lane, given_up, clock.now())
        _limit(subscription, wish, clock.now())
        if wish.time_zone is not None:
            subscription.time_zone = a_browsers_zone(wish.time_zone, subscription.time_zone)
        if wish.language is not None:
            subscription.language = wish.language
        return preferences_of(subscription)


@router.delete("/api/subscriptions/me", status_code=204, responses=problems(401))
async def stop(here: HereSite, key: ReaderKey) -> None:
    """Forget this browser: the row goes, and with it the endpoint, the keys and what it followed."""
    async with transaction(here.sessions) as session:
        subscription = await subscription_of_key(session, key)
        came_at = subscription.created_at
        await receipts.stopped(session, subscription.id, subscription.lane, came_at, clock.now())
        await session.delete(subscription)


def _limit(subscription: Subscription, wish: PreferencesIn, now: datetime) -> None:
    """Here null has a meaning of its own, so it matters what was named."""
    named = wish.model_fields_set
    if "quiet_hours" in named:
        subscription.quiet_from, subscription.quiet_to = _a_night(wish.quiet_hours)
    if "daily_limit" in named:
        subscription.daily_limit = wish.daily_limit
    if "levels" in named:
        subscription.levels = _some_levels(wish.levels)
    if "paused_until" in named:
        subscription.paused_until = _a_pause(wish.paused_until, now)


def _a_night(hours: QuietHours | None) -> tuple[time, time] | tuple[None, None]:
    if hours is None:
        return None, None
    if hours.start == hours.end:
        raise Refusal("Quiet hours begin and end at different times. To hear nothing at all, pause instead.")
    return time.fromisoformat(hours.start), time.fromisoformat(hours.end)


def _some_levels(levels: Collection[Level] | None) -> list[str] | None:
    """All of them is no limit, also should there be more one day."""
    chosen = [level.value for level in Level if levels is None or level in levels]
    if not chosen:
        raise Refusal("Leave at least one kind of news. To hear nothing at all, pause or stop instead.")
    return None if len(chosen) == len(Level) else chosen


def _a_pause(until: datetime | None, now: datetime) -> datetime | None:
    if until is not None and until > now + LONGEST_PAUSE:
        raise Refusal("A pause lasts a year at most. Stop the notifications instead.")
    return until if until and until > now else None
