"""An alert as the API shows it: the row, its pages of the ledger, its correction, and what to mind before it rings."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.desk_shapes import AlertOut, OutcomesOut, advice_out, seconds
from app.domain import shards
from app.domain.advice import LATELY, advise
from app.domain.alerts import Alert, corrections_of
from app.domain.editors import Actor
from app.domain.told import Told, told, within_reach


async def alert_out(session: AsyncSession, alert: Alert, now: datetime, actor: Actor) -> AlertOut:
    [shown] = await alerts_out(session, [alert], now, actor)
    return shown


async def alerts_out(session: AsyncSession, alerts: Sequence[Alert], now: datetime, actor: Actor) -> list[AlertOut]:
    """With their topics loaded. What went out lately is read once for all, and only if one is still to go out."""
    await session.flush()
    ids = [alert.id for alert in alerts]
    counts, corrections = await shards.progress_of(session, ids), await corrections_of(session, ids)
    lately: Sequence[Told] = ()
    if any(_wants_advice(alert) for alert in alerts):
        lately = within_reach(actor, await told(session, since=now - LATELY, until=now + LATELY, now=now))
    return [_shown(alert, counts[alert.id], corrections.get(alert.id), lately, now) for alert in alerts]


def _wants_advice(alert: Alert) -> bool:
    """Tests and requests to approve are nobody else's."""
    return not alert.state.is_out and alert.is_public


def _shown(
    alert: Alert, counts: dict[str, int], corrected_by: UUID | None, lately: Sequence[Told], now: datetime
) -> AlertOut:
    words = {name: getattr(alert, name) for name in ("title", "body", "url", "level")}
    others = lately if alert.thread_id is None else ()  # A correction takes the place of what was told.
    warnings = advise(**words, now=now, told=others, besides=alert.id) if _wants_advice(alert) else []
    own = {name: getattr(alert, name) for name in _ALIKE}
    return AlertOut(
        **own,
        topics=[topic.slug for topic in alert.topics],
        version=alert.version,
        corrects=alert.corrects_id,
        corrected_by=corrected_by,
        outcomes=OutcomesOut(**counts),
        due_in=None if alert.due_at is None or alert.state.is_out else max(seconds(alert.due_at - now), 0.0),
        warnings=advice_out(warnings),
    )


# What the row and the shape call the same.
_ALIKE = AlertOut.model_fields.keys() & set(Alert.__mapper__.columns.keys())
