import asyncio
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Collection
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from app.database import Sessions, transaction
from app.domain.marks import Happening, marked
from app.domain.own_browsers import browsers_of, keep
from app.domain.push_services import service_with_odd_path
from app.domain.refusals import Forbidden, NotFound, Refusal, Unauthenticated
from app.domain.subscriptions import (
    CURVE_B,
    PRIME,
    Browser,
    Recipient,
    Subscription,
    a_browser,
    end,
    forget,
    hash_of,
    lane_of,
    recipients,
    renew,
    subscribe,
    subscription_of_key,
)
from app.domain.time_zones import a_time_zone
from app.domain.topics import Topic
from tests.makers import (
    GOOGLE,
    MOZILLA,
    NOW,
    P256DH,
    POINT,
    a_reader,
    a_reader_with_key,
    a_topic_row,
    an_auth,
    an_editor_row,
    an_endpoint,
    some_browser,
)

DAY = timedelta(days=1)

# Addresses of push services


@pytest.mark.parametrize(
    "endpoint, lane",
    [
        ("https://fcm.googleapis.com/fcm/send/abc:APA91b-_x", "https://fcm.googleapis.com"),
        ("https://fcm.googleapis.com/wp/abc", "https://fcm.googleapis.com"),
        ("https://jmt17.google.com/fcm/send/abc", "https://jmt17.google.com"),
        ("https://updates.push.services.mozilla.com/wpush/v2/g=", "https://updates.push.services.mozilla.com"),
        ("https://web.push.apple.com/QGuQ", "https://web.push.apple.com"),
        *(
            (f"https://{machine}.notify.windows.com/w/?token=BQY%2b%3d", f"https://{machine}.notify.windows.com")
            for machine in (
                "wns2-par02p",
                "wns2-pn1p",
                "wns2-ln2p",
                "wns2-by3p",
                "wns2-bl2p",
                "par02p",
                "db3",
                "wns3-am3p",
            )
        ),
    ],
)
def test_what_browsers_give_out_is_taken(endpoint: str, lane: str) -> None:
    assert lane_of(endpoint) == lane
    assert some_browser(endpoint).endpoint == endpoint  # byte for byte


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "fcm.googleapis.com/x",
        "//fcm.googleapis.com/x",
        "https:",
        "https://",
        "https:///x",
        "https:fcm.googleapis.com/x",
        "https:/fcm.googleapis.com/x",
        "https:///fcm.googleapis.com/x",
        "http://fcm.googleapis.com/x",
        "ftp://fcm.googleapis.com/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/plain,x",
        # Other hosts.
        "https://example.com/x",
        "https://169.254.169.254/x.google.com/",
        "https://169.254.169.254/fcm.googleapis.com",
        "https://169.254.169.254?.fcm.googleapis.com/",
        "https://169.254.169.254#.fcm.googleapis.com/",
        "https://localhost/x",
        "https://evilfcm.googleapis.com/x",
        "https://fcm.googleapis.com.evil.example/x",
        "https://google.com/x",
        "https://googleapis.com/x",
        "https://push.apple.com.evil.example/x",
        "https://evilpush.apple.com/x",
        "https://windows.com/x",
        "https://com/x",
        # Below the domain of a push service, where nobody was ever given an endpoint.
        "https://a1.notify.windows.com/w/?token=x",
        "https://a1000.notify.windows.com/w/?token=x",
        "https://evil.wns2-par02p.notify.windows.com/w/?token=x",
        "https://notify.windows.com/w/?token=x",
        "https://x.fcm.googleapis.com/fcm/send/x",
        "https://a7.push.services.mozilla.com/wpush/v2/x",
        "https://push.services.mozilla.com/wpush/v2/x",
        "https://a7.push.apple.com/Qx",
        "https://push.apple.com/Qx",
        # Literal addresses, in any spelling.
        "https://127.0.0.1/x",
        "https://127.1/x",
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://0177.0.0.1/x",
        "https://0/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[fcm.googleapis.com]/x",
        "https://[::1].push.apple.com/x",
        "https://[::1/x",
        # What two programs could read in two ways.
        "https://user@fcm.googleapis.com/x",
        "https://user:password@fcm.googleapis.com/x",
        "https://@fcm.googleapis.com/x",
        "https://fcm.googleapis.com@evil.example/x",
        "https://fcm.googleapis.com:443@evil.example/x",
        "https://evil.example\\@fcm.googleapis.com/x",
        "https://evil.example\\.fcm.googleapis.com/x",
        "https:\\\\fcm.googleapis.com\\x",
        "https://fcm.googleapis.com\\x",
        "https://fcm.googleapis.com/\\x",
        "https://FCM.googleapis.com/x",
        "https://fcm.GoogleApis.com/x",
        "HTTPS://fcm.googleapis.com/x",
        "https://fcm.googleapis.com./x",
        "https://fcm.googleapis.com../x",
        "https://.fcm.googleapis.com/x",
        "https://x..push.apple.com/x",
        "https://fcm%2egoogleapis%2ecom/x",
        "https://%66cm.googleapis.com/x",
        "https://evil.example%2f.push.apple.com/x",
        "https://evil.example%00.push.apple.com/x",
        "https://evil.example;.push.apple.com/x",
        "https://evil.example,.push.apple.com/x",
        "https://evil.example&.push.apple.com/x",
        "https://*.push.apple.com/x",
        "https://fcm.googleapis.com",
        "https://fcm.googleapis.com?x",
        "https://fcm.googleapis.com/x#",
        "https://fcm.googleapis.com/x#fragment",
        # Ports.
        "https://fcm.googleapis.com:80/x",
        "https://fcm.googleapis.com:8443/x",
        "https://fcm.googleapis.com:0/x",
        "https://fcm.googleapis.com:65536/x",
        "https://fcm.googleapis.com:-1/x",
        "https://fcm.googleapis.com:port/x",
        "https://fcm.googleapis.com:/x",
        "https://fcm.googleapis.com:443/x",  # No browser writes the port that is usual anyway.
        "https://fcm.googleapis.com:0443/x",
        # What cannot be seen.
        " https://fcm.googleapis.com/x",
        "https://fcm.googleapis.com/x ",
        "https://fcm.googleapis.com/x\n",
        "\thttps://fcm.googleapis.com/x",
        "https://fcm.goog\tleapis.com/x",
        "https://fcm.googleapis.com/\tx",
        "ht\ntps://fcm.googleapis.com/x",
        "https://fcm.googleapis.com/\rx",
        "https://fcm.googleapis.com/x\0",
        "https://fcm.googleapis.com/\x7f",
        "https://fcm.googleapis.com\u200b/x",
        # What looks alike.
        "https://fсm.googleapis.com/x",  # Cyrillic с
        "https://fcm。googleapis。com/x",
        "https://ｆｃｍ.googleapis.com/x",
        "https://fcm.googleapis.com／x",
        "https://fcm.googleapis.com：443/x",
        "https://evil.example℀.push.apple.com/x",
        "https://xn--fm-nlc.googleapis.com/x",
        "https://fcm.googleapis.com:４４３/x",
        "https://fcm.googleapis.com/ключ",
        # Too long.
        "https://fcm.googleapis.com/" + "x" * 2022,
    ],
)
def test_anything_else_is_refused(endpoint: str) -> None:
    with pytest.raises(Refusal) as refused:
        lane_of(endpoint)
    assert str(refused.value).endswith(".")
    assert len(endpoint) < 12 or endpoint not in str(refused.value)


def test_the_longest_address_is_taken() -> None:
    assert lane_of("https://fcm.googleapis.com/" + "x" * 2021)


@pytest.mark.parametrize(
    "endpoint", ["https://permanently-removed.invalid/fcm/send/x", "https://x.permanently-removed.invalid/"]
)
def test_a_browser_without_a_push_service_is_told_so(endpoint: str) -> None:
    with pytest.raises(Refusal, match=r"has no push service.*Another browser"):
        lane_of(endpoint)


@pytest.mark.parametrize(
    "endpoint, extra, plain_http, lane",
    [
        ("https://push.example/x", ["push.example"], False, "https://push.example"),
        ("https://push.example/x", ["push.example:443"], False, "https://push.example"),
        ("https://push.example:8443/x", ["push.example:8443"], False, "https://push.example:8443"),
        ("https://127.0.0.1:8443/x", ["127.0.0.1:8443"], False, "https://127.0.0.1:8443"),
        ("http://127.0.0.1:8090/x", ["127.0.0.1:8090"], True, "http://127.0.0.1:8090"),
        ("http://localhost/x", ["localhost"], True, "http://localhost"),
        ("https://push.example:8443/x", ["push.example"], False, None),
        ("https://push.example/x", ["push.example:8443"], False, None),
        ("https://push.example:8444/x", ["push.example:8443"], False, None),
        ("https://x.push.example/x", ["push.example"], False, None),
        ("https://push.example.evil.example/x", ["push.example"], False, None),
        ("https://push.example:443/x", ["push.example"], False, None),
        ("http://push.example/x", ["push.example"], False, None),
        ("http://127.0.0.1:8090/x", ["127.0.0.1:8090"], False, None),
        ("http://127.0.0.1:8091/x", ["127.0.0.1:8090"], True, None),
        ("http://169.254.169.254/x", ["127.0.0.1:8090"], True, None),
        ("ftp://127.0.0.1:8090/x", ["127.0.0.1:8090"], True, None),
        ("http://user@127.0.0.1:8090/x", ["127.0.0.1:8090"], True, None),
        ("https://example.com/x", ["", " "], True, None),
    ],
)
def test_an_operator_names_other_push_services(
    endpoint: str, extra: Collection[str], plain_http: bool, lane: str | None
) -> None:
    if lane is None:
        with pytest.raises(Refusal):
            lane_of(endpoint, extra_hosts=extra, plain_http=plain_http)
    else:
        assert lane_of(endpoint, extra_hosts=extra, plain_http=plain_http) == lane


@pytest.mark.parametrize(
    "endpoint, odd",
    [
        ("https://fcm.googleapis.com/fcm/send/abc", False),
        ("https://fcm.googleapis.com/wp/abc", False),
        ("https://fcm.googleapis.com/preprod/wp/abc", False),
        ("https://jmt17.google.com/fcm/send/abc", False),
        ("https://updates.push.services.mozilla.com/wpush/v2/abc", False),
        ("https://web.push.apple.com/QGuQ", False),
        ("https://wns2-par02p.notify.windows.com/w/?token=BQY", False),
        ("https://db3.notify.windows.com/?token=BQY", False),
        ("https://push.example/whatever", False),  # an operator's has no form that we know
        ("https://fcm.googleapis.com/v1/projects/x/messages:send", True),
        ("https://fcm.googleapis.com/fcm/send/", True),
        ("https://updates.push.services.mozilla.com/", True),
        ("https://web.push.apple.com/3/device/abc", True),
        ("https://wns2-par02p.notify.windows.com/x", True),
    ],
)
def test_the_form_of_an_endpoint_is_known(endpoint: str, odd: bool) -> None:
    assert (service_with_odd_path(endpoint) is not None) is odd


async def test_a_path_that_nobody_has_seen_is_taken_and_counted(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    for path in ("/v3/new/abc", "/v3/new/def", "/fcm/send/abc"):
        await a_reader(session, topic, browser=some_browser(f"https://fcm.googleapis.com{path}"))
    assert await marked(session, Happening.ODD_PATH, NOW) == {"Google (Chrome, Opera, Samsung Internet, …)": 2}


# Keys


def code(data: bytes, *, padded: bool = False) -> str:
    text = urlsafe_b64encode(data).decode()
    return text if padded else text.rstrip("=")


COMPRESSED = (
    ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
)
OTHER_CURVE = ec.derive_private_key(7, ec.SECP256K1()).public_key()
# The point with x = 0, which could be written with x = PRIME too, were that not refused.
ROOT_OF_B = pow(CURVE_B, (PRIME + 1) // 4, PRIME).to_bytes(32)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("padded", [True, False])
def test_keys_that_a_browser_makes_are_taken(number: int, padded: bool) -> None:
    key = ec.derive_private_key(number * 10**70, ec.SECP256R1()).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    auth = bytes(range(number, number + 16))
    browser = a_browser(endpoint=an_endpoint(), p256dh=code(point, padded=padded), auth=code(auth, padded=padded))
    assert (browser.p256dh, browser.auth) == (point, auth)


def test_the_curve_is_the_one_of_the_standard() -> None:
    assert a_browser(endpoint=an_endpoint(), p256dh=code(b"\x04" + bytes(32) + ROOT_OF_B), auth=an_auth())


@pytest.mark.parametrize(
    "p256dh",
    [
        "",
        "=",
        code(bytes(65)),
        code(b"\x04" + bytes(64)),
        code(b"\x04" + b"\xff" * 64),
        code(POINT[:-1]),
        code(POINT + b"\0"),
        code(b"\x05" + POINT[1:]),
        code(b"\x06" + POINT[1:]),
        code(POINT[:-1] + bytes([POINT[-1] ^ 1])),
        code(b"\x04" + POINT[33:] + POINT[1:33]),
        code(b"\x04" + PRIME.to_bytes(32) + ROOT_OF_B),
        code(COMPRESSED),
        code(OTHER_CURVE.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)),
        P256DH + "===",
        P256DH + "\n",
        P256DH + " ",
        " " + P256DH,
        P256DH[:40] + "\n" + P256DH[40:],
        P256DH[:40] + "=" + P256DH[40:],
        P256DH[:40] + "!" + P256DH[41:],
        P256DH[:-1],
        P256DH[:40] + "+/" + P256DH[42:],
        b64encode(b"\x04" + b"\xfb\xef\xff" * 21 + b"x").decode(),
        "ключ",
        "А" + P256DH[1:],
    ],
    ids=lambda text: f"{len(text)} characters",  # some differ from run to run, and processes compare names
)
def test_what_is_no_public_key_is_refused(p256dh: str) -> None:
    with pytest.raises(Refusal, match="p256dh"):
        a_browser(endpoint=an_endpoint(), p256dh=p256dh, auth=an_auth())


@pytest.mark.parametrize(
    "auth",
    [
        "",
        "=",
        "====",
        code(bytes(15)),
        code(bytes(17)),
        code(bytes(16)) + "===",
        "A" * 21 + "*",
        "A" * 22 + "\n",
        "к" * 22,
        "A" * 21,
        "A" * 23,
        "A" * 11 + " " + "A" * 11,
    ],
)
def test_what_is_no_secret_is_refused(auth: str) -> None:
    with pytest.raises(Refusal, match="auth"):
        a_browser(endpoint=an_endpoint(), p256dh=P256DH, auth=auth)


@pytest.mark.parametrize("name", ["Europe/Kyiv", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+3"])
def test_a_time_zone_is_taken_by_its_name(name: str) -> None:
    assert a_time_zone(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "Mars/Olympus", "Europe", "../../etc/passwd", "/etc/passwd", "UTC\0", "a" * 5000, "Київ", "zone.tab", "."],
)
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match="time zone") as refused:
        a_time_zone(name)
    assert len(str(refused.value)) < 120


# Subscribing


async def greet(
    session: AsyncSession,
    browser: Browser,
    topics: Collection[Topic] | None = None,
    *,
    key: str | None = None,
    vapid_key_id: str = "key",
) -> tuple[Subscription, str, bool]:
    wanted = list(topics) if topics is not None else None
    return await subscribe(
        session,
        browser,
        topics=wanted,
        time_zone="Europe/Kyiv",
        language="uk",
        vapid_key_id=vapid_key_id,
        key=key,
        now=NOW,
    )


async def rows(session: AsyncSession) -> int:
    return await session.scalar(select(func.count()).select_from(Subscription)) or 0


async def test_a_new_browser_is_stored_and_given_a_key_of_which_we_keep_the_hash(session: AsyncSession) -> None:
    topic, browser = await a_topic_row(session), some_browser()
    stored, key, new = await greet(session, browser, [topic])
    assert new
    assert (stored.endpoint, stored.lane, stored.p256dh, stored.auth) == (
        browser.endpoint,
        f"https://{MOZILLA}",
        browser.p256dh,
        browser.auth,
    )
    assert (stored.topics, stored.created_at, stored.seen_at, stored.ended_at) == ([topic], NOW, NOW, None)
    assert len(key) >= 43
    assert stored.key_hash == hash_of(key)
    assert key not in repr(vars(stored))
    assert await subscription_of_key(session, key) is stored


@pytest.mark.parametrize("topics", [None, []])
async def test_a_new_browser_chooses_at_least_one_topic(session: AsyncSession, topics: list[Topic] | None) -> None:
    with pytest.raises(Refusal, match="at least one topic"):
        await greet(session, some_browser(), topics)
    assert await rows(session) == 0


async def test_the_same_browser_again_is_the_same_row(session: AsyncSession) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    browser = some_browser()
    first, key, _ = await greet(session, browser, [russia])
    again, same_key, new = await greet(session, browser, [ukraine], key=key, vapid_key_id="next")
    assert again is first
    assert (new, same_key, again.topics, again.vapid_key_id) == (False, key, [ukraine], "next")
    assert await rows(session) == 1


@pytest.mark.parametrize("topics", [None, []])
async def test_a_mere_visit_keeps_the_topics(session: AsyncSession, topics: list[Topic] | None) -> None:
    topic, browser = await a_topic_row(session), some_browser()
    await greet(session, browser, [topic])
    again, _, _ = await greet(session, browser, topics)
    assert again.topics == [topic]


@pytest.mark.parametrize("shown", [None, "", "not-the-key"])
async def test_a_browser_that_lost_its_key_gets_another_and_the_old_one_opens_nothing(
    session: AsyncSession, shown: str | None
) -> None:
    topic, browser = await a_topic_row(session), some_browser()
    _, lost, _ = await greet(session, browser, [topic])
    stored, key, _ = await greet(session, browser, key=shown)
    assert key not in (lost, shown)
    assert await subscription_of_key(session, key) is stored
    with pytest.raises(Unauthenticated):
        await subscription_of_key(session, lost)


async def test_an_endpoint_with_another_auth_is_refused_and_nothing_changes(session: AsyncSession) -> None:
    russia, ukraine = await a_topic_row(session, "russia"), await a_topic_row(session, "ukraine")
    endpoint = an_endpoint()
    stored, key, _ = await greet(session, some_browser(endpoint), [russia])
    before = (stored.auth, stored.key_hash, stored.vapid_key_id)
    with pytest.raises(Forbidden, match="could not prove"):
        await greet(session, some_browser(endpoint), [ukraine], key=key, vapid_key_id="theirs")
    assert (stored.auth, stored.key_hash, stored.vapid_key_id) == before
    assert stored.topics == [russia]


async def test_a_visit_revives_a_subscription_that_had_ended(session: AsyncSession) -> None:
    topic, browser = await a_topic_row(session), some_browser()
    stored = await a_reader(session, topic, browser=browser, ended_at=NOW - DAY)
    stored.ended_because = "gone"
    again, _, new = await greet(session, browser)
    assert again is stored
    assert (new, again.ended_at, again.ended_because, again.topics) == (False, None, "", [topic])


async def test_a_visit_does_not_end_a_pause(session: AsyncSession) -> None:
    browser = some_browser()
    await a_reader(session, await a_topic_row(session), browser=browser, paused_until=NOW + DAY)
    again, _, _ = await greet(session, browser)
    assert again.paused_until == NOW + DAY


@pytest.mark.parametrize("clicks", [2, 8])
async def test_first_clicks_at_the_same_moment_make_one_row(sessions: Sessions, clicks: int) -> None:
    async with transaction(sessions) as session:
        topic = await a_topic_row(session)
    browser = some_browser()

    async def click() -> tuple[int, str, bool]:
        async with transaction(sessions) as session:
            stored, key, new = await greet(session, browser, [await session.get_one(Topic, topic.id)])
        return stored.id, key, new

    answers = await asyncio.gather(*(click() for _ in range(clicks)))
    assert len({number for number, _, _ in answers}) == 1
    assert sorted(new for _, _, new in answers) == [False] * (clicks - 1) + [True]
    async with transaction(sessions) as session:
        assert await rows(session) == 1
        opened = 0
        for _, key, _ in answers:
            try:
                await subscription_of_key(session, key)
                opened += 1
            except Unauthenticated:
                pass
        assert opened == 1


async def test_of_two_browsers_that_claim_one_new_endpoint_at_once_one_gets_it(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        topic = await a_topic_row(session)
    endpoint = an_endpoint()

    async def click() -> bool:
        try:
            async with transaction(sessions) as session:
                await greet(session, some_browser(endpoint), [await session.get_one(Topic, topic.id)])
        except Forbidden:
            return False
        return True

    assert sorted(await asyncio.gather(click(), click(), click())) == [False, False, True]


# Renewing


async def ask(
    session: AsyncSession, old_endpoint: str, old_auth: str, browser: Browser, *, key: str | None = None
) -> tuple[Subscription, str]:
    return await renew(
        session,
        old_endpoint=old_endpoint,
        old_auth=old_auth,
        browser=browser,
        vapid_key_id="next",
        key=key,
        now=NOW + DAY,
    )


async def test_a_renewed_browser_keeps_everything_but_its_endpoint_and_keys(session: AsyncSession) -> None:
    topic, old = await a_topic_row(session), some_browser()
    stored, key = await a_reader_with_key(session, topic, browser=old)
    stored.paused_until = NOW + 9 * DAY
    number, fresh = stored.id, some_browser(an_endpoint(GOOGLE))
    renewed, same_key = await ask(session, old.endpoint, code(old.auth), fresh, key=key)
    assert (renewed.id, same_key, renewed.topics, renewed.paused_until) == (number, key, [topic], NOW + 9 * DAY)
    assert (renewed.endpoint, renewed.lane, renewed.auth) == (fresh.endpoint, f"https://{GOOGLE}", fresh.auth)
    assert (renewed.time_zone, renewed.language, renewed.seen_at) == ("Europe/Kyiv", "uk", NOW + DAY)
    assert (renewed.vapid_key_id, await rows(session)) == ("next", 1)
    assert await subscription_of_key(session, key) is renewed


async def test_a_renewed_browser_stays_the_own_one_of_every_editor_whose_it_was_or_became(
    session: AsyncSession,
) -> None:
    """The desk may have told us of the new endpoint before the service worker asks for the renewal."""
    topic, old, fresh = await a_topic_row(session), some_browser(), some_browser()
    stored, other = await a_reader(session, topic, browser=old), await a_reader(session, topic, browser=fresh)
    before, after, both = [await an_editor_row(session) for _ in range(3)]
    for editor, row in ((before, stored), (both, stored), (after, other), (both, other)):
        await keep(session, editor.id, row, name="At the desk", now=NOW)
    await ask(session, old.endpoint, code(old.auth), fresh)
    for editor in (before, after, both):
        assert [own.subscription_id for own in await browsers_of(session, editor.id)] == [stored.id]


@pytest.mark.parametrize("old_auth", ["", "junk!", code(bytes(16)), code(bytes(15)), "A" * 22 + "\n"])
async def test_a_renewal_without_the_old_secret_is_refused(session: AsyncSession, old_auth: str) -> None:
    old = some_browser()
    stored = await a_reader(session, await a_topic_row(session), browser=old)
    with pytest.raises(NotFound):
        await ask(session, old.endpoint, old_auth, some_browser())
    assert (stored.endpoint, await rows(session)) == (old.endpoint, 1)


async def test_a_renewal_of_an_unknown_browser_makes_none(session: AsyncSession) -> None:
    with pytest.raises(NotFound, match="Choose your topics again"):
        await ask(session, an_endpoint(), an_auth(), some_browser())
    assert await rows(session) == 0


async def test_a_renewal_whose_answer_was_lost_may_be_asked_again(session: AsyncSession) -> None:
    old, fresh = some_browser(), some_browser()
    stored, key = await a_reader_with_key(session, await a_topic_row(session), browser=old)
    await ask(session, old.endpoint, code(old.auth), fresh, key=key)
    again, same_key = await ask(session, old.endpoint, code(old.auth), fresh, key=key)
    assert again is stored
    assert (same_key, await rows(session)) == (key, 1)


async def test_asking_again_proves_itself_too(session: AsyncSession) -> None:
    old, fresh = some_browser(), some_browser()
    await a_reader(session, await a_topic_row(session), browser=old)
    await ask(session, old.endpoint, code(old.auth), fresh)
    with pytest.raises(NotFound):
        await ask(session, old.endpoint, code(old.auth), some_browser(fresh.endpoint))


async def test_a_renewal_to_the_same_endpoint_changes_its_keys(session: AsyncSession) -> None:
    old = some_browser()
    stored = await a_reader(session, await a_topic_row(session), browser=old)
    fresh = some_browser(old.endpoint)
    renewed, _ = await ask(session, old.endpoint, code(old.auth), fresh)
    assert renewed is stored
    assert (renewed.auth, await rows(session)) == (fresh.auth, 1)


async def test_a_renewal_revives_a_subscription_that_had_ended(session: AsyncSession) -> None:
    old = some_browser()
    await a_reader(session, await a_topic_row(session), browser=old, ended_at=NOW)
    renewed, _ = await ask(session, old.endpoint, code(old.auth), some_browser())
    assert renewed.ended_at is None


async def test_page_and_service_worker_may_both_tell_of_the_new_endpoint(session: AsyncSession) -> None:
    topic, old, fresh = await a_topic_row(session), some_browser(), some_browser()
    stored = await a_reader(session, topic, browser=old)
    await greet(session, fresh, [topic])
    assert await rows(session) == 2
    renewed, _ = await ask(session, old.endpoint, code(old.auth), fresh)
    assert renewed is stored
    assert (renewed.endpoint, await rows(session)) == (fresh.endpoint, 1)


async def test_nobody_takes_over_a_known_endpoint_by_renewing_to_it(session: AsyncSession) -> None:
    topic, mine, theirs = await a_topic_row(session), some_browser(), some_browser()
    await a_reader(session, topic, browser=mine)
    victim = await a_reader(session, topic, browser=theirs)
    with pytest.raises(Forbidden):
        await ask(session, mine.endpoint, code(mine.auth), some_browser(theirs.endpoint))
    assert (victim.auth, await rows(session)) == (theirs.auth, 2)


async def test_renewals_at_the_same_moment_are_one(sessions: Sessions) -> None:
    old, fresh = some_browser(), some_browser()
    async with transaction(sessions) as session:
        stored = await a_reader(session, await a_topic_row(session), browser=old)

    async def tell() -> int:
        async with transaction(sessions) as session:
            return (await ask(session, old.endpoint, code(old.auth), fresh))[0].id

    assert {*await asyncio.gather(tell(), tell(), tell())} == {stored.id}
    async with transaction(sessions) as session:
        assert await rows(session) == 1


async def test_a_renewal_while_the_page_subscribes_the_new_endpoint_is_one_row(sessions: Sessions) -> None:
    old, fresh = some_browser(), some_browser()
    async with transaction(sessions) as session:
        stored = await a_reader(session, await a_topic_row(session), browser=old)

    async def tell() -> int:
        async with transaction(sessions) as session:
            return (await ask(session, old.endpoint, code(old.auth), fresh))[0].id

    async with sessions() as page, page.begin():
        await greet(
            page,
            fresh,
            (await page.get_one(Subscription, stored.id, options=[selectinload(Subscription.topics)])).topics,
        )
        telling = asyncio.create_task(tell())
        await asyncio.sleep(0.2)
    assert await telling == stored.id
    async with transaction(sessions) as session:
        assert await rows(session) == 1


# The key


@pytest.mark.parametrize("key", ["", "unknown", "ключ", "x" * 10_000])
async def test_an_unknown_key_opens_nothing(session: AsyncSession, key: str) -> None:
    await a_reader(session, await a_topic_row(session))
    with pytest.raises(Unauthenticated):
        await subscription_of_key(session, key)


# Ending and forgetting


def recipient(reader: Subscription) -> Recipient:
    return Recipient(reader.id, reader.endpoint, reader.lane, reader.p256dh, reader.auth)


async def test_recipients_are_those_who_live(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    live, ended = await a_reader(session, topic), await a_reader(session, topic, ended_at=NOW)
    paused = await a_reader(session, topic, paused_until=NOW + DAY)
    found = await recipients(session, [live.id, ended.id, paused.id, 10**12])
    assert found == {live.id: recipient(live), paused.id: recipient(paused)}
    assert await recipients(session, []) == {}


async def test_a_subscription_that_its_push_service_forgot_ends_once(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    gone, stays = await a_reader(session, topic), await a_reader(session, topic)
    assert await end(session, [recipient(gone)], "gone", NOW) == 1
    assert await end(session, [recipient(gone)], "again", NOW + DAY) == 0
    assert await end(session, [], "gone", NOW) == 0
    await session.refresh(gone)
    await session.refresh(stays)
    assert (gone.ended_at, gone.ended_because, stays.ended_at) == (NOW, "gone", None)


async def test_an_answer_for_the_old_endpoint_leaves_a_renewed_one_alone(session: AsyncSession) -> None:
    old = some_browser()
    reader = await a_reader(session, await a_topic_row(session), browser=old)
    sent_to = recipient(reader)
    await ask(session, old.endpoint, code(old.auth), some_browser())
    await session.flush()
    assert await end(session, [sent_to], "gone", NOW) == 0
    await session.refresh(reader)
    assert reader.ended_at is None


async def test_another_endpoint_proves_itself_anew_and_the_same_one_need_not(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    old = some_browser(f"https://{GOOGLE}/fcm/send/old")
    reader = await a_reader(session, topic, browser=old)
    await a_reader_with_key(session, topic, browser=old)  # a visit
    assert reader.proven_at == NOW
    await ask(session, old.endpoint, code(old.auth), some_browser(f"https://{GOOGLE}/v1/projects/x/messages:send"))
    assert reader.proven_at is None


async def test_an_endpoint_that_ended_and_lives_again_proves_itself_anew(session: AsyncSession) -> None:
    topic, browser = await a_topic_row(session), some_browser()
    reader = await a_reader(session, topic, browser=browser, ended_at=NOW)
    await a_reader_with_key(session, topic, browser=browser)
    assert (reader.ended_at, reader.proven_at) == (None, None)


async def test_a_renewal_keeps_the_proof_that_the_page_has_brought_for_the_same_endpoint(session: AsyncSession) -> None:
    topic, old, new = await a_topic_row(session), some_browser(), some_browser()
    reader = await a_reader(session, topic, browser=old, proven_at=None)
    await a_reader(session, topic, browser=new)
    await ask(session, old.endpoint, code(old.auth), new)
    assert (reader.endpoint, reader.proven_at) == (new.endpoint, NOW)


async def test_no_renewal_makes_a_proof_of_an_endpoint_that_had_ended(session: AsyncSession) -> None:
    """One real browser that left could vote about its service once more with each alert."""
    topic, old, new = await a_topic_row(session), some_browser(), some_browser()
    reader = await a_reader(session, topic, browser=old, proven_at=None)
    await a_reader(session, topic, browser=new, ended_at=NOW)
    await ask(session, old.endpoint, code(old.auth), new)
    assert (reader.endpoint, reader.ended_at, reader.proven_at) == (new.endpoint, None, None)


async def test_the_end_of_the_old_endpoint_does_not_take_the_new_ones_proof(session: AsyncSession) -> None:
    topic, old, new = await a_topic_row(session), some_browser(), some_browser()
    reader = await a_reader(session, topic, browser=old, ended_at=NOW)
    await a_reader(session, topic, browser=new)
    await ask(session, old.endpoint, code(old.auth), new)
    assert (reader.endpoint, reader.ended_at, reader.proven_at) == (new.endpoint, None, NOW)


async def test_what_ended_long_ago_is_forgotten(session: AsyncSession) -> None:
    topic = await a_topic_row(session)
    await a_reader(session, topic, ended_at=NOW - 31 * DAY, proven_at=NOW - 90 * DAY)
    await a_reader(session, topic, ended_at=NOW - 8 * DAY, proven_at=None)
    kept = [
        await a_reader(session, topic, proven_at=None),
        await a_reader(session, topic, ended_at=NOW - 30 * DAY, proven_at=NOW - 90 * DAY),
        await a_reader(session, topic, ended_at=NOW - 7 * DAY, proven_at=None),
    ]
    assert await forget(session, kept=30 * DAY, now=NOW) == 2
    assert (await session.scalars(select(Subscription.id).order_by(Subscription.id))).all() == [r.id for r in kept]
