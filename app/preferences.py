"""The preferences page: what a reader follows and wants to hear, and the way out. Opened by the key a browser kept."""

from collections.abc import Collection, Iterable
from datetime import datetime, time, timedelta

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.context import HereSite, ReaderKey
from app.database import transaction
from app.domain import receipts
from app.domain.alerts import Level
from app.domain.refusals import Refusal
from app.domain.subscriptions import Subscription, subscription_of_key
from app.domain.time_zones import a_browsers_zone
from app.domain.topics import Topic, topics_named
from app.pages import document
from app.shapes import PreferencesIn, PreferencesOut, QuietHours, preferences_of, problems

LONGEST_PAUSE = timedelta(days=366)

router = APIRouter(tags=["readers"])


@router.get("/preferences", include_in_schema=False)
async def page(here: HereSite) -> Response:
    return document("preferences.html", here)


@router.get("/api/subscriptions/me", responses=problems(401))
async def mine(here: HereSite, key: ReaderKey) -> PreferencesOut:
    """What this browser follows, and when it wants to be left alone."""
    async with transaction(here.sessions) as session:
        return preferences_of(await subscription_of_key(session, key))


@router.patch("/api/subscriptions/me", responses=problems(401, 409, 413, 422))
async def change(here: HereSite, key: ReaderKey, wish: PreferencesIn) -> PreferencesOut:
    """What is not named stays; `paused_until: null` ends a pause; no topics at all means silence, not the end.

    A page that has been open for a while says what changes (`add_topics`, `remove_levels` …) and for how long it pauses
    (`pause_for`): then what was changed elsewhere meanwhile stays, and the browser's clock does not matter. Breaking
    alerts pass quiet hours and the daily limit; a reader who does not want even those leaves out their level.
    """
    async with transaction(here.sessions) as session:
        subscription = await subscription_of_key(session, key)
        chosen = await _chosen_topics(session, subscription, wish)
        given_up = {topic.id for topic in subscription.topics} - {topic.id for topic in chosen}
        subscription.topics = chosen
        await receipts.gave_up(session, here.proofs, subscription.id, subscription.lane, given_up, clock.now())
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
        await receipts.stopped(session, here.proofs, subscription.id, subscription.lane, came_at, clock.now())
        await session.delete(subscription)


async def _chosen_topics(session: AsyncSession, subscription: Subscription, wish: PreferencesIn) -> list[Topic]:
    """What is followed from now on. A topic that is to go may have gone by itself."""
    added, removed = wish.add_topics, set(wish.remove_topics)
    if wish.topics is not None:
        if added or removed:
            raise Refusal("Name all topics, or what changes in them; not both at once.")
        return await topics_named(session, wish.topics)
    _must_differ(added, removed)
    kept = [topic for topic in subscription.topics if topic.slug not in removed]
    return list(dict.fromkeys([*kept, *await topics_named(session, added)])) if added else kept


def _must_differ(added: Iterable[str], removed: Collection[str]) -> None:
    if both := [name for name in added if name in removed]:
        raise Refusal(f"“{both[0]}” is to be added and removed at once.")


def _limit(subscription: Subscription, wish: PreferencesIn, now: datetime) -> None:
    """Here null has a meaning of its own, so it matters what was named."""
    named = wish.model_fields_set
    if "quiet_hours" in named:
        subscription.quiet_from, subscription.quiet_to = _a_night(wish.quiet_hours)
    if "daily_limit" in named:
        subscription.daily_limit = wish.daily_limit
    if "levels" in named:
        subscription.levels = _some_levels(wish.levels)
    if wish.add_levels or wish.remove_levels:
        subscription.levels = _some_levels(_changed_levels(subscription.levels, wish))
    if "paused_until" in named and wish.pause_for is not None:
        raise Refusal("Say how long to pause or until when; not both at once.")
    if "paused_until" in named:
        subscription.paused_until = _a_pause(wish.paused_until, now)
    if wish.pause_for is not None:
        subscription.paused_until = _a_pause(now + timedelta(seconds=wish.pause_for), now)


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


def _changed_levels(levels: Collection[str] | None, wish: PreferencesIn) -> set[Level]:
    if wish.levels is not None:
        raise Refusal("Name all levels, or what changes in them; not both at once.")
    _must_differ(wish.add_levels, wish.remove_levels)
    before = {level for level in Level if levels is None or level in levels}
    return (before | set(wish.add_levels)) - set(wish.remove_levels)


def _a_pause(until: datetime | None, now: datetime) -> datetime | None:
    if until is None:
        return None
    if until > now + LONGEST_PAUSE:
        raise Refusal("A pause lasts a year at most. Stop the notifications instead.")
    if until <= now:
        raise Refusal(f"By this server's clock it is {now:%Y-%m-%d %H:%M} UTC, so that pause would be over already.")
    return until
