"""What owners do at the desk beside ringing: people, keys, the audit, feeds, topics; in a real Firefox."""

import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator

import pytest

from app.database import connect, sessions_of, transaction
from app.domain.editors import Role
from tests.browser import Firefox, Newsbell, newsroom, until
from tests.editor import AtFirefox, let_in
from tests.publisher import Publisher, lasting_publisher
from tests.push_service import PushService

__all__ = ["lasting_publisher"]

OWNER, WRITER = "olga@courier.example", "wim@courier.example"


@pytest.fixture(scope="module")
async def product(
    server: str,
    migrated: str,
    push_service_process: PushService,
    publisher: Publisher,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Newsbell]:
    folder = tmp_path_factory.mktemp("owner")
    async with newsroom(server, migrated, folder, push_service_process, publisher) as newsbell:
        engine = connect(newsbell.database_url, pool_size=1)
        async with transaction(sessions_of(engine)) as session:
            await let_in(session, {OWNER: Role.OWNER, WRITER: Role.WRITER})
        await engine.dispose()
        yield newsbell


@pytest.fixture
def somebody(product: Newsbell, firefox: Firefox) -> Iterator[AtFirefox]:
    firefox.site = product.url
    at = AtFirefox(firefox)
    yield at
    product.show_log()
    assert at.complaints() == []


@pytest.fixture
def owner(somebody: AtFirefox) -> AtFirefox:
    somebody.sign_in(OWNER)
    return somebody


def held(at: AtFirefox) -> str:
    """Where the keyboard is."""
    return str(at.look("return document.activeElement.innerText"))


# People and keys


def test_somebody_is_added_and_comes_in_by_a_link_that_works_once(owner: AtFirefox) -> None:
    owner.open("/desk#/people")
    owner.click("Add a person")
    owner.fill("E-mail address", "nina@courier.example")
    owner.choose("role", "writer")
    owner.click("Add this person")
    owner.until_text("nina@courier.example is added", ".sheet")
    assert held(owner) == "nina@courier.example is added"
    link = owner.text(".secret code")
    owner.click("I have it")
    owner.until_text("nina@courier.example", "table")
    assert link not in owner.text()

    owner.click("Sign out")
    owner.until_text("E-mail", "main")
    owner.open(link.removeprefix(owner.site))
    owner.fill("New password, if you want one", "ten bridges of Lviv")
    owner.click("Sign in")
    owner.until_text("Stories", "h1")
    assert "nina@courier.example" in owner.text("#who")


def test_who_is_no_address_is_refused_where_it_was_typed(owner: AtFirefox) -> None:
    owner.open("/desk#/people")
    owner.click("Add a person")
    owner.fill("E-mail address", "nobody at all")
    owner.click("Add this person")
    until(lambda: owner.shows(".form .problem"), "the refusal")
    assert owner.text(".form .problem").endswith(".")
    assert held(owner) == "Add this person"


def test_a_key_is_shown_once_and_opens_what_it_may(owner: AtFirefox) -> None:
    owner.open("/desk#/people/keys")
    owner.click("Make a key")
    owner.fill("Name", "CMS")
    owner.choose("topics", "ukraine")
    owner.click("Make this key")
    until(lambda: owner.shows(".secret"), "the key")
    key = owner.text(".secret code")
    assert key.startswith("nb_")
    assert status(f"{owner.site}/api/alerts", key) == 200
    assert status(f"{owner.site}/api/keys", key) == 403
    owner.click("I have it")
    assert key not in owner.text()
    owner.until_text("only ukraine", "table")

    owner.click("Revoke (CMS)")
    owner.click("Revoke this key")
    owner.until_text("No program has a key.", "main")
    assert status(f"{owner.site}/api/alerts", key) == 401


def status(url: str, key: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def test_the_audit_says_who_did_what(owner: AtFirefox) -> None:
    owner.open("/desk#/people/audit")
    owner.until_text("signed in", "table")
    owner.pick("action", "key")
    until(lambda: "signed in" not in owner.text("main"), "the filter")


def test_a_writer_changes_only_what_is_their_own(somebody: AtFirefox) -> None:
    somebody.sign_in(WRITER)
    somebody.open("/desk#/people")
    somebody.until_text("Your account", "h1")
    somebody.until_text("(this one)", "table")
    assert "Audit" not in somebody.text("main")
    somebody.open("/desk#/feeds")
    somebody.until_text("The Loopback Courier", ".feeds")
    assert "Remove" not in somebody.text("main")


# Feeds and topics


def test_a_feed_is_looked_at_before_it_is_added(owner: AtFirefox, publisher: Publisher) -> None:
    publisher.publish("Lviv opens a library", path="library.xml", tags=["Ukraine"])
    owner.open("/desk#/feeds")
    owner.click("Add a feed")
    owner.fill("Address of the feed", publisher.feed_url("library.xml"))
    owner.click("Look what is in it")
    owner.until_text("Lviv opens a library", ".preview-list")
    assert "Matches Ukraine" in owner.text(".preview-list")
    owner.choose("policy", "store")
    owner.choose("tags", "add")
    owner.fill("Alerts within an hour, at most", "7")
    owner.click("Add this feed")
    owner.until_text("library.xml", ".feeds")
    added = owner.text(".feeds li:last-child")
    assert "Stories are only remembered" in added
    assert "by each story’s own tags only" in added
    owner.click_at(".feeds > li:last-child .buttons button:nth-last-child(2)")
    owner.choose("tags", "add")
    owner.click("Save the changes")
    owner.until_text("none: its stories ring for nobody", ".feeds li:last-child")


def test_what_is_no_feed_is_said_to_be_none(owner: AtFirefox) -> None:
    owner.open("/desk#/feeds")
    owner.click("Add a feed")
    owner.fill("Address of the feed", f"{owner.site}/docs")
    owner.click("Look what is in it")
    until(lambda: owner.shows(".sheet .note"), "the reason")
    owner.click("Cancel")
    assert held(owner) == "Add a feed"


def test_a_topic_comes_changes_and_goes(owner: AtFirefox) -> None:
    owner.open("/desk#/feeds/topics")
    owner.click("Add a topic")
    owner.fill("Name", "Climate & Weather")
    owner.click("Add this topic")
    owner.until_text("climate-weather", "table")
    owner.click("Change Climate & Weather")
    owner.fill("Also called", "Storms, Heat")
    owner.click("Save the changes")
    owner.until_text("Storms, Heat", "table")
    owner.click("Delete Climate & Weather")
    owner.until_text("No reader follows it.", "dialog")
    owner.click("Delete this topic")
    until(lambda: "climate-weather" not in owner.text("table"), "the end of the topic")


def test_the_reports_have_their_empty_state_and_the_pace(owner: AtFirefox) -> None:
    owner.open("/desk#/reports")
    owner.until_text("No alert has been released in the last 24 hours.")
    until(lambda: owner.shows(".scale [aria-current]"), "the pace")
