"""Messages: the clear bytes that the browser gets."""

import hashlib
import json
import unicodedata
from base64 import urlsafe_b64encode
from typing import Any
from uuid import UUID

from app.domain.proofs import BLANK

# Firefox for Android rides a bridge that answers 413 a little above 3,000 sealed bytes; 2,800 clear ones fit.
LARGEST = 2800
SHORT = 1024  # for a service that would not take more


def message(
    *,
    alert: UUID,
    title: str,
    body: str,
    url: str,
    image: str | None,
    level: str,
    sample: float = 1.0,
    thread: UUID | None = None,
    largest: int = LARGEST,
) -> bytes:
    """A JSON document that is valid Declarative Web Push and what our service worker reads.

    What is too long is cut at a word: the body first, then the image goes, then the title is cut. Never an error.
    thread: the alert whose place on the screen this one takes, if it corrects one.
    largest: bytes; more only for the sake of a long address, and never more than LARGEST.
    sample: the share of browsers that shall tell us that they have shown it.
    The proof in it is a blank one; `Proofs.stamper` puts another one in its place for each reader.
    """
    corrects = thread is not None and thread != alert
    shown_as = tag(thread or alert)
    data = {"alert": str(alert), "level": level, "sample": sample, "proof": BLANK}
    for body_limit, picture, title_limit in (
        (len(body), image, len(title)),
        (600, image, 300),
        (200, image, 200),
        (200, None, 150),
        (60, None, 80),
        (0, None, 60),
    ):
        words = cut(title, title_limit), cut(body, body_limit)
        text = _document(data, shown_as, *words, url, picture, corrects=corrects)
        if len(text) <= largest:
            return text
    if len(text) <= LARGEST:  # An address that opens the story is worth more than a few bytes.
        return text
    # An address of that length opens nothing anyway.
    return _document(data, shown_as, cut(title, 60), "", "/", None, corrects=corrects)


def _document(
    data: dict[str, Any], shown_as: str, title: str, body: str, url: str, image: str | None, *, corrects: bool
) -> bytes:
    notification: dict[str, Any] = {
        "title": title,
        "body": body,
        "navigate": url,
        "tag": shown_as,
        "dir": "auto",
        "data": data,
    }
    if image:
        notification["image"] = image
    document: dict[str, Any] = {"web_push": 8030, "notification": notification}
    if corrects:
        # Safari replaces no card by its tag. Our service worker closes the older one there, and Safari runs it only for
        # a message that says so: at the top as the Push API has it, inside as WebKit read it at first.
        document["mutable"] = notification["mutable"] = True
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def tag(thread: UUID) -> str:
    """Notification tag: a repeat or a correction replaces the one on the screen instead of ringing again."""
    return f"alert-{thread}"


def topic_header(thread: UUID) -> str:
    """The push service's Topic header (RFC 8030, section 5.4): the next one replaces the one still waiting there.

    Always 32 characters: Apple refuses lengths that base64 cannot have.
    """
    return urlsafe_b64encode(hashlib.sha256(tag(thread).encode()).digest()[:24]).decode()


# Categories of what shows nothing by itself; and what does not either, though Unicode counts it as letters and signs.
_UNSEEN = ("Z", "M", "Cc", "Cf", "Cs")
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def is_seen(text: str) -> bool:
    """Whether a screen shows anything of it: not of spaces, joiners, marks and controls alone."""
    return any(letter not in _BLANKS and not unicodedata.category(letter).startswith(_UNSEEN) for letter in text)


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, cut at a word where there is one, with an ellipsis."""
    text = text.strip()
    if len(text) <= limit:
        return text
    if limit < 2:
        return ""
    piece = text[: limit - 1]
    head, space, _ = piece.rpartition(" ")
    return (head if space and len(head) > limit // 2 else piece).rstrip(" ,;:.–—-") + "…"
