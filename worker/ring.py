"""Ring: the stories of one poll → alerts, within what the feed's owner and the newsroom allow without a person."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain import decisions
from app.domain.alerts import NEWSBELL, Alert, AlertState, Level, alert_of, from_story
from app.domain.approvals import TwoPeople
from app.domain.editors import Actor, Role
from app.domain.feed_rings import FeedRings, Room, room
from app.domain.feeds import Feed, Policy
from app.domain.refusals import Refusal
from app.domain.stories import Listed, a_story, is_news, retell, story_by_id
from app.domain.topics import Topic
from app.release import release, widen
from app.ringing import Ringing
from app.settings import Settings

log = logging.getLogger("newsbell.poll")

OF_A_FEED = Actor(NEWSBELL, Role.EDITOR)


@dataclass
class Ring:
    """One poll of one feed, in the transaction that keeps what it found."""

    session: AsyncSession
    settings: Settings
    feed: Feed
    now: datetime
    rang: int = 0
    held: int = 0
    _asked: dict[tuple[Level, frozenset[int]], bool] = field(default_factory=dict)

    async def bring(self, listed: Sequence[Listed]) -> None:
        """In the order of the document, the oldest first; where not all may ring, the newest do."""
        if self.feed.policy is Policy.STORE:
            return
        news = [one for one in listed if one.topics and is_news(one, self.now) and self._can_be_told(one)]
        if self.feed.policy is Policy.DRAFT:
            for one in news:
                await self._draft(one)
            return
        await self._ring([(one, alert) for one in news if (alert := await self._to_ring(one)) is not None])

    def _can_be_told(self, one: Listed) -> bool:
        """An item of which no alert can be made is no reason to lose all others of its document."""
        try:
            from_story(a_story(one.entry, self.now), one.topics, self.now)
        except Refusal as why:
            log.warning("feed %d (%s): story %d cannot ring. %s", self.feed.id, self.feed.title, one.story.id, why)
            return False
        return True

    async def _draft(self, one: Listed) -> None:
        """A person will decide, and sees for whom. What is out already this feed's stories never widen."""
        found = await self._made_of(one)
        if found is None and one.first:
            await self._alert(one)
        elif found is not None and found.state is AlertState.DRAFT:
            await widen(self.session, found, one.topics)

    async def _made_of(self, one: Listed) -> Alert | None:
        if one.fresh:
            return None
        await story_by_id(self.session, one.story.id, lock=True)  # An editor may be making a draft of it just now.
        return await alert_of(self.session, one.story)

    async def _alert(self, one: Listed) -> Alert:
        """In this feed's words: another one, which may not ring, has perhaps listed that address under other ones."""
        if not one.fresh:
            retell(one.story, one.entry)
        alert = from_story(one.story, one.topics, self.now)
        self.session.add(alert)
        await self.session.flush()
        return alert

    async def _to_ring(self, one: Listed) -> Alert | None:
        """The alert with which this story is to ring: for the first time, or for more topics. None: it is not to."""
        found = await self._made_of(one)
        if found is None:
            return await self._alert(one) if one.first else None
        if found.chosen or found.state is AlertState.RECALLED:
            return None
        if found.state is AlertState.DRAFT:  # Made because another feed may not ring, or not now. This one may.
            return found if one.first else None
        return found if self._more(found, one) else None

    def _more(self, alert: Alert, one: Listed) -> list[Topic]:
        return [topic for topic in one.topics if topic not in alert.topics]

    async def _ring(self, wanted: Sequence[tuple[Listed, Alert]]) -> None:
        if not wanted:
            return
        left = await room(self.session, self.feed, of_all=self.settings.feeds_hourly_limit, now=self.now)
        over = wanted[: max(len(wanted) - left.left, 0)]
        for one, alert in wanted[len(over) :]:
            await self._go(one, alert)
        if over:
            await self._hold(over, left, left.why_held(len(wanted)))
        self.session.add(FeedRings(feed_id=self.feed.id, at=self.now, rang=self.rang, held=self.held))

    async def _go(self, one: Listed, alert: Alert) -> None:
        self.rang += 1
        if alert.state is not AlertState.DRAFT:
            await self._widen(alert, self._more(alert, one))
            return
        self._in_own_words(alert, one)
        if await self._takes_two_people(alert.level, alert.topics):
            await self._ringing.propose(alert)
        else:
            await release(self.session, alert, self.now)

    def _in_own_words(self, draft: Alert, one: Listed) -> None:
        """Of the feed that rings, for those whom it may ring for, whoever brought the story first."""
        retell(one.story, one.entry)
        fresh = from_story(one.story, one.topics, self.now)
        decisions.edit(
            draft,
            by=NEWSBELL,
            title=fresh.title,
            body=fresh.body,
            url=fresh.url,
            image=fresh.image or "",
            topics=one.topics,
        )
        draft.held_because = ""

    async def _widen(self, alert: Alert, more: list[Topic]) -> None:
        """Never past the second person whom an alert to all of them would have taken."""
        if alert.released_at and await self._takes_two_people(alert.level, [*alert.topics, *more]):
            log.warning(
                "feed %d (%s): alert %s does not go to more topics: that takes two people",
                self.feed.id,
                self.feed.title,
                alert.id,
            )
            return
        await widen(self.session, alert, more)

    async def _takes_two_people(self, level: Level, topics: Sequence[Topic]) -> bool:
        """Counted once for all stories of the same topics: with many readers, a count takes a moment."""
        ids = frozenset(topic.id for topic in topics)
        if (level, ids) not in self._asked:
            rule = TwoPeople(self.settings.two_people_levels, self.settings.two_people_audience)
            self._asked[level, ids] = await rule.hold_for(self.session, level, topics, self.now)
        return self._asked[level, ids]

    async def _hold(self, over: Sequence[tuple[Listed, Alert]], left: Room, why: str) -> None:
        """They wait as drafts for a person. The first time within an hour, editors and the log are told."""
        self.held = len(over)
        drafts = [alert for _, alert in over if alert.state is AlertState.DRAFT]
        for alert in drafts:
            alert.held_because = why
        if left.held_before:
            return
        log.warning("feed %d (%s): %d stories do not ring. %s", self.feed.id, self.feed.title, self.held, why)
        if drafts:
            await self._ringing.say_held(drafts[-1], self.feed.title, len(drafts), why)

    @property
    def _ringing(self) -> Ringing:
        return Ringing(self.session, self.settings, OF_A_FEED, self.now)
