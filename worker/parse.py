"""Parse: the bytes of a document → entries. The only door to feedparser; `parser_process.py` is where it runs."""

import calendar
import codecs
import html.entities
import io
import itertools
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_tz
from typing import Any
from urllib.parse import urljoin, urlsplit

import feedparser
import ftfy

from app.domain.entries import Entry
from app.domain.messages import is_seen

ITEMS = 500
TITLE, SUMMARY, ADDRESS, TAG, TAGS = 500, 5_000, 2_048, 200, 50
RAW = 4 * SUMMARY  # characters of markup that are looked at for one text
START_TAG = 16 * 1024  # characters; the longest in 50 MB of real feeds has 509, and many attributes cost their square
WIDEST = 2_560  # pixels; a wider picture is made for print


@dataclass(frozen=True)
class Parsed:
    title: str
    entries: tuple[Entry, ...]  # in document order
    seconds: float = field(default=0.0, compare=False)  # of computing


@dataclass(frozen=True)
class Unreadable:
    reason: str  # one plain sentence for a person
    seconds: float = field(default=0.0, compare=False)
    costly: bool = False  # It would take more computing than a document is given.


Item = dict[str, Any]  # what feedparser makes of an item; untyped, like the library


class NotAFeed(Exception):
    """What the document is instead, in a sentence."""


def parse(body: bytes, *, content_type: str | None, url: str) -> Parsed | Unreadable:
    """Reads any document within its own four walls; how long that takes is for `parser_process.py` to limit."""
    try:
        return parsed(tidy(decode(body, content_type)), url=url)
    except NotAFeed as sentence:
        return Unreadable(str(sentence))
    except Exception as error:  # feedparser raises anything on malformed input
        return Unreadable(f"This feed could not be read ({type(error).__name__}).")


def parsed(document: str, *, url: str) -> Parsed:
    feed = feedparser.parse(
        # Only a stream is safe: given bytes or text that spell the path of a file, feedparser opens that file.
        io.BytesIO(document.encode()),
        response_headers={"content-type": "application/xml; charset=utf-8"},
        sanitize_html=False,  # We keep plain text only, and do that ourselves.
        resolve_relative_uris=False,
    )
    home = address(string(feed.feed, "link"), base=url) or url
    return Parsed(
        title=cut(plain(string(feed.feed, "title")) or place(url), TITLE),
        entries=tuple(entry_of(item, home=home) for item in newest(feed.entries)),
    )


# ── Bytes → text ──


def decode(body: bytes, content_type: str | None) -> str:
    """A mark at the beginning wins, then what is valid UTF-8, then the server's word, then the document's."""
    for mark, name in MARKS:
        if body.startswith(mark):
            return body.decode(name, "replace")
    return as_utf8(body) or as_labelled(body, content_type) or as_guessed(body)


MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
# What publishers mean by these names (WHATWG Encoding Standard, section 4.2); keys are Python's names for them.
MEANT = {"ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030", "gbk": "gb18030",
         "shift_jis": "cp932", "euc_kr": "cp949"}  # fmt: skip


def as_utf8(body: bytes) -> str | None:
    """Text in another encoding is all but never valid UTF-8; though one character may be cut in two."""
    text = body.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    return text if broken == 0 or broken * 10 < sum(c > "\x7f" for c in text) else None


def as_labelled(body: bytes, content_type: str | None) -> str | None:
    told = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", content_type or "", re.I)
    declared = re.match(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]+)", body[:1000])
    for label in ([told[1]] if told else []) + ([declared[1].decode()] if declared else []):
        with suppress(LookupError, ValueError):  # an unknown name; bytes that do not fit
            name = codecs.lookup(label).name
            name = MEANT.get(name, name)
            if not (name == "cp1252" and looks_cyrillic(body)):
                return body.decode(name)
    return None


def looks_cyrillic(body: bytes) -> bool:
    """Cyrillic read as Western text is a string of accented letters (Óêðà¿íà), which no Western language has."""
    letters = len(re.findall(rb"[\xc0-\xff]", body))
    return sum(map(len, re.findall(rb"[\xc0-\xff]{3,}", body))) > 0.3 * letters


def as_guessed(body: bytes) -> str:
    if not looks_cyrillic(body):
        return body.decode("cp1252", "replace")
    # KOI8 has capitals where windows-1251 has small letters, and most letters are small.
    readings = [body.decode(name, "replace") for name in ("cp1251", "koi8-u")]
    return max(readings, key=lambda text: sum("а" <= c <= "я" for c in text))


# ── Text → a document that is safe to parse ──

COMMENT = r"<!--(?:.*?-->|.*)"  # One that does not end hides the rest: nothing is searched twice.
QUOTED = r"\"[^\"]*+\"|'[^']*+'"
DOCTYPE = rf"<!doctype(?:[^<>\[\"']++|{QUOTED})*+(?:\[(?:[^\]\"'<]++|{QUOTED}|{COMMENT}|<)*+\]\s*)?>"
PROLOG = re.compile(rf"(?:\s++|\ufeff|<\?.*?\?>|{COMMENT}|{DOCTYPE})*+", re.S | re.I)
ROOT = re.compile(r"<(?:[\w.-]+:)?([\w.-]+)")
FEED = re.compile(r"<(?:[\w.-]+:)?(?:rss|feed|rdf)[\s>]", re.I)
JUNK = 4_096  # characters before the feed: warnings of a broken publishing system, mostly
WEB_PAGE = {"html", "head", "body", "title", "meta", "script", "style", "div", "p", "br", "h1", "center"}
START_TAGS = re.compile(rf"{COMMENT}|<!\[CDATA\[(?:.*?\]\]>|.*)|<([\w:](?:[^<>\"']++|\"[^<\"]*+\"|'[^<']*+')*+)", re.S)
NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# Emoji of a publishing system that thinks in UTF-16: two references for one character.
PAIRS = re.compile(r"(?:&#(?:x[dD][89a-fA-F][0-9a-fA-F]{2}|5[5-7][0-9]{3});)+")
REFERENCE = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)(?:#[xX]([0-9a-fA-F]+)|#([0-9]+)|([A-Za-z][A-Za-z0-9]{1,31}));")


def tidy(text: str) -> str:
    """The document without what could harm or stop the parser: no document type, no overlong tag, no bad character."""
    text = NOT_XML.sub("", text)
    text = text[beginning(text) :]
    if any(len(tag[1] or "") > START_TAG for tag in START_TAGS.finditer(text)):
        raise NotAFeed("This document has a tag that is far too long; it was not read any further.")
    text = REFERENCE.sub(reference, PAIRS.sub(pairs, text))
    return '<?xml version="1.0" encoding="utf-8"?>\n' + text


def beginning(text: str) -> int:
    """Where the outermost element of a feed begins; the document type, with all its entities, stays outside."""
    start = PROLOG.match(text).end()  # type: ignore[union-attr]  # matches the empty text, too
    root = ROOT.match(text, start)
    name = root[1].lower() if root else ""
    if name in ("rss", "feed", "rdf", "channel"):
        return start
    feed = FEED.search(text, start, start + JUNK)
    if feed and name != "html":
        return feed.start()
    raise NotAFeed(looks_like(text, name))


def looks_like(text: str, root: str) -> str:
    if not text.strip():
        return "The document is empty."
    if text.lstrip()[0] in "{[":
        return "This is JSON, not an RSS or Atom feed."
    if root in WEB_PAGE:
        title = re.search(r"<title[^>]*>([^<]*)", text, re.I)
        called = f" (“{cut(plain(title[1]), 80)}”)" if title and title[1].strip() else ""
        return f"This is a web page{called}, not a feed."
    if root:
        return f"This is XML, but neither RSS nor Atom: its outermost element is {root[:40]}."
    return "This is text, not a feed."


def pairs(match: re.Match[str]) -> str:
    units = re.findall(r"&#(x?)(\w+);", match[0])
    text = "".join(chr(int(number, 16 if hexadecimal else 10)) for hexadecimal, number in units)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")


def reference(match: re.Match[str]) -> str:
    """HTML's names as numbers, which XML knows too; numbers that no character has as nothing."""
    hexadecimal, decimal, name = match.groups()
    if name:
        meant = html.entities.html5.get(f"{name};")
        return "".join(f"&#{ord(c)};" for c in meant) if meant else match[0]
    number = int(hexadecimal, 16) if hexadecimal else int(decimal[:9])
    return match[0] if number in (9, 10, 13) or (0x20 <= number <= 0x10FFFF and not NOT_XML.match(chr(number))) else ""


# ── An item of the document → an entry ──


def string(item: Item, key: str) -> str:
    """A strange element (<links>, say) can put anything under any key."""
    value = item.get(key)
    return value if isinstance(value, str) else ""


def several(item: Item, key: str) -> list[Item]:
    values = item.get(key)
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def newest(items: list[Item]) -> list[Item]:
    """At most ITEMS, in document order: those without a date first (nothing speaks against them), then by date."""
    if len(items) <= ITEMS:
        return items
    far = datetime.max.replace(tzinfo=UTC)
    ranked = sorted(range(len(items)), key=lambda i: date_of(items[i]) or far, reverse=True)
    return [items[i] for i in sorted(ranked[:ITEMS])]


def entry_of(item: Item, *, home: str) -> Entry:
    """Every item becomes an entry: what is missing is made up from what is there."""
    own = page_of(item, home=home)
    summary = cut(plain(string(item, "summary")), SUMMARY)
    title = cut(plain(string(item, "title")), TITLE)
    return Entry(
        title=title if is_seen(title) else opening(summary) or (place(own) if own else "Untitled"),
        url=own or home,
        guid=string(item, "id")[:ADDRESS] or None,
        summary=summary,
        image=picture_of(item, home=home),
        published_at=date_of(item),
        tags=tags_of(item),
    )


def page_of(item: Item, *, home: str) -> str | None:
    """The item's own page. FeedBurner puts its counter before it and tells the real address apart."""
    links = [link for link in several(item, "links") if link.get("rel") != "enclosure"]
    pages = [link for link in links if link.get("rel") == "alternate"]
    pages.sort(key=lambda link: link.get("type") not in ("text/html", "application/xhtml+xml"))
    guid = string(item, "id")
    candidates = [
        address(string(item, "feedburner_origlink"), base=home),
        *(address(page.get("href"), base=home) for page in pages),
        address(guid) if "://" in guid else None,
        *(address(other.get("href"), base=home) for other in links),
    ]
    return next(filter(None, candidates), None)


def address(text: str | None, *, base: str = "") -> str | None:
    """An absolute address of the web, or None. Spaces and controls are encoded, as a browser would."""
    text = re.sub(r"[\r\n\t]", "", text or "").strip().replace(" ", "%20").replace("&amp;", "&")
    text = re.sub(r"[\x00-\x1f\x7f]", lambda control: f"%{ord(control[0]):02X}", text)
    try:
        whole = urljoin(base, text) if text else ""
        parts = urlsplit(whole)
        fits = parts.scheme in ("http", "https") and parts.hostname and len(whole) <= ADDRESS
    except ValueError:
        return None
    return whole if fits else None


def place(url: str) -> str:
    parts = urlsplit(url)
    return cut(f"{parts.hostname or ''}{parts.path}".rstrip("/"), TITLE)


def opening(text: str) -> str:
    words = text.split()
    return cut(" ".join(words[:12]) + ("…" if len(words) > 12 else ""), 100)


def tags_of(item: Item) -> tuple[str, ...]:
    """As the publisher wrote them. feedparser has split media:keywords at commas and left categories whole."""
    words = (plain(string(tag, "term") or string(tag, "label")) for tag in several(item, "tags"))
    return tuple(itertools.islice(dict.fromkeys(cut(word, TAG) for word in words if word), TAGS))


def picture_of(item: Item, *, home: str) -> str | None:
    """The widest picture that a screen can use; of those that do not tell their width, a thumbnail is the smaller."""
    found = [(width, url) for width, link in pictures(item) if (url := address(link, base=home))]
    return max(found, key=lambda picture: picture[0] if picture[0] <= WIDEST else 0)[1] if found else None


def pictures(item: Item) -> Iterator[tuple[int, str | None]]:
    for media in several(item, "media_content"):
        if is_image(media.get("medium") or media.get("type"), media.get("url")):
            yield width_of(media) or 640, media.get("url")
    for link in several(item, "links"):
        if link.get("rel") == "enclosure" and is_image(link.get("type"), link.get("href")):
            yield 639, link.get("href")
    for media in several(item, "media_thumbnail"):
        yield width_of(media) or 320, media.get("url")


def is_image(kind: str | None, url: str | None) -> bool:
    if kind:
        return kind.lower().startswith("image")
    return bool(re.search(r"\.(?:jpe?g|png|webp|gif|avif)(?:[?#]|$)", url or "", re.I))


def width_of(media: Item) -> int:
    digits = re.match(r"\d{1,5}", media.get("width") or "")
    return int(digits[0]) if digits else 0


def date_of(item: Item) -> datetime | None:
    """In UTC, which is what feedparser's time tuples are in."""
    for key in ("published_parsed", "updated_parsed", "created_parsed"):
        parts: Any = dict.get(item, key)  # The library's own get() answers with another date and a warning.
        with suppress(TypeError, ValueError, OverflowError):
            date = datetime.fromtimestamp(calendar.timegm(parts), UTC)
            if 1990 <= date.year <= 2100:  # "1789" was the beginning of a Unix time.
                return date
    return None


# Zones that feedparser takes for UTC. "IST" is India's in news feeds; Ireland and Israel write offsets.
ZONES = {"MSK": "+0300", "BST": "+0100", "WEST": "+0100", "CET": "+0100", "CEST": "+0200", "EET": "+0200",
         "EEST": "+0300", "IST": "+0530", "JST": "+0900", "KST": "+0900", "HKT": "+0800", "AEST": "+1000",
         "AEDT": "+1100", "NZST": "+1200", "NZDT": "+1300"}  # fmt: skip


def moment(text: str) -> time.struct_time | None:
    """What feedparser misreads: Unix time, the zones above, and a comma without a space. It reads the rest itself."""
    if re.fullmatch(r"\d{10}", text):
        return time.gmtime(int(text))
    *words, zone = re.sub(r",(?=\S)", ", ", text).split() or [""]
    better = " ".join([*words, ZONES.get(zone.upper(), zone)])
    read = parsedate_tz(better) if better != text else None
    if read is None or read[9] is None or not 1990 <= read[0] <= 2100:
        return None
    return time.gmtime(calendar.timegm(read[:9]) - read[9])


feedparser.registerDateHandler(moment)
# Its search for an e-mail address in <author> is quadratic: 80 KB of "a.a.a…" took 24 s (feedparser issue 562).
# We have no use for authors.
feedparser.mixin._FeedParserMixin._sync_author_detail = lambda self, key="author": None


# ── Markup → plain text ──

INLINE = (
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|"
    "time|tt|u|var|wbr"
)
BLOCK = (
    "address|article|aside|audio|blockquote|body|br|button|canvas|caption|center|col|colgroup|dd|details|div|dl|dt|embed|"
    "fieldset|figcaption|figure|footer|form|h[1-6]|head|header|hr|html|iframe|img|input|label|legend|li|link|main|map|meta|"
    "nav|noscript|object|ol|option|p|param|picture|pre|section|select|source|summary|svg|table|tbody|td|textarea|tfoot|th|"
    r"thead|title|tr|ul|video|[a-z][\w-]*:[\w:-]+"
)
ATTRIBUTES = rf"(?:\s(?:(?:[^<>\"']++|{QUOTED})*+|[^<>]*+))?/?>"
HIDDEN = re.compile(rf"<(script|style)\b[^>]*>(?:.*?</\1\s*>)?|{COMMENT}|<!\[CDATA\[|\]\]>", re.S | re.I)
INLINE_TAG = re.compile(rf"</?(?:{INLINE}){ATTRIBUTES}", re.I)
BLOCK_TAG = re.compile(rf"</?(?:{BLOCK}){ATTRIBUTES}", re.I)
# Control characters, what turns the direction of the text around it, and what cannot be seen.
UNSEEN = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)


def plain(markup: str) -> str:
    """Text for a person. Publishers escape once, twice or not at all; only what HTML knows is taken for a tag."""
    text = ftfy.fix_encoding(start_of(markup))  # UTF-8 that somebody read as windows-1252
    for _ in range(2):
        text = html.unescape(without_tags(text))
    return " ".join(UNSEEN.sub("", without_tags(text)).split())


def without_tags(text: str) -> str:
    return BLOCK_TAG.sub(" ", INLINE_TAG.sub("", HIDDEN.sub(" ", text)))


def start_of(markup: str) -> str:
    """As much markup as a summary can need, and no half tag at its end."""
    start = markup[:RAW]
    return start if start == markup or start.rfind("<") < start.rfind(">") else start[: start.rfind("<")]


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
