import json
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.outcomes import (
    ACCEPTED,
    BLOCKED,
    BUSY,
    DROPPED,
    GONE,
    OTHER_KEY,
    OUR_REQUEST,
    OUR_TOKEN,
    OUR_TOPIC,
    OUR_TTL,
    REDIRECTED,
    THROTTLED,
    TOO_BIG,
    UNCLEAR,
    UNREACHABLE,
    Answer,
    Outcome,
    Verdict,
    judge,
    next_try,
    retry_after,
)

FCM = "fcm.googleapis.com"
MOZILLA = "updates.push.services.mozilla.com"
APPLE = "web.push.apple.com"
WNS = "wns2-par02p.notify.windows.com"
OWN = "push.newsroom.example"
EVERYWHERE = (FCM, MOZILLA, APPLE, WNS, OWN)


def autopush(code: int, errno: int | None, message: str) -> bytes:
    more = "http://autopush.readthedocs.io/en/latest/http.html#error-codes"
    return json.dumps(
        {"code": code, "errno": errno, "error": "…", "message": message, "more_info": more}, ensure_ascii=False
    ).encode()


def apple(reason: str) -> bytes:
    return json.dumps({"reason": reason}).encode()


def html(text: str) -> bytes:
    return f"<HTML>\n<HEAD>\n<TITLE>{text}</TITLE>\n</HEAD>\n<BODY><H1>{text}</H1></BODY>\n</HTML>\n".encode()


DULL_BODIES = (b"", html("Sorry"), b"\xff\xfe\x00 \xc3(", b"null", b'{"errno": null}')


@pytest.mark.parametrize(
    "status, meaning",
    [
        *[(status, ACCEPTED) for status in (200, 201, 202, 204)],
        *[(status, GONE) for status in (404, 410)],
        *[(status, OUR_TOKEN) for status in (401, 403)],
        *[(status, BUSY) for status in (408, 425, 500, 501, 502, 503, 504, 507, 599)],
        *[(status, REDIRECTED) for status in (300, 301, 302, 303, 304, 307, 308)],
        *[(status, OUR_REQUEST) for status in (405, 411, 415, 421, 431)],
        *[(status, UNCLEAR) for status in (203, 205, 206, 400, 402, 407, 409, 418, 422, 451, 600, 999)],
        (413, TOO_BIG),
        (429, THROTTLED),
    ],
)
def test_a_status_means_the_same_everywhere(status: int, meaning: Verdict) -> None:
    for host in EVERYWHERE:
        for body in DULL_BODIES:
            assert judge(host, Answer(status, body=body)) == meaning


FCM_OTHER_KEY = (
    "the VAPID credentials in the authorization header do not correspond to the credentials used to create the "
    "subscriptions."
)
FCM_OLD_OTHER_KEY = (
    "the key in the authorization header does not correspond to the sender ID used to subscribe this user. Please "
    "ensure you are using the correct sender ID and server Key from the Firebase console."
)
FCM_404 = (
    "A valid push subscription endpoint should be specified in the URL as such: https://fcm.googleapis.com/wp/dHIoDxE7…"
)


@pytest.mark.parametrize(
    "host, status, body, meaning",
    [
        # Google
        (FCM, 403, FCM_OTHER_KEY.encode(), OTHER_KEY),
        (FCM, 403, html(FCM_OLD_OTHER_KEY), OTHER_KEY),
        (FCM, 400, html("MismatchSenderId"), OTHER_KEY),
        (FCM, 401, html("MismatchSenderId"), OTHER_KEY),
        (FCM, 400, html("UnauthorizedRegistration"), OUR_TOKEN),
        (FCM, 401, html("Unauthorized"), OUR_TOKEN),
        (FCM, 403, b"invalid JWT provided", OUR_TOKEN),
        (FCM, 400, b"invalid JWT provided", OUR_TOKEN),
        (FCM, 403, b"aud claim in the token MUST include the origin of the push resource.", OUR_TOKEN),
        (FCM, 404, FCM_404.encode(), GONE),
        (FCM, 410, b"push subscription has unsubscribed or expired.\n", GONE),
        # Mozilla
        (MOZILLA, 401, autopush(401, 109, "VAPID public key mismatch"), OTHER_KEY),
        (
            MOZILLA,
            401,
            autopush(401, 109, "Request did not validate: Invalid bearer token: Auth > 24 hours"),
            OUR_TOKEN,
        ),
        (MOZILLA, 401, autopush(401, None, "Missing VAPID"), OUR_TOKEN),
        (MOZILLA, 400, autopush(400, 109, "Invalid `aud`"), OUR_TOKEN),
        (MOZILLA, 400, autopush(400, 101, "Missing encryption"), OUR_REQUEST),
        (MOZILLA, 400, autopush(400, 110, "Invalid aes128gcm Crypto-Key header"), OUR_REQUEST),
        (MOZILLA, 400, autopush(400, 111, "Missing TTL value"), OUR_REQUEST),
        (MOZILLA, 400, autopush(400, 112, "Invalid TTL value"), OUR_REQUEST),
        (MOZILLA, 400, autopush(400, 113, "Invalid Topic"), OUR_TOPIC),
        (MOZILLA, 400, autopush(400, 114, "Negative TTL"), OUR_REQUEST),
        (MOZILLA, 400, autopush(400, 108, "Router type is invalid"), UNCLEAR),
        (MOZILLA, 400, autopush(400, None, "?"), UNCLEAR),
        (MOZILLA, 404, autopush(404, 102, "Invalid URL endpoint"), GONE),
        (MOZILLA, 410, autopush(410, 103, "Expired URL endpoint"), GONE),
        (MOZILLA, 410, autopush(410, 105, "User deleted"), GONE),
        (MOZILLA, 410, autopush(410, 106, "No such subscription"), GONE),
        (MOZILLA, 413, autopush(413, 104, "Data payload too large"), TOO_BIG),
        (MOZILLA, 500, autopush(500, 999, "Unknown"), BUSY),
        (MOZILLA, 502, autopush(502, 902, "Bridge"), BUSY),
        (MOZILLA, 503, autopush(503, 201, "Use exponential back-off for retries"), BUSY),
        # Apple gives the same reason with either status.
        *[
            (APPLE, status, apple(reason), meaning)
            for status in (400, 403)
            for reason, meaning in {
                "VapidPkHashMismatch": OTHER_KEY,
                "BadJwtToken": OUR_TOKEN,
                "ExpiredJwtToken": OUR_TOKEN,
                "BadVapidPublicKey": OUR_TOKEN,
            }.items()
        ],
        (APPLE, 400, apple("BadWebPushTopic"), OUR_TOPIC),
        *[(APPLE, 400, apple(f"Bad{what}"), OUR_REQUEST) for what in ("Ttl", "Urgency", "WebPushRequest")],
        (APPLE, 400, apple("PayloadTooLarge"), TOO_BIG),
        (APPLE, 413, apple("PayloadTooLarge"), TOO_BIG),
        (APPLE, 410, apple("Unregistered"), GONE),
        (APPLE, 429, apple("TooManyRequests"), THROTTLED),
        (APPLE, 400, apple("SomethingNew"), UNCLEAR),
        # Others
        (OWN, 406, b"", OUR_REQUEST),
        ("notify.windows.com.evil.example", 406, b"", OUR_REQUEST),
        ("evilnotify.windows.com", 406, b"", OUR_REQUEST),
        (FCM, 201, b"throttled", ACCEPTED),
    ],
)
def test_the_words_of_a_service_are_understood(host: str, status: int, body: bytes, meaning: Verdict) -> None:
    assert judge(host, Answer(status, body=body)) == meaning


@pytest.mark.parametrize(
    "status, headers, meaning",
    [
        (201, {"x-wns-status": "received", "x-wns-notificationstatus": "received"}, ACCEPTED),
        *[(status, {"x-wns-status": "dropped"}, DROPPED) for status in (200, 201, 202, 204)],
        (200, {"x-wns-notificationstatus": "dropped"}, DROPPED),
        (200, {"x-wns-deviceconnectionstatus": "disconnected"}, ACCEPTED),
        (201, {"x-wns-status": "channelthrottled"}, THROTTLED),
        (200, {"x-wns-notificationstatus": "channelThrottled"}, THROTTLED),
        (406, {"x-wns-status": "appthrottled"}, THROTTLED),
        (406, {}, THROTTLED),
        (403, {"x-wns-status": "channelthrottled"}, THROTTLED),
        (410, {"x-wns-notificationstatus": "channelthrottled"}, GONE),
        (400, {"x-wns-error-description": "Ttl value conflicts with X-WNS-Cache-Policy."}, OUR_TTL),
        (400, {"x-wns-error-description": "The channel is odd."}, UNCLEAR),
        (413, {"x-wns-error-description": "The payload exceeds 5000 bytes."}, TOO_BIG),
    ],
)
def test_microsoft_speaks_in_headers(status: int, headers: dict[str, str], meaning: Verdict) -> None:
    assert judge(WNS, Answer(status, headers)) == meaning


@pytest.mark.parametrize("host", EVERYWHERE)
def test_only_a_withdrawn_reader_is_forgotten(host: str) -> None:
    bodies = (b"", apple("VapidPkHashMismatch"), apple("BadJwtToken"), autopush(401, 106, "gone"), b"expired")
    forgotten = {
        status
        for status in range(1000)
        for body in bodies
        if judge(host, Answer(status, body=body)).outcome is Outcome.GONE
    }
    assert forgotten == {404, 410}


@pytest.mark.parametrize(
    "trouble, meaning",
    [
        *[(passing, UNREACHABLE) for passing in ("timeout", "connect", "dns", "tls", "reset", "interrupted", "?")],
        ("blocked", BLOCKED),
        ("bad_keys", UNCLEAR),
        ("malformed", UNCLEAR),
    ],
)
def test_trouble_of_the_network_passes_and_ours_does_not(trouble: str, meaning: Verdict) -> None:
    assert judge(FCM, Answer(0, trouble=trouble)) == meaning


NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
DATE = "Sat, 01 Aug 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    "value, date, seconds",
    [
        ("120", "", 120),
        (" 120 ", DATE, 120),
        ("0", "", 0),
        ("86401", "", 86400),
        ("31536000", "", 86400),
        ("9" * 5000, "", 86400),
        ("Sat, 01 Aug 2026 12:02:00 GMT", DATE, 120),
        ("Sat, 01 Aug 2026 12:02:00 GMT", "", 120),
        ("Sat, 01 Aug 2026 12:02:00 GMT", "yesterday", 120),
        (
            "Sat, 01 Aug 2026 13:02:00 GMT",
            "Sat, 01 Aug 2026 13:00:00 GMT",
            120,
        ),  # Their clock is fast; it does not matter.
        ("Saturday, 01-Aug-26 12:02:00 GMT", DATE, 120),
        ("Sun, 01 Aug 2027 12:00:00 GMT", DATE, 86400),
        ("Sat, 01 Aug 2026 11:59:00 GMT", DATE, None),
        ("-5", "", None),
        ("1.5", "", None),
        ("٣", "", None),
        ("soon", "", None),
        ("", "", None),
        ("Sat, 99 Aug 2026 12:02:00 GMT", DATE, None),
        ("Sat, 01 Aug 99999999999999999999 12:02:00 GMT", DATE, None),
    ],
)
def test_what_retry_after_asks_for(value: str, date: str, seconds: int | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert retry_after({"retry-after": value, "date": date}, NOW) == expected


def test_a_date_without_any_clock_to_compare_with_says_nothing() -> None:
    assert retry_after({"retry-after": "Sat, 01 Aug 2026 12:02:00 GMT"}) is None


@pytest.mark.parametrize("host, status", [(FCM, 429), (MOZILLA, 503), (WNS, 406), (APPLE, 500)])
def test_a_busy_service_may_name_its_time(host: str, status: int) -> None:
    answer = Answer(status, {"retry-after": "900"})
    assert judge(host, answer).retry_after == timedelta(minutes=15)


def test_nobody_else_may() -> None:
    assert judge(FCM, Answer(410, {"retry-after": "900"})).retry_after is None
    assert judge(FCM, Answer(201, {"retry-after": "900"})).retry_after is None


def test_mozilla_can_take_its_retry_after_back() -> None:
    body = autopush(503, 202, "Retry immediately ok")
    assert judge(MOZILLA, Answer(503, {"retry-after": "120"}, body)) == BUSY


@pytest.mark.parametrize(
    "tries, asked, luck, seconds",
    [
        (1, None, 0.0, 0),
        (1, None, 0.5, 0.5),
        (2, None, 0.5, 1),
        (5, None, 0.5, 8),
        (11, None, 0.5, 450),
        (1_000_000, None, 0.5, 450),
        (0, None, 0.5, 0.5),
        (1, 120, 0.0, 120),
        (1, 120, 0.5, 120.5),
        (11, 3600, 0.5, 4050),
    ],
)
def test_back_off_doubles_with_jitter_after_what_was_asked(
    tries: int, asked: int | None, luck: float, seconds: float
) -> None:
    expected = timedelta(seconds=seconds)
    assert next_try(tries, None if asked is None else timedelta(seconds=asked), luck) == expected
