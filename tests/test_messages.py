import json
from base64 import urlsafe_b64decode
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.domain.messages import LARGEST, SHORT, cut, is_seen, message, tag, topic_header
from app.domain.proofs import BLANK

ALERT = UUID("0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1d")


def read(
    *,
    title: str = "Ceasefire agreed",
    body: str = "",
    url: str = "https://news.example/1",
    image: str | None = None,
    level: str = "normal",
) -> dict[str, Any]:
    clear = message(alert=ALERT, title=title, body=body, url=url, image=image, level=level, sample=0.0123)
    assert len(clear) <= LARGEST
    document: dict[str, Any] = json.loads(clear)
    assert document["web_push"] == 8030
    notification: dict[str, Any] = document["notification"]
    # Members that Declarative Web Push requires, and the types of all; one wrong type undoes the whole message.
    assert notification["title"]
    assert notification["navigate"]
    words = {"title", "body", "navigate", "tag", "dir", "lang", "image"}
    assert all(isinstance(notification[name], str) for name in words & notification.keys())
    assert notification["dir"] in ("auto", "ltr", "rtl")
    return notification


def test_a_message_says_everything_that_the_browser_shows() -> None:
    assert read(title="Київ", body="Метро 🚇", image="https://news.example/1.jpg", level="breaking") == {
        "title": "Київ",
        "body": "Метро 🚇",
        "navigate": "https://news.example/1",
        "tag": f"alert-{ALERT}",
        "dir": "auto",
        "image": "https://news.example/1.jpg",
        "data": {"alert": str(ALERT), "level": "breaking", "sample": 0.0123, "proof": BLANK},
    }


def test_no_image_is_no_member() -> None:
    assert "image" not in read(image=None)
    assert "image" not in read(image="")


@pytest.mark.parametrize("letter", ["a", "й", "中", "🦊", '"', "\\", "\x01", "\u2028", "👩‍👩‍👧 "])
@pytest.mark.parametrize("title", [1, 60, 300, 10_000])
@pytest.mark.parametrize("body", [0, 300, 1000, 100_000])
def test_a_message_is_never_too_long(letter: str, title: int, body: int) -> None:
    full = "https://news.example/" + "i" * 2027
    for url, image in (("https://news.example/1", None), ("https://news.example/1", full), (full, full)):
        shown = read(title="T" + letter * title, body=letter * body, url=url, image=image)
        assert shown["title"].startswith("T")
        assert shown["navigate"] == url


@pytest.mark.parametrize("url", ["https://news.example/" + "й" * 2000, "https://news.example/" + "🦊" * 2000])
def test_an_absurd_address_leads_to_the_front_page(url: str) -> None:
    assert read(title="🦊" * 300, url=url)["navigate"] == "/"


@pytest.mark.parametrize("letters", range(500, 3000, 97))
def test_the_body_goes_before_the_image_and_the_image_before_the_title(letters: int) -> None:
    image = "https://news.example/" + "i" * letters
    shown = read(title="T" * 150, body="й" * 1000, image=image)
    assert shown["title"] == "T" * 150
    if len(shown["body"]) > 200:
        assert shown["image"] == image


def test_what_fits_is_not_cut() -> None:
    assert len(read(title="й" * 300, body="й" * 900)["body"]) == 900


def test_a_service_that_takes_little_gets_the_title_and_where_the_story_is() -> None:
    def short(url: str) -> bytes:
        text = "word " * 400
        return message(alert=ALERT, title=text, body=text, url=url, image=url, level="breaking", largest=SHORT)

    clear = short("https://news.example/story")
    assert len(clear) <= SHORT
    told = json.loads(clear)["notification"]
    assert told["title"].startswith("word word")
    assert told["navigate"] == "https://news.example/story"
    long = "https://news.example/" + "x" * 1500
    assert json.loads(short(long))["notification"]["navigate"] == long


# Names that make a repeat or a correction replace


def test_a_correction_is_shown_in_the_place_of_what_it_corrects_and_is_an_alert_of_its_own() -> None:
    first = uuid4()
    for title in ("Ceasefire agreed", "T" * 10_000):
        clear = message(alert=ALERT, thread=first, title=title, body="", url="/", image=None, level="low")
        notification = json.loads(clear)["notification"]
        assert (notification["tag"], notification["data"]["alert"]) == (tag(first), str(ALERT))


def test_only_a_correction_may_be_changed_by_the_worker_in_safari() -> None:
    def mutable(thread: UUID | None) -> tuple[Any, Any]:
        clear = message(alert=ALERT, thread=thread, title="й" * 9_000, body="", url="/", image=None, level="low")
        assert len(clear) <= LARGEST
        said = json.loads(clear)
        return said.get("mutable"), said["notification"].get("mutable")

    assert mutable(uuid4()) == (True, True)
    assert mutable(None) == mutable(ALERT) == (None, None)


def test_a_topic_header_has_32_letters_that_every_push_service_takes() -> None:
    for alert in (ALERT, *(uuid4() for _ in range(200))):
        header = topic_header(alert)
        assert len(header) == 32
        assert len(urlsafe_b64decode(header)) == 24
        assert header.isascii() and all(c.isalnum() or c in "-_" for c in header)


def test_a_repeat_has_the_same_names_and_another_alert_has_others() -> None:
    other = uuid4()
    assert (tag(ALERT), topic_header(ALERT)) == (tag(ALERT), topic_header(ALERT))
    assert tag(ALERT) != tag(other)
    assert topic_header(ALERT) != topic_header(other)
    assert str(ALERT) not in topic_header(ALERT)


# Cutting


@pytest.mark.parametrize(
    "text, limit, shown",
    [
        ("", 10, ""),
        ("  Kyiv ", 10, "Kyiv"),
        ("Ceasefire agreed", 16, "Ceasefire agreed"),
        ("Ceasefire agreed", 15, "Ceasefire…"),
        ("Ceasefire, agreed", 15, "Ceasefire…"),
        ("Ceasefire – agreed", 15, "Ceasefire…"),
        ("Kyiv Donaudampfschifffahrt", 20, "Kyiv Donaudampfschi…"),  # Half of it would be gone.
        ("Donaudampfschifffahrt", 10, "Donaudamp…"),
        ("ab", 1, ""),
        ("ab", 0, ""),
        ("a", 1, "a"),
        ("Київ відкриває метро", 16, "Київ відкриває…"),
    ],
)
def test_a_text_is_cut_at_a_word(text: str, limit: int, shown: str) -> None:
    assert cut(text, limit) == shown


@pytest.mark.parametrize("limit", range(40))
def test_a_cut_text_is_never_longer_than_asked(limit: int) -> None:
    for text in ("one two three four five six seven eight", "x" * 50, "— — — — — — — — — — — — — — — — — — — — — —"):
        assert len(cut(text, limit)) <= limit


@pytest.mark.parametrize(
    "text", ["", " \u00a0\u2028", "\u200b\u2060\u00ad", "\u202e\ufe0f\u0301", "\u3164\u2800", "\x1b\x07"]
)
def test_what_no_screen_shows_is_nothing(text: str) -> None:
    assert not is_seen(text)
    for letter in ("a", "я", "中", "क", "👨\u200d👩", "!", "9", "ع"):
        assert is_seen(text + letter)
