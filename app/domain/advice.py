"""Advice: what a good colleague would say before an alert goes out. Nothing here refuses anything."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.domain.alerts import Level
from app.domain.told import Told, same
from app.domain.topics import fold

# The lengths at which the Guardian's desk advises and then warns: phones cut a title at about the first.
LONG, TOO_LONG = 90, 120
# How far back (and ahead) the same story is looked for.
LATELY = timedelta(hours=24)
# So few letters may be an abbreviation.
FEW_LETTERS = 8

# At the start of a title or in capitals, since records and bread break as well.
_BREAKING = re.compile(
    r"^\W*(breaking( news)?|just in|eilmeldung|última hora|срочно|срочная новость|молния|терміново)\s*[:!|–—-]"
    r"|^\W*(breaking news|eilmeldung)\b",
    re.IGNORECASE,
)
_BREAKING_IN_CAPITALS = re.compile(r"\b(BREAKING|СРОЧНО|ТЕРМІНОВО|EILMELDUNG)\b(?! BAD)")
_UNHURRIED = re.compile(
    r"^\W*(analysis|opinion|comment|review|explainer|quiz|podcast|recipe|in pictures|long read|interview|obituary"
    r"|аналитика|мнение|колонка|интервью|аналітика|думка|інтерв[’']ю)\s*[:!|–—-]",
    re.IGNORECASE,
)


class Advice(NamedTuple):
    code: str
    text: str


def advise(
    *,
    title: str,
    body: str,
    url: str,
    level: Level,
    now: datetime,
    told: Sequence[Told] = (),
    besides: UUID | None = None,
) -> list[Advice]:
    """`told`: what went out lately; `besides`: the alert's own id, which is no news."""
    return [
        *_of_length(title),
        *_of_capitals(title),
        *_of_link(url),
        *_of_level(title, level),
        *_of_body(title, body),
        *_of_twins(same(told, title=title, url=url, besides=besides), now),
    ]


def _of_length(title: str) -> Iterator[Advice]:
    length = len(title.strip())
    if length > TOO_LONG:
        yield Advice(
            "title_too_long",
            f"At {length} characters every screen cuts the title. What matters belongs into the first 90.",
        )
    elif length > LONG:
        yield Advice("title_long", f"At {length} characters many phones cut the title. 90 are safe.")


def _of_capitals(title: str) -> Iterator[Advice]:
    letters = [letter for letter in title if letter.lower() != letter.upper()]
    if len(letters) >= FEW_LETTERS and all(letter.isupper() for letter in letters):
        yield Advice("capitals", "The title is all in capitals. It reads slower, and screen readers may spell it out.")


def _of_link(url: str) -> Iterator[Advice]:
    if not url.strip():
        yield Advice("no_link", "There is no link, so a click has nothing to open.")
    elif url.strip().lower().startswith("http://"):
        yield Advice(
            "plain_link",
            "The link starts with http://: some browsers warn before they open it. Is there an https:// one?",
        )


def _of_level(title: str, level: Level) -> Iterator[Advice]:
    breaking = _BREAKING.search(title) or _BREAKING_IN_CAPITALS.search(title)
    if breaking and level is not Level.BREAKING:
        yield Advice(
            "level_too_low",
            f"The title says that this is breaking, the level is {level}: quiet hours and limits will hold it back.",
        )
    if level is Level.BREAKING and _UNHURRIED.search(title):
        yield Advice(
            "level_too_high",
            "The level is breaking, but the title can wait: it would pass readers' quiet hours and limits.",
        )


def _of_body(title: str, body: str) -> Iterator[Advice]:
    if fold(body) and fold(body) == fold(title):
        yield Advice("body_repeats", "The text only repeats the title.")


def _of_twins(twins: Sequence[Told], now: datetime) -> Iterator[Advice]:
    before, after = [one for one in twins if one.at <= now], [one for one in twins if one.at > now]
    if before:
        yield Advice("told_already", f"{before[-1].when(now)}: “{before[-1].title}”.")
    if after:
        yield Advice("told_soon", f"{after[0].when(now)}: “{after[0].title}”.")
