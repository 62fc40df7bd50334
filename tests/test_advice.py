"""What to mind before an alert goes out."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from app.domain.advice import advise
from app.domain.alerts import Level
from app.domain.told import Told
from tests.makers import NOW

MINUTE = timedelta(minutes=1)


def codes(
    title: str = "Ceasefire agreed",
    *,
    body: str = "",
    url: str = "https://news.example/1",
    level: Level = Level.NORMAL,
    told: tuple[Told, ...] = (),
    besides: UUID | None = None,
) -> list[str]:
    found = advise(title=title, body=body, url=url, level=level, told=told, besides=besides, now=NOW)
    return [one.code for one in found]


def test_a_good_alert_needs_no_advice() -> None:
    assert codes(body="It begins at midnight.") == []


@pytest.mark.parametrize(
    "length, code",
    [(90, None), (91, "title_long"), (120, "title_long"), (121, "title_too_long"), (300, "title_too_long")],
)
def test_a_title_has_ninety_characters_or_is_cut(length: int, code: str | None) -> None:
    [*found] = advise(title="a" * length, body="", url="https://news.example/1", level=Level.NORMAL, now=NOW)
    assert [one.code for one in found] == ([code] if code else [])
    assert all(str(length) in one.text for one in found)


@pytest.mark.parametrize(
    "title, shouts",
    [
        ("CEASEFIRE AGREED", True),
        ("ПЕРЕМИРЬЕ СОГЛАСОВАНО", True),
        ("CEASEFIRE AGREED AFTER 3 YEARS!", True),
        ("Ceasefire AGREED", False),
        ("NATO", False),  # an abbreviation
        ("NATO, EU", False),
        ("停戦で合意に至りました", False),  # has no capitals
        ("2026: 1 500 000", False),
        ("", False),
    ],
)
def test_capitals_shout(title: str, shouts: bool) -> None:
    assert ("capitals" in codes(title)) is shouts


@pytest.mark.parametrize(
    "url, code",
    [("", "no_link"), (" ", "no_link"), ("http://news.example/1", "plain_link"), ("HTTP://x", "plain_link")],
)
def test_a_link_is_there_and_safe(url: str, code: str) -> None:
    assert codes(url=url) == [code]


@pytest.mark.parametrize(
    "title, breaking",
    [
        ("Breaking: ceasefire agreed", True),
        ("BREAKING NEWS: ceasefire agreed", True),
        ("Breaking news from Kyiv", True),
        ("⚡️ Breaking | ceasefire", True),
        ("Ceasefire agreed - BREAKING", True),
        ("Срочно: перемирие", True),
        ("ТЕРМІНОВО! Перемир’я", True),
        ("Eilmeldung: Waffenruhe", True),
        ("A record-breaking summer", False),
        ("Breaking bread with strangers", False),
        ("Heartbreaking: the dog that waited", False),
        ("Ceasefire agreed", False),
    ],
)
def test_a_title_that_says_breaking_goes_with_the_level(title: str, breaking: bool) -> None:
    assert ("level_too_low" in codes(title, level=Level.NORMAL)) is breaking
    assert ("level_too_low" in codes(title, level=Level.LOW)) is breaking
    assert codes(title, level=Level.BREAKING) == []


@pytest.mark.parametrize(
    "title, can_wait",
    [
        ("Analysis: what the ceasefire means", True),
        ("Quiz | Know your capitals?", True),
        ("Думка: що далі", True),
        ("Review of the ceasefire begins", False),
        ("Ceasefire agreed", False),
    ],
)
def test_a_title_that_can_wait_does_not(title: str, can_wait: bool) -> None:
    assert ("level_too_high" in codes(title, level=Level.BREAKING)) is can_wait
    assert "level_too_high" not in codes(title)


def test_a_body_says_more_than_the_title() -> None:
    assert codes(body=" “Ceasefire” AGREED ") == ["body_repeats"]
    assert codes("…", body="!") == []


# The same story


def before(
    minutes: float, title: str = "Ceasefire agreed", url: str = "https://elsewhere.example/", waits: bool = False
) -> Told:
    return Told(uuid4(), title, url, NOW - minutes * MINUTE, waits)


@pytest.mark.parametrize(
    "told, text",
    [
        (before(0.2), "The same story went out less than a minute ago: “Ceasefire agreed”."),
        (before(1), "The same story went out a minute ago: “Ceasefire agreed”."),
        (before(23), "The same story went out 23 minutes ago: “Ceasefire agreed”."),
        (before(300), "The same story went out 5 hours ago: “Ceasefire agreed”."),
        (before(-45), "The same story goes out in 45 minutes: “Ceasefire agreed”."),
        (before(0, waits=True), "The same story waits for a second person's approval: “Ceasefire agreed”."),
    ],
)
def test_the_same_story_is_named_with_its_time(told: Told, text: str) -> None:
    [one] = advise(
        title="Ceasefire agreed", body="", url="https://news.example/1", level=Level.LOW, told=[told], now=NOW
    )
    assert one.text == text


@pytest.mark.parametrize(
    "title, url, is_same",
    [
        ("CEASEFIRE  agreed!", "https://news.example/2", True),
        ("Another title", "http://m.news.example/1/?utm_source=x#top", True),
        ("Another title", "https://news.example/1?page=2", False),
        ("Ceasefire agreed again", "https://news.example/2", False),
    ],
)
def test_a_story_is_the_same_by_its_address_or_its_title(title: str, url: str, is_same: bool) -> None:
    assert codes(told=(before(1, title, url),)) == (["told_already"] if is_same else [])


def test_front_pages_and_titles_without_words_are_no_story() -> None:
    assert (
        codes("One", url="https://news.example/", told=(before(1, "Two", "https://news.example/?utm_source=x"),)) == []
    )
    assert codes("…", url="https://news.example/1", told=(before(1, "!", "https://news.example/2"),)) == []


def test_of_many_the_last_and_the_next_are_named_and_never_itself() -> None:
    told = (before(90), before(30), before(-5), before(-60))
    [last, soon] = advise(
        title="Ceasefire agreed", body="", url="https://x.example/1", level=Level.LOW, told=told, now=NOW
    )
    assert "30 minutes ago" in last.text
    assert "in 5 minutes" in soon.text
    assert codes(told=told[:1], besides=told[0].id) == []
