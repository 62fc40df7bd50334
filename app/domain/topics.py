"""Topics: what a reader follows, and which of them a publisher's tags speak of."""

import html
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import BigInteger, Identity, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base
from app.domain.refusals import NotFound, Refusal

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Topic(Base):
    __tablename__ = "topics"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    synonyms: Mapped[list[str]] = mapped_column(default=list)


def a_topic(slug: str, name: str, *, description: str = "", synonyms: Iterable[str] = ()) -> Topic:
    if not SLUG.fullmatch(slug) or len(slug) > 64:
        raise Refusal(f"“{slug}” cannot be a topic's short name: use small letters, digits and single hyphens.")
    topic = Topic(slug=slug)
    describe(topic, name=name, description=description, synonyms=synonyms)
    return topic


def describe(topic: Topic, *, name: str, description: str, synonyms: Iterable[str]) -> None:
    """What readers see of it, and which tags of publishers mean it. The short name stays: sites' programs use it."""
    if not fold(name):
        raise Refusal("A topic needs a name that readers can read.")
    topic.name, topic.description = name.strip(), description.strip()
    topic.synonyms = [word.strip() for word in synonyms if word.strip()]


def fold(text: str) -> str:
    """Text reduced to what makes two tags the same word.

    Accents go only from Latin and Greek letters: in Cyrillic they make other letters (й is not и, ї is not і).
    """
    text = re.sub(r"<[^>]*>", " ", html.unescape(html.unescape(text)))
    text = unicodedata.normalize("NFKC", text).casefold().replace("ё", "е")
    return " ".join("".join(c if c.isalnum() or _is_mark(c) else " " for c in _without_accents(text)).split())


def _without_accents(text: str) -> str:
    kept, base = [], ""
    for letter in unicodedata.normalize("NFD", text):
        if not _is_mark(letter):
            base = unicodedata.name(letter, "")
        elif base.startswith(("LATIN", "GREEK")):
            continue
        kept.append(letter)
    return unicodedata.normalize("NFC", "".join(kept))


def _is_mark(letter: str) -> bool:
    """Accents, and the vowel signs of Indic scripts."""
    return unicodedata.category(letter).startswith("M")


def spoken_of(topics: Iterable[Topic], tags: Collection[str]) -> list[Topic]:
    """The topics whose name or a synonym equals one of the tags, whole, after folding. Never a part of a word."""
    said = {fold(tag) for tag in tags} - {""}
    return [t for t in topics if said & {fold(word) for word in (t.name, t.slug, *t.synonyms)}]


async def every_topic(session: AsyncSession) -> Sequence[Topic]:
    return (await session.scalars(select(Topic).order_by(Topic.id))).all()


async def topics_named(session: AsyncSession, slugs: Collection[str]) -> list[Topic]:
    """Exactly these topics; refuses if one does not exist."""
    found = {t.slug: t for t in await every_topic(session)}
    if unknown := [slug for slug in slugs if slug not in found]:
        known = ", ".join(found) or "none yet"
        raise Refusal(f"There is no topic “{unknown[0]}”. Topics are: {known}.")
    return [found[slug] for slug in dict.fromkeys(slugs)]


async def topic_for_change(session: AsyncSession, slug: str) -> Topic:
    topic = await session.scalar(select(Topic).where(Topic.slug == slug).with_for_update())
    if topic is None:
        raise NotFound("There is no such topic.")
    return topic
