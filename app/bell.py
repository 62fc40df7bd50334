"""The bell: release, schedule, approve, undo, recall, correct, test. Each is done once, however often it is asked."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from sqlalchemy.ext.asyncio import AsyncSession

from app.alert_out import alert_out
from app.context import EditorActor, WriterActor
from app.desk_shapes import AlertOut, ApproveIn, CorrectionIn, ReleaseIn, ScheduleIn, TestOut
from app.domain import decisions
from app.domain.alerts import Alert
from app.domain.editors import Actor
from app.domain.moments import moment, now_of
from app.once import Once
from app.ringing import Ringing, Wish, for_change
from app.shapes import problems

router = APIRouter(prefix="/api/alerts/{id}", tags=["alerts"], responses=problems(401, 403, 404, 409, 413, 422))

Id = Annotated[UUID, Path(alias="id")]


@router.post("/release")
async def release(actor: EditorActor, alert_id: Id, once: Once, said: ReleaseIn | None = None) -> AlertOut:
    """It goes out in 10 seconds, unless it is undone; or waits for a second person, where the rule wants one.

    409 if it was released already; if it is not `version` any more; or if the same story goes out within half an hour:
    `again` says that it is to be told again. `override` says why no second person approves.
    """
    said = said or ReleaseIn()
    wish = Wish(again=said.again, override=said.override, seen=said.recipients_seen)
    return await _decide(actor, alert_id, once, lambda ringing, alert: ringing.release(alert, wish), said.version)


@router.post("/schedule")
async def schedule(actor: EditorActor, alert_id: Id, once: Once, said: ScheduleIn) -> AlertOut:
    """It goes out at a time within 30 days. One that is scheduled is moved.

    A time on the wall that daylight saving skips or brings twice is refused, with the two that may be meant.
    """

    async def arrange(ringing: Ringing, alert: Alert) -> None:
        at = moment(said.at, said.time_zone, ringing.now)
        await ringing.release(alert, Wish(at, said.time_zone or "", again=said.again, override=said.override))

    return await _decide(actor, alert_id, once, arrange, said.version)


@router.post("/approve")
async def approve(actor: EditorActor, alert_id: Id, once: Once, said: ApproveIn | None = None) -> AlertOut:
    """The second person's word: it goes out in 10 seconds, or at its time."""
    return await _decide(actor, alert_id, once, Ringing.approve, said.version if said else None)


@router.post("/undo")
async def undo(actor: EditorActor, alert_id: Id, once: Once) -> AlertOut:
    """What is scheduled or waits for approval is a draft again."""
    return await _decide(actor, alert_id, once, Ringing.undo)


@router.post("/recall")
async def recall(actor: EditorActor, alert_id: Id, once: Once) -> AlertOut:
    """Stop: who has not got it never will."""
    return await _decide(actor, alert_id, once, Ringing.recall)


@router.post("/correct", status_code=201)
async def correct(actor: EditorActor, alert_id: Id, once: Once, said: CorrectionIn) -> AlertOut:
    """The correction takes its place, silently, with exactly those who got it. What is not sent yet is stopped at once.

    It is an alert of its own and goes as every alert does: in 10 seconds, unless it is undone; or when a second person
    approves, where what it corrects took two, or where it leads to another link and the newsroom has such a rule.
    `draft` makes it without sending it: change it, test it, release it. An alert has one correction.
    """

    async def work(session: AsyncSession) -> AlertOut:
        wrong = await for_change(session, actor, alert_id)
        ringing = Ringing(session, once.here.settings, actor, await now_of(session))
        decisions.must_be_as_read(wrong, said.version)
        words = said.model_dump(include={"title", "body", "url", "image"})
        right = await ringing.correct(wrong, Wish(override=said.override), only_draft=said.draft, **words)
        return await alert_out(session, right, ringing.now, actor)

    return await once(actor, AlertOut, work)


@router.post("/test", status_code=201)
async def test(actor: WriterActor, alert_id: Id, once: Once) -> TestOut:
    """To your own browsers, and to nobody else, by the way that the real one will go."""

    async def work(session: AsyncSession) -> TestOut:
        alert = await for_change(session, actor, alert_id)
        ringing = Ringing(session, once.here.settings, actor, await now_of(session))
        told, browsers = await ringing.test(alert)
        return TestOut(id=told, browsers=browsers)

    return await once(actor, TestOut, work)


async def _decide(
    actor: Actor,
    alert_id: UUID,
    once: Once,
    act: Callable[[Ringing, Alert], Awaitable[None]],
    version: str | None = None,
) -> AlertOut:
    async def work(session: AsyncSession) -> AlertOut:
        alert = await for_change(session, actor, alert_id)
        ringing = Ringing(session, once.here.settings, actor, await now_of(session))
        decisions.must_be_as_read(alert, version)
        await act(ringing, alert)
        return await alert_out(session, alert, ringing.now, actor)

    return await once(actor, AlertOut, work)
