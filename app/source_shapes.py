"""The JSON shapes of feeds and topics at the desk (README, "HTTP")."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.domain.feeds import HOURLY_LIMIT, Feed, Policy, State
from app.domain.topics import Topic

CLEAN = r"^[^\x00]*$"
Slug = Annotated[str, Field(max_length=64, pattern=CLEAN)]
Slugs = Annotated[list[Slug], Field(max_length=64)]
Words = Annotated[str, Field(max_length=200, pattern=CLEAN)]
Synonyms = Annotated[list[Words], Field(max_length=100)]
HourlyLimit = Annotated[
    int, Field(ge=1, le=10_000, description="stories that ring by themselves within an hour; more become drafts")
]
Address = Annotated[str, Field(min_length=1, max_length=2048, pattern=CLEAN, description="https://…")]


class FeedIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"url": "https://news.example/rss.xml", "topics": ["ukraine"]}]},
    )

    url: Address
    topics: Slugs = Field([], description="for whose followers its stories ring")
    policy: Policy = Field(Policy.AUTO, description="auto: each rings; draft: each waits for a person; store: none")
    tags_add_topics: bool = Field(False, description="a story may ring for the topics of its own tags, too")
    hourly_limit: HourlyLimit = HOURLY_LIMIT


class FeedChangeIn(BaseModel):
    """Only what is named changes."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"policy": "draft"}, {"paused": True}]})

    policy: Policy | None = None
    topics: Slugs | None = None
    tags_add_topics: bool | None = None
    hourly_limit: HourlyLimit | None = None
    paused: bool | None = None


class FeedOut(BaseModel):
    id: int
    url: str
    title: str
    policy: Policy
    topics: list[str]
    tags_add_topics: bool
    hourly_limit: int
    state: State
    polled_at: AwareDatetime | None
    next_poll_at: AwareDatetime | None
    next_poll_because: str = Field(description="as a sentence", examples=["The publisher asked for 30 minutes."])
    trouble: str
    misses: int
    stories_24h: int
    held_back_24h: int = Field(description="above an hourly bound: they did not ring, and wait as drafts")
    baseline_at: AwareDatetime | None


class FeedsOut(BaseModel):
    items: list[FeedOut]
    next: None = None


class EntryOut(BaseModel):
    title: str
    url: str
    published_at: AwareDatetime | None
    topics: list[str] = Field(description="it would get")
    tags: list[str]


class PreviewIn(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"url": "https://news.example/rss.xml"}]})

    url: Address


class PreviewOut(BaseModel):
    title: str
    trouble: str = Field(description="why it cannot be read, as a sentence; else empty")
    entries: list[EntryOut] = Field(description="the first twenty")
    count: int


class TopicIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"slug": "ukraine", "name": "Ukraine", "synonyms": ["Україна"]}]},
    )

    slug: Slug
    name: Words
    description: Annotated[str, Field(max_length=500, pattern=CLEAN)] = ""
    synonyms: Synonyms = []


class TopicChangeIn(BaseModel):
    """Only what is named changes."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"synonyms": ["Ukraine war", "Kyiv"]}]})

    name: Words | None = None
    description: Annotated[str, Field(max_length=500, pattern=CLEAN)] | None = None
    synonyms: Synonyms | None = None


class DeskTopicOut(BaseModel):
    slug: str
    name: str
    description: str
    synonyms: list[str]
    followers: int
    feeds: int


class TopicsOut(BaseModel):
    items: list[DeskTopicOut]
    next: None = None


def feed_out(feed: Feed, stories: int = 0, held: int = 0) -> FeedOut:
    alike = {name: getattr(feed, name) for name in FeedOut.model_fields.keys() & set(Feed.__mapper__.columns.keys())}
    topics = [topic.slug for topic in feed.topics]
    return FeedOut(**alike, topics=topics, state=feed.state, stories_24h=stories, held_back_24h=held)


def desk_topic_out(topic: Topic, followers: int, feeds: int) -> DeskTopicOut:
    return DeskTopicOut(
        slug=topic.slug,
        name=topic.name,
        description=topic.description,
        synonyms=topic.synonyms,
        followers=followers,
        feeds=feeds,
    )
