"""Ringing: what an editor's word does. Releases that can be undone, a second person's approval, tests; all audited."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app import notices, release
from app.domain import audit, decisions
from app.domain.alerts import NEWSBELL, Alert, AlertState, Level, alert_by_id
from app.domain.approvals import TwoPeople, approvers
from app.domain.decisions import UNDO
from app.domain.editors import Actor
from app.domain.messages import cut
from app.domain.own_browsers import browsers_of
from app.domain.refusals import Forbidden, Refusal
from app.domain.told import must_be_new
from app.settings import Settings

log = logging.getLogger("newsbell.desk")


async def reached(session: AsyncSession, actor: Actor, alert_id: UUID, *, lock: bool = False) -> Alert:
    """The alert, if the actor's key reaches so far."""
    found = await alert_by_id(session, alert_id, lock=lock)
    actor.must_reach(found.slugs, found.level)
    return found


def within_reach(actor: Actor, alert: Alert | None) -> Alert | None:
    """The alert, or None if the actor's key does not reach so far."""
    return alert if alert is not None and actor.reaches(alert.slugs, alert.level) else None


async def for_change(session: AsyncSession, actor: Actor, alert_id: UUID) -> Alert:
    """Locked: whoever decides at the same moment comes after us and sees what we did."""
    found = await reached(session, actor, alert_id, lock=True)
    if not found.is_public:
        raise Refusal(
            "This went to an editor's own browsers only, or to new readers: there is nothing to decide about it."
        )
    return found


@dataclass(frozen=True)
class Wish:
    """What an editor says besides "send it"."""

    at: datetime | None = None  # None: at once, after the moment in which it can be undone
    zone: str = ""
    again: bool = False  # although the same story went out just now
    override: str | None = None  # why nobody else approves it
    seen: int | None = None  # recipients that the page had told of


@dataclass(frozen=True)
class Ringing:
    """One person (or program) at one moment."""

    session: AsyncSession
    settings: Settings
    actor: Actor
    now: datetime  # The database's (moments.now_of), read after the alert was locked.

    async def release(self, alert: Alert, wish: Wish) -> None:
        """Send it, at once or at its time: scheduled, or proposed to the others if the rule wants a second person."""
        if alert.state is AlertState.PROPOSED and wish.override:
            self._may_override()
            if wish.at is not None and alert.corrects_id is None and not wish.again:
                await must_be_new(self.session, alert, wish.at, self.now, self.actor)
            decisions.override(alert, by=self.actor.name, now=self.now, at=wish.at, zone=wish.zone)
            await self._scheduled(alert, wish, overrides=True)
            return
        decisions.must_be_open(alert, to_move=wish.at is not None)
        due_at = wish.at or self.now + UNDO
        wrong = await self._corrected(alert)
        if wrong is None and not wish.again:
            await must_be_new(self.session, alert, due_at, self.now, self.actor)
        takes_two = await self._takes_two(alert, due_at)
        if takes_two and wish.override:
            self._may_override()
        if wrong is not None:
            await self._stop(wrong, alert)
        if takes_two and not wish.override:
            await self.propose(alert, wrong, at=wish.at, zone=self._zone(wish))
            return
        decisions.schedule(alert, by=self.actor.name, at=due_at, zone=self._zone(wish))
        await self._scheduled(alert, wish, overrides=takes_two)

    async def propose(
        self, alert: Alert, wrong: Alert | None = None, *, at: datetime | None = None, zone: str = ""
    ) -> None:
        decisions.propose(alert, by=self.actor.name, people=self.actor.people, at=at, zone=zone)
        await self._ask_the_others(alert, wrong)

    def _zone(self, wish: Wish) -> str:
        """In which its time is said: the one that was named with it; of what goes at once, the newsroom's."""
        return wish.zone if wish.at else self.settings.time_zone

    async def _takes_two(self, alert: Alert, due_at: datetime) -> bool:
        two = TwoPeople(self.settings.two_people_levels, self.settings.two_people_audience)
        if alert.thread_id is not None:
            return await two.apply_to_correction(self.session, alert)
        return await two.apply_to(self.session, alert, due_at)

    async def _corrected(self, alert: Alert) -> Alert | None:
        """What it corrects, locked; None if it is no correction.

        It goes to everybody who got that, which a feed may have brought to more topics since this was written.
        """
        if alert.corrects_id is None:
            return None
        wrong = await reached(self.session, self.actor, alert.corrects_id, lock=True)
        decisions.must_differ(alert, wrong)
        alert.topics = list(wrong.topics)
        return wrong

    async def _stop(self, wrong: Alert, right: Alert) -> None:
        """At once, for stopping is safe: in the ten seconds, or until a second person comes, more would get it."""
        await release.stop(self.session, wrong, self.now)
        link = [wrong.url, right.url] if wrong.url != right.url else None
        self.note("correct", wrong, correction=str(right.id), title=right.title, link=link)

    def _may_override(self) -> None:
        if self.actor.editor_id is None:
            raise Forbidden("This alert takes a second person's approval, and only a person can do without it.")

    async def _scheduled(self, alert: Alert, wish: Wish, *, overrides: bool) -> None:
        await release.enqueue_due(self.session, alert)
        if overrides:
            self.note("override", alert, reason=wish.override)
            log.error(
                "OVERRIDE: %s releases “%s” without a second person: %s", self.actor.name, alert.title, wish.override
            )
        what = "schedule" if wish.at else "release"
        self.note(what, alert, due_at=_iso(alert.due_at), again=wish.again, recipients_seen=wish.seen)

    async def _ask_the_others(self, alert: Alert, wrong: Alert | None) -> None:
        asked = await approvers(self.session, besides=self.actor.people)
        what = "send this" if wrong is None else f"correct “{wrong.title}” so"
        asks = "A feed brought this." if self.actor.name == NEWSBELL else f"{self.actor.name} wants to {what}."
        for editor_id in asked:
            await self._tell(
                editor_id,
                title=f"Approve? {alert.title}",
                body=cut(f"{asks} {alert.body}", 1000),
                url=f"{self.settings.site_url}/desk#/alerts/{alert.id}",
                of=alert,
                level=Level.BREAKING,
            )
        self.note("propose", alert, due_at=_iso(alert.due_at), asked=len(asked))

    async def say_held(self, one: Alert, feed: str, count: int, why: str) -> None:
        """To editors: stories of a feed wait for them as drafts; `one` is the newest."""
        for editor_id in await approvers(self.session, besides=()):
            await self._tell(
                editor_id,
                title=f"{count} {'story waits' if count == 1 else 'stories wait'} for you: {feed}",
                body=why,
                url=f"{self.settings.site_url}/desk#/alerts/{one.id}",
                of=one,
                level=Level.NORMAL,
            )

    async def approve(self, alert: Alert) -> None:
        if self.actor.editor_id is None:
            raise Forbidden("Only a person can approve an alert.")
        proposed_by = alert.proposed_by
        decisions.approve(alert, by=self.actor, now=self.now)
        await release.enqueue_due(self.session, alert)
        self.note("approve", alert, proposed_by=proposed_by, due_at=_iso(alert.due_at))

    async def undo(self, alert: Alert) -> None:
        was = alert.state
        decisions.undo(alert)
        self.note("undo", alert, was=was)

    async def recall(self, alert: Alert) -> None:
        was = alert.state
        await release.recall(self.session, alert, self.now)
        self.note("recall", alert, was=was)

    async def correct(self, wrong: Alert, wish: Wish, *, only_draft: bool, **words: str | None) -> Alert:
        """Another alert in its place, released as every alert is; or, for now, only the draft of one."""
        by = self.actor.name
        right = await release.draft_correction(self.session, wrong, self.now, by=by, unwritten=only_draft, **words)
        self.note("make", right, corrects=str(wrong.id))
        if not only_draft:
            await self.release(right, wish)
        return right

    async def test(self, alert: Alert) -> tuple[UUID, int]:
        """To the actor's own browsers, through everything that the real one goes through: its id, how many browsers."""
        if self.actor.editor_id is None:
            raise Refusal("A key has no browser to test on. A person who is signed in at the desk has.")
        browsers = await browsers_of(self.session, self.actor.editor_id)
        if not browsers:
            raise Refusal("You have no browser of your own to test on yet. Add this one at the desk first.")
        words = {"body": alert.body, "url": alert.url, "level": alert.level}
        told = await self._tell(
            self.actor.editor_id, title=f"Test: {alert.title}", image=alert.image, of=alert, **words
        )
        self.note("test", alert, browsers=len(browsers))
        return told.id, len(browsers)

    async def _tell(self, editor_id: int, *, of: Alert, **words: Any) -> Alert:
        by, topics = self.actor.name, of.topics
        return await notices.ring_for(self.session, editor_id, topics=topics, made_by=by, now=self.now, **words)

    def note(self, what: str, alert: Alert, **detail: Any) -> None:
        said = {"title": alert.title} | {
            name: value for name, value in detail.items() if value is not None and value is not False
        }
        audit.note(self.session, self.now, actor=self.actor.name, action=f"alert.{what}", subject=str(alert.id), **said)


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
