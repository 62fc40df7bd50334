"""What may be done with an alert, by state: the whole table."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.domain.alerts import NEWSBELL, Alert, AlertState, Level
from app.domain.decisions import UNDO, approve, edit, must_be_open, override, propose, schedule, undo
from app.domain.editors import Actor, Role
from app.domain.refusals import Conflict, Forbidden, Refusal
from app.domain.topics import Topic
from tests.makers import NOW, some_alert

HOUR = timedelta(hours=1)
S = AlertState
SECOND = Actor("second@news.example", Role.EDITOR, editor_id=2)


def an_alert_that_is(state: AlertState) -> Alert:
    alert = some_alert()
    alert.state, alert.proposed_by = state, None if state is S.DRAFT else "first@news.example"
    alert.due_at = NOW + HOUR if state is S.SCHEDULED else None
    return alert


@pytest.mark.parametrize(
    "decision, allowed, after",
    [
        (lambda alert: schedule(alert, by="second", at=NOW), {S.DRAFT, S.SCHEDULED}, S.SCHEDULED),
        (lambda alert: propose(alert, by="second"), {S.DRAFT, S.SCHEDULED}, S.PROPOSED),
        (lambda alert: approve(alert, by=SECOND, now=NOW), {S.PROPOSED}, S.SCHEDULED),
        (lambda alert: override(alert, by="second", now=NOW), {S.PROPOSED}, S.SCHEDULED),
        (undo, {S.PROPOSED, S.SCHEDULED}, S.DRAFT),
        (lambda alert: edit(alert, by="second", title="Another"), {S.DRAFT}, S.DRAFT),
        (must_be_open, {S.DRAFT}, S.DRAFT),
    ],
    ids=["schedule", "propose", "approve", "override", "undo", "edit", "delete"],
)
@pytest.mark.parametrize("state", S)
def test_a_decision_fits_some_states_and_says_why_not_others(
    decision: Callable[[Alert], None], allowed: set[AlertState], after: AlertState, state: AlertState
) -> None:
    alert = an_alert_that_is(state)
    if state in allowed:
        decision(alert)
        assert alert.state is after
    else:
        before = dict(vars(alert))
        with pytest.raises(Conflict, match=r"^[A-Z].*\.$"):
            decision(alert)
        assert vars(alert) == before


def test_what_is_scheduled_names_who_said_so_and_when() -> None:
    alert = some_alert()
    schedule(alert, by="editor@news.example", at=NOW + HOUR, zone="Europe/Kyiv")
    assert (alert.due_at, alert.time_zone, alert.proposed_by) == (NOW + HOUR, "Europe/Kyiv", "editor@news.example")
    undo(alert)
    assert (alert.due_at, alert.time_zone, alert.proposed_by, alert.approved_by) == (None, "", None, None)


def test_who_proposes_does_not_approve() -> None:
    alert = an_alert_that_is(S.PROPOSED)
    with pytest.raises(Forbidden, match="another person"):
        approve(alert, by=Actor("first@news.example", Role.EDITOR, editor_id=1), now=NOW)
    approve(alert, by=SECOND, now=NOW)
    assert (alert.proposed_by, alert.approved_by) == ("first@news.example", "second@news.example")


FIRST = Actor("first@news.example", Role.OWNER, editor_id=1)
CMS = Actor("key CMS", Role.EDITOR, makers=frozenset({1}))
BY_FIRSTS_LINK = Actor("third@news.example", Role.EDITOR, editor_id=3, makers=frozenset({1}))
ALSO_BY_FIRSTS_LINK = Actor("fourth@news.example", Role.EDITOR, editor_id=4, makers=frozenset({1}))


@pytest.mark.parametrize(
    "one, other, because",
    [
        (CMS, FIRST, "key CMS counts as you"),
        (BY_FIRSTS_LINK, FIRST, "third@news.example counts as you"),
        (FIRST, BY_FIRSTS_LINK, "You came in by a sign-in link"),
        (CMS, BY_FIRSTS_LINK, "You came in by a sign-in link"),
        (BY_FIRSTS_LINK, ALSO_BY_FIRSTS_LINK, "You came in by a sign-in link"),  # the first may be both
        (FIRST, SECOND, ""),
        (CMS, SECOND, ""),
        (BY_FIRSTS_LINK, SECOND, ""),
        (SECOND, BY_FIRSTS_LINK, ""),
        (Actor("key Old", Role.EDITOR), SECOND, ""),  # of a maker whom nobody knows any more
    ],
)
def test_two_words_are_two_peoples_if_nobody_can_be_behind_both(one: Actor, other: Actor, because: str) -> None:
    alert = some_alert()
    propose(alert, by=one.name, people=one.people)
    if because:
        with pytest.raises(Forbidden, match=because):
            approve(alert, by=other, now=NOW)
        assert alert.state is S.PROPOSED
    else:
        approve(alert, by=other, now=NOW)
        assert alert.state is S.SCHEDULED


@pytest.mark.parametrize(
    "wanted, due",
    [(None, NOW + UNDO), (NOW + HOUR, NOW + HOUR), (NOW - HOUR, NOW + UNDO), (NOW + UNDO / 2, NOW + UNDO)],
)
@pytest.mark.parametrize("settle, by", [(approve, SECOND), (override, SECOND.name)])
def test_what_is_approved_goes_out_at_its_time_and_never_without_a_moment_to_undo(
    settle: Callable[..., None], by: Any, wanted: datetime | None, due: datetime
) -> None:
    alert = some_alert()
    propose(alert, by="first", at=wanted)
    settle(alert, by=by, now=NOW)
    assert alert.due_at == due


def test_who_overrides_answers_for_it_alone() -> None:
    alert = an_alert_that_is(S.PROPOSED)
    override(alert, by="second", now=NOW)
    assert (alert.proposed_by, alert.approved_by) == ("second", None)


def test_a_change_is_of_what_is_named_and_as_strict_as_a_new_alert() -> None:
    alert, russia = some_alert(), Topic(slug="russia", name="Russia")
    assert alert.made_by == NEWSBELL
    edit(
        alert, by="editor", title=" Another\n", topics=[russia], level=Level.LOW, ttl=HOUR, image="https://x.example/1"
    )
    assert (alert.title, alert.topics, alert.level, alert.ttl) == ("Another", [russia], Level.LOW, 3600)
    assert (alert.url, alert.made_by) == ("https://news.example/1", "editor")
    edit(alert, by="another", image="", body="Body")
    assert (alert.image, alert.body, alert.made_by) == (None, "Body", "editor")
    wrong: Sequence[dict[str, Any]] = [
        {"title": " "},
        {"url": "x"},
        {"topics": []},
        {"ttl": timedelta(0)},
        {"image": "x"},
    ]
    for change in wrong:
        with pytest.raises(Refusal):
            edit(alert, by="editor", **change)
