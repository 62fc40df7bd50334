"""Alerts: the decision to tell readers something, from a story or written by an editor."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, Column, ForeignKey, Table, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload

from app.domain.base import Base
from app.domain.messages import cut
from app.domain.refusals import NotFound, Refusal
from app.domain.shards import Shard
from app.domain.stories import Story
from app.domain.topics import Topic

# Half a day: news that a reader finds after it is history (FCM keeps up to 28 days, Apple 30).
USUAL_TTL = timedelta(hours=12)
LONGEST_TTL = timedelta(days=28)


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
    DRAFT = "draft"  # Waits for a person.
    RELEASED = "released"  # Said to go out; the audience is not written down yet.
    SENDING = "sending"  # The ledger has its recipients; some of them are open.
    FINISHED = "finished"  # Every recipient has a final outcome.
    RECALLED = "recalled"  # Taken back; what was not sent will not be.


alert_topics = Table(
    "alert_topics",
    Base.metadata,
    Column("alert_id", ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True),
    Column("topic_id", ForeignKey("topics.id", ondelete="CASCADE"), primary_key=True, index=True),
)


class Alert(Base):
    __tablename__ = "alerts"

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
    recipients: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(index=True)
    released_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    topics: Mapped[list[Topic]] = relationship(secondary=alert_topics, lazy="raise", order_by=Topic.id)

    @property
    def expires_at(self) -> datetime:
        return (self.released_at or self.created_at) + timedelta(seconds=self.ttl)

    def release(self, now: datetime) -> None:
        if self.state is not AlertState.DRAFT:
            raise Refusal(f"This alert was {self.state} already; it is not sent twice.")
        self.state, self.released_at = AlertState.RELEASED, now


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
) -> Alert:
    """A draft. `release` (app/release.py) sends it on its way."""
    title, url = " ".join(title.split()), url.strip()
    if not title:
        raise Refusal("An alert needs a title.")
    if not ADDRESS.fullmatch(url) or len(url) > 2048:
        raise Refusal("An alert's address starts with https:// and has at most 2,048 characters and no spaces.")
    if not topics:
        raise Refusal("An alert needs at least one topic: nobody would get it.")
    if not timedelta(minutes=1) <= ttl <= LONGEST_TTL:
        raise Refusal("An alert lives from one minute to 28 days.")
    return Alert(
        id=uuid4(),
        title=cut(title, 300),
        body=cut(body, 1000),
        url=url,
        image=image,
        level=level,
        ttl=int(ttl.total_seconds()),
        state=AlertState.DRAFT,
        story_id=story.id if story else None,
        recipients=0,
        created_at=now,
        topics=list(topics),
    )


def from_story(story: Story, now: datetime) -> Alert:
    return an_alert(
        title=story.title,
        body=cut(story.summary, 300),
        url=story.url,
        image=story.image,
        topics=story.topics,
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


async def close_if_done(session: AsyncSession, alert_id: UUID, now: datetime) -> bool:
    """End the alert if none of its recipients is open.

    The row is locked by a statement of its own, so that the second one sees shards which a plan committed meanwhile.
    """
    await session.execute(select(Alert.id).where(Alert.id == alert_id).with_for_update())
    open_shards = exists().where(Shard.alert_id == alert_id, Shard.waiting > 0)
    ended = await session.scalar(
        update(Alert)
        .where(Alert.id == alert_id, Alert.state == AlertState.SENDING, ~open_shards)
        .values(state=AlertState.FINISHED, finished_at=now)
        .returning(Alert.id)
    )
    return ended is not None


async def unfinished(session: AsyncSession) -> Sequence[UUID]:
    """Alerts that are being sent though nothing of them is open: their last worker died before it could close them."""
    open_shards = exists().where(Shard.alert_id == Alert.id, Shard.waiting > 0)
    return (await session.scalars(select(Alert.id).where(Alert.state == AlertState.SENDING, ~open_shards))).all()
