"""The contract's JSON shapes (README, "HTTP"), and how a noun becomes one."""

from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from app import clock
from app.domain.alerts import Level
from app.domain.stories import Story
from app.domain.subscriptions import Subscription, a_browsers_language

# Optional facts that a browser tells by itself. Some spell them in odd ways, and none of it may refuse a subscription:
# what cannot be read is left out.
Language = Annotated[
    str, AfterValidator(a_browsers_language), Field(description="a tag such as uk or pt-BR (RFC 5646)")
]
Zone = Annotated[str, Field(description="such as Europe/Kyiv; one that is not known becomes the site's")]

Slugs = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=200)]


class Problem(BaseModel):
    """RFC 9457; `detail` is a sentence for a person."""

    type: str
    title: str
    status: int
    detail: str


MEANINGS = {
    401: "Nobody is signed in, or the key opens nothing (any more).",
    403: "The role or the key does not reach so far, or the request came from a foreign page.",
    404: "It is not there.",
    409: "It was right to ask, but something else came first.",
    413: "The request is larger than anything we take.",
    422: "Refused; `detail` says why.",
    429: "Too often; `Retry-After` says when it is worth trying again.",
    503: "What it takes (the database, a worker) does not answer; nothing was changed.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's `responses=`: the refusals it may answer with. A route with parameters or a body can always say 422."""
    shape = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    return {status: {"description": MEANINGS[status], "content": shape} for status in statuses}


class TopicOut(BaseModel):
    slug: str
    name: str
    description: str


class SiteOut(BaseModel):
    name: str
    vapid_public_key: str
    topics: list[TopicOut]
    prompt: dict[str, str]


class StoryOut(BaseModel):
    id: int
    title: str
    summary: str
    url: str
    image: str | None
    published_at: AwareDatetime | None
    seen_at: AwareDatetime
    topics: list[str]


class StoriesOut(BaseModel):
    items: list[StoryOut]
    next: str | None


class SectionOut(BaseModel):
    topic: str
    items: list[StoryOut]


class FrontOut(BaseModel):
    sections: list[SectionOut]


class Keys(BaseModel):
    p256dh: str = Field(max_length=256)
    auth: str = Field(max_length=64)


class PushSubscription(BaseModel):
    """What a browser's PushSubscription.toJSON() gives."""

    endpoint: str = Field(max_length=4096)
    keys: Keys


class SubscriptionIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    subscription: PushSubscription
    topics: Slugs | None = Field(None, description="left out on a mere re-sync: they stay")
    time_zone: Zone = ""
    language: Language = ""


class Old(BaseModel):
    endpoint: str = Field(max_length=4096)
    auth: str = Field(max_length=64)


class RenewalIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    old: Old
    subscription: PushSubscription


Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["22:00"])]


class QuietHours(BaseModel):
    """By the clock where the reader is; a night may pass midnight."""

    model_config = ConfigDict(extra="forbid")

    start: Clock = Field(alias="from")
    end: Clock = Field(alias="to")


class PreferencesIn(BaseModel):
    """Only what is named changes; null takes a pause or a limit away."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"quiet_hours": {"from": "22:00", "to": "07:00"}, "daily_limit": 10}]},
    )

    topics: Slugs | None = None
    add_topics: Slugs = Field([], description="instead of all: what the reader has just ticked")
    remove_topics: Slugs = []
    quiet_hours: QuietHours | None = Field(None, description="then only breaking alerts ring")
    daily_limit: int | None = Field(
        None, ge=1, le=1000, description="alerts in any 24 hours; breaking ones ring above it and do not count"
    )
    levels: list[Level] | None = Field(None, max_length=8, description="which ring, one at least; null: all")
    add_levels: Annotated[list[Level], Field(max_length=8)] = []
    remove_levels: Annotated[list[Level], Field(max_length=8)] = []
    paused_until: AwareDatetime | None = None
    pause_for: int | None = Field(None, ge=1, le=10**9, description="seconds from now, by the server's clock")
    time_zone: Zone | None = None
    language: Language | None = None


class PreferencesOut(BaseModel):
    topics: list[str]
    quiet_hours: QuietHours | None
    daily_limit: int | None
    levels: list[Level]
    paused_until: AwareDatetime | None
    time_zone: str
    language: str
    now: AwareDatetime = Field(description="the server's time, since a browser's may be wrong")


class SubscriptionOut(BaseModel):
    key: str
    topics: list[str]
    preferences: PreferencesOut


def preferences_of(subscription: Subscription) -> PreferencesOut:
    return PreferencesOut(
        topics=[topic.slug for topic in subscription.topics],
        quiet_hours=_quiet_hours_of(subscription),
        daily_limit=subscription.daily_limit,
        levels=[level for level in Level if subscription.levels is None or level in subscription.levels],
        paused_until=subscription.paused_until,
        time_zone=subscription.time_zone,
        language=subscription.language,
        now=clock.now(),
    )


def _quiet_hours_of(subscription: Subscription) -> QuietHours | None:
    if subscription.quiet_from is None or subscription.quiet_to is None:
        return None
    return QuietHours(**{"from": f"{subscription.quiet_from:%H:%M}", "to": f"{subscription.quiet_to:%H:%M}"})


def subscription_out(subscription: Subscription, key: str) -> SubscriptionOut:
    preferences = preferences_of(subscription)
    return SubscriptionOut(key=key, topics=preferences.topics, preferences=preferences)


def story_out(story: Story) -> StoryOut:
    fields: dict[str, Any] = {name: getattr(story, name) for name in StoryOut.model_fields if name != "topics"}
    return StoryOut(**fields, topics=[topic.slug for topic in story.topics])
