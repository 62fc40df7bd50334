from collections.abc import Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.refusals import NotFound, Refusal
from app.domain.topics import a_topic, describe, fold, spoken_of, topic_for_change, topics_named
from tests.makers import a_topic_row

# Folding


@pytest.mark.parametrize(
    "one, other",
    [
        ("Ukraine", "UKRAINE"),
        ("Ukraine", "  ukraine \n"),
        ("World News", "World\xa0News"),
        ("world-news", "World News"),
        ("World/News", "world news"),
        ("Québec", "Quebec"),
        ("Que\u0301bec", "Québec"),
        ("İstanbul", "Istanbul"),
        ("x\u0302y", "xy"),
        ("Straße", "STRASSE"),
        ("Ελλάδα", "ΕΛΛΑΔΑ"),
        ("Ёлка", "елка"),
        ("е\u0308лка", "Ёлка"),
        ("и\u0306", "й"),
        ("Ｕｋｒａｉｎｅ", "Ukraine"),
        ("R&amp;D", "R&D"),
        ("R&amp;amp;D", "R D"),
        ("&amp;lt;b&amp;gt;Russia&amp;lt;/b&amp;gt;", "Russia"),
        ("<b>Russia</b>", "Russia"),
        ("Путин", "ПУТИН"),
        ("Russia–Ukraine war", "Russia-Ukraine War"),
        ("Israel-Gaza War (2023- )", "israel gaza war 2023"),
    ],
)
def test_these_are_the_same_word(one: str, other: str) -> None:
    assert fold(one) == fold(other) != ""


@pytest.mark.parametrize(
    "one, other",
    [
        ("мой", "мои"),  # й is not и
        ("Україна", "Украіна"),  # ї is not і
        ("Київ", "Киів"),
        ("Війна", "Воина"),
        ("Ґудзик", "Гудзик"),
        ("कि", "की"),  # vowel signs of Hindi
        ("Russia", "Prussia"),
        ("1989", "1990"),
    ],
)
def test_these_are_different_words(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@pytest.mark.parametrize("nothing", ["", " ", "—", "<br>", "&nbsp;", "()"])
def test_what_has_no_letter_folds_to_nothing(nothing: str) -> None:
    assert fold(nothing) == ""


def test_folding_twice_is_folding_once() -> None:
    for text in ("İstanbul", "Ёлка й ї", "Straße", "हिन्दी", "ﬁne", "e\u0301\u0327", "가나다"):
        assert fold(fold(text)) == fold(text)


# What a publisher's tags speak of

RUSSIA = a_topic("russia", "Russia", synonyms=["Россия", "Росія", "Putin, Vladimir V", "Russia-Ukraine war"])
UKRAINE = a_topic("ukraine", "Ukraine", synonyms=["Україна", "Украина", "Russia-Ukraine war"])
WORLD = a_topic("world-news", "World News", synonyms=["World", "worldNews", "Світ", "Мир"])
GEORGIA = a_topic("georgia", "Georgia")


@pytest.mark.parametrize(
    "tags, slugs",
    [
        ([], []),
        ([""], []),
        (["Ukraine"], ["ukraine"]),
        (["УКРАЇНА"], ["ukraine"]),
        (["украина"], ["ukraine"]),
        (["World news"], ["world-news"]),
        (["world-news"], ["world-news"]),
        (["worldNews"], ["world-news"]),
        (["мир"], ["world-news"]),
        (["Putin, Vladimir V"], ["russia"]),
        (["Putin"], []),
        (["Vladimir V"], []),
        (["Russia-Ukraine war"], ["russia", "ukraine"]),
        (["Ukraine", "Russia", "World", "Russia"], ["russia", "ukraine", "world-news"]),
        (["New Russia"], []),
        (["Prussia"], []),
        (["Russian"], []),
        (["Georgia (US)"], []),
        (["Ukraine, Russia"], []),
        (["Украіна"], []),
        (["Sport"], []),
        (["&amp;lt;i&amp;gt;Ukraine&amp;lt;/i&amp;gt;"], ["ukraine"]),
    ],
)
def test_a_tag_speaks_of_a_topic_when_it_is_the_whole_name(tags: Sequence[str], slugs: list[str]) -> None:
    assert [topic.slug for topic in spoken_of([RUSSIA, UKRAINE, WORLD, GEORGIA], tags)] == slugs


# A topic


@pytest.mark.parametrize("slug", ["ukraine", "world-news", "g7", "1", "a" * 64])
def test_a_short_name_is_small_letters_digits_and_single_hyphens(slug: str) -> None:
    assert a_topic(slug, "Name").slug == slug


@pytest.mark.parametrize(
    "slug", ["", "Ukraine", "world news", "-a", "a-", "a--b", "a_b", "україна", "a/b", "a\n", "a" * 65]
)
def test_any_other_short_name_is_refused(slug: str) -> None:
    with pytest.raises(Refusal, match="small letters"):
        a_topic(slug, "Name")


@pytest.mark.parametrize("name", ["", "  ", "—"])
def test_a_topic_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match="needs a name"):
        a_topic("ukraine", name)


def test_a_topic_is_described_anew_and_keeps_its_short_name() -> None:
    topic = a_topic("ukraine", "Ukraine", synonyms=["Kyiv"])
    describe(topic, name=" War in Ukraine ", description=" What happens there ", synonyms=[" Kiev", " ", "Lviv"])
    said = (topic.slug, topic.name, topic.description, topic.synonyms)
    assert said == ("ukraine", "War in Ukraine", "What happens there", ["Kiev", "Lviv"])
    with pytest.raises(Refusal, match="needs a name"):
        describe(topic, name=" ", description="", synonyms=[])
    assert topic.name == "War in Ukraine"


async def test_a_topic_that_is_to_change_is_there(session: AsyncSession) -> None:
    ukraine = await a_topic_row(session, "ukraine")
    assert await topic_for_change(session, "ukraine") is ukraine
    with pytest.raises(NotFound, match="no such topic"):
        await topic_for_change(session, "mars")


async def test_topics_are_found_in_the_order_asked_and_once(session: AsyncSession) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    assert await topics_named(session, ["ukraine", "russia", "ukraine"]) == [ukraine, russia]
    assert await topics_named(session, []) == []


async def test_an_unknown_topic_is_refused_with_those_there_are(session: AsyncSession) -> None:
    with pytest.raises(Refusal, match=r"“mars”\. Topics are: none yet"):
        await topics_named(session, ["mars"])
    await a_topic_row(session, "ukraine")
    with pytest.raises(Refusal, match=r"“mars”\. Topics are: ukraine"):
        await topics_named(session, ["ukraine", "mars"])
