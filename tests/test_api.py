"""The doors for readers, through the whole application and a real database."""

import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.engine import make_url

from app.context import STATIC
from app.database import Sessions, connect, sessions_of, transaction
from app.domain.subscriptions import Subscription, hash_of
from app.main import LARGEST_BODY, create_app
from app.settings import Settings
from app.vapid import make_key
from tests.makers import NOW, a_feed_row, a_push_subscription, a_story_row, a_topic_row, an_auth, an_entry

SITE = "https://news.example"
JSON = {"Content-Type": "application/json"}
NO_LIMITS = {"quiet_hours": None, "daily_limit": None, "levels": ["breaking", "normal", "low"]}
NOBODY = "postgresql://bell:s3cret@127.0.0.1:1/newsbell"


@pytest.fixture(scope="module")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_key(folder / "vapid.pem")
    return folder


@pytest.fixture(scope="module")
def own_database(server: str, migrated: str) -> Iterator[str]:
    """One for this file: tests leave readers in it, each its own, and three topics are there from the start."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute("CREATE DATABASE api TEMPLATE migrated")
    url = make_url(server).set(database="api").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO topics (slug, name, description, synonyms) VALUES ('russia', 'Russia', '', '{}'),"
            " ('ukraine', 'Ukraine', 'War and peace', '{}'), ('world-news', 'World News', '', '{}')"
        )
    yield url
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute("DROP DATABASE api WITH (FORCE)")


async def serving(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret of ours")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url=SITE) as client:
        yield client


@pytest.fixture(scope="module")
async def api(own_database: str, key_folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    async for client in serving(
        Settings(
            database_url=own_database,
            data_dir=key_folder,
            site_name="The Bell",
            origins=("https://site.example",),
            time_zone="Asia/Tokyo",
        )
    ):
        yield client


@pytest.fixture(scope="module")
async def cut_off(key_folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The same on a database that does not answer."""
    async for client in serving(Settings(database_url=NOBODY, data_dir=key_folder)):
        yield client


@pytest.fixture
async def database(own_database: str) -> AsyncIterator[Sessions]:
    engine = connect(own_database)
    yield sessions_of(engine)
    await engine.dispose()


def a_wish(subscription: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    given = subscription or a_push_subscription()
    return {"subscription": given, "topics": ["ukraine"], "time_zone": "Europe/Kyiv", "language": "uk"} | more


def as_json(body: object) -> bytes:
    """With escapes, so that it can hold what UTF-8 cannot."""
    return json.dumps(body).encode()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def subscribed(api: httpx.AsyncClient, **more: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """A new reader: what the browser has, and the header that opens its preferences."""
    wish = a_wish(**more)
    answer = await api.post("/api/subscriptions", json=wish)
    assert answer.status_code == 201
    return wish["subscription"], bearer(answer.json()["key"])


def explained(answer: httpx.Response, status: int) -> str:
    """A refusal in the form of RFC 9457, with a sentence for a person."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem.keys() == {"type", "title", "status", "detail"}
    assert (problem["type"], problem["status"], bool(problem["title"])) == ("about:blank", status, True)
    detail: str = problem["detail"]
    assert re.fullmatch(r"[A-Z“\w].*\.", detail)
    return detail


async def test_a_newsroom_that_wants_it_welcomes_new_readers_and_others_do_not(
    api: httpx.AsyncClient, own_database: str, key_folder: Path, database: Sessions
) -> None:
    due = text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'welcome'")
    await subscribed(api)
    async with transaction(database) as session:
        assert await session.scalar(due) == 0
    async for client in serving(Settings(database_url=own_database, data_dir=key_folder, welcome=True)):
        wish = a_wish()
        for status in (201, 200):
            assert (await client.post("/api/subscriptions", json=wish)).status_code == status
    async with transaction(database) as session:
        assert await session.scalar(due) == 1
        assert await session.scalar(text("SELECT count(*) FROM subscriptions WHERE is_to_welcome")) == 1


# The site


async def test_a_site_says_what_there_is_to_follow(api: httpx.AsyncClient, key_folder: Path) -> None:
    answer = await api.get("/api/site")
    assert answer.status_code == 200
    site = answer.json()
    assert site["name"] == "The Bell"
    assert len(site["vapid_public_key"]) == 87
    assert site["topics"] == [
        {"slug": "russia", "name": "Russia", "description": ""},
        {"slug": "ukraine", "name": "Ukraine", "description": "War and peace"},
        {"slug": "world-news", "name": "World News", "description": ""},
    ]
    assert site["prompt"].keys() == {"text", "ok", "not_now"}


async def test_the_application_does_not_start_without_its_key(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="vapid new"):
        create_app(Settings(database_url=NOBODY, data_dir=tmp_path))


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/", "text/html"),
        ("/preferences", "text/html"),
        ("/sw.js", "text/javascript"),
        ("/static/prompt.js", "text/javascript"),
        ("/static/base.css", "text/css"),
        ("/static/desk.css", "text/css"),
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
    ],
)
async def test_a_page_is_served(api: httpx.AsyncClient, path: str, kind: str) -> None:
    answer = await api.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)


@pytest.mark.parametrize("path", ["/", "/preferences"])
async def test_a_page_has_the_sites_name_before_any_script_runs(path: str, key_folder: Path) -> None:
    settings = Settings(database_url=NOBODY, data_dir=key_folder, site_name="Bread & <Roses>")
    transport = httpx.ASGITransport(create_app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:
        text = (await client.get(path)).text
    assert '<bdi id="site-name">Bread &amp; &lt;Roses&gt;</bdi>' in text
    assert "{{" not in text


async def test_the_service_worker_brings_the_sites_name_and_icons_and_may_fetch_pictures(
    api: httpx.AsyncClient,
) -> None:
    answer = await api.get("/sw.js")
    first, script = answer.text.split("\n", 1)
    site = json.loads(first.removeprefix("self.newsbell = ").removesuffix(";"))
    assert site["name"] == "The Bell"
    assert {site[icon].partition(",")[0] for icon in ("icon", "badge")} == {"data:image/png;base64"}
    assert script == (STATIC / "sw.js").read_text()
    assert "connect-src 'self' https:" in answer.headers["content-security-policy"]
    again = await api.get("/sw.js", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


SHEETS = {"index": "readers", "preferences": "readers", "desk": "desk", "docs": "docs"}


@pytest.mark.parametrize("page", SHEETS)
def test_a_page_has_what_all_share_and_its_own_and_no_rule_of_another(page: str) -> None:
    linked = re.findall(r'rel="stylesheet" href="/static/(\w+)\.css"', (STATIC / f"{page}.html").read_text())
    assert linked == ["base", SHEETS[page]]


# Subscribing


async def test_a_reader_subscribes_and_comes_back(api: httpx.AsyncClient, database: Sessions) -> None:
    wish = a_wish(topics=["world-news", "ukraine"])
    first = await api.post("/api/subscriptions", json=wish)
    assert first.status_code == 201
    assert first.json()["topics"] == ["world-news", "ukraine"]
    preferences = first.json()["preferences"]
    assert abs(datetime.fromisoformat(preferences.pop("now")) - datetime.now(UTC)) < timedelta(seconds=5)
    assert preferences == {
        "topics": ["world-news", "ukraine"],
        "quiet_hours": None,
        "daily_limit": None,
        "levels": ["breaking", "normal", "low"],
        "paused_until": None,
        "time_zone": "Europe/Kyiv",
        "language": "uk",
    }
    key = first.json()["key"]
    again = await api.post("/api/subscriptions", json=wish | {"topics": None}, headers=bearer(key))
    assert (again.status_code, again.json()["key"]) == (200, key)
    assert sorted(again.json()["topics"]) == ["ukraine", "world-news"]
    async with transaction(database) as session:
        rows = select(func.count()).where(Subscription.endpoint == wish["subscription"]["endpoint"])
        assert await session.scalar(rows) == 1


async def test_everything_but_the_browser_and_a_topic_may_be_left_out(api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/subscriptions", json={"subscription": a_push_subscription(), "topics": ["russia"]})
    assert answer.status_code == 201
    assert answer.json()["preferences"]["time_zone"] == "Asia/Tokyo"  # the site's


async def test_a_browser_that_lost_its_key_gets_another(api: httpx.AsyncClient) -> None:
    browser, old = await subscribed(api)
    answer = await api.post("/api/subscriptions", json=a_wish(browser))
    assert answer.status_code == 200
    assert (await api.get("/api/subscriptions/me", headers=bearer(answer.json()["key"]))).status_code == 200
    explained(await api.get("/api/subscriptions/me", headers=old), 401)


async def test_somebody_elses_endpoint_is_refused(api: httpx.AsyncClient) -> None:
    browser, key = await subscribed(api)
    stolen = a_push_subscription(browser["endpoint"])
    assert "could not prove" in explained(await api.post("/api/subscriptions", json=a_wish(stolen)), 403)
    assert (await api.get("/api/subscriptions/me", headers=key)).json()["topics"] == ["ukraine"]


@pytest.mark.parametrize(
    "zone, kept",
    [
        ("Europe/Kyiv", "Europe/Kyiv"),
        ("utc", "UTC"),
        ("america/new_york", "America/New_York"),
        *(
            (odd, "Asia/Tokyo")
            for odd in ("", "Etc/Unknown", "+05:30", "Mars/Olympus", "localtime", "UTC\0", "x" * 999)
        ),
    ],
)
async def test_a_browser_with_an_odd_time_zone_subscribes_all_the_same(
    api: httpx.AsyncClient, zone: str, kept: str
) -> None:
    _, key = await subscribed(api, time_zone=zone)
    assert (await api.get("/api/subscriptions/me", headers=key)).json()["time_zone"] == kept
    await api.patch("/api/subscriptions/me", json={"time_zone": "Europe/Kyiv"}, headers=key)
    changed = await api.patch("/api/subscriptions/me", json={"time_zone": zone, "daily_limit": 3}, headers=key)
    assert changed.json()["time_zone"] == (kept if kept != "Asia/Tokyo" else "Europe/Kyiv")
    assert changed.json()["daily_limit"] == 3


@pytest.mark.parametrize(
    "tag, kept",
    [
        ("pt-BR", "pt-BR"),
        ("en_US", "en-US"),
        ("de-DE@posix", "de-DE"),
        ("en-US-u-ca-gregory-nu-latn-hc-h12-co-phonebk", "en-US-u-ca-gregory-nu-latn-hc-h12"),
        ("uk\0", "uk"),
        ("<script>", ""),
        ("x" * 36, ""),
        ("", ""),
    ],
)
async def test_of_an_odd_language_the_readable_part_is_kept(api: httpx.AsyncClient, tag: str, kept: str) -> None:
    _, key = await subscribed(api, language=tag)
    assert (await api.get("/api/subscriptions/me", headers=key)).json()["language"] == kept
    changed = await api.patch("/api/subscriptions/me", json={"language": tag}, headers=key)
    assert changed.json()["language"] == kept


async def test_whoever_learnt_an_endpoint_is_not_told_whether_it_is_one_of_ours(api: httpx.AsyncClient) -> None:
    browser, _ = await subscribed(api)
    known, unknown = a_push_subscription(browser["endpoint"]), a_push_subscription()
    asked: list[tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = [
        ("/api/subscriptions", lambda one: a_wish(one) | {"topics": []}),
        ("/api/subscriptions", lambda one: {"subscription": one}),
        ("/api/subscriptions/renew", a_renewal),
        ("/api/subscriptions/renew", lambda one: a_renewal(a_push_subscription(), one)),
    ]
    for path, ask in asked:
        answers = [await api.post(path, json=ask(one)) for one in (known, unknown)]
        assert answers[0].status_code == answers[1].status_code in (404, 422)
        assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize(
    "change, says",
    [
        ({"topics": []}, "at least one topic"),
        ({"topics": None}, "at least one topic"),
        ({"topics": ["mars"]}, "There is no topic “mars”. Topics are: russia, ukraine, world-news."),
        ({"topics": "ukraine"}, "topics: "),
        ({"topics": ["ukraine"] * 201}, "topics: "),
        ({"topics": [7]}, "topics.0: "),
        ({"surprise": 1}, "surprise: "),
        ({"subscription": None}, "subscription: "),
        ({"subscription": {"endpoint": "https://fcm.googleapis.com/x"}}, "subscription.keys: "),
        ({"subscription": a_push_subscription("https://169.254.169.254/x.google.com/")}, "not one that we send to"),
        ({"subscription": a_push_subscription("http://fcm.googleapis.com/x")}, "starts with https://"),
        ({"subscription": a_push_subscription("https://permanently-removed.invalid/x")}, "Another browser can"),
        ({"subscription": a_push_subscription("https://fcm.googleapis.com/\ud800")}, "endpoint: "),
        ({"subscription": a_push_subscription("x" * 4097)}, "subscription.endpoint: "),
        ({"subscription": a_push_subscription(p256dh="A" * 87)}, "p256dh"),
        ({"subscription": a_push_subscription(p256dh="A" * 300)}, "subscription.keys.p256dh: "),
        ({"subscription": a_push_subscription(auth="short")}, "must have 16 bytes"),
    ],
)
async def test_a_wish_that_cannot_be_granted_is_refused_with_the_reason(
    api: httpx.AsyncClient, change: dict[str, Any], says: str
) -> None:
    assert says in explained(
        await api.post("/api/subscriptions", content=as_json(a_wish() | change), headers=JSON), 422
    )


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 5000, b"{}", b'{"topics": NaN}']
)
@pytest.mark.parametrize("path", ["/api/subscriptions", "/api/subscriptions/renew"])
async def test_what_is_no_request_is_refused(api: httpx.AsyncClient, path: str, body: bytes) -> None:
    answer = await api.post(path, content=body, headers=JSON)
    assert answer.status_code in (400, 422)
    assert len(explained(answer, answer.status_code)) > 10


async def test_a_form_is_no_request(api: httpx.AsyncClient) -> None:
    """A page elsewhere may send one without asking the browser for leave (CORS)."""
    explained(await api.post("/api/subscriptions", data={"subscription": "x"}), 422)
    plain = {"Content-Type": "text/plain"}
    explained(await api.post("/api/subscriptions", content=b'{"subscription": {}}', headers=plain), 422)


# Renewing


def a_renewal(old: dict[str, Any], fresh: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    known = {"endpoint": old["endpoint"], "auth": old["keys"]["auth"]}
    return {"old": known, "subscription": fresh or a_push_subscription()} | more


async def test_a_browser_renews_its_endpoint_and_keeps_its_topics_and_its_key(api: httpx.AsyncClient) -> None:
    browser, key = await subscribed(api, topics=["russia"])
    renewal = a_renewal(browser)
    for _ in range(2):
        answer = await api.post("/api/subscriptions/renew", json=renewal, headers=key)
        assert answer.status_code == 200
        assert (bearer(answer.json()["key"]), answer.json()["topics"]) == (key, ["russia"])


async def test_a_renewal_is_refused_with_the_reason(api: httpx.AsyncClient) -> None:
    browser, _ = await subscribed(api)
    forged = browser | {"keys": {"auth": an_auth()}}
    bad = a_push_subscription("https://example.com/x")
    for status, renewal in (
        (404, a_renewal(forged)),
        (404, a_renewal(a_push_subscription())),
        (422, a_renewal(browser, bad)),
        (422, a_renewal(browser, surprise=1)),
        (422, {"subscription": a_push_subscription()}),
    ):
        explained(await api.post("/api/subscriptions/renew", json=renewal), status)


# Preferences


async def test_a_reader_sees_and_changes_what_is_named_only(api: httpx.AsyncClient) -> None:
    _, key = await subscribed(api)
    until = (datetime.now(UTC) + timedelta(days=7)).replace(microsecond=0)

    async def change(**wish: Any) -> dict[str, Any]:
        answer = await api.patch("/api/subscriptions/me", json=wish, headers=key)
        assert answer.status_code == 200
        seen: dict[str, Any] = (await api.get("/api/subscriptions/me", headers=key)).json()
        assert seen.keys() == answer.json().keys()
        assert sorted(seen.pop("topics")) == sorted(answer.json()["topics"])
        assert seen.pop("now") >= answer.json()["now"]
        return seen | {"topics": answer.json()["topics"]}

    first = {"topics": ["ukraine"], "paused_until": None, "time_zone": "Europe/Kyiv", "language": "uk"} | NO_LIMITS
    assert await change() == first
    assert await change(topics=["russia", "world-news"]) == first | {"topics": ["russia", "world-news"]}
    assert await change(topics=[]) == first | {"topics": []}  # silence, not the end
    assert await change(topics=["ukraine"], time_zone="UTC", language="en") == first | {
        "time_zone": "UTC",
        "language": "en",
    }
    paused = await change(paused_until=until.isoformat(), time_zone="Europe/Kyiv", language="uk")
    assert datetime.fromisoformat(paused["paused_until"]) == until
    assert (await change(topics=None))["paused_until"] == paused["paused_until"]
    assert await change(paused_until=None) == first
    before = datetime.now(UTC)
    paused = await change(pause_for=3600)
    assert (
        timedelta(0)
        <= datetime.fromisoformat(paused["paused_until"]) - before - timedelta(hours=1)
        < timedelta(minutes=1)
    )
    assert await change(paused_until=None) == first
    night = {"from": "22:30", "to": "06:45"}
    limited = await change(quiet_hours=night, daily_limit=3, levels=["normal", "breaking"])
    assert limited == first | {"quiet_hours": night, "daily_limit": 3, "levels": ["breaking", "normal"]}
    assert await change(topics=["ukraine"]) == limited
    assert await change(levels=["low", "normal", "breaking"], daily_limit=None) == first | {"quiet_hours": night}
    assert await change(quiet_hours=None, levels=None) == first


async def test_pages_that_are_out_of_date_do_not_undo_each_other(api: httpx.AsyncClient) -> None:
    """Each says what it changes, so what another one has changed meanwhile stays."""
    _, key = await subscribed(api, topics=["russia", "ukraine"])

    async def change(**wish: list[str]) -> dict[str, Any]:
        answer = await api.patch("/api/subscriptions/me", json=wish, headers=key)
        assert answer.status_code == 200
        return dict(answer.json())

    await change(remove_topics=["russia"])
    assert (await change(remove_topics=["ukraine"]))["topics"] == []
    await change(add_topics=["ukraine"])
    assert (await change(add_topics=["ukraine", "world-news"]))["topics"] == ["ukraine", "world-news"]
    assert (await change(remove_topics=["a-topic-that-is-gone"]))["topics"] == ["ukraine", "world-news"]
    await change(remove_levels=["low"])
    assert (await change(remove_levels=["normal"]))["levels"] == ["breaking"]
    assert (await change(add_levels=["low"]))["levels"] == ["breaking", "low"]


@pytest.mark.parametrize(
    "wish, says",
    [
        ({"paused_until": "2099-01-01T00:00:00Z"}, "a year at most"),
        ({"paused_until": "2026-08-01T12:00:00"}, "paused_until: "),  # in which zone?
        ({"paused_until": "soon"}, "paused_until: "),
        ({"paused_until": "2001-01-01T00:00:00Z"}, "over already"),  # by a clock that is wrong, say
        ({"pause_for": 0}, "pause_for: "),
        ({"pause_for": 40_000_000}, "a year at most"),
        ({"pause_for": 60, "paused_until": None}, "not both"),
        ({"topics": [], "add_topics": ["ukraine"]}, "not both"),
        ({"add_topics": ["ukraine"], "remove_topics": ["ukraine"]}, "added and removed"),
        ({"add_topics": ["mars"]}, "no topic “mars”"),
        ({"levels": ["low"], "add_levels": ["normal"]}, "not both"),
        ({"remove_levels": ["low", "normal", "breaking"]}, "pause or stop instead"),
        ({"quiet_hours": {"from": "22:00"}}, "quiet_hours.to: "),
        ({"quiet_hours": {"from": "22:00", "to": "22:00"}}, "different times"),
        ({"quiet_hours": {"from": "22:00", "to": "24:00"}}, "quiet_hours.to: "),
        ({"quiet_hours": {"from": "22:00\n", "to": "07:00"}}, "quiet_hours.from: "),
        ({"quiet_hours": {"from": "22:00", "to": "07:00", "zone": "UTC"}}, "quiet_hours.zone: "),
        ({"daily_limit": 0}, "daily_limit: "),
        ({"daily_limit": 1001}, "daily_limit: "),
        ({"levels": []}, "pause or stop instead"),
        ({"levels": ["shouting"]}, "levels.0: "),
        ({"topics": ["mars"]}, "no topic “mars”"),
        ({"surprise": 1}, "surprise: "),
        ({"endpoint": "https://fcm.googleapis.com/x"}, "endpoint: "),
    ],
)
async def test_a_change_that_cannot_be_made_is_refused_and_changes_nothing(
    api: httpx.AsyncClient, wish: dict[str, Any], says: str
) -> None:
    _, key = await subscribed(api)
    before = (await api.get("/api/subscriptions/me", headers=key)).json()
    beside = {"daily_limit": 5} | wish
    assert says in explained(await api.patch("/api/subscriptions/me", json=beside, headers=key), 422)
    after = (await api.get("/api/subscriptions/me", headers=key)).json()
    assert after | {"now": None} == before | {"now": None}


async def test_a_reader_who_stops_is_forgotten(api: httpx.AsyncClient, database: Sessions) -> None:
    browser, key = await subscribed(api)
    answer = await api.delete("/api/subscriptions/me", headers=key)
    assert (answer.status_code, answer.content) == (204, b"")
    explained(await api.delete("/api/subscriptions/me", headers=key), 401)
    async with transaction(database) as session:
        gone = select(Subscription).where(Subscription.endpoint_hash == hash_of(browser["endpoint"]))
        assert (await session.scalars(gone)).all() == []


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "shown", [None, "", "Bearer", "Bearer ", "Bearer unknown", "Basic dTpw", "unknown", "Bearer \xff"]
)
async def test_without_its_key_nothing_opens(api: httpx.AsyncClient, method: str, shown: str | None) -> None:
    headers = [(b"Authorization", shown.encode("latin-1"))] if shown is not None else []
    answer = await api.request(method, "/api/subscriptions/me", headers=headers, json={"topics": []})
    explained(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


# The newest stories


async def a_newsroom(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        world, ukraine = await a_topic_row(session, "world-news"), await a_topic_row(session, "ukraine")
        feed = await a_feed_row(session, world, url="https://publisher.example/secret-feed?token=s3cret")
        for number in range(7):
            seen = NOW + timedelta(microseconds=number // 2)
            topics = [world, ukraine] if number % 2 else [world]
            entry = an_entry(title=f"Story {number}", summary="Words", published_at=NOW)
            story = await a_story_row(session, *topics, entry=entry, now=seen)
            story.feeds.append(feed)


async def test_the_newest_stories_come_page_by_page(database_url: str, sessions: Sessions, key_folder: Path) -> None:
    await a_newsroom(sessions)
    async for client in serving(Settings(database_url=database_url, data_dir=key_folder)):
        titles: list[str] = []
        pages, after = 0, {"limit": "2"}
        while after:
            answer = await client.get("/api/latest", params=after)
            assert answer.status_code == 200
            assert "secret" not in answer.text
            titles += [story["title"] for story in answer.json()["items"]]
            after = {"limit": "2", "after": answer.json()["next"]} if answer.json()["next"] else {}
            pages += 1
        assert titles == [f"Story {number}" for number in reversed(range(7))]
        assert pages == 4
        everything = (await client.get("/api/latest")).json()
        assert ([story["title"] for story in everything["items"]], everything["next"]) == (titles, None)
        story = everything["items"][0]
        assert story.keys() == {"id", "title", "summary", "url", "image", "published_at", "seen_at", "topics"}
        assert (story["topics"], story["published_at"]) == (["world-news"], "2026-08-01T12:00:00Z")
        ours = (await client.get("/api/latest", params={"topic": "ukraine"})).json()["items"]
        assert [story["title"] for story in ours] == ["Story 5", "Story 3", "Story 1"]
        assert (await client.get("/api/latest", params={"topic": "mars"})).json() == {"items": [], "next": None}
        sections = (await client.get("/api/front", params={"each": "20"})).json()["sections"]
        assert sorted(story["title"] for section in sections for story in section["items"]) == sorted(titles)


@pytest.mark.parametrize(
    "query, says",
    [
        ({"limit": "0"}, "limit: "),
        ({"limit": "101"}, "limit: "),
        ({"limit": "many"}, "limit: "),
        ({"after": ""}, "not a page"),
        ({"after": "x"}, "not a page"),
        ({"after": "1.0"}, "not a page"),
        ({"after": "1.0-x"}, "not a page"),
        ({"after": "nan-1"}, "not a page"),
        ({"after": "inf-1"}, "not a page"),
        ({"after": "1e300-1"}, "not a page"),
        ({"after": "1.0-" + "9" * 30}, "not a page"),
        ({"after": "1.0-1\0"}, "not a page"),
        ({"topic": "a\0"}, "topic: "),
        ({"topic": "a" * 65}, "topic: "),
    ],
)
async def test_a_page_that_there_is_not_is_refused(api: httpx.AsyncClient, query: dict[str, str], says: str) -> None:
    assert says in explained(await api.get("/api/latest", params=query), 422)


# Every answer


ANSWERS = [
    ("GET", "/", 200),
    ("GET", "/sw.js", 200),
    ("GET", "/static/base.css", 200),
    ("GET", "/api/site", 200),
    ("GET", "/healthz", 200),
    ("GET", "/api/subscriptions/me", 401),
    ("GET", "/nowhere", 404),
    ("GET", "/static/nothing.js", 404),
    ("GET", "/static/../app/main.py", 404),
    ("GET", "/static/..%2f..%2fapp/main.py", 404),
    ("DELETE", "/api/site", 405),
    ("POST", "/api/subscriptions", 422),
    ("GET", "/broken", 500),
]


@pytest.mark.parametrize("method, path, status", ANSWERS)
async def test_every_answer_has_our_headers(api: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await api.request(method, path)
    assert answer.status_code == status
    if status >= 400:
        explained(answer, status)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "strict-origin-when-cross-origin"
    private = path.startswith("/api/") and path not in ("/api/site", "/api/latest", "/api/sign-in")
    assert answer.headers["cache-control"] == ("no-store" if private else "no-cache")
    assert "set-cookie" not in answer.headers


async def test_a_wrong_method_is_told_the_right_ones(api: httpx.AsyncClient) -> None:
    answer = await api.delete("/api/site")
    explained(answer, 405)
    assert "GET" in answer.headers["allow"]


async def test_our_own_mistake_keeps_its_details_to_itself(api: httpx.AsyncClient) -> None:
    assert "our side" in explained(await api.get("/broken"), 500)
    assert "secret" not in (await api.get("/broken")).text


@pytest.mark.parametrize("length", [LARGEST_BODY + 1, 10 * LARGEST_BODY, 1_000_000])
@pytest.mark.parametrize("path", ["/api/subscriptions", "/api/subscriptions/renew"])
async def test_a_body_that_is_too_large_is_refused(api: httpx.AsyncClient, path: str, length: int) -> None:
    explained(await api.post(path, content=b" " * length, headers=JSON), 413)


async def test_a_body_that_comes_in_pieces_is_counted_all_the_same(api: httpx.AsyncClient) -> None:
    sent = 0

    async def drip() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1024
            yield b" " * 1024

    explained(await api.post("/api/subscriptions", content=drip(), headers=JSON), 413)
    assert sent <= LARGEST_BODY + 2 * 1024


async def test_the_largest_body_is_read(api: httpx.AsyncClient) -> None:
    body = httpx.Request("POST", SITE, json=a_wish()).content
    padded = body + b" " * (LARGEST_BODY - len(body))
    answer = await api.post("/api/subscriptions", content=padded, headers=JSON)
    assert answer.status_code == 201


# Other sites


@pytest.mark.parametrize(
    "origin, allowed",
    [
        ("https://site.example", True),
        ("https://elsewhere.example", False),
        ("http://site.example", False),
        ("https://site.example.evil.example", False),
        ("https://site.example:8443", False),
        ("null", False),
    ],
)
async def test_only_named_sites_may_embed_the_prompt(api: httpx.AsyncClient, origin: str, allowed: bool) -> None:
    simple = await api.get("/api/site", headers={"Origin": origin})
    asked = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}
    asked["Access-Control-Request-Headers"] = "authorization, content-type"
    preflight = await api.options("/api/subscriptions/me", headers=asked)
    granted = origin if allowed else None
    assert simple.headers.get("access-control-allow-origin") == granted
    assert preflight.headers.get("access-control-allow-origin") == granted
    assert preflight.is_success is allowed
    assert "access-control-allow-credentials" not in {*simple.headers, *preflight.headers}
    if allowed:
        assert "PATCH" in preflight.headers["access-control-allow-methods"]
        refused = await api.get("/api/subscriptions/me", headers={"Origin": origin})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin)


async def test_without_named_sites_there_is_no_such_leave(cut_off: httpx.AsyncClient) -> None:
    answer = await cut_off.get("/healthz", headers={"Origin": "https://site.example"})
    assert "access-control-allow-origin" not in answer.headers


# A database that does not answer


@pytest.mark.parametrize(
    "method, path, body",
    [
        ("GET", "/readyz", None),
        ("GET", "/api/site", None),
        ("GET", "/api/latest", None),
        ("POST", "/api/subscriptions", a_wish()),
        ("POST", "/api/subscriptions/renew", a_renewal(a_push_subscription())),
        ("GET", "/api/subscriptions/me", None),
        ("PATCH", "/api/subscriptions/me", {"topics": []}),
        ("DELETE", "/api/subscriptions/me", None),
    ],
)
async def test_without_a_database_we_ask_for_patience(
    cut_off: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None
) -> None:
    answer = await cut_off.request(method, path, json=body, headers=bearer("key"))
    assert "database does not answer" in explained(answer, 503)
    assert answer.headers["retry-after"] == "5"
    assert "s3cret" not in answer.text


async def test_without_a_database_we_live_but_are_not_ready(cut_off: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
    assert (await cut_off.get("/healthz")).json() == {"status": "alive"}
    assert (await cut_off.get("/")).status_code == 200
    assert (await cut_off.get("/readyz")).status_code == (await cut_off.head("/readyz")).status_code == 503
    assert (await cut_off.head("/healthz")).status_code == 200  # as some monitors ask
    answer = await api.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    [warning] = answer.json()["warnings"]
    assert warning.startswith("No worker is running")


# Secrets


async def test_no_secret_of_a_reader_is_logged_or_sent_back(
    api: httpx.AsyncClient, cut_off: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.WARNING, logger="httpx")  # the test's own browser
    browser, key = await subscribed(api)
    fresh = a_push_subscription()
    stolen, bad = a_push_subscription(browser["endpoint"]), a_push_subscription("https://169.254.169.254/endpoint")
    answers = [
        await api.post("/api/subscriptions", json=a_wish(browser), headers=key),
        await api.post("/api/subscriptions", json=a_wish(stolen)),
        await api.post("/api/subscriptions", json=a_wish(bad)),
        await api.post("/api/subscriptions", json=a_wish(browser, surprise=browser)),
        await api.post("/api/subscriptions", json={"subscription": [browser]}),
        await api.post("/api/subscriptions/renew", json=a_renewal(stolen, fresh)),
        await api.post("/api/subscriptions/renew", json=a_renewal(browser, fresh), headers=key),
        await api.patch("/api/subscriptions/me", json={"topics": ["russia"]}, headers=key),
        await cut_off.post("/api/subscriptions", json=a_wish(browser), headers=key),
        await cut_off.get("/api/subscriptions/me", headers=key),
    ]
    logged = "\n".join(f"{record.getMessage()} {record.args} {record.exc_text}" for record in caplog.records)
    heard = logged + "\n".join(answer.text for answer in answers if answer.is_error)
    assert sum(answer.is_error for answer in answers) == 7
    for sent in (browser, fresh, stolen, bad):
        for secret in (sent["endpoint"], sent["keys"]["auth"], sent["keys"]["p256dh"]):
            assert secret not in heard
    assert key["Authorization"].removeprefix("Bearer ") not in heard
    assert "s3cret" not in heard


async def test_the_private_key_never_leaves(api: httpx.AsyncClient, key_folder: Path) -> None:
    pem = (key_folder / "vapid.pem").read_text().splitlines()[1]
    for path in ("/api/site", "/static/vapid.pem", "/static/../var/vapid.pem", "/openapi.json", "/"):
        assert pem not in (await api.get(path)).text
