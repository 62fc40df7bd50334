"""`./newsbell lane …`: push services in trouble, and the person's answer to an alarm."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain import audit
from app.domain.lanes import Lane, every_lane, lane_named
from app.domain.marks import Happening, marked
from app.domain.subscriptions import end_those_gone
from app.terminal import Json, now, out, run, show

lane = typer.Typer(no_args_is_help=True, help="Push services: how they take what we send.")

LATELY = timedelta(days=1)
ODD_PATHS = (
    "{service}: {count:,} new readers in 24 hours came with an address of a form that was not known. They are on "
    "probation as all new ones are. If they are many, the service has a new form, or somebody makes readers up."
)


@lane.command("list")
def lane_list(as_json: Json = False) -> None:
    """Push services that had trouble; no row means no trouble."""
    at = now()

    async def find(session: AsyncSession) -> tuple[Sequence[Lane], dict[str, int]]:
        return await every_lane(session), await marked(session, Happening.ODD_PATH, at - LATELY)

    lanes, odd_paths = run(find)
    show([as_row(found, at) for found in lanes], as_json, empty="No push service has had trouble.")
    if not as_json:
        for service, count in odd_paths.items():
            out.print(ODD_PATHS.format(service=service, count=count))


def as_row(lane: Lane, at: datetime) -> dict[str, object]:
    return {
        "origin": lane.origin,
        "state": "paused" if lane.paused_at else "closed" if lane.closed_until(at) else "open",
        "messages_per_second": lane.allowed(at),
        "open_at": lane.closed_until(at),
        "endings_stopped": lane.endings_stopped_at is not None,
        "alarm": lane.alarm,
    }


@lane.command("resume")
def lane_resume(origin: str) -> None:
    """Send there again, after what the alarm named has been put right."""

    async def resume(session: AsyncSession) -> None:
        found = await lane_named(session, origin)
        _note(session, "resume", found, alarm=found.alarm)
        found.paused_at, found.open_at, found.alarm = None, None, ""

    run(resume)
    out.print(f"Sending to {origin} again.")


@lane.command("confirm")
def lane_confirm(origin: str) -> None:
    """Yes, so many readers really left: end them."""

    async def confirm(session: AsyncSession) -> int:
        found = await lane_named(session, origin)
        alarm, found.endings_stopped_at, found.alarm = found.alarm, None, ""
        ended = await end_those_gone(session, found.origin, now())
        _note(session, "confirm", found, alarm=alarm, ended=ended)
        return ended

    out.print(f"Ended {run(confirm):,} subscriptions. A visit within 30 days revives each of them.")


@lane.command("dismiss")
def lane_dismiss(origin: str) -> None:
    """No, something was wrong: keep them all."""

    async def dismiss(session: AsyncSession) -> None:
        found = await lane_named(session, origin)
        _note(session, "dismiss", found, alarm=found.alarm)
        found.endings_stopped_at, found.alarm = None, ""

    run(dismiss)
    out.print("Nobody was ended. The next alert finds out again who is gone.")


def _note(session: AsyncSession, what: str, found: Lane, **detail: object) -> None:
    audit.note(session, now(), actor=audit.COMMAND_LINE, action=f"lane.{what}", subject=found.origin, **detail)
