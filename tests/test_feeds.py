from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.feeds import Policy, State, a_feed, every_feed, feed_by_id, feed_by_url, in_words, next_poll, why_then
from app.domain.refusals import NotFound, Refusal
from tests.makers import NOW, a_feed_row, a_topic_row

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    "misses, asked, gone, wait",
    [
        (0, None, False, 3 * MINUTE),
        (1, None, False, 6 * MINUTE),
        (2, None, False, 12 * MINUTE),
        (6, None, False, 192 * MINUTE),
        (7, None, False, 6 * HOUR),
        (10_000, None, False, 6 * HOUR),
        # A publisher may slow us down …
        (0, 15 * MINUTE, False, 15 * MINUTE),
        (0, 12 * HOUR, False, 12 * HOUR),
        (2, 20 * MINUTE, False, 20 * MINUTE),
        # … for a day at most …
        (0, DAY, False, DAY),
        (0, 400 * DAY, False, DAY),
        (0, timedelta.max, False, DAY),
        # … but never speed us up.
        (0, MINUTE, False, 3 * MINUTE),
        (0, timedelta(0), False, 3 * MINUTE),
        (0, -HOUR, False, 3 * MINUTE),
        (2, MINUTE, False, 12 * MINUTE),
        # A feed that was given up is looked at once a week.
        (1, None, True, 7 * DAY),
        (1, HOUR, True, 7 * DAY),
        (30, DAY, True, 7 * DAY),
    ],
)
def test_when_a_feed_is_polled_again(misses: int, asked: timedelta | None, gone: bool, wait: timedelta) -> None:
    at = next_poll(every=3 * MINUTE, misses=misses, asked=asked, luck=0.0, gone=gone, now=NOW)
    assert at - NOW == wait


@pytest.mark.parametrize(
    "misses, asked, gone, because",
    [
        (0, None, False, "Every 3 minutes."),
        (0, MINUTE, False, "Every 3 minutes."),
        (0, timedelta(0), False, "Every 3 minutes."),
        (0, 30 * MINUTE, False, "The publisher asked for 30 minutes."),
        (0, timedelta.max, False, "The publisher asked for 1 day."),
        (1, None, False, "It failed, so it is left alone for 6 minutes."),
        (3, None, False, "It failed 3 times in a row, so it is left alone for 24 minutes."),
        (3, 20 * MINUTE, False, "It failed 3 times in a row, so it is left alone for 24 minutes."),
        (2, 20 * MINUTE, False, "The publisher asked for 20 minutes."),
        (1, DAY, True, "The publisher says that it is gone for good, so once a week is enough."),
    ],
)
def test_the_reason_is_the_one_that_counted(misses: int, asked: timedelta | None, gone: bool, because: str) -> None:
    assert why_then(every=3 * MINUTE, misses=misses, asked=asked, gone=gone) == because


@pytest.mark.parametrize(
    "span, words",
    [
        (timedelta(0), "1 second"),
        (timedelta(seconds=0.2), "1 second"),
        (timedelta(seconds=90), "90 seconds"),
        (MINUTE, "1 minute"),
        (timedelta(seconds=1799), "30 minutes"),
        (90 * MINUTE, "90 minutes"),
        (HOUR, "1 hour"),
        (36 * HOUR, "36 hours"),
        (2 * DAY, "2 days"),
    ],
)
def test_a_span_is_told_in_the_largest_unit_that_tells_it_well(span: timedelta, words: str) -> None:
    assert in_words(span) == words


def test_a_feeds_state_is_what_a_person_would_say_of_it() -> None:
    feed = a_feed("https://publisher.example/rss", topics=[], policy=Policy.AUTO, now=NOW)
    states = []
    for polled_at, trouble in ((None, ""), (NOW, ""), (NOW, "Nobody answers.")):
        feed.polled_at, feed.trouble = polled_at, trouble
        states.append(feed.state)
    assert states == [State.NEW, State.WELL, State.TROUBLE]
    feed.next_poll_at, feed.next_poll_because = NOW + HOUR, "Every hour."
    feed.pause(NOW)
    assert feed.state is State.PAUSED
    assert not any((feed.next_poll_at, feed.next_poll_because))


def test_a_resumed_feed_begins_anew() -> None:
    feed = a_feed("https://publisher.example/rss", topics=[], policy=Policy.AUTO, now=NOW)
    feed.baseline_at, feed.etag, feed.last_modified = NOW, '"1"', "Mon, 05 Jan 2026 10:00:00 GMT"
    feed.pause(NOW)
    assert feed.baseline_at
    feed.resume()
    assert not any((feed.paused_at, feed.baseline_at, feed.etag, feed.last_modified))


@pytest.mark.parametrize("misses", range(20))
def test_a_newsroom_that_polls_rarely_is_not_made_to_poll_more_often(misses: int) -> None:
    assert next_poll(every=DAY, misses=misses, asked=None, luck=0.0, gone=False, now=NOW) - NOW == DAY


def test_luck_adds_a_tenth_at_most_so_that_feeds_do_not_arrive_together() -> None:
    at = [next_poll(every=10 * MINUTE, misses=0, asked=None, luck=n / 10, gone=False, now=NOW) for n in range(11)]
    assert at == sorted(set(at))
    assert (at[0] - NOW, at[-1] - NOW) == (10 * MINUTE, 11 * MINUTE)


@pytest.mark.parametrize(
    "url",
    [
        "https://feeds.bbci.co.uk/news/world/rss.xml",
        "http://publisher.example:8080/rss?format=xml&lang=uk",
        "https://новости.example/лента",
        "  https://publisher.example/rss\n",
    ],
)
def test_an_address_of_the_web_can_be_a_feed(url: str) -> None:
    assert a_feed(url, topics=[], policy=Policy.AUTO, now=NOW).url == url.strip()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "publisher.example/rss",
        "//publisher.example/rss",
        "https://",
        "https:///rss",
        "https://:443/rss",
        "ftp://publisher.example/rss",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://[::1/rss",
        "https://publisher.example:port/rss",
        "https://publisher.example:99999/rss",
        "https://publisher.example/a b",
        "https://publisher.example/a\tb",
        "https://publisher.example/a\nb",
        "https://publisher.example/a\0b",
        "https://publisher.example/" + "a" * 2048,
        "https://editor:secret@publisher.example/rss",
        "https://editor@publisher.example/rss",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(Refusal, match="A feed's address"):
        a_feed(url, topics=[], policy=Policy.AUTO, now=NOW)


def test_a_refused_password_is_not_repeated() -> None:
    with pytest.raises(Refusal) as refused:
        a_feed("https://editor:s3cret@publisher.example/rss", topics=[], policy=Policy.AUTO, now=NOW)
    assert "s3cret" not in str(refused.value)


async def test_a_feed_is_found_by_its_number_and_by_its_address(session: AsyncSession) -> None:
    ukraine = await a_topic_row(session)
    feed = await a_feed_row(session, ukraine)
    assert await feed_by_id(session, feed.id) is feed
    assert await feed_by_url(session, f" {feed.url} ") is feed
    assert await feed_by_id(session, feed.id + 1) is None
    with pytest.raises(NotFound, match="no feed"):
        await feed_by_url(session, "https://elsewhere.example/rss")
    assert [[topic.slug for topic in feed.topics] for feed in await every_feed(session)] == [["ukraine"]]
