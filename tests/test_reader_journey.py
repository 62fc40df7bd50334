"""What Newsbell is for, as a reader lives it: a real Firefox, a real push service, the product as it is started."""

import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.browser import SUBSCRIBE, Firefox, Newsbell, newsroom, until
from tests.chromium import Chromium
from tests.editor import AtChromium, AtFirefox, Editor
from tests.publisher import Item, Publisher, lasting_publisher
from tests.push_service import DELIVERED, PushService, base64url
from tests.test_push_service import new_key, point

__all__ = ["lasting_publisher"]


@pytest.fixture(scope="module")
async def product(
    server: str,
    migrated: str,
    push_service_process: PushService,
    publisher: Publisher,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Newsbell]:
    """It goes on through all tests here; readers and stories come and go."""
    async with newsroom(
        server, migrated, tmp_path_factory.mktemp("journey"), push_service_process, publisher
    ) as newsbell:
        yield newsbell


@pytest.fixture
def newsbell(product: Newsbell, publisher: Publisher, firefox: Firefox) -> Iterator[Newsbell]:
    """The product without any reader."""
    firefox.site = product.url
    yield product
    product.clear_up(publisher)


def subscribe(firefox: Firefox, *topics: str) -> None:
    firefox.open("/")
    firefox.until_state("ask")
    for topic in topics:
        firefox.tick(topic)
    firefox.click("ok")
    firefox.allow()
    firefox.until_state("subscribed")


@pytest.fixture(params=["firefox", "chromium"])
def reader(request: pytest.FixtureRequest, newsbell: Newsbell, firefox: Firefox) -> Editor:
    """Somebody at either browser, which allows notifications when asked."""
    if request.param == "firefox":
        firefox.open("/healthz")
        firefox.will_allow()
        return AtFirefox(firefox)
    chromium: Chromium = request.getfixturevalue("chromium")
    chromium.site = newsbell.url
    chromium.will_allow()
    return AtChromium(chromium)


def follow(reader: Editor, *topics: str) -> None:
    reader.open("/")
    for topic in topics:
        tick(reader, topic)
    reader.click("OK")
    reader.until_text("You follow", "#prompt")


def tick(reader: Editor, topic: str) -> None:
    """Once more if a click that seemed to be in vain was not."""
    box = f"input[name=topic][value={topic}]"
    reader.until_shown(box)
    while not reader.look("return document.querySelector(arguments[0]).checked", box):
        reader.choose("topic", topic)


def stop(reader: Editor) -> None:
    reader.open("/preferences")
    reader.click("Stop all notifications")
    reader.click("Stop and forget my topics")
    reader.until_text("Notifications are stopped.", "#none")


def until_told_to_nobody(newsbell: Newsbell, story: Item) -> None:
    assert until(lambda: {newsbell.recipients(story.url)} - {None}, f"the end of “{story.title}”") == {0}


def answer_to(endpoint: str) -> int:
    """What the push service says to a message for this endpoint."""
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, b"", {"TTL": "60"})) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_reader_allows_is_told_reads_chooses_and_leaves(
    firefox: Firefox, newsbell: Newsbell, publisher: Publisher, push_service: PushService
) -> None:
    firefox.open("/")
    firefox.until_state("ask")
    assert "Click 'OK' then 'Allow' to enable notifications" in firefox.text("#prompt")
    firefox.tick("ukraine")
    firefox.tick("russia")
    firefox.click("ok")
    firefox.until_state("asking")
    firefox.allow()
    firefox.until_state("subscribed")
    firefox.until_text("You follow Russia and Ukraine.", "#prompt")
    endpoint = firefox.endpoint()
    assert newsbell.subscriptions() == [(endpoint, True, ["russia", "ukraine"])]

    # A story tagged Ukraine rings, and a click opens it.
    story = publisher.publish("Lviv votes on a new library", tags=["Ukraine"], path="world.xml")
    firefox.until_notified(story.title)
    assert firefox.notifications() == [(story.title, story.summary)]
    firefox.click_notification(story.title)
    until(lambda: story.url in firefox.tabs(), "the story in a tab")
    assert newsbell.recipients(story.url) == 1

    # Without Ukraine, the next one is silent; Russia still rings.
    firefox.open("/preferences")
    firefox.until_state("ready")
    assert firefox.ticked() == ["russia", "ukraine"]
    firefox.tick("ukraine")
    firefox.until_text("Saved.", "#said")
    until_told_to_nobody(newsbell, publisher.publish("Odesa counts its storks", tags=["Ukraine"], path="world.xml"))
    other = publisher.publish("Omsk opens a bridge for cyclists", tags=["Russia"], path="world.xml")
    firefox.until_notified(other.title)
    assert len(push_service.posts) == len(push_service.delivered()) == 2

    # The end, which is asked about first.
    firefox.click("stop")
    until(lambda: firefox.shows("#stop-dialog"), "the question whether to stop")
    assert newsbell.subscriptions()
    firefox.click("stop-yes")
    firefox.until_state("none")
    assert newsbell.subscriptions() == []
    assert firefox.endpoint() == ""
    until(lambda: answer_to(endpoint) == 410, "the end of the endpoint")


def test_the_question_whether_to_stop_may_be_answered_with_no(firefox: Firefox, newsbell: Newsbell) -> None:
    subscribe(firefox, "ukraine")
    firefox.open("/preferences")
    firefox.until_state("ready")
    firefox.click("stop")
    firefox.click("stop-no")
    until(lambda: not firefox.shows("#stop-dialog"), "the end of the question")
    assert newsbell.subscriptions() == [(firefox.endpoint(), True, ["ukraine"])]


def test_two_tabs_do_not_undo_each_other_and_hear_of_each_other(firefox: Firefox, newsbell: Newsbell) -> None:
    def followed() -> list[str]:
        return newsbell.subscriptions()[0].topics

    subscribe(firefox, "russia", "ukraine")
    [prompt] = firefox.driver.windows()
    preferences = firefox.driver.open_window()
    firefox.driver.switch_to(preferences)
    firefox.open("/preferences")
    firefox.until_state("ready")
    stale = firefox.driver.open_window()
    firefox.driver.switch_to(stale)
    firefox.open("/preferences")
    firefox.until_state("ready")

    # One has changed something that the other does not show yet, or has just come to show.
    firefox.driver.switch_to(preferences)
    firefox.tick("russia")
    until(lambda: followed() == ["ukraine"], "the first change")
    firefox.driver.switch_to(stale)
    until(lambda: firefox.ticked() == ["ukraine"], "word of it in the other tab")
    firefox.tick("ukraine")
    until(lambda: followed() == [], "the second change")
    firefox.tick("world-news")
    until(lambda: followed() == ["world-news"], "the third change")

    firefox.driver.switch_to(prompt)
    firefox.until_text("You follow World News.", "#prompt")
    firefox.driver.switch_to(preferences)
    until(lambda: firefox.ticked() == ["world-news"], "word of all that")
    firefox.click("stop")
    firefox.click("stop-yes")
    firefox.until_state("none")
    firefox.driver.switch_to(prompt)
    firefox.until_state("ask")


def test_a_story_of_two_topics_and_two_feeds_rings_once(
    firefox: Firefox, newsbell: Newsbell, publisher: Publisher, push_service: PushService
) -> None:
    subscribe(firefox, "russia", "ukraine")
    story = publisher.publish("A comet over Kazan and Poltava", tags=["Russia", "Ukraine"], path="russia.xml")
    publisher.publish(story.title, tags=["Ukraine", "Russia"], path="ukraine.xml", url=story.url)
    later = publisher.publish("Perm plants lime trees", path="russia.xml")
    also = publisher.publish("Uzhhorod finds a lost map", path="ukraine.xml")
    firefox.until_notified(story.title, later.title, also.title)
    assert newsbell.recipients(story.url) == 1
    assert len(push_service.posts) == 3


def test_blocking_stores_nothing_and_says_how_to_undo_it(
    firefox: Firefox, newsbell: Newsbell, push_service: PushService
) -> None:
    firefox.open("/")
    firefox.until_state("ask")
    firefox.tick("ukraine")
    firefox.click("ok")
    firefox.block()
    firefox.until_state("denied")
    assert "To undo it in Firefox" in firefox.text("#prompt")
    assert newsbell.subscriptions() == []
    assert firefox.endpoint() == ""


def test_ok_without_a_topic_asks_for_one_first(firefox: Firefox, newsbell: Newsbell) -> None:
    firefox.open("/")
    firefox.until_state("ask")
    firefox.click("ok")
    firefox.until_text("Choose at least one topic first.", "#prompt")
    must_stand_beside_ok(firefox)
    assert firefox.permission() == "default"
    assert not firefox.asks()
    firefox.tick("ukraine")
    firefox.click("ok")
    firefox.until_text("Your browser asks now: choose “Allow” there.", "#prompt")
    must_stand_beside_ok(firefox)


def must_stand_beside_ok(firefox: Firefox) -> None:
    """What the prompt says: where the reader looks, with nothing painted over it, and read out."""
    distance, painted, role = firefox.driver.page("""
      const said = document.querySelector("#prompt .said");
      const [there, ok] = [said, document.querySelector("#ok")].map((e) => e.getBoundingClientRect());
      const top = document.elementFromPoint(there.left + 20, there.top + there.height / 2);
      return [there.top - ok.bottom, top === said, said.getAttribute("role")];
    """)
    assert (0 <= distance < 48, painted, role) == (True, True, "status"), f"{distance} px below the button"


def test_not_now_asks_nothing_and_leaves_one_quiet_line(firefox: Firefox, newsbell: Newsbell) -> None:
    firefox.open("/")
    firefox.until_state("ask")
    firefox.click("not-now")
    for _ in range(2):
        firefox.until_state("not-now")
        assert firefox.shows("#bring-back") and not firefox.shows("#prompt fieldset")
        assert firefox.height("#prompt") < firefox.height("#prompt button") * 1.5
        assert firefox.permission() == "default"
        assert not firefox.asks()
        firefox.reload()
    assert newsbell.subscriptions() == []
    firefox.until_state("not-now")
    firefox.click("bring-back")
    firefox.until_state("ask")


def test_a_reader_whom_the_push_service_forgot_is_told_under_a_new_endpoint(
    firefox: Firefox, newsbell: Newsbell, publisher: Publisher, push_service: PushService
) -> None:
    subscribe(firefox, "russia", "ukraine")
    (before,) = newsbell.subscriptions()
    push_service.forget_browsers()
    firefox.go_offline()
    firefox.go_online()
    until(lambda: newsbell.subscriptions()[0].endpoint != before.endpoint, "a renewal")
    assert newsbell.subscriptions() == [(firefox.endpoint(), True, ["russia", "ukraine"])]
    story = publisher.publish("Tomsk reopens its oldest tram line", path="russia.xml")
    firefox.until_notified(story.title)
    assert [push_service.endpoint_of(post) for post in push_service.posts] == [firefox.endpoint()]


def test_a_visit_heals_a_browser_that_lost_its_key(firefox: Firefox, newsbell: Newsbell) -> None:
    subscribe(firefox, "ukraine", "world-news")
    before = newsbell.subscriptions()
    firefox.lose_stored_key()
    firefox.open("/preferences")
    firefox.until_state("ready")
    assert firefox.ticked() == ["ukraine", "world-news"]
    firefox.tick("russia")
    firefox.until_text("Saved.", "#said")
    assert newsbell.subscriptions() == [before[0]._replace(topics=["russia", "ukraine", "world-news"])]


def test_what_is_there_at_the_first_poll_never_rings(
    firefox: Firefox, newsbell: Newsbell, publisher: Publisher, push_service: PushService
) -> None:
    subscribe(firefox, "ukraine")
    for number in range(3):
        publisher.publish(f"An older story, number {number}", path="second.xml")
    newsbell.terminal.said("feed", "add", publisher.feed_url("second.xml"), "--topic", "ukraine")
    until(newsbell.has_polled, "the first poll of the new feed")
    fresh = publisher.publish("Kharkiv names a comet hunter", path="second.xml")
    firefox.until_notified(fresh.title)
    assert len(push_service.posts) == 1


def test_a_pause_is_silent_until_the_reader_resumes(
    firefox: Firefox, newsbell: Newsbell, publisher: Publisher, push_service: PushService
) -> None:
    subscribe(firefox, "ukraine")
    firefox.open("/preferences")
    firefox.until_state("ready")
    firefox.driver.click("[data-pause=hour]")
    until(lambda: firefox.shows("#resume"), "the way out of the pause")
    assert firefox.text("#paused-until").startswith("Paused until ")
    until_told_to_nobody(newsbell, publisher.publish("Lviv reopens its oldest tram line"))

    firefox.click("resume")
    until(lambda: not firefox.shows("#resume"), "the end of the pause")
    story = publisher.publish("Poltava plants ten thousand lime trees")
    firefox.until_notified(story.title)
    assert len(push_service.posts) == 1


def test_quiet_hours_are_silent_but_for_breaking_news(
    firefox: Firefox, newsbell: Newsbell, publisher: Publisher, push_service: PushService
) -> None:
    subscribe(firefox, "ukraine")
    firefox.open("/preferences")
    firefox.until_state("ready")
    firefox.click("quiet")
    until(lambda: firefox.shows("#quiet-from"), "the hours")
    now = int(firefox.driver.page("return new Date().getHours()"))
    start, end = (now - 2) % 24, (now + 2) % 24
    firefox.driver.click("#quiet-from option:nth-child(15)")  # seven, when the night that is offered ends
    firefox.until_text("different times", "#said")
    for clock, hour in (("from", start), ("to", end)):
        firefox.driver.click(f"#quiet-{clock} option:nth-child({2 * hour + 1})")
    hours = (f"{start:02}:00:00", f"{end:02}:00:00")
    until(lambda: newsbell.rows("SELECT quiet_from::text, quiet_to::text FROM subscriptions") == [hours], "quiet hours")
    story = publisher.publish("Odesa paints its benches")
    until(lambda: newsbell.recipients(story.url) == 1, "the end of its alert")
    books = "SELECT held, accepted FROM shards JOIN alerts ON alerts.id = alert_id ORDER BY released_at DESC LIMIT 1"
    assert newsbell.rows(books) == [(1, 0)]

    page = publisher.publish("The comet, minute by minute", path="notes.xml")
    newsbell.terminal.said(
        *("alert", "send", "--title", "The comet is here", "--url", page.url),
        *("--topic", "ukraine", "--level", "breaking"),
    )
    firefox.until_notified("The comet is here")
    assert len(push_service.posts) == 1
    firefox.reload()
    firefox.until_state("ready")
    assert firefox.driver.page("return document.querySelector('#quiet-from').value") == f"{start:02}:00"


def test_an_alert_from_the_command_line_rings_at_once(
    firefox: Firefox, newsbell: Newsbell, publisher: Publisher, push_service: PushService
) -> None:
    subscribe(firefox, "world-news")
    page = publisher.publish("Lisbon holds its breath", path="notes.xml")
    told = newsbell.command(
        *("alert", "send", "--title", "The comet has landed", "--body", "In a field, and gently."),
        *("--url", page.url, "--topic", "world-news", "--level", "breaking", "--json"),
    )
    outcome = json.loads(told)
    assert (outcome["state"], outcome["recipients"], outcome["accepted"]) == ("finished", 1, 1)
    firefox.until_notified("The comet has landed")
    assert firefox.notifications() == [("The comet has landed", "In a field, and gently.")]
    ((released,),) = newsbell.rows("SELECT released_at FROM alerts WHERE id = %s", outcome["id"])
    (post,) = push_service.posts
    assert post.at - released.timestamp() < 2
    assert post.headers["urgency"] == "high"
    firefox.click_notification("The comet has landed")
    until(lambda: page.url in firefox.tabs(), "the page in a tab")


def test_a_browser_that_was_offline_is_told_when_it_is_back(
    firefox: Firefox, newsbell: Newsbell, publisher: Publisher, push_service: PushService
) -> None:
    subscribe(firefox, "ukraine")
    firefox.go_offline()
    story = publisher.publish("Uzhhorod opens a bridge for cyclists")
    until(lambda: newsbell.recipients(story.url) == 1, "the push service to have it")
    assert firefox.notifications() == []
    firefox.go_online()
    firefox.until_notified(story.title)
    assert [ack.code for ack in push_service.acks] == [DELIVERED]


def test_a_reader_hears_it_when_the_push_service_was_busy_at_first(
    firefox: Firefox, newsbell: Newsbell, publisher: Publisher, push_service: PushService
) -> None:
    subscribe(firefox, "ukraine")
    push_service.answer(503, times=2)
    story = publisher.publish("Odesa votes on a new library")
    firefox.until_notified(story.title)
    assert [post.status for post in push_service.posts] == [503, 503, 201]
    assert len({post.headers["topic"] for post in push_service.posts}) == 1


def test_an_endpoint_that_is_gone_is_not_told_again_until_a_visit_revives_it(
    firefox: Firefox, newsbell: Newsbell, publisher: Publisher, push_service: PushService
) -> None:
    subscribe(firefox, "ukraine")
    push_service.answer(410, times=1)
    publisher.publish("Kharkiv counts its storks")
    until(lambda: not newsbell.subscriptions()[0].lives, "the end of the subscription")
    until_told_to_nobody(newsbell, publisher.publish("Kharkiv counts them again"))
    assert [post.status for post in push_service.posts] == [410]

    firefox.open("/")
    firefox.until_state("subscribed")
    assert newsbell.subscriptions() == [(firefox.endpoint(), True, ["ukraine"])]
    story = publisher.publish("Kharkiv is done with counting")
    firefox.until_notified(story.title)


def test_a_reader_who_takes_the_permission_back_is_let_go(
    firefox: Firefox, newsbell: Newsbell, publisher: Publisher, push_service: PushService
) -> None:
    subscribe(firefox, "ukraine")
    firefox.take_permission_back()
    firefox.until_state("denied")
    until(lambda: not push_service.living, "the end of the endpoint")
    publisher.publish("Lviv finds a lost map in an attic")
    until(lambda: not newsbell.subscriptions()[0].lives, "the end of the subscription")
    assert [post.status for post in push_service.posts] == [410]


def test_what_a_reader_does_with_an_alert_is_counted_and_who_did_it_is_not(
    firefox: Firefox, newsbell: Newsbell, publisher: Publisher, push_service: PushService
) -> None:
    def told(title: str) -> dict[str, int]:
        """What is known of this alert; of the browser that told it, which push service it has."""
        query = "SELECT event, count, lane FROM receipts JOIN alerts ON alerts.id = alert_id WHERE title = %s"
        rows = newsbell.rows(query, title)
        assert {lane for _, _, lane in rows} <= {push_service.origin}
        return {event: count for event, count, _ in rows}

    subscribe(firefox, "world-news")
    page = publisher.publish("Reykjavik holds its breath", path="notes.xml")
    for title in ("A geyser wakes", "A geyser sleeps", "Geysers are loud"):
        command = ("alert", "send", "--title", title, "--url", page.url, "--topic", "world-news")
        wrong = newsbell.terminal.json(*command)["id"]
        firefox.until_notified(title)
        if title == "A geyser wakes":
            firefox.click_notification(title)
            until(lambda: page.url in firefox.tabs(), "the page in a tab")
        elif title == "A geyser sleeps":
            firefox.close_notification(title)
    newsbell.terminal.said("alert", "correct", wrong, "--title", "Geysers are quiet")
    firefox.until_notified("Geysers are quiet")
    titles = ("A geyser wakes", "A geyser sleeps", "Geysers are loud", "Geysers are quiet")
    until(lambda: all("shown" in told(title) for title in titles), "the last receipt")
    assert told("A geyser wakes") == {"clicked": 1, "shown": 1}
    assert told("A geyser sleeps") == {"closed": 1, "shown": 1}
    assert told("Geysers are loud") == told("Geysers are quiet") == {"shown": 1}

    firefox.open("/preferences")
    firefox.until_state("ready")
    firefox.click("stop")
    until(lambda: firefox.shows("#stop-dialog"), "the question whether to stop")
    firefox.click("stop-yes")
    firefox.until_state("none")
    assert told("Geysers are quiet") == {"shown": 1, "stopped": 1}


REGISTRATION = """
  const registration = await navigator.serviceWorker.getRegistration();
  const live = await registration?.pushManager.getSubscription();
"""
HERE = f"{REGISTRATION} return [registration?.active?.scriptURL ?? '', live?.endpoint ?? ''];"


def test_a_page_view_leaves_another_services_subscription_alone_and_a_click_replaces_it(
    reader: Editor, newsbell: Newsbell
) -> None:
    reader.open("/docs")
    reader.run(SUBSCRIBE, "/sw.js?theirs", base64url(point(new_key())))
    theirs = reader.run(HERE)
    assert theirs[1]
    reader.open("/preferences")
    reader.until_shown("#none")
    reader.open("/")
    reader.until_text("Which topics?", "#prompt")
    assert reader.run(HERE) == theirs
    assert "another service sends this site's notifications" in reader.text("#others")

    tick(reader, "ukraine")
    reader.click("OK")
    reader.until_text("You follow Ukraine.", "#prompt")
    worker, endpoint = reader.run(HERE)
    assert worker == f"{newsbell.url}/sw.js"
    assert newsbell.subscriptions() == [(endpoint, True, ["ukraine"])]


def test_topics_outlive_the_servers_memory(reader: Editor, newsbell: Newsbell) -> None:
    follow(reader, "russia", "ukraine")
    newsbell.forget_readers()
    reader.open("/")
    reader.until_text("You follow Russia and Ukraine.", "#prompt")
    assert [stored.topics for stored in newsbell.subscriptions()] == [["russia", "ukraine"]]

    # Nor does the browser have a subscription any more: it takes a click.
    reader.run(f"{REGISTRATION} await live.unsubscribe();")
    newsbell.forget_readers()
    reader.open("/")
    reader.until_text("You followed Russia and Ukraine here before.", "#prompt")
    assert newsbell.subscriptions() == []
    reader.click("OK")
    reader.until_text("You follow Russia and Ukraine.", "#prompt")
    assert newsbell.subscriptions() == [(reader.run(HERE)[1], True, ["russia", "ukraine"])]


def test_a_permission_that_is_given_back_brings_the_topics_back(firefox: Firefox, newsbell: Newsbell) -> None:
    subscribe(firefox, "russia", "ukraine")
    firefox.take_permission_back()
    firefox.until_state("denied")
    newsbell.forget_readers()
    firefox.will_allow()
    until(newsbell.subscriptions, "what the browser tells its worker")
    assert newsbell.subscriptions() == [(firefox.endpoint(), True, ["russia", "ukraine"])]


OTHER_STORE = """
  await new Promise((done) => { indexedDB.deleteDatabase("newsbell").onsuccess = done; });
  const opening = indexedDB.open("newsbell", 7);
  opening.onupgradeneeded = () => opening.result.createObjectStore("something else");
  await new Promise((done) => { opening.onsuccess = done; });
  opening.result.close();
"""


def test_a_browser_without_its_store_follows_chooses_and_stops(reader: Editor, newsbell: Newsbell) -> None:
    reader.open("/docs")
    reader.run(OTHER_STORE)
    follow(reader, "ukraine")
    stop(reader)
    assert newsbell.subscriptions() == []

    with reader.without_indexed_db():
        follow(reader, "ukraine")
        reader.open("/preferences")
        reader.choose("topic", "russia")
        reader.until_text("Saved.", "#said")
        assert [stored.topics for stored in newsbell.subscriptions()] == [["russia", "ukraine"]]
        stop(reader)
        assert reader.run(HERE)[1] == ""
    assert newsbell.subscriptions() == []
