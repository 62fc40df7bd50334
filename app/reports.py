"""What came of it: receipts from browsers; the report of an alert, of a day and of a week; the pace."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Path, Query
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.context import HereSite, Site, WriterActor
from app.database import transaction
from app.domain import pace_meter, reports
from app.domain.alerts import Alert
from app.domain.editors import Actor
from app.domain.moments import now_of
from app.domain.receipts import told
from app.exports import Csv, period_file, report_file
from app.report_shapes import (
    PaceOut,
    PeriodOut,
    ReceiptIn,
    ReportOut,
    day_out,
    lane_out,
    minute_out,
    pace_out,
    results_out,
)
from app.ringing import reached, within_reach
from app.shapes import problems

router = APIRouter(prefix="/api")

Id = Annotated[UUID, Path(alias="id")]
Days = Annotated[int, Query(ge=1, le=31, description="until now: 1 is the last 24 hours")]
OF_ONE, OF_MANY = problems(401, 403, 404, 422), problems(401, 403, 422)


@router.post("/receipts", status_code=204, tags=["readers"], responses=problems(413, 422))
async def receipt(here: HereSite, said: ReceiptIn) -> None:
    """A browser tells what became of an alert. It is counted, and who told is not stored.

    `proof` shows that it has got the message, not which reader has; each counts once for each event. Whatever else is
    said, and what is said of alerts that are long over, is dropped without a word.
    """
    number = here.proofs.number(said.alert, said.proof)
    if number is not None:
        here.receipts.put(told(said.alert, said.event, number, said.service, clock.now()))


@router.get("/alerts/{id}/report", tags=["reports"], responses=OF_ONE)
async def report(here: HereSite, actor: WriterActor, alert_id: Id) -> ReportOut:
    """What came of an alert: how far, how fast, by push service and minute by minute."""
    async with transaction(here.sessions) as session:
        return await _report(session, await reached(session, actor, alert_id))


async def _report(session: AsyncSession, alert: Alert) -> ReportOut:
    whole = results_out(alert, (await reports.results(session, [alert]))[alert.id])
    told_in = await reports.told_by_lane(session, alert.id)
    return ReportOut(
        **dict(whole),
        seconds_to=await reports.seconds_to(session, alert),
        lanes=[lane_out(alert, one, told_in.get(one.lane, {})) for one in await reports.by_lane(session, alert.id)],
        minutes=[minute_out(alert, one) for one in await reports.minutes(session, alert)],
    )


@router.get("/alerts/{id}/report.csv", tags=["reports"], responses=OF_ONE, response_class=Csv)
async def report_csv(here: HereSite, actor: WriterActor, alert_id: Id) -> Csv:
    """The same by push service, a line each, and a last one for all."""
    async with transaction(here.sessions) as session:
        found = await _report(session, await reached(session, actor, alert_id))
    return report_file(found)


@router.get("/reports", tags=["reports"], responses=OF_MANY)
async def period(here: HereSite, actor: WriterActor, days: Days = 7) -> PeriodOut:
    """The alerts of the last days with what came of each, and their sums by day in the newsroom's time zone."""
    return await _period(here, actor, days)


async def _period(here: Site, actor: Actor, days: int) -> PeriodOut:
    """Of a key that is limited, what it reaches."""
    async with transaction(here.sessions) as session:
        until = await now_of(session)
        since = until - timedelta(days=days)
        alerts = [one for one in await reports.released(session, since, until) if within_reach(actor, one)]
        of = await reports.results(session, alerts)
    by_day = reports.by_day(alerts, of, since, until, ZoneInfo(here.settings.time_zone))
    return PeriodOut(
        since=since,
        until=until,
        items=[results_out(alert, of[alert.id]) for alert in alerts],
        days=[day_out(day) for day in by_day],
    )


@router.get("/reports.csv", tags=["reports"], responses=OF_MANY, response_class=Csv)
async def period_csv(here: HereSite, actor: WriterActor, days: Days = 7) -> Csv:
    """The alerts of the last days, a line each."""
    return period_file(await _period(here, actor, days), days)


@router.get("/pace", tags=["reports"], responses=problems(401, 403))
async def pace(here: HereSite, actor: WriterActor) -> PaceOut:
    """How close the site is to what Chrome calls disruptive, and slows down or silences."""
    actor.must_see_all("the pace is")
    async with transaction(here.sessions) as session:
        return pace_out(await pace_meter.pace(session, await now_of(session), ZoneInfo(here.settings.time_zone)))
