"""Alerts: the decision to tell readers something, from a story or written by an editor."""

import json
import re
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Table,
    and_,
    delete,
    exists,
    false,
    func,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload

from app.domain.base import Base
from app.domain.editors import Editor
from app.domain.messages import cut, is_seen
from app.domain.refusals import Conflict, NotFound, Refusal
from app.domain.shards import Shard
from app.domain.stories import Story
from app.domain.topics import Topic

# Half a day: news that a reader finds after it is history (FCM keeps up to 28 days, Apple 30).
USUAL_TTL = timedelta(hours=12)
LONGEST_TTL = timedelta(days=28)

NEWSBELL = "newsbell"  # As the audit names us: what no person did.

# A host at least, and nothing that a browser would drop (other odd characters it encodes, and publishers use them).
ADDRESS = re.compile(r"https?://[^\x00-\x20\x7f/?#][^\x00-\x20\x7f]*")


class Level(StrEnum):
    BREAKING = "breaking"  # Passes limits and quiet hours; overtakes everything else.
    NORMAL = "normal"  # A new story.
    LOW = "low"  # May wait until the reader's device is awake anyway.

    @property
    def urgency(self) -> str:
        """RFC 8030, section 5.3."""
        return {Level.BREAKING: "high", Level.NORMAL: "normal", Level.LOW: "low"}[self]

    @property
    def priority(self) -> int:
        """In the queue: higher goes first."""
        return {Level.BREAKING: 100, Level.NORMAL: 0, Level.LOW: -100}[self]


class AlertState(StrEnum):
    """draft → (proposed →) scheduled → released → sending → finished, or recalled. Taken back in time: a draft."""

    DRAFT = "draft"  # Waits for a person.
    PROPOSED = "proposed"  # One person released it; the rules want another one's word.
    SCHEDULED = "scheduled"  # Goes out at `due_at`, unless somebody takes it back before.
    RELEASED = "released"  # Said to go out; the audience is not written down yet.
    SENDING = "sending"  # The ledger has its recipients; some of them are open.
    FINISHED = "finished"  # Every recipient has a final outcome.
    RECALLED = "recalled"  # Taken back; what was not sent will not be.

    @property
    def is_out(self) -> bool:
        return self not in (AlertState.DRAFT, AlertState.PROPOSED, AlertState.SCHEDULED)


alert_topics = Table(
    "alert_topics",
    Base.metadata,
    Column("alert_id", ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True),
    Column("topic_id", ForeignKey("topics.id", ondelete="CASCADE"), primary_key=True, index=True),
)


class Alert(Base):
    __tablename__ = "alerts"
    __table_args__ = (
        # What goes out soon is looked for every few seconds among all there ever was.
        Index("ix_alerts_due", "due_at", postgresql_where=text("state IN ('proposed', 'scheduled')")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    title: Mapped[str]
    body: Mapped[str]
    url: Mapped[str]
    image: Mapped[str | None]
    level: Mapped[Level]
    ttl: Mapped[int]  # Seconds from release.
    state: Mapped[AlertState]
    # A story has one alert, whatever brings it.
    story_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("stories.id", ondelete="SET NULL"), unique=True)
    # An alert is corrected once; who finds its correction wrong as well corrects that one.
    corrects_id: Mapped[UUID | None] = mapped_column(ForeignKey("alerts.id", ondelete="SET NULL"), unique=True)
    thread_id: Mapped[UUID | None] = mapped_column(index=True)  # The first alert of a row of corrections.
    held_because: Mapped[str] = mapped_column(
        default="", server_default=""
    )  # Why a feed's story did not ring by itself.
    # A correction of what is still under way: whoever gets that yet is a recipient too, so it cannot end before.
    growing: Mapped[bool] = mapped_column(default=False, server_default=false())
    recipients: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(index=True)
    released_at: Mapped[datetime | None] = mapped_column(index=True)
    finished_at: Mapped[datetime | None]
    made_by: Mapped[str] = mapped_column(default=NEWSBELL, server_default=NEWSBELL)  # As the audit names people.
    proposed_by: Mapped[str | None]  # Who released or scheduled it; None: nobody yet, or a feed by itself.
    # Every editor who may be behind the proposal: an approval takes somebody who is none of them.
    proposer_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), default=list, server_default="{}")
    approved_by: Mapped[str | None]  # The second person, if the rules wanted one.
    due_at: Mapped[datetime | None]
    time_zone: Mapped[str] = mapped_column(default="", server_default="")  # In which `due_at` was named.
    # A test, or a request to approve: it goes to this editor's own browsers and to nobody else.
    for_editor_id: Mapped[int | None] = mapped_column(ForeignKey(Editor.id, ondelete="CASCADE"), index=True)
    # A welcome: it goes to readers who have just come and to nobody else.
    is_welcome: Mapped[bool] = mapped_column(default=False, server_default="false")
    topics: Mapped[list[Topic]] = relationship(secondary=alert_topics, lazy="raise", order_by=Topic.id)

    @property
    def is_public(self) -> bool:
        return self.for_editor_id is None and not self.is_welcome

    @property
    def slugs(self) -> list[str]:
        """Its topics' short names."""
        return [topic.slug for topic in self.topics]

    @property
    def expires_at(self) -> datetime:
        return (self.released_at or self.created_at) + timedelta(seconds=self.ttl)

    @property
    def thread(self) -> UUID:
        """What readers know it by: a correction takes the place of what it corrects."""
        return self.thread_id or self.id

    @property
    def version(self) -> str:
        """One short word for all that readers would get. Whoever decides about an alert says which they have read."""
        topics = sorted(topic.slug for topic in self.topics)
        told = json.dumps([self.title, self.body, self.url, self.image, self.level, self.ttl, topics])
        return sha256(told.encode()).hexdigest()[:16]

    @property
    def chosen(self) -> bool:
        """A person has settled its topics: what a feed learns later does not widen it."""
        by_feed = self.made_by in (None, NEWSBELL) and self.proposed_by in (None, NEWSBELL)
        return not by_feed or self.approved_by is not None

    def release(self, now: datetime) -> None:
        if self.state not in (AlertState.DRAFT, AlertState.SCHEDULED):
            raise Conflict(f"This alert was {self.state} already; it is not sent twice.")
        self.state, self.released_at = AlertState.RELEASED, now

    def recall(self) -> None:
        if self.state is AlertState.FINISHED:
            raise Conflict("Everybody has this alert already. To replace it on their screens, correct it.")
        if self.state is AlertState.RECALLED:
            raise Conflict("This alert was recalled already.")
        if self.corrects_id is not None and not self.state.is_out:
            # Recalled, it would stay in the place of the one correction, and whoever got the wrong text keep it.
            raise Conflict("Nobody has got this correction yet. Take it back and delete it instead.")
        self.state, self.growing = AlertState.RECALLED, False


# Neither a test or request, nor a welcome: what readers have followed a topic for.
IS_PUBLIC = Alert.for_editor_id.is_(None) & Alert.is_welcome.is_(False)


def an_alert(
    *,
    title: str,
    url: str,
    topics: Sequence[Topic],
    now: datetime,
    body: str = "",
    image: str | None = None,
    level: Level = Level.NORMAL,
    ttl: timedelta = USUAL_TTL,
    story: Story | None = None,
    made_by: str = NEWSBELL,
    for_editor_id: int | None = None,
    is_welcome: bool = False,
) -> Alert:
    """A draft. `release` (app/release.py) sends it on its way."""
    return Alert(
        id=uuid4(),
        title=a_title(title),
        body=cut(body, 1000),
        url=an_address(url),
        image=a_picture(image),
        level=level,
        ttl=a_ttl(ttl),
        state=AlertState.DRAFT,
        story_id=story.id if story else None,
        recipients=0,
        created_at=now,
        made_by=made_by,
        time_zone="",
        proposer_ids=[],
        for_editor_id=for_editor_id,
        is_welcome=is_welcome,
        # What editors or newcomers alone get needs none.
        topics=some_topics(topics) if for_editor_id is None and not is_welcome else list(topics),
    )


def some_topics(topics: Sequence[Topic]) -> list[Topic]:
    if not topics:
        raise Refusal("An alert needs at least one topic: nobody would get it.")
    return list(topics)


def a_ttl(ttl: timedelta) -> int:
    if not timedelta(minutes=1) <= ttl <= LONGEST_TTL:
        raise Refusal("An alert lives from one minute to 28 days.")
    return int(ttl.total_seconds())


def a_title(text: str) -> str:
    title = cut(" ".join(text.split()), 300)
    if not is_seen(title):
        raise Refusal("An alert needs a title that readers can see.")
    return title


def an_address(text: str) -> str:
    url = text.strip()
    if not _opens(url):
        raise Refusal("An alert's address starts with https:// and has at most 2,048 characters and no spaces.")
    return url


def _opens(url: str) -> bool:
    """Whether a browser can open it: with brackets that do not close or a port that is none, it cannot."""
    if not ADDRESS.fullmatch(url) or len(url) > 2048:
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def a_picture(text: str | None) -> str | None:
    url = (text or "").strip()
    if url and not _opens(url):
        raise Refusal("A picture's address starts with https:// and has at most 2,048 characters and no spaces.")
    return url or None


NOTHING_ELSE = "Say what is to be read instead: a title, a body, an address or an image."
_STILL = {AlertState.DRAFT: "a draft", AlertState.PROPOSED: "not approved yet", AlertState.SCHEDULED: "still to go out"}


def a_correction(
    wrong: Alert,
    *,
    now: datetime,
    title: str | None = None,
    body: str | None = None,
    url: str | None = None,
    image: str | None = None,
    made_by: str = NEWSBELL,
    unwritten: bool = False,
) -> Alert:
    """A draft that takes the place of `wrong` on the screens of those who got it. What is None stays as it was.

    `unwritten`: somebody is going to write into it what is to be read instead.
    """
    if not wrong.state.is_out:
        raise Conflict(f"This alert is {_STILL[wrong.state]}: nobody has got it, so there is nothing to correct.")
    if wrong.state is AlertState.RECALLED and wrong.released_at is None:
        raise Conflict("This alert was recalled before it went out: nobody has got it, so there is nothing to correct.")
    if title is None and body is None and url is None and image is None and not unwritten:
        raise Refusal(NOTHING_ELSE)
    return Alert(
        id=uuid4(),
        title=wrong.title if title is None else a_title(title),
        body=wrong.body if body is None else cut(body, 1000),
        url=wrong.url if url is None else an_address(url),
        image=wrong.image if image is None else a_picture(image),
        level=wrong.level,
        ttl=wrong.ttl,
        state=AlertState.DRAFT,
        corrects_id=wrong.id,
        thread_id=wrong.thread,
        recipients=0,
        created_at=now,
        made_by=made_by,
        time_zone="",
        proposer_ids=[],
        topics=list(wrong.topics),
    )


def from_story(story: Story, topics: Sequence[Topic], now: datetime) -> Alert:
    """For the followers of `topics`: whom it may ring for is not what it speaks of."""
    return an_alert(
        title=story.title if is_seen(story.title) else story.url,
        body=cut(story.summary, 300),
        url=story.url,
        image=story.image if _opens(story.image or "") else None,
        topics=topics,
        story=story,
        now=now,
    )


async def alert_by_id(session: AsyncSession, alert_id: UUID, *, lock: bool = False) -> Alert:
    query = select(Alert).where(Alert.id == alert_id).options(selectinload(Alert.topics))
    alert = await session.scalar(query.with_for_update(of=Alert) if lock else query)
    if alert is None:
        raise NotFound("There is no such alert.")
    return alert


async def alert_of(session: AsyncSession, story: Story) -> Alert | None:
    query = select(Alert).where(Alert.story_id == story.id).options(selectinload(Alert.topics))
    return await session.scalar(query.with_for_update(of=Alert))


async def id_of_alert(session: AsyncSession, start: str) -> UUID:
    """The one that begins so: people do not type 36 characters."""
    digits = start.strip().lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{6,32}", digits):
        raise Refusal(f"“{start[:64]}” is not an alert's id. Its first six characters are enough.")
    among = Alert.id.between(UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f")))
    found = (await session.scalars(select(Alert.id).where(among).order_by(Alert.id).limit(5))).all()
    if not found:
        raise NotFound(f"There is no alert whose id begins with {start.strip()}.")
    if len(found) > 1:
        raise Refusal(f"Several alerts' ids begin with {start.strip()}: {', '.join(map(str, found))}.")
    return found[0]


async def latest_alerts(
    session: AsyncSession,
    limit: int,
    *,
    states: Collection[AlertState] = (),
    words: str = "",
    topic: str | None = None,
    before: tuple[datetime, UUID] | None = None,
    topics: Collection[str] | None = None,
    levels: Collection[str] | None = None,
) -> Sequence[Alert]:
    """The newest first, without those that only editors or newcomers got. `words`: all of them in title or text.

    `topics`, `levels`: none of any others.
    """
    query = select(Alert).where(IS_PUBLIC).options(selectinload(Alert.topics))
    if states:
        query = query.where(Alert.state.in_(states))
    for word in words.split():
        query = query.where(Alert.title.icontains(word, autoescape=True) | Alert.body.icontains(word, autoescape=True))
    if topic:
        query = query.where(Alert.topics.any(Topic.slug == topic))
    if before is not None:
        query = query.where(tuple_(Alert.created_at, Alert.id) < tuple_(*before))
    if topics is not None:
        query = query.where(Alert.topics.any(), ~Alert.topics.any(Topic.slug.not_in(topics)))
    if levels is not None:
        query = query.where(Alert.level.in_(levels))
    return (await session.scalars(query.order_by(Alert.created_at.desc(), Alert.id.desc()).limit(limit))).all()


async def alerts_of(session: AsyncSession, story_ids: Collection[int]) -> dict[int, Alert]:
    """What was made of these stories."""
    query = select(Alert).where(Alert.story_id.in_(story_ids)).options(selectinload(Alert.topics))
    return {alert.story_id: alert for alert in await session.scalars(query) if alert.story_id is not None}


async def correction_of(session: AsyncSession, alert_id: UUID) -> UUID | None:
    return (await corrections_of(session, [alert_id])).get(alert_id)


async def corrections_of(session: AsyncSession, alert_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """For each that was corrected, the alert that took its place."""
    rows = await session.execute(select(Alert.corrects_id, Alert.id).where(Alert.corrects_id.in_(alert_ids)))
    return {wrong: right for wrong, right in rows if wrong is not None}


async def is_corrected(session: AsyncSession, alert_id: UUID) -> bool:
    """Somebody has decided that its text is wrong: it reaches nobody new. A draft decides nothing."""
    decided = select(Alert.id).where(Alert.corrects_id == alert_id, Alert.state != AlertState.DRAFT)
    return await session.scalar(decided) is not None


async def must_be_uncorrected(session: AsyncSession, alert_id: UUID) -> None:
    """Each has one correction. The caller has locked its row, so of two who correct it at once, one is refused."""
    later = await session.scalar(select(Alert).where(Alert.corrects_id == alert_id))
    if later is None:
        return
    if later.state.is_out:
        raise Conflict(
            f"This alert was corrected already. If that is wrong as well, correct the correction: {later.id}."
        )
    raise Conflict(
        f"Its correction “{later.title}” by {later.made_by} is {_STILL[later.state]}. Send that one, or delete it: "
        f"{later.id}."
    )


async def thread_of(session: AsyncSession, alert: Alert) -> Sequence[UUID]:
    """The first alert and all its corrections."""
    return (await session.scalars(select(Alert.id).where(_of_thread(alert)))).all()


def _of_thread(alert: Alert) -> ColumnElement[bool]:
    return or_(Alert.id == alert.thread, Alert.thread_id == alert.thread)


async def replaced_by(session: AsyncSession, correction: Alert) -> Sequence[Alert]:
    """All earlier alerts of its thread: who got the first and missed its correction has a wrong text as well."""
    return (await session.scalars(select(Alert).where(_of_thread(correction), Alert.id != correction.id))).all()


_IS_DONE = and_(~Alert.growing, ~exists().where(Shard.alert_id == Alert.id, Shard.waiting > 0))
_CAN_END = or_(
    Alert.state == AlertState.SENDING,
    and_(Alert.state == AlertState.RECALLED, Alert.finished_at.is_(None)),
)


async def close_if_done(session: AsyncSession, alert_id: UUID, now: datetime) -> bool:
    """End the alert if none of its recipients is open; one that was recalled stays so.

    The row is locked by a statement of its own, so that the second one sees shards which a plan committed meanwhile.
    """
    state = await session.scalar(select(Alert.state).where(Alert.id == alert_id).with_for_update())
    ended = await session.scalar(
        update(Alert)
        .where(Alert.id == alert_id, _CAN_END, _IS_DONE)
        .values(state=AlertState.FINISHED if state is AlertState.SENDING else state, finished_at=now)
        .returning(Alert.id)
    )
    return ended is not None


async def count_to_come(session: AsyncSession, topic_id: int) -> int:
    """Scheduled or proposed alerts to the followers of a topic."""
    query = select(func.count()).select_from(Alert).join(alert_topics, alert_topics.c.alert_id == Alert.id)
    open_ones = Alert.state.in_((AlertState.PROPOSED, AlertState.SCHEDULED))
    return await session.scalar(query.where(alert_topics.c.topic_id == topic_id, open_ones)) or 0


async def forget_welcomes(session: AsyncSession, before: datetime) -> None:
    """They are of no interest once they have been sent."""
    await session.execute(delete(Alert).where(Alert.is_welcome, Alert.created_at < before))


async def unfinished(session: AsyncSession) -> Sequence[UUID]:
    """Alerts that nobody closed though nothing of them is open: their last worker died before it could."""
    return (await session.scalars(select(Alert.id).where(_CAN_END, _IS_DONE).order_by(Alert.id))).all()
