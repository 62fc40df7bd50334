"""The JSON shapes of receipts, reports and the pace meter (README, "HTTP")."""

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.domain.alerts import Alert, AlertState, Level
from app.domain.pace_meter import Pace, Verdict, verdict
from app.domain.push_services import service_name
from app.domain.receipts import Event, estimate, sample
from app.domain.reports import Day, LaneReport, Minute, Results, plausible

SecondsTo = Annotated[
    dict[int, float | None],
    Field(description="from the release until so many percent of those for whom it was to ring were accepted"),
]


class ReceiptIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "alert": "7db82796-51ac-4e88-b6f2-025f6deb30dc",
                    "event": "clicked",
                    "service": "https://updates.push.services.mozilla.com",
                    "proof": "0mCOTWYJ8JrnmNQ2ps0rVUuO",
                }
            ]
        },
    )

    alert: UUID
    event: Literal[Event.SHOWN, Event.CLICKED, Event.CLOSED]
    service: str | None = Field(None, max_length=2048, description="origin of the push service that brought it")
    proof: str = Field("", max_length=64, description="from the message's `data`; without it nothing is counted")


class ReportedAlertOut(BaseModel):
    id: UUID
    state: AlertState
    title: str
    body: str
    url: str
    topics: list[str]
    level: Level
    story_id: int | None
    corrects: UUID | None
    recipients: int
    released_at: AwareDatetime | None
    finished_at: AwareDatetime | None


class ShownOut(BaseModel):
    counted: int = Field(description="browsers that told so; not all can")
    estimated: int
    sample: float = Field(description="the share of browsers that were asked to tell")


class ResultsOut(BaseModel):
    alert: ReportedAlertOut
    delivered: int = Field(description="handed over: accepted by push services")
    shown: ShownOut
    clicked: int
    closed: int
    stopped: int = Field(description="readers who stopped all within 24 hours")
    topic_off: int = Field(description="readers who gave up one of its topics within 24 hours")


class LaneReportOut(BaseModel):
    lane: str
    service: str = Field(description="its name in words")
    recipients: int
    waiting: int
    accepted: int
    gone: int
    refused: int
    failed: int
    held: int
    expired: int
    recalled: int
    shown: ShownOut
    clicked: int
    closed: int
    stopped: int
    topic_off: int
    seconds_to: SecondsTo


class MinuteOut(BaseModel):
    minute: AwareDatetime
    accepted: int
    shown: int = Field(description="estimated")
    clicked: int


class ReportOut(ResultsOut):
    seconds_to: SecondsTo
    lanes: list[LaneReportOut]
    minutes: list[MinuteOut] = Field(description="of the first 24 hours, those in which something happened")


class DayOut(BaseModel):
    day: date = Field(description="in the newsroom's time zone")
    alerts: int
    delivered: int
    shown: int = Field(description="estimated")
    clicked: int
    closed: int
    stopped: int
    topic_off: int


class PeriodOut(BaseModel):
    since: AwareDatetime
    until: AwareDatetime
    items: list[ResultsOut] = Field(description="the newest first")
    days: list[DayOut]


class PaceOut(BaseModel):
    alerts_today: int
    alerts_7d: int
    clicked_share: float | None = Field(description="of the messages of 7 days, from 0 to 1")
    closed_share: float | None
    throttled: dict[str, int] = Field(
        description="messages that were sent back as too many in 24 hours, by push service"
    )
    readers_lost_24h: int
    readers_won_24h: int
    verdict: Verdict
    sentence: str


def shown_out(counted: int, recipients: int, delivered: int) -> ShownOut:
    estimated = estimate(counted, recipients, delivered)
    return ShownOut(counted=counted, estimated=estimated, sample=sample(recipients))


def results_out(alert: Alert, of: Results) -> ResultsOut:
    return ResultsOut(
        alert=_alert_out(alert),
        delivered=of.delivered,
        shown=shown_out(of.shown, alert.recipients, of.delivered),
        clicked=of.clicked,
        closed=of.closed,
        stopped=of.stopped,
        topic_off=of.topic_off,
    )


def _alert_out(alert: Alert) -> ReportedAlertOut:
    names = ReportedAlertOut.model_fields.keys() - {"topics", "corrects"}
    own = {name: getattr(alert, name) for name in names}
    return ReportedAlertOut(**own, topics=[topic.slug for topic in alert.topics], corrects=alert.corrects_id)


def lane_out(alert: Alert, one: LaneReport, told: dict[Event, int]) -> LaneReportOut:
    delivered = one.outcomes["accepted"]
    told_shown = min(told.get(Event.SHOWN, 0), delivered)
    return LaneReportOut(
        lane=one.lane,
        service=service_name(one.lane),
        recipients=one.recipients,
        shown=shown_out(told_shown, alert.recipients, delivered),
        seconds_to=dict(one.seconds_to),
        **one.outcomes,
        **plausible(told, delivered),
    )


def minute_out(alert: Alert, one: Minute) -> MinuteOut:
    shown = estimate(one.shown, alert.recipients, alert.recipients)
    return MinuteOut(minute=one.minute, accepted=one.accepted, shown=shown, clicked=min(one.clicked, alert.recipients))


def day_out(one: Day) -> DayOut:
    return DayOut(shown=one.estimated, **{name: getattr(one, name) for name in DayOut.model_fields.keys() - {"shown"}})


def pace_out(found: Pace) -> PaceOut:
    said, sentence = verdict(found)
    return PaceOut(
        alerts_today=found.alerts_today,
        alerts_7d=found.alerts_7d,
        clicked_share=found.clicked_share,
        closed_share=found.closed_share,
        throttled=dict(found.throttled),
        readers_lost_24h=found.lost,
        readers_won_24h=found.won,
        verdict=said,
        sentence=sentence,
    )
