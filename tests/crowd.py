"""A newsroom with much of everything, in two scripts, and words that are longer than they should be."""

from datetime import datetime, timedelta

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.alerts import Alert, AlertState, an_alert
from app.domain.feeds import Feed, Policy, a_feed
from app.domain.stories import Story, story_topics
from app.domain.topics import Topic, a_topic

LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
ARABIC = ("أخبار العالم", "الشرق الأوسط", "الاقتصاد", "كرة القدم")
TITLES = (
    "Ministers meet again over the grain corridor as the harvest begins",
    "اتفاق على وقف إطلاق النار بعد محادثات استمرت ثلاثة أيام في جنيف",
    f"{LONG} strikes",
    "Kyiv reopens its metro",
)


async def a_crowd(
    session: AsyncSession, now: datetime, *, topics: int = 60, feeds: int = 40, stories: int = 600, alerts: int = 300
) -> list[Topic]:
    followed = _topics(topics)
    session.add_all(followed)
    await session.flush()
    session.add_all(_feeds(feeds, followed, now))
    session.add_all(_alerts(alerts, followed, now))
    await session.flush()
    await _stories(session, stories, followed, now)
    return followed


def _topics(number: int) -> list[Topic]:
    names = [*ARABIC, f"News of the {LONG}", *(f"Topic of the day {n}" for n in range(number))][:number]
    return [
        a_topic(f"topic-{n}", name, description="What happens there, told as it happens." if n % 2 else "")
        for n, name in enumerate(names)
    ]


def _feeds(number: int, topics: list[Topic], now: datetime) -> list[Feed]:
    made = []
    for n in range(number):
        url = f"https://publisher-{n}.example/{LONG if n == 7 else 'rss'}.xml"
        feed = a_feed(url, topics=topics[n % len(topics) :][:3], policy=list(Policy)[n % 3], now=now)
        feed.title = {3: ARABIC[0], 7: LONG}.get(n, f"Publisher {n}")
        feed.polled_at, feed.next_poll_at = now - timedelta(minutes=n), now + timedelta(minutes=n)
        feed.trouble = "The publisher answers 503." if n in (20, 33) else ""
        feed.misses = 4 if feed.trouble else 0
        made.append(feed)
    return made


def _alerts(number: int, topics: list[Topic], now: datetime) -> list[Alert]:
    made = []
    for n in range(number):
        at = now - timedelta(minutes=30 * n + 5)
        alert = an_alert(
            title=f"{TITLES[n % len(TITLES)]} ({n})",
            url=f"https://news.example/{n}",
            topics=[topics[n % len(topics)]],
            now=at,
        )
        if n % 5:
            alert.release(at)
            alert.state, alert.finished_at, alert.recipients = AlertState.FINISHED, at + timedelta(seconds=9), 0
        made.append(alert)
    return made


async def _stories(session: AsyncSession, number: int, topics: list[Topic], now: datetime) -> None:
    rows = [
        {
            "title": f"{TITLES[n % len(TITLES)]} ({n})",
            "summary": "ما نعرفه حتى الآن عن الاتفاق." if n % 4 == 1 else "What is known so far, and what is not.",
            "url": f"https://news.example/story/{n}",
            "image": None,
            "published_at": now - timedelta(minutes=7 * n),
            "seen_at": now - timedelta(minutes=7 * n),
        }
        for n in reversed(range(number))  # the newest has the highest id
    ]
    ids = (await session.scalars(insert(Story).returning(Story.id, sort_by_parameter_order=True), rows)).all()
    of = [(topics[n % len(topics)].id, topics[(n + 1) % len(topics)].id) for n in reversed(range(number))]
    pairs = [{"story_id": id, "topic_id": topic} for id, both in zip(ids, of, strict=True) for topic in both]
    await session.execute(insert(story_topics), pairs)
