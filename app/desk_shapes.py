"""The desk's JSON shapes (README, "HTTP"): stories, alerts and what an editor does with them."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.domain.advice import Advice
from app.domain.alerts import USUAL_TTL, Alert, AlertState, Level
from app.domain.shards import Audience
from app.domain.stories import Story
from app.shapes import StoryOut, story_out

# PostgreSQL keeps every character but this one.
CLEAN = r"^[^\x00]*$"
Title = Annotated[str, Field(max_length=2000, pattern=CLEAN, description="cut at 300 characters")]
Body = Annotated[str, Field(max_length=4000, pattern=CLEAN, description="cut at 1,000 characters")]
Address = Annotated[str, Field(max_length=2048, pattern=CLEAN, description="https://…")]
Slugs = Annotated[list[Annotated[str, Field(max_length=64, pattern=CLEAN)]], Field(max_length=64)]
Seconds = Annotated[int, Field(ge=60, le=28 * 86400, description="to live, from its release on")]
Version = Annotated[
    str | None,
    Field(max_length=64, pattern=CLEAN, description="of the alert as it was read; 409 if it was changed since"),
]
Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=CLEAN)]

AN_ALERT: dict[str, Any] = {
    "title": "Ceasefire agreed",
    "body": "It begins at midnight along the whole line of contact.",
    "url": "https://news.example/2026/11/ceasefire",
    "image": "https://news.example/2026/11/ceasefire.jpg",
    "topics": ["ukraine", "world-news"],
    "level": "breaking",
}


def shown(*examples: dict[str, Any]) -> ConfigDict:
    """Strict, with examples for the documentation."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": list(examples)})


class StoryAlertOut(BaseModel):
    """What was made of a story."""

    id: UUID
    state: AlertState
    title: str
    released_at: AwareDatetime | None


class DeskStoryOut(StoryOut):
    alert: StoryAlertOut | None


class DeskStoriesOut(BaseModel):
    items: list[DeskStoryOut]
    next: str | None


class HeldBack(BaseModel):
    paused: int
    level: int
    quiet_hours: int
    daily_limit: int


class AudienceOut(BaseModel):
    readers: int
    held_back: HeldBack
    rings: int
    lanes: dict[str, int]


class StandingWarningsOut(BaseModel):
    items: list[str]


class AlertIn(BaseModel):
    model_config = shown(AN_ALERT, {name: AN_ALERT[name] for name in ("title", "url", "topics")})

    title: Title
    url: Address
    topics: Slugs
    body: Body = ""
    image: Address | None = None
    level: Level = Level.NORMAL
    ttl: Seconds = int(USUAL_TTL.total_seconds())
    story_id: int | None = Field(None, ge=1, lt=2**63, description="of `GET /api/stories`: a story has one alert")


class AlertPatch(BaseModel):
    """Only what is named changes; an image of null is none."""

    model_config = shown({"title": "Ceasefire agreed, mediators say", "level": "normal"})

    title: Title | None = None
    url: Address | None = None
    topics: Slugs | None = None
    body: Body | None = None
    image: Address | None = None
    level: Level | None = None
    ttl: Seconds | None = None


class AdviceIn(BaseModel):
    """An alert as far as it is written."""

    model_config = shown({"title": "CEASEFIRE AGREED", "level": "normal"})

    title: Title = ""
    body: Body = ""
    url: Address = ""
    level: Level = Level.NORMAL
    id: UUID | None = Field(None, description="of the draft that it is, if it is stored")


class ReleaseIn(BaseModel):
    model_config = shown({"recipients_seen": 41203}, {"again": True}, {"override": "Nobody else is in at this hour."})

    recipients_seen: int | None = Field(None, ge=0, description="what the page said; for the audit")
    again: bool = Field(False, description="although the same story went out within half an hour")
    override: Reason | None = Field(None, description="why no second person approves it; loud in audit and log")
    version: Version = None


class ScheduleIn(BaseModel):
    model_config = shown({"at": "2026-11-28T07:30", "time_zone": "Europe/Kyiv"}, {"at": "2026-11-28T07:30:00+02:00"})

    at: str = Field(max_length=64, pattern=CLEAN, description="RFC 3339, or the time on the wall in `time_zone`")
    time_zone: str | None = Field(None, max_length=64, pattern=CLEAN)
    again: bool = False
    override: Reason | None = None
    version: Version = None


class ApproveIn(BaseModel):
    model_config = shown({"version": "9f86d081884c7d65"})

    version: Version = None


class CorrectionIn(BaseModel):
    """What is left out stays as it was; an image of "" is none."""

    model_config = shown({"title": "Ceasefire proposed, not yet agreed"}, {"draft": True})

    title: Title | None = None
    body: Body | None = None
    url: Address | None = None
    image: Address | None = None
    draft: bool = Field(False, description="only begin it: it is sent by `…/release`, and nothing is stopped before")
    override: Reason | None = None
    version: Version = None


class AdviceOut(BaseModel):
    code: str
    text: str


class WarningsOut(BaseModel):
    warnings: list[AdviceOut]


class OutcomesOut(BaseModel):
    """How many recipients stand where; together they are all recipients."""

    waiting: int
    accepted: int
    gone: int
    refused: int
    failed: int
    held: int
    expired: int
    recalled: int


class AlertOut(BaseModel):
    id: UUID
    state: AlertState
    title: str
    body: str
    url: str
    image: str | None
    topics: list[str]
    level: Level
    ttl: int
    story_id: int | None
    version: str = Field(description="another one whenever what readers would get is changed")
    corrects: UUID | None
    corrected_by: UUID | None
    recipients: int
    outcomes: OutcomesOut
    created_at: AwareDatetime
    due_at: AwareDatetime | None
    due_in: float | None = Field(description="seconds until `due_at`, by the server's clock")
    time_zone: str
    released_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    made_by: str
    proposed_by: str | None
    approved_by: str | None
    held_because: str = Field(description="why a feed's story did not ring by itself, as a sentence; else empty")
    warnings: list[AdviceOut]


class AlertsOut(BaseModel):
    items: list[AlertOut]
    next: str | None


class TestOut(BaseModel):
    __test__ = False  # not one of pytest's

    id: UUID
    browsers: int


class LaneOut(BaseModel):
    lane: str
    service: str = Field(description="its name in words")
    outcomes: OutcomesOut


class ProgressOut(AlertOut):
    per_second: float = Field(description="accepted by push services, over the last seconds")
    seconds_to: dict[int, float | None] = Field(description="from the release until so many percent were accepted")
    lanes: list[LaneOut]
    troubles: list[str]


def desk_story_out(story: Story, alert: Alert | None) -> DeskStoryOut:
    made = alert and StoryAlertOut(id=alert.id, state=alert.state, title=alert.title, released_at=alert.released_at)
    return DeskStoryOut(**story_out(story).model_dump(), alert=made)


def audience_out(found: Audience) -> AudienceOut:
    held = HeldBack(**{reason: getattr(found, reason) for reason in HeldBack.model_fields})
    return AudienceOut(readers=found.readers, held_back=held, rings=found.rings, lanes=found.lanes)


def advice_out(found: list[Advice]) -> list[AdviceOut]:
    return [AdviceOut(code=one.code, text=one.text) for one in found]


def seconds(span: timedelta) -> float:
    return round(span.total_seconds(), 3)
