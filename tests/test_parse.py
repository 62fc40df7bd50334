"""Parse: look-alikes of what publishers really send, their real documents where they are at hand, and hostile ones."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.domain.entries import Entry
from worker.parse import ITEMS, Parsed, Unreadable, parse

URL = "https://gazette.test/feeds/world.xml"
REAL = Path(__file__).parents[2] / "shared" / "feeds"
DOCUMENTS = sorted(file for file in REAL.glob("*") if file.suffix in {".xml", ".rdf", ".atom"})
CYRILLIC = {"aif-ru", "liga-ua", "pravda-ua", "suspilne-ua", "ukranews", "yandex-news"}
NAMESPACES = (
    'xmlns:media="http://search.yahoo.com/mrss/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:feedburner="http://rssnamespace.org/feedburner/ext/1.0" xmlns:atom="http://www.w3.org/2005/Atom"'
)


def rss(*items: str, title: str = "Gazette", head: str = "", before: str = "") -> bytes:
    channel = f"<title>{title}</title><link>https://gazette.test/</link>{head}{''.join(items)}"
    return f'{before}<rss version="2.0" {NAMESPACES}><channel>{channel}</channel></rss>'.encode()


def item(inside: str) -> str:
    return f"<item>{inside}</item>"


def read(body: bytes, content_type: str | None = None) -> Parsed:
    parsed = parse(body, content_type=content_type, url=URL)
    assert isinstance(parsed, Parsed), parsed
    return parsed


def the_entry(inside: str, **options: str) -> Entry:
    (entry,) = read(rss(item(inside), **options)).entries
    return entry


# ── Real documents ──


@pytest.mark.skipif(not DOCUMENTS, reason="The publishers' documents are theirs, and are not kept with the project.")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.stem)
def test_every_item_of_a_real_document_is_found_and_readable(document: Path) -> None:
    body = document.read_bytes()
    entries = read(body).entries
    assert len(entries) == len(re.findall(rb"<(?:item|entry)[\s>]", body)) > 0
    for entry in entries:
        assert entry.title and entry.url.startswith("http") and len(entry.url) > len("https://a.b/c")
        for text in (entry.title, entry.summary, *entry.tags):
            assert not re.search(
                r"\ufffd|&\w+;|&#\d+;|</?\w+>|[ÐÑ][\u0080-\u00bf‚-™]|\s\s|[\x00-\x1f\x7f-\x9f]", text
            ), text
        assert entry.published_at and entry.published_at.tzinfo and 2016 < entry.published_at.year < 2028
    if any(document.stem.startswith(name) for name in CYRILLIC):
        assert all(re.search("[а-яіїє]", entry.title) for entry in entries)


# ── Formats ──


def test_an_rss_item() -> None:
    parsed = read(
        rss(
            item("""
                <title><![CDATA[Bridge reopens]]></title><link>https://gazette.test/news/1?at_medium=RSS</link>
                <guid isPermaLink="false">https://gazette.test/news/1#0</guid>
                <description>&lt;p&gt;After &lt;b&gt;two&lt;/b&gt; years.&lt;p&gt;Toll free&lt;/p&gt;</description>
                <pubDate>Sat, 25 Apr 2026 14:07:54 +0200</pubDate>
                <category domain="https://gazette.test/world/ukraine">Ukraine</category>
                <media:thumbnail width="240" height="135" url="https://img.test/240.jpg"/>""")
        )
    )
    assert parsed.title == "Gazette"
    assert parsed.entries == (
        Entry(
            title="Bridge reopens",
            url="https://gazette.test/news/1?at_medium=RSS",
            guid="https://gazette.test/news/1#0",
            summary="After two years. Toll free",
            image="https://img.test/240.jpg",
            published_at=datetime(2026, 4, 25, 12, 7, 54, tzinfo=UTC),
            tags=("Ukraine",),
        ),
    )


def test_an_atom_entry() -> None:
    document = b"""<?xml version="1.0" encoding="utf-8"?>
        <feed xmlns="http://www.w3.org/2005/Atom" xml:base="https://gazette.test/en/"><title>Gazette</title>
        <entry><title type="html">Bridge &amp;amp; tunnel</title><id>http://gazette.test/-117</id>
        <link rel="replies" href="https://gazette.test/forum/1"/><link href="news/1?wt_mc=atom"/>
        <link rel="enclosure" type="image/png" href="https://img.test/a.png"/>
        <updated>2026-04-25T20:00:00+02:00</updated><published>2026-04-25T19:00:00+02:00</published>
        <content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Both <i>open</i>.</p></div></content>
        <category term="World" label="The world"/></entry></feed>"""
    (entry,) = read(document).entries
    assert entry == Entry(
        title="Bridge & tunnel",
        url="https://gazette.test/en/news/1?wt_mc=atom",
        guid="http://gazette.test/-117",
        summary="Both open.",
        image="https://img.test/a.png",
        published_at=datetime(2026, 4, 25, 17, tzinfo=UTC),
        tags=("World",),
    )


def test_an_rdf_item() -> None:
    document = b"""<?xml version="1.0"?>
        <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
        xmlns:dc="http://purl.org/dc/elements/1.1/"><channel rdf:about="https://gazette.test/"><title>Gazette</title></channel>
        <item rdf:about="https://gazette.test/a-79"><title>Bridge</title><link>https://gazette.test/a-79?maca=rss</link>
        <dc:date>2026-07-26T10:11:00Z</dc:date><dc:subject>World</dc:subject></item></rdf:RDF>"""
    (entry,) = read(document).entries
    assert (entry.guid, entry.url) == ("https://gazette.test/a-79", "https://gazette.test/a-79?maca=rss")
    assert (entry.published_at, entry.tags) == (datetime(2026, 7, 26, 10, 11, tzinfo=UTC), ("World",))


GOOD = item("<title>One</title><link>https://gazette.test/1</link>") + item("<title>Two</title>")


@pytest.mark.parametrize(
    "document",
    [
        rss(GOOD, before="\n\n  <?xml version='1.0'?>\n"),
        rss(GOOD, before="\ufeff<?xml version='1.0'?><!-- a --><?xml-stylesheet href='x'?><!-- <html> -->"),
        rss(GOOD, before='<!DOCTYPE rss PUBLIC "-//Netscape//DTD RSS 0.91//EN" "http://my.test/rss-0.91.dtd">'),
        rss(GOOD, before="<br />\n<b>Warning</b>: mysql_connect() in /var/www on line 3<br />\n<?xml version='1.0'?>"),
        rss(GOOD) + b"<script>statistics()</script>",
        rss(GOOD)[:-6],
        rss(item("<title>One & only</title>"), item("<title>Two</title><description><p>raw <br> HTML</description>")),
        rss(item("<title>One</title><yandex:genre>x</yandex:genre>"), item("<title>Two</title>")),
        rss(item("<title>One\x0b \x1f</title>"), item("<title>Two &#x1f; &#55357;&#56832; &#xD83D; &#0;</title>")),
        rss(item("<title>One &nbsp; &eacute; &nosuchname;</title>"), item("<title>Two</title>")),
        rss(GOOD).replace(b"<rss ", b'<rss xmlns="https://cyber.test/rss" '),
        rss(GOOD).replace(b"rss", b"RSS"),
    ],
)
def test_no_item_of_a_damaged_document_is_lost(document: bytes) -> None:
    one, two = read(document).entries
    assert one.title.startswith("One") and two.title.startswith("Two")


def test_what_two_references_spell_in_utf_16_is_one_character() -> None:
    assert the_entry("<title>Good &#55357;&#56832; &#xD83D;&#xDE00; news</title>").title == "Good 😀 😀 news"


@pytest.mark.parametrize(
    "body, words",
    [
        (b"", "empty"),
        (b" \n\0", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b'{"version": "https://jsonfeed.org/version/1.1", "items": []}', "JSON"),
        (b"[1, 2]", "JSON"),
        (b"<!doctype html><html><head><title>Just a moment...</title><p>", "a web page (“Just a moment...”)"),
        (b"<html><body><rss><channel><item><title>x</title></item></channel></rss>", "a web page"),
        (b"<div>Forbidden</div>", "a web page"),
        (
            b'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/"><url/></urlset>',
            "outermost element is urlset",
        ),
        (b"404 page not found", "text"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "text"),
        (b"<", "text"),
    ],
)
def test_what_is_no_feed_is_called_by_its_name(body: bytes, words: str) -> None:
    answer = parse(body, content_type="application/rss+xml", url=URL)
    assert isinstance(answer, Unreadable) and words in answer.reason


@pytest.mark.parametrize(
    "content_type", [None, "text/html; charset=utf-8", "application/json", "image/png", ";;=", "x" * 9999]
)
def test_the_content_type_does_not_decide_what_a_feed_is(content_type: str | None) -> None:
    assert len(read(rss(GOOD), content_type).entries) == 2


def test_a_feed_without_items_is_a_feed() -> None:
    assert read(rss()) == Parsed("Gazette", ())
    assert read(b"<rss/>") == Parsed("gazette.test/feeds/world.xml", ())


def test_a_body_that_is_the_path_of_a_file_does_not_open_it(tmp_path: Path) -> None:
    file = tmp_path / "feed.xml"
    file.write_bytes(rss(GOOD))
    assert isinstance(parse(str(file).encode(), content_type="text/xml", url=URL), Unreadable)
    assert isinstance(parse(file.as_uri().encode(), content_type="text/xml", url=URL), Unreadable)


# ── Characters ──

NEWS = "Новости: Україна їздить по-своєму, ещё раз о главном"


def declared(name: str, text: str = NEWS) -> str:
    return f'<?xml version="1.0" encoding="{name}"?>' + rss(item(f"<title>{text}</title>")).decode()


@pytest.mark.parametrize(
    "body, content_type",
    [
        (declared("utf-8").encode(), None),
        (declared("utf-8").encode("utf-8-sig"), "text/xml; charset=windows-1251"),
        (declared("windows-1251").encode(), "text/xml; charset=iso-8859-1"),
        (declared("windows-1251").encode("cp1251"), None),
        (declared("windows-1251").encode("cp1251"), "text/xml; charset=utf-8"),
        (declared("windows-1251").encode("cp1251"), "text/xml; charset=ISO-8859-1"),
        (declared("utf-8").encode("cp1251"), 'text/xml; charset="windows-1251"'),
        (declared("koi8-u").encode("koi8-u"), None),
        (declared("iso-8859-1").encode("cp1251"), None),
        (declared("nonsense").encode("koi8-u"), "text/xml; charset=nonsense"),
        (declared("hex").encode("cp1251"), "text/xml; charset=zlib"),
        (rss(item(f"<title>{NEWS}</title>")).decode().encode("cp1251"), "text/xml"),
        (declared("utf-16").encode("utf-16"), None),
        (declared("utf-16").encode("utf-16-be"), None),
        (declared("utf-32").encode("utf-32"), None),
        (declared("utf-8").encode(), "text/xml; charset=us-ascii"),
    ],
)  # fmt: skip
def test_letters_are_what_the_publisher_meant(body: bytes, content_type: str | None) -> None:
    (entry,) = read(body, content_type).entries
    assert entry.title == NEWS


@pytest.mark.parametrize("label", ["iso-8859-1", "windows-1252", "us-ascii", "utf-8"])
def test_western_letters_stay_western(label: str) -> None:
    text = "Übergrößenträger – «déjà vu» à l’Élysée, “añejo”"
    (entry,) = read(declared(label, text).encode("cp1252")).entries
    assert entry.title == text


def test_one_character_cut_in_two_spoils_only_itself() -> None:
    (entry,) = read(declared("utf-8", NEWS + " Я").encode().replace("Я".encode(), b"\xd0")).entries
    assert entry.title.startswith(NEWS)


def test_mojibake_is_undone() -> None:
    """UTF-8 that somebody read as windows-1252 and wrote as UTF-8 again; the bytes that it lacks stay as they are."""
    text = "".join(
        chr(b) if b in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([b]).decode("cp1252") for b in NEWS.encode()
    )
    (entry,) = read(rss(item(f"<title>{text}</title><description>{text}</description>"))).entries
    assert (entry.title, entry.summary) == (NEWS, NEWS)


@pytest.mark.parametrize(
    "markup, text",
    [
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("Tom &amp;amp; Jerry", "Tom & Jerry"),
        ("<![CDATA[Tom &amp; Jerry]]>", "Tom & Jerry"),
        ("<![CDATA[Tom & Jerry]]>", "Tom & Jerry"),
        ("<![CDATA[<b>Bold</b>ly <i>go</i>]]>", "Boldly go"),
        ("&lt;b&gt;Bold&lt;/b&gt;", "Bold"),
        ("&amp;lt;b&amp;gt;Bold&amp;lt;/b&amp;gt;", "Bold"),
        ("<b>Bold</b>", "Bold"),
        ("<![CDATA[One<br/>two<p class='x > y'>three</p>]]>", "One two three"),
        ("&lt;script&gt; explained", "explained"),
        ("<![CDATA[a<script>alert('</b>')</script><!-- no --><style>p{}</style>b]]>", "a b"),
        ("1 &lt; 2 &amp;&amp; 3 &gt; 2", "1 < 2 && 3 > 2"),
        ("I &lt;3 std::vector&lt;int&gt;", "I <3 std::vector<int>"),
        ("NYT &gt; World", "NYT > World"),
        ("&#8216;Quoted&#8217; &#x2014; &hellip;", "‘Quoted’ — …"),
        ("  spaced \n\t out&#160;&#160;here ", "spaced out here"),
        ("\u202eevil\u202c \u2066x\u2069 \u200bso\u00adft \x7fend", "evil x soft end"),
        ("שלום \u200fעולם", "שלום \u200fעולם"),
        ("family 👨\u200d👩\u200d👧", "family 👨\u200d👩\u200d👧"),
    ],
)  # fmt: skip
def test_a_title_is_plain_text(markup: str, text: str) -> None:
    assert the_entry(f"<title>{markup}</title>").title == text
    assert the_entry(f"<title>x</title><description>{markup}</description>").summary == text


# ── Nothing is lost ──


def test_a_title_is_made_up_where_there_is_none() -> None:
    words = "One two three four five six seven eight nine ten eleven twelve thirteen"
    assert (
        the_entry(f"<description>{words}</description>").title
        == "One two three four five six seven eight nine ten eleven twelve…"
    )
    assert the_entry("<title> </title><description>Short.</description>").title == "Short."
    assert the_entry("<title/><link>https://gazette.test/news/1/?x=1</link>").title == "gazette.test/news/1"
    assert the_entry("").title == "Untitled"
    assert the_entry("<title>&#8203;&#12644;</title>").title == "Untitled"


@pytest.mark.parametrize(
    "inside, url",
    [
        ("<link>https://gazette.test/1</link>", "https://gazette.test/1"),
        ("<link> \n https://gazette.test/\n1 </link>", "https://gazette.test/1"),
        ("<link><![CDATA[https://gazette.test/1?a=1&b=2&copy=3]]></link>", "https://gazette.test/1?a=1&b=2&copy=3"),
        ("<link>/news/1</link>", "https://gazette.test/news/1"),
        ("<link>//cdn.test/1</link>", "https://cdn.test/1"),
        ("<link>https://gazette.test/a b/ё</link>", "https://gazette.test/a%20b/ё"),
        ("<atom:link href='https://gazette.test/1'/>", "https://gazette.test/1"),
        ("<link>https://gazette.test/1</link><atom:link rel='standout' href='https://x.test/'/>", "https://gazette.test/1"),
        ("<link>https://gazette.test/1</link><enclosure type='image/png' url='https://x.test/'/>", "https://gazette.test/1"),
        ("<link>https://count.test/~r/1</link><feedburner:origLink>https://gazette.test/1</feedburner:origLink>",
         "https://gazette.test/1"),
        ("<guid>https://gazette.test/1</guid>", "https://gazette.test/1"),
        ("<guid isPermaLink='false'>https://gazette.test/1</guid>", "https://gazette.test/1"),
        ("<link>javascript:alert(1)</link><guid>https://gazette.test/1</guid>", "https://gazette.test/1"),
        (f"<link>https://x.test/{'x' * 2048}</link><guid>https://gazette.test/1</guid>", "https://gazette.test/1"),
        ("<link>http://[</link>", "https://gazette.test/"),
        ("<guid>1234</guid>", "https://gazette.test/"),
        ("", "https://gazette.test/"),
    ],
)  # fmt: skip
def test_the_address_of_an_item(inside: str, url: str) -> None:
    assert the_entry(f"<title>x</title>{inside}").url == url


STRANGE = [
    "links",
    "tags",
    "media_content",
    "media_thumbnail",
    "published_parsed",
    "title_detail",
    "summary",
    "id",
    "rel",
]


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("attributes", ["", " x='y'"])
def test_an_element_with_a_strange_name_does_no_harm(name: str, attributes: str) -> None:
    strange = f"<{name}{attributes}>1</{name}>"
    inside = f"{strange}<title>x</title><link>https://gazette.test/1</link><category>a</category>{strange}"
    assert the_entry(inside, head=strange).title == "x"


def test_the_feed_itself_is_the_last_resort() -> None:
    (entry,) = read(b"<rss><channel><item><title>x</title></item></channel></rss>").entries
    assert entry.url == URL


@pytest.mark.parametrize(
    "guid", ["1234", "urn:uuid:7f7c", "https://gazette.test/1#3", "tag:gazette.test,2026:/a b", "Ж"]
)
def test_a_guid_stays_as_given(guid: str) -> None:
    assert the_entry(f"<title>x</title><guid>{guid}</guid>").guid == guid
    assert the_entry("<title>x</title><guid> </guid>").guid is None


@pytest.mark.parametrize(
    "inside, image",
    [
        ("<media:content url='http://i.test/s.jpg' width='14'/><media:content url='http://i.test/l.jpg?w' width='46'/>",
         "http://i.test/l.jpg?w"),
        ("<media:thumbnail url='http://i.test/s' width='96'/><media:content url='http://i.test/l' type='image/jpeg'/>",
         "http://i.test/l"),
        ("<media:thumbnail url='http://i.test/m' width='976'/><media:content url='http://i.test/x.jpg' width='9000'/>",
         "http://i.test/m"),
        ("<media:content url='https://i.test/v.mp4' type='video/mp4'/><media:thumbnail url='https://i.test/v.jpg'/>",
         "https://i.test/v.jpg"),
        ("<media:group><media:content medium='image' url='https://i.test/g'/></media:group>", "https://i.test/g"),
        ("<enclosure url='https://i.test/e.jpg' length='1' type='image/jpeg'/>", "https://i.test/e.jpg"),
        ("<enclosure url='https://i.test/e.mp3' length='1' type='audio/mpeg'/>", None),
        ("<media:content url='data:image/png;base64,AAAA' medium='image'/>", None),
        ("<media:content url='javascript:x' medium='image' width='wide'/><enclosure url='/e.png'/>", "https://gazette.test/e.png"),
        ("<media:content medium='image'/><media:thumbnail/>", None),
    ],
)  # fmt: skip
def test_the_picture_of_an_item(inside: str, image: str | None) -> None:
    assert the_entry(f"<title>x</title>{inside}").image == image


@pytest.mark.parametrize(
    "text, hour",
    [
        ("Sat, 25 Apr 2026 12:07:54 GMT", 12),
        ("25 Apr 2026 12:07:54 +0300", 9),
        ("Sat,25 Apr 2026 12:07:54 +0300", 9),
        ("Sat, 25 Apr 2026 12:07:54 +03:00", 9),
        ("Sat, 25 Apr 2026 12:07:54 EST", 17),
        ("Sat, 25 Apr 2026 12:07:54 MSK", 9),
        ("Sat, 25 Apr 2026 12:07:54 BST", 11),
        ("Saturday, 25 April 2026 12:07:54 CEST", 10),
        ("Sat, 25 Apr 2026 12:07:54 GMT+03:00", 9),
        ("2026-04-25T12:07:54Z", 12),
        ("2026-04-25T12:07:54+03:00", 9),
        ("2026-04-25T12:07:54.123-05:00", 17),
        ("1777118874", 12),
        ("1777118874000", None),
        ("yesterday", None),
        ("Sat, 99 Foo 2026 12:07:54 GMT", None),
        ("0000-00-00T00:00:00Z", None),
        ("Mon, 01 Jan 0001 00:00:00 GMT", None),
        ("9" * 5000, None),
        (" ", None),
    ],
)
def test_times_are_read_or_unknown(text: str, hour: int | None) -> None:
    date = the_entry(f"<title>x</title><pubDate>{text}</pubDate>").published_at
    assert date == (datetime(2026, 4, 25, hour, 7, 54, tzinfo=UTC) if hour is not None else None)


def test_the_first_time_that_can_be_read_counts() -> None:
    inside = "<title>x</title><pubDate>soon</pubDate><dc:date>2026-04-25T12:00:00Z</dc:date>"
    assert the_entry(inside).published_at == datetime(2026, 4, 25, 12, tzinfo=UTC)


def test_tags_stay_as_the_publisher_wrote_them() -> None:
    entry = the_entry(
        "<title>x</title><category>Putin, Vladimir V</category><category domain='x'>Irkutsk (Russia)</category>"
        "<category/><media:keywords>Vladimir Putin , Donald Trump </media:keywords><category>R&amp;amp;D</category>"
        "<dc:subject>World</dc:subject><category>World</category>"
    )
    assert entry.tags == ("Putin, Vladimir V", "Irkutsk (Russia)", "Vladimir Putin", "Donald Trump", "R&D", "World")


def test_fields_have_bounds() -> None:
    tags = "".join(f"<category>{n} {'t' * 300}</category>" for n in range(60))
    long = "word " * 20_000
    entry = the_entry(f"<title>{long}</title><description>{long}</description><guid>{'g' * 9999}</guid>{tags}")
    assert (len(entry.title), len(entry.summary), len(entry.guid or "")) == (500, 5_000, 2_048)
    assert len(entry.tags) == 50 and max(map(len, entry.tags)) == 200
    assert entry.title.endswith("…") and entry.summary.endswith("…")


def test_the_newest_items_are_used_in_document_order() -> None:
    items = [item(f"<title>{n}</title><pubDate>{1_770_000_000 + n}</pubDate>") for n in range(ITEMS)]
    undated = item("<title>undated</title>")
    entries = read(
        rss(*items[:100], undated, *items[100:], item("<title>old</title><pubDate>1600000000</pubDate>"))
    ).entries
    titles = [entry.title for entry in entries]
    assert titles == [*map(str, range(1, 100)), "undated", *map(str, range(100, ITEMS))]
