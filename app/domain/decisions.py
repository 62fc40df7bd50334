"""Decisions: what an editor may do with an alert, in which state, and why not in the others."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from app.domain.alerts import (
    NEWSBELL,
    NOTHING_ELSE,
    Alert,
    AlertState,
    Level,
    a_picture,
    a_title,
    a_ttl,
    an_address,
    some_topics,
)
from app.domain.editors import Actor
from app.domain.messages import cut
from app.domain.refusals import Conflict, Forbidden, Refusal
from app.domain.topics import Topic
from app.domain.wall_clock import in_words

# After the click: long enough to see one's own mistake, short enough for news.
UNDO = timedelta(seconds=10)


def schedule(alert: Alert, *, by: str, at: datetime, zone: str = "") -> None:
    """It goes out at `at`, unless somebody takes it back before. One that is scheduled already is moved."""
    must_be_open(alert, to_move=True)
    alert.state, alert.due_at, alert.time_zone = AlertState.SCHEDULED, at, zone
    alert.proposed_by, alert.approved_by = by, None


def propose(alert: Alert, *, by: str, people: Collection[int] = (), at: datetime | None = None, zone: str = "") -> None:
    """It waits for another person's word; then it goes out at `at`, or at once. `people`: who may be behind `by`."""
    must_be_open(alert, to_move=True)
    alert.proposer_ids = sorted(people)
    alert.state, alert.due_at, alert.time_zone = AlertState.PROPOSED, at, zone
    alert.proposed_by, alert.approved_by = by, None


def approve(alert: Alert, *, by: Actor, now: datetime) -> None:
    """The second person's word. What was to go out by now goes out with the usual moment to take it back."""
    if alert.state is not AlertState.PROPOSED:
        raise Conflict(_nothing_to_approve(alert))
    if because := _one_person(alert, by):
        raise Forbidden(because)
    _settle(alert, now)
    alert.approved_by = by.name


def _one_person(alert: Alert, by: Actor) -> str:
    """Why the proposal and this approval may be the word of one person; "" if they cannot be."""
    proposers = set(alert.proposer_ids)
    if alert.proposed_by == by.name:
        return "This takes another person than the one who proposed it."
    if by.editor_id in proposers:
        return (
            f"{alert.proposed_by} counts as you here, for you made the key, the sign-in link or the password. "
            "This takes another person."
        )
    if by.people & proposers:
        return (
            "You came in by a sign-in link, or by a password not yet a day old, from somebody who may have proposed "
            "this as well. Sign in by single sign-on, by a password that you have had for a day, or by a link from "
            "./newsbell editor link; or let somebody else approve it."
        )
    return ""


def override(alert: Alert, *, by: str, now: datetime, at: datetime | None = None, zone: str = "") -> None:
    """Nobody else is there to approve it, and somebody answers for that. `at`: another time than the proposed one."""
    if alert.state is not AlertState.PROPOSED:
        raise Conflict(_nothing_to_approve(alert))
    if at is not None:
        alert.due_at, alert.time_zone = at, zone
    _settle(alert, now)
    alert.proposed_by, alert.proposer_ids = by, []


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
    alert.proposer_ids = []


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
    if alert.thread_id and (topics is not None or level is not None or ttl is not None):
        raise Refusal("A correction goes to those who got the wrong alert: its topics, level and time to live stay.")
    alert.title = alert.title if title is None else a_title(title)
    alert.body = alert.body if body is None else cut(body, 1000)
    alert.url = alert.url if url is None else an_address(url)
    alert.image = alert.image if image is None else a_picture(image)
    alert.topics = alert.topics if topics is None else some_topics(topics)
    alert.level = level or alert.level
    alert.ttl = alert.ttl if ttl is None else a_ttl(ttl)
    if alert.made_by == NEWSBELL:
        alert.made_by = by  # who answers for its words


def must_differ(right: Alert, wrong: Alert) -> None:
    """A correction that would say the same once more."""
    if all(getattr(right, word) == getattr(wrong, word) for word in ("title", "body", "url", "image")):
        raise Refusal(NOTHING_ELSE)


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
            assert alert.due_at
            return f"This alert goes out on {in_words(alert.due_at, alert.time_zone)} already. Take it back first."
        case _:
            return f"This alert was {alert.state} already; it is not sent twice."


def _nothing_to_approve(alert: Alert) -> str:
    if alert.state is AlertState.DRAFT:
        return "This alert was taken back: it is a draft, and nobody asks for approval."
    return _too_late(alert)
