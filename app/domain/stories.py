"""Stories: an item of a feed as we remember it, and the rules that say whether we have seen it before."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Index, Table, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload

from app.domain.base import Base
from app.domain.entries import Entry
from app.domain.feeds import Feed
from app.domain.refusals import NotFound
from app.domain.topics import Topic, spoken_of

# An item that is older than this when we first see it is no news: a rebuilt site or a late import.
TOO_OLD_TO_RING = timedelta(hours=24)
# How long a story that turns up under one more topic may still ring for that topic's readers.
STILL_FRESH = timedelta(hours=6)
# For so long an item under a new address is known by its words, where the old one has gone from the document.
SAME_WORDS = timedelta(days=7)


story_topics = Table(
    "story_topics",
    Base.metadata,
    Column("story_id", ForeignKey("stories.id", ondelete="CASCADE"), primary_key=True),
    Column("topic_id", ForeignKey("topics.id", ondelete="CASCADE"), primary_key=True),
    Index("ix_story_topics_newest", "topic_id", "story_id"),
)

story_feeds = Table(
    "story_feeds",
    Base.metadata,
    Column("story_id", ForeignKey("stories.id", ondelete="CASCADE"), primary_key=True),
    Column("feed_id", ForeignKey("feeds.id", ondelete="CASCADE"), primary_key=True, index=True),
)


class Story(Base):
    __tablename__ = "stories"
    __table_args__ = (Index("ix_stories_seen", "seen_at", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    title: Mapped[str]
    summary: Mapped[str]
    url: Mapped[str]
    image: Mapped[str | None]
    published_at: Mapped[datetime | None]
    seen_at: Mapped[datetime]
    topics: Mapped[list[Topic]] = relationship(secondary=story_topics, lazy="raise", order_by=Topic.id)
    feeds: Mapped[list[Feed]] = relationship(secondary=story_feeds, lazy="raise", order_by=Feed.id)


class StoryKey(Base):
    """One of the names under which a story is known: its address, or a feed's own id for it."""

    __tablename__ = "story_keys"

    name: Mapped[str] = mapped_column(primary_key=True)
    story_id: Mapped[int] = mapped_column(ForeignKey("stories.id", ondelete="CASCADE"), index=True)


# Parameters that say how a reader came, not which story it is (as seen in publishers' feeds).
_CAMPAIGN = ("utm_", "mtm_", "at_", "ns_")
_NOISE = frozenset(
    {"cmp", "emc", "fbclid", "feedname", "feedtype", "gclid", "igshid", "ito", "maca", "mc_cid", "mc_eid", "msclkid"}
    | {"ocid", "partner", "smid", "traffic_source", "wt_mc", "xtor", "yclid", "ysclid"}
)


def canonical(url: str) -> str:
    """The address reduced to what tells stories apart; not an address to open.

    Scheme, www./m./amp., default ports, fragments and campaign parameters go; every other parameter stays, because
    some publishers name the story in one. What is no address comes back as it is.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port not in (None, 80, 443) else ""
    except ValueError:
        return url
    host = (parts.hostname or "").lower()
    for prefix in ("www.", "m.", "amp."):
        host = host.removeprefix(prefix)
    path = "/".join(piece for piece in parts.path.split("/") if piece)
    # Bytes that are not UTF-8 (windows-1251 in an address, say) come out as they went in.
    given = parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape")
    query = sorted((k, v) for k, v in given if not _is_noise(k))
    return f"{host}{port}/{path}" + (f"?{urlencode(query, errors='surrogateescape')}" if query else "")


def _is_noise(parameter: str) -> bool:
    name = parameter.lower()
    return name in _NOISE or name.startswith(_CAMPAIGN)


def names_of(feed_id: int, entries: Sequence[Entry]) -> list[list[str]]:
    """For each entry the names it is known by; entries that share one are one story.

    A front page, or an address that three or more items of one document share, is no story's own; and a guid that
    stands beside two different addresses is void in that document (feeds repeat them by mistake).
    """
    addresses = [canonical(entry.url) for entry in entries]
    shared = {address for address, count in Counter(addresses).items() if count > 2 or address.endswith("/")}
    beside: dict[str, set[str]] = {}
    for entry, address in zip(entries, addresses, strict=True):
        beside.setdefault(entry.guid or "", set()).add(address)
    void = {guid for guid, found in beside.items() if len(found) > 1 and not found <= shared} | {""}
    return [
        _names(feed_id, entry, None if address in shared else address, None if entry.guid in void else entry.guid)
        for entry, address in zip(entries, addresses, strict=True)
    ]


def _names(feed_id: int, entry: Entry, address: str | None, guid: str | None) -> list[str]:
    # An index takes no key above some 2,700 bytes, and an address of 2,048 characters can have more.
    names = [f"url:{address if len(address.encode()) <= 1024 else _short(address)}"] if address else []
    # BBC's guid is the address and a counter of its editions (…#1, #2): the address says all of it.
    if guid and not (address and "://" in guid and canonical(guid) == address):
        names.append(f"guid:{feed_id}:{_short(guid)}")
    return names or [f"text:{feed_id}:{_short(entry.title + entry.summary)}"]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]


@dataclass
class Listed:
    """A story as one feed lists it in one poll."""

    story: Story
    entry: Entry
    topics: list[Topic]  # For whose followers this feed may ring with it.
    fresh: bool  # Nobody has listed it before.
    first: bool  # This feed has not.


@dataclass(frozen=True)
class Remembered:
    """What one poll brought that is new to us, or new from this feed, or of a topic that it was not of before."""

    listed: list[Listed]

    @property
    def fresh(self) -> list[Story]:
        return [one.story for one in self.listed if one.fresh]

    @property
    def known(self) -> list[Story]:
        """Seen before: in another feed, or in this one without a topic that it has gained."""
        return [one.story for one in self.listed if not one.fresh]


async def remember(
    session: AsyncSession, feed: Feed, entries: Sequence[Entry], topics: Sequence[Topic], now: datetime
) -> Remembered:
    """Store what is new and attach what is known to this feed and its topics.

    Readers' pages show a story under every topic that its tags speak of. Whom a feed may ring for is another question:
    the followers of the topics that its owner has filed it under, and of those in tags only if the owner said so.

    Storing is one at a time across all workers (a few milliseconds each), so two feeds that bring the same story at
    once still make one story of it.
    """
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtext("stories"))))
    names = names_of(feed.id, entries)
    known = await _known(session, {name for some in names for name in some})
    await _add_moved(session, feed, entries, names, known, now)
    listed: dict[int, Listed] = {}
    for entry, some in zip(entries, names, strict=True):
        tagged = spoken_of(topics, entry.tags)
        story = next((known[name] for name in some if name in known), None)
        fresh = story is None
        if story is None:
            story = a_story(entry, now)
            session.add(story)
            await session.flush()
        gained = [topic for topic in _distinct([*feed.topics, *tagged]) if topic not in story.topics]
        story.topics.extend(gained)
        first = feed not in story.feeds
        if first:
            story.feeds.append(feed)
        may_ring = _distinct([*feed.topics, *(tagged if feed.tags_add_topics else [])])
        here = listed.get(story.id)
        if here is not None:  # A document that has it twice, perhaps with other tags.
            here.topics = _distinct([*here.topics, *may_ring])
        elif first or gained:
            wanted = may_ring if first else [topic for topic in may_ring if topic in gained]
            listed[story.id] = Listed(story, entry, wanted, fresh, first)
        await _name(session, story, some)
        known.update(dict.fromkeys(some, story))
    return Remembered(list(listed.values()))


def a_story(entry: Entry, now: datetime) -> Story:
    return Story(
        title=entry.title,
        summary=entry.summary,
        url=entry.url,
        image=entry.image,
        published_at=entry.published_at,
        seen_at=now,
        topics=[],
        feeds=[],
    )


def is_news(listed: Listed, now: datetime) -> bool:
    """Not an old piece that turned up late, and not one that some feed has listed for hours."""
    published = listed.entry.published_at
    young = published is None or published > now - TOO_OLD_TO_RING
    return young and (listed.fresh or listed.story.seen_at > now - STILL_FRESH)


def retell(story: Story, entry: Entry) -> None:
    """In the words of another feed: of the one that rings with it."""
    story.title, story.summary, story.url = entry.title, entry.summary, entry.url
    story.image, story.published_at = entry.image, entry.published_at


async def _known(session: AsyncSession, names: Collection[str]) -> dict[str, Story]:
    rows = await session.execute(
        select(StoryKey.name, Story)
        .join(Story, Story.id == StoryKey.story_id)
        .where(StoryKey.name.in_(names))
        .options(selectinload(Story.topics), selectinload(Story.feeds))
    )
    return {name: story for name, story in rows}


async def _add_moved(
    session: AsyncSession,
    feed: Feed,
    entries: Sequence[Entry],
    names: Sequence[Sequence[str]],
    known: dict[str, Story],
    now: datetime,
) -> None:
    """A publishing system may give its items other addresses and ids, some at every request: that makes no news.

    Such an item has the title and summary of one that this feed listed lately and lists no more. A title alone is not
    enough, since rubrics have one that returns.
    """
    unknown = [
        (entry, some[0])
        for entry, some in zip(entries, names, strict=True)
        if entry.summary and not any(name in known for name in some)
    ]
    if not unknown:
        return
    query = (
        select(Story)
        .join(story_feeds, story_feeds.c.story_id == Story.id)
        .where(story_feeds.c.feed_id == feed.id, Story.seen_at > now - SAME_WORDS)
        .where(Story.title.in_({entry.title for entry, _ in unknown}))
        .options(selectinload(Story.topics), selectinload(Story.feeds))
        .order_by(Story.id.desc())
    )
    still_there = {story.id for story in known.values()}
    left: defaultdict[tuple[str, str], list[Story]] = defaultdict(list)
    for story in await session.scalars(query):
        if story.id not in still_there:
            left[story.title, story.summary].append(story)
    for entry, name in unknown:
        if found := left[entry.title, entry.summary]:
            known[name] = found.pop()


async def _name(session: AsyncSession, story: Story, names: Iterable[str]) -> None:
    rows = [{"name": name, "story_id": story.id} for name in names]
    await session.execute(insert(StoryKey).values(rows).on_conflict_do_nothing())


def _distinct(topics: Iterable[Topic]) -> list[Topic]:
    return list(dict.fromkeys(topics))


async def story_by_id(session: AsyncSession, story_id: int, *, lock: bool = False) -> Story:
    """lock: until the transaction ends nobody else who does so makes an alert of it."""
    query = select(Story).where(Story.id == story_id).options(selectinload(Story.topics))
    story = await session.scalar(query.with_for_update(of=Story, key_share=True) if lock else query)
    if story is None:
        raise NotFound("There is no such story.")
    return story


async def latest(
    session: AsyncSession,
    *,
    topic: str | None,
    before: tuple[datetime, int] | None,
    limit: int,
    words: str = "",
) -> Sequence[Story]:
    """Newest first, by when we saw them: publishers' own dates are advice. `words`: all of them in title or summary.

    A plain look at each story's text, newest first, until a page is full: a newsroom's year of stories takes some
    tenths of a second, and what is looked for is nearly always of today.
    """
    query = select(Story).options(selectinload(Story.topics)).order_by(Story.seen_at.desc(), Story.id.desc())
    if topic is not None:
        topic_id = await session.scalar(select(Topic.id).where(Topic.slug == topic))
        if topic_id is None:
            return []
        # Said as a number in the statement itself, so that the database knows whether most stories are of this topic,
        # and the newest are soon found, or few. Otherwise it takes all for alike and sorts a year of a frequent one.
        query = query.where(Story.topics.any(Topic.id == bindparam("topic", topic_id, literal_execute=True)))
    for word in words.split():
        query = query.where(
            or_(Story.title.icontains(word, autoescape=True), Story.summary.icontains(word, autoescape=True))
        )
    if before is not None:
        query = query.where((Story.seen_at < before[0]) | ((Story.seen_at == before[0]) & (Story.id < before[1])))
    return (await session.scalars(query.limit(limit))).all()


async def front(session: AsyncSession, *, topics: int, each: int) -> list[tuple[Topic, list[Story]]]:
    """The topics that have the newest stories, in the newsroom's order, each with `each` of its newest at most."""
    # Numbers are given in the order in which stories come, so a topic's newest is the last of its part of an index.
    of_topic = select(func.max(story_topics.c.story_id)).where(story_topics.c.topic_id == Topic.id)
    newest = select(Story.seen_at).where(Story.id == of_topic.correlate(Topic).scalar_subquery())
    seen = newest.correlate(Topic).scalar_subquery()
    chosen = select(Topic.id).where(seen.is_not(None)).order_by(seen.desc(), Topic.id).limit(topics)
    shown = (await session.scalars(select(Topic).where(Topic.id.in_(chosen)).order_by(Topic.id))).all()
    # Twice as many as are shown, since some of them stand under an earlier topic already.
    lists = [await latest(session, topic=topic.slug, before=None, limit=2 * each) for topic in shown]
    return [(topic, some) for topic, some in zip(shown, each_once(lists, each), strict=True) if some]


def each_once(lists: Iterable[Sequence[Story]], most: int) -> list[list[Story]]:
    """Each story stands in one list only: in the first that has it and room for it."""
    seen: set[int] = set()
    kept = []
    for some in lists:
        fresh = [story for story in some if story.id not in seen][:most]
        seen |= {story.id for story in fresh}
        kept.append(fresh)
    return kept


async def newest_id(session: AsyncSession) -> int:
    return await session.scalar(select(func.max(Story.id))) or 0


async def since(session: AsyncSession, story_id: int, limit: int) -> Sequence[Story]:
    """The newest `limit` after that one, in the order they came.

    Numbers are given and committed in the same order: `remember` lets one transaction at a time store any.
    """
    query = select(Story).where(Story.id > story_id).options(selectinload(Story.topics))
    return (await session.scalars(query.order_by(Story.id.desc()).limit(limit))).all()[::-1]


async def count_by_feed(session: AsyncSession, since: datetime) -> dict[int, int]:
    """How many stories each feed has brought since then."""
    query = (
        select(story_feeds.c.feed_id, func.count())
        .join(Story, Story.id == story_feeds.c.story_id)
        .where(Story.seen_at >= since)
        .group_by(story_feeds.c.feed_id)
    )
    return {feed_id: count for feed_id, count in await session.execute(query)}
