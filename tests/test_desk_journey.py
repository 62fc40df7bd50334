"""What the desk is for, as editors live it: a real Firefox, a real Chromium, the product as it is started."""

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from app.database import connect, sessions_of, transaction
from app.domain.editors import Role
from app.domain.feeds import Policy
from app.sources import add_feed
from tests.browser import Firefox, Newsbell, newsroom, until
from tests.chromium import Chromium
from tests.editor import PASSWORD, AtChromium, AtFirefox, Editor, let_in
from tests.publisher import Publisher, lasting_publisher
from tests.push_service import PushService
from tests.sink import Sink, a_sink
from tests.test_fanout import POINT

__all__ = ["lasting_publisher"]

PEOPLE = {"ada@courier.example": Role.EDITOR, "ben@courier.example": Role.EDITOR, "wim@courier.example": Role.WRITER}
KYIV = ZoneInfo("Europe/Kyiv")


@pytest.fixture(scope="module")
def slow() -> Iterator[Sink]:
    """Another push service."""
    with a_sink() as sink:
        yield sink


@pytest.fixture(scope="module")
async def product(
    server: str,
    migrated: str,
    push_service_process: PushService,
    publisher: Publisher,
    slow: Sink,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Newsbell]:
    """It goes on through all tests here. Breaking news takes two people."""
    hosts = ",".join(url.removeprefix("http://") for url in (push_service_process.origin, slow.url))
    async with newsroom(
        server,
        migrated,
        tmp_path_factory.mktemp("desk"),
        push_service_process,
        publisher,
        two_people_levels="breaking",
        push_hosts=hosts,
        time_zone="Europe/Kyiv",
    ) as newsbell:
        await open_the_desk(newsbell, publisher)
        until(newsbell.has_polled, "the first poll of the desk's own feed")
        yield newsbell


async def open_the_desk(newsbell: Newsbell, publisher: Publisher) -> None:
    engine = connect(newsbell.database_url, pool_size=1)
    async with transaction(sessions_of(engine)) as session:
        await let_in(session, PEOPLE)
        publisher.publish("An old story of the desk", path="desk.xml")
        await add_feed(session, publisher.feed_url("desk.xml"), ["ukraine"], Policy.STORE, datetime.now(UTC))
    await engine.dispose()


@pytest.fixture
def newsbell(product: Newsbell, publisher: Publisher) -> Iterator[Newsbell]:
    """The product without any reader."""
    yield product
    product.clear_up(publisher)


@pytest.fixture
def at_firefox(newsbell: Newsbell, firefox: Firefox) -> AtFirefox:
    firefox.site = newsbell.url
    return AtFirefox(firefox)


@pytest.fixture
def at_chromium(newsbell: Newsbell, chromium: Chromium) -> AtChromium:
    chromium.site = newsbell.url
    chromium.will_allow()
    return AtChromium(chromium)


@pytest.fixture(params=["firefox", "chromium"])
def editor(request: pytest.FixtureRequest) -> Iterator[Editor]:
    at: Editor = request.getfixturevalue(f"at_{request.param}")
    yield at
    assert at.complaints() == []


def sign_in(editor: Editor, email: str = "ada@courier.example") -> None:
    editor.sign_in(email)


def follow(editor: Editor, topic: str = "ukraine") -> None:
    """As a reader, who is the same person for once."""
    editor.open("/")
    editor.choose("topic", topic)
    editor.click("OK")
    editor.allow()
    editor.until_text("You follow", "#prompt")


def write(editor: Editor, title: str, *, topic: str = "ukraine", level: str = "normal") -> None:
    """An alert from nothing."""
    editor.open("/desk#/new")
    editor.fill("Title", title)
    editor.fill("Text", "In a field, and gently.")
    editor.fill("Link", f"{editor.site}/healthz?{quote(title)}")
    editor.choose("topics", topic)
    editor.choose("level", level)
    editor.until_text("Draft saved", ".pane")


def release(editor: Editor, readers: str = "1 reader") -> None:
    """Say it twice: at the alert, and when asked."""
    editor.click(f"Send to {readers}")
    editor.until_text(f"Send to {readers}?", "dialog")
    editor.click(f"Send to {readers}")


def state_of(newsbell: Newsbell, title: str) -> str:
    ((state,),) = newsbell.rows("SELECT state FROM alerts WHERE title = %s AND corrects_id IS NULL", title)
    return str(state)


def test_a_story_becomes_an_alert_that_is_tried_undone_sent_and_corrected(
    editor: Editor, newsbell: Newsbell, publisher: Publisher, push_service: PushService
) -> None:
    follow(editor)
    sign_in(editor)

    # A story comes while the page is open, and one click makes an alert of it.
    story = publisher.publish(f"A comet over Lviv, seen with {editor.name}", path="desk.xml", summary="It has landed.")
    editor.until_text(story.title, ".wire")
    editor.click(story.title)
    editor.until_text("Draft", ".pane h1")
    editor.until_text(story.title, ".previews")
    editor.until_text("1 reader, once.", ".audience")

    # What it says beside the words changes with them.
    title = f"The comet has landed near Lviv ({editor.name})"
    editor.fill("Title", title.upper())
    editor.until_text("capital", ".warnings")
    editor.fill("Title", title)
    until(lambda: "capital" not in editor.text(".warnings"), "the end of the warning")
    editor.until_text(title[:20], ".previews")
    assert "It has landed." in editor.text(".previews")

    # To one's own browser first, and to nobody else.
    editor.click("Test in my browser")
    editor.until_notified(f"Test: {title}")
    assert len(push_service.posts) == 1
    assert state_of(newsbell, title) == "draft"

    # Released by mistake.
    release(editor)
    editor.until_text("Goes out in", ".pane h1")
    editor.click("Take it back")
    editor.until_text("Draft", ".pane h1")
    assert state_of(newsbell, title) == "draft"

    # Now in earnest.
    release(editor)
    editor.until_text("Sent", ".pane h1")
    editor.until_notified(title)
    editor.until_text("Handed over for 1 of 1 reader in", ".summary-line")
    editor.until_text("What came of it", ".report")
    editor.until_text("Handed over", ".report")
    assert not re.search("Delivered|got it", editor.text())
    editor.until_text("Sent", ".wire .made")
    assert len(push_service.posts) == 2
    ((due, released),) = newsbell.rows("SELECT due_at, released_at FROM alerts WHERE title = %s", title)
    assert due <= released < due + timedelta(seconds=5)

    # It was wrong. The right one takes its place by the same road: previews, a test, ten seconds to take it back.
    right = f"The comet has landed near Lutsk ({editor.name})"
    editor.click("Correct")
    editor.until_text("Correction", ".pane h1")
    editor.until_text(f"It takes the place of “{title}”", ".corrects")
    editor.fill("Title", right)
    editor.until_text(right[:20], ".previews")
    editor.until_text("Draft saved", ".pane")
    editor.click("Test in my browser")
    editor.until_notified(f"Test: {right}")
    editor.fill("Link", f"http://localhost:9/{quote(right)}")
    editor.until_text("Draft saved", ".pane")
    editor.click("Send the correction to 1 reader")
    editor.until_text("That is another site: localhost:9", "dialog")
    editor.click("Send the correction to 1 reader")
    editor.until_text("Waits for a second person", ".pane h1")  # for the link is another
    editor.until_text("That is another site: localhost:9", ".pane")
    editor.click("Take it back")
    editor.until_text("Correction", ".pane h1")
    assert state_of(newsbell, title) == "finished"
    editor.fill("Link", story.url)
    editor.until_text("Draft saved", ".pane")
    editor.click("Send the correction to 1 reader")
    editor.until_text("Send the correction to 1 reader?", "dialog")
    assert "another site" not in editor.text("dialog")
    editor.click("Send the correction to 1 reader")
    editor.until_text("Goes out in", ".pane h1")
    editor.until_text("Correction sent", ".pane h1")
    editor.until_notified(right)
    assert title not in editor.notifications()


def test_an_alert_is_scheduled_on_the_newsrooms_clock_moved_and_taken_back(editor: Editor, newsbell: Newsbell) -> None:
    sign_in(editor)
    title = f"The library opens ({editor.name})"
    write(editor, title)
    at = (datetime.now(KYIV) + timedelta(days=2)).replace(hour=7, minute=30, second=0, microsecond=0)
    editor.choose("when", "later")
    # In an hour, on the newsroom's clock, whatever the browser's is.
    proposed = datetime.fromisoformat(editor.look("return document.getElementsByName('at')[0].value"))
    assert timedelta(minutes=58) < proposed.replace(tzinfo=KYIV) - datetime.now(KYIV) <= timedelta(hours=1)
    editor.until_text("Schedule for 0 readers", ".pane .foot")
    editor.pick("zone", "America/New_York")
    there = editor.look("return document.getElementsByName('at')[0].value")
    assert there[:13] == (datetime.now(ZoneInfo("America/New_York")) + timedelta(hours=1)).strftime("%Y-%m-%dT%H")
    editor.pick("zone", "Europe/Kyiv")
    editor.pick("at", (datetime.now(KYIV) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M"))
    editor.until_text("(Europe/Kyiv) has passed.", ".audience")
    assert not re.search(r"\d{4}-\d\d-\d\dT", editor.text(".pane"))
    editor.pick("at", at.strftime("%Y-%m-%dT%H:%M"))
    editor.click("Schedule for 0 readers")
    editor.until_text(f"It goes out on {at:%A} {at.day} {at:%B} at 07:30, Europe/Kyiv time.", "dialog")
    editor.click("Schedule for 0 readers")
    editor.until_text("Goes out on", ".pane h1")
    editor.until_text(at.strftime("07:30 (Europe/Kyiv)"), ".pane h1")
    due = "SELECT due_at FROM alerts WHERE title = %s"
    assert newsbell.rows(due, title) == [(at,)]

    editor.click("Move")
    editor.pick("at", at.strftime("%Y-%m-%dT22:15"))
    editor.pick("zone", "America/New_York")
    editor.click("Move it")
    editor.until_text("22:15 (America/New York)", ".pane h1")
    assert newsbell.rows(due, title) == [(at.replace(hour=22, minute=15, tzinfo=ZoneInfo("America/New_York")),)]

    editor.click("Take it back")
    editor.until_text("Draft", ".pane h1")
    assert state_of(newsbell, title) == "draft"


def test_breaking_news_takes_two_people(at_firefox: AtFirefox, at_chromium: AtChromium, newsbell: Newsbell) -> None:
    ada, ben = at_firefox, at_chromium
    follow(ada)
    sign_in(ada)
    sign_in(ben, "ben@courier.example")

    # Ben's own browser is one to ask him in.
    write(ben, f"Only a test ({ben.name})")
    ben.click("Test in my browser")
    ben.allow()
    ben.until_notified(f"Test: Only a test ({ben.name})")

    title = f"The dam holds, says Ada ({ada.name})"
    write(ada, title, level="breaking")
    release(ada)
    ada.until_text("Waits for a second person", ".pane h1")
    ben.until_notified(f"Approve? {title}")
    assert state_of(newsbell, title) == "proposed"

    ben.open("/desk#/alerts")
    ben.click(title)
    ben.until_text("Your word is asked", ".pane h1")
    assert "ada@courier.example wants to send it" in ben.text(".pane")
    ben.click("Approve and send to 1 reader")
    ben.until_text("Goes out in", ".pane h1")
    ada.until_text("Goes out in", ".pane h1")
    for editor in (ada, ben):
        editor.until_text("Sent", ".pane h1")
    ada.until_notified(title)
    assert newsbell.rows("SELECT proposed_by, approved_by FROM alerts WHERE title = %s", title) == [
        ("ada@courier.example", "ben@courier.example")
    ]
    assert ada.complaints() == ben.complaints() == []


def test_one_editor_alone_is_loud_in_the_audit(at_chromium: AtChromium, newsbell: Newsbell) -> None:
    ada = at_chromium
    sign_in(ada)
    title = "The bridge is closed"
    write(ada, title, level="breaking")
    release(ada, "0 readers")
    ada.until_text("Waits for a second person", ".pane h1")
    ada.click("Send without a second person…")
    ada.fill("Why it cannot wait", "Nobody else is awake.")
    ada.click("Send it alone")
    ada.until_text("Goes out in", ".pane h1")
    ((detail,),) = newsbell.rows("SELECT detail FROM audit WHERE action = 'alert.override'")
    assert detail["reason"] == "Nobody else is awake."
    ada.click("Take it back")
    ada.until_text("Draft", ".pane h1")


def test_a_writer_writes_and_does_not_ring(at_chromium: AtChromium, newsbell: Newsbell) -> None:
    sign_in(at_chromium, "wim@courier.example")
    write(at_chromium, "Written by Wim")
    assert "An editor releases it." in at_chromium.text(".pane")
    assert not re.search("Send to|Schedule for|Delete", at_chromium.text(".pane"))
    assert state_of(newsbell, "Written by Wim") == "draft"


def test_two_editors_at_one_draft_lose_no_word_and_send_none_unread(
    at_firefox: AtFirefox, at_chromium: AtChromium, newsbell: Newsbell
) -> None:
    ada, ben = at_firefox, at_chromium
    sign_in(ada)
    sign_in(ben, "ben@courier.example")
    write(ada, "The river rises")
    ben.open(f"/desk{ada.hash()}")
    ben.fill("Text", "By two metres.")
    stored = "SELECT title, body FROM alerts WHERE title LIKE 'The river %%'"
    until(lambda: newsbell.rows(stored) == [("The river rises", "By two metres.")], "Ben's words")
    ada.fill("Title", "The river falls")
    until(lambda: newsbell.rows(stored) == [("The river falls", "By two metres.")], "the words of both")
    ada.until_value("Text", "By two metres.")

    ben.fill("Text", "By three metres.")
    until(lambda: newsbell.rows(stored) == [("The river falls", "By three metres.")], "Ben's second thoughts")
    release(ada, "0 readers")
    ada.until_text("Somebody changed this draft meanwhile.", ".pane")
    ada.until_value("Text", "By three metres.")
    assert state_of(newsbell, "The river falls") == "draft"


def test_words_that_are_no_alert_yet_are_kept_in_the_tab(at_chromium: AtChromium, newsbell: Newsbell) -> None:
    ada = at_chromium
    sign_in(ada)
    ada.open("/desk#/new")
    ada.fill("Title", "Half a thought")
    ada.until_text("Not saved yet: it needs a link and a topic.", ".pane")
    ada.click("Alerts")
    ada.until_text("Alerts", "main h1")
    for _ in range(2):  # and from one page to the next
        ada.open("/desk#/new")
        ada.until_value("Title", "Half a thought")
    ada.fill("Link", f"{ada.site}/healthz?half")
    ada.choose("topics", "ukraine")
    ada.until_text("Draft saved", ".pane")
    ada.open("/desk#/new")
    ada.until_value("Title", "")


def test_whoever_is_signed_out_meanwhile_signs_in_and_goes_on(at_chromium: AtChromium, newsbell: Newsbell) -> None:
    editor = at_chromium
    sign_in(editor)
    write(editor, f"The first words ({editor.name})")
    newsbell.rows("DELETE FROM editor_sessions RETURNING 1")
    editor.fill("Title", f"The last words ({editor.name})")
    editor.until_text("You have been signed out.", "dialog")
    editor.fill("E-mail", "ada@courier.example")
    editor.fill("Password", PASSWORD)
    editor.click("Sign in")
    until(lambda: not editor.shows("dialog"), "the end of the question")
    until(lambda: newsbell.rows("SELECT 1 FROM alerts WHERE title = %s", f"The last words ({editor.name})"), "the save")


READERS = 2_000


def many_readers(newsbell: Newsbell, slow: Sink) -> None:
    newsbell.rows(
        """WITH made AS (
             INSERT INTO subscriptions (endpoint, endpoint_hash, lane, p256dh, auth, key_hash, vapid_key_id, time_zone,
               language, created_at, seen_at, ended_because)
             SELECT %s || '/' || n, sha256(('e' || n)::bytea), %s, %s, decode(repeat('07', 16), 'hex'),
               sha256(('k' || n)::bytea), 'k', 'UTC', '', now(), now(), '' FROM generate_series(1, %s) AS n
             RETURNING id)
           INSERT INTO follows (subscription_id, topic_id)
           SELECT made.id, topics.id FROM made, topics WHERE slug = 'world-news' RETURNING 1""",
        *(slow.url, slow.url, POINT, READERS),
    )


def progress(editor: Editor) -> tuple[int, dict[str, int]] | None:
    """How many of all are told, and the figures below, of one moment; None when there is no such thing on the page."""
    text = editor.text(".progress")
    told = re.search(r"^([\d,]+) of ([\d,]+) readers", text)
    if not told:
        return None
    assert told[2] == f"{READERS:,}"
    numbers = {
        name: int(figure.replace(",", "")) for name, figure in re.findall(r"(Handed over|Waiting)\s+([\d,]+)", text)
    }
    return int(told[1].replace(",", "")), numbers


def test_an_alert_is_stopped_while_it_goes_out(editor: Editor, newsbell: Newsbell, slow: Sink) -> None:
    many_readers(newsbell, slow)
    slow.accepted.clear()
    slow.delay = 0.5
    sign_in(editor)
    title = f"The mayor resigns ({editor.name})"
    write(editor, title, topic="world-news")
    release(editor, "2,000 readers")
    editor.until_text("On its way", ".pane h1")
    seen = until(lambda: (now := progress(editor)) and now[0] > 0 and now, "the first of them told")
    assert seen
    told, numbers = seen
    assert numbers["Handed over"] == told
    assert numbers["Handed over"] + numbers["Waiting"] == READERS

    editor.click("Stop")
    editor.click("Stop it")
    editor.until_text("Recalled", ".pane h1")
    accepted = slow.accepted.total()
    assert 0 < accepted < READERS
    assert f"Handed over for {accepted:,} of 2,000 readers" in editor.text(".summary-line")
    assert f"{READERS - accepted:,} recalled" in editor.text(".summary-line")
    editor.until_text("What came of it", ".report")


def test_the_first_owner_comes_by_the_link_and_lets_others_in(
    at_firefox: AtFirefox, at_chromium: AtChromium, newsbell: Newsbell
) -> None:
    link = next(word for line in newsbell.log for word in line.split() if "/desk#link=" in word)
    owner, guest = at_firefox, at_chromium
    owner.open(link.removeprefix(newsbell.url))
    owner.fill("E-mail", "olga@courier.example")
    owner.fill("Choose a password", PASSWORD)
    owner.click("Open the desk")
    owner.until_text("Stories", "h1")
    assert not owner.shows("#notes li")  # their own way in is no news to them

    owner.click("People")
    owner.click("Add a person")
    owner.fill("E-mail address", "gus@courier.example")
    owner.click("Add this person")
    owner.until_text("gus@courier.example is added", ".sheet")
    invitation = owner.look("return document.querySelector('.secret code').textContent")
    assert invitation.startswith(newsbell.url)

    guest.open(invitation.removeprefix(newsbell.url))
    guest.fill("New password, if you want one", PASSWORD)
    guest.click("Sign in")
    guest.until_text("Stories", "h1")
    guest.until_text("gus@courier.example", "#who")
    guest.until_text("olga@courier.example made a sign-in link for you", "#notes")
    guest.click("I have read this")
    guest.open("/desk#/alerts")
    guest.until_text("Alerts", "h1")
    assert not guest.shows("#notes li")

    # Whoever may no longer is out at once.
    owner.open("/desk#/people")
    owner.click("Sign out (gus@courier.example)")
    guest.open("/desk#/alerts")
    guest.until_text("Sign in to the desk", "h1")
