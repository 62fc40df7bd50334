"""Decisions: what an editor may do with an alert, in which state, and why not in the others."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from app.domain.alerts import NEWSBELL, Alert, AlertState, Level, a_picture, a_title, a_ttl, an_address, some_topics
from app.domain.messages import cut
from app.domain.refusals import Conflict, Forbidden
from app.domain.topics import Topic

# After the click: long enough to see one's own mistake, short enough for news.
UNDO = timedelta(seconds=10)


def schedule(alert: Alert, *, by: str, at: datetime, zone: str = "") -> None:
    """It goes out at `at`, unless somebody takes it back before. One that is scheduled already is moved."""
    must_be_open(alert, to_move=True)
    alert.state, alert.due_at, alert.time_zone = AlertState.SCHEDULED, at, zone
    alert.proposed_by, alert.approved_by = by, None


def propose(alert: Alert, *, by: str, at: datetime | None = None, zone: str = "") -> None:
    """It waits for another person's word; then it goes out at `at`, or at once."""
    must_be_open(alert, to_move=True)
    alert.state, alert.due_at, alert.time_zone = AlertState.PROPOSED, at, zone
    alert.proposed_by, alert.approved_by = by, None


def approve(alert: Alert, *, by: str, now: datetime) -> None:
    """The second person's word. What was to go out by now goes out with the usual moment to take it back."""
    if alert.state is not AlertState.PROPOSED:
        raise Conflict(_nothing_to_approve(alert))
    if alert.proposed_by == by:
        raise Forbidden("This takes another person than the one who proposed it.")
    _settle(alert, now)
    alert.approved_by = by


def override(alert: Alert, *, by: str, now: datetime) -> None:
    """Nobody else is there to approve it, and somebody answers for that."""
    if alert.state is not AlertState.PROPOSED:
        raise Conflict(_nothing_to_approve(alert))
    _settle(alert, now)
    alert.proposed_by = by


def _settle(alert: Alert, now: datetime) -> None:
    alert.state, alert.due_at = AlertState.SCHEDULED, max(alert.due_at or now, now + UNDO)


def undo(alert: Alert) -> None:
    """Back to a draft, while it has not gone out."""
    if alert.state is AlertState.DRAFT:
        raise Conflict("This alert is a draft: there is nothing to take back.")
    if alert.state.is_out:
        raise Conflict(f"Too late: this alert is {alert.state}. To stop it where it has not arrived yet, recall it.")
    alert.state, alert.due_at, alert.time_zone = AlertState.DRAFT, None, ""
    alert.proposed_by = alert.approved_by = None


def edit(
    alert: Alert,
    *,
    by: str,
    title: str | None = None,
    body: str | None = None,
    url: str | None = None,
    image: str | None = None,
    topics: Sequence[Topic] | None = None,
    level: Level | None = None,
    ttl: timedelta | None = None,
) -> None:
    """Only a draft can be changed: what was approved is what goes out. An image of "" is none; None stays as it was."""
    must_be_open(alert)
    alert.title = alert.title if title is None else a_title(title)
    alert.body = alert.body if body is None else cut(body, 1000)
    alert.url = alert.url if url is None else an_address(url)
    alert.image = alert.image if image is None else a_picture(image)
    alert.topics = alert.topics if topics is None else some_topics(topics)
    alert.level = level or alert.level
    alert.ttl = alert.ttl if ttl is None else a_ttl(ttl)
    if alert.made_by == NEWSBELL:
        alert.made_by = by  # who answers for its words


def must_be_as_read(alert: Alert, version: str | None) -> None:
    """Somebody may have changed it since the editor has read it. None: a program that did not say what it has read."""
    if version is not None and version != alert.version:
        raise Conflict("This alert was changed meanwhile. Read it once more, then decide.")


def must_be_open(alert: Alert, *, to_move: bool = False) -> None:
    """A draft; or one that is scheduled, if it is only to be moved to another time."""
    if alert.state is not AlertState.DRAFT and not (to_move and alert.state is AlertState.SCHEDULED):
        raise Conflict(_too_late(alert))


def _too_late(alert: Alert) -> str:
    match alert.state:
        case AlertState.PROPOSED:
            by = alert.proposed_by
            return f"This alert was released by {by} and waits for another person's word. Take it back first."
        case AlertState.SCHEDULED:
            return f"This alert goes out at {_clock(alert.due_at)} already. Take it back first."
        case _:
            return f"This alert was {alert.state} already; it is not sent twice."


def _nothing_to_approve(alert: Alert) -> str:
    if alert.state is AlertState.DRAFT:
        return "This alert was taken back: it is a draft, and nobody asks for approval."
    return _too_late(alert)


def _clock(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "once"
