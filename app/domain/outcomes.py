"""Outcomes: what the answer of a push service means for one recipient of one alert."""

import re
from collections.abc import Container
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum, IntEnum, StrEnum, auto


class Outcome(IntEnum):
    """One byte of the ledger for each recipient. Every state but WAITING is final."""

    WAITING = 0  # Not sent yet, or to be tried again.
    ACCEPTED = 1  # The push service has it; our part is over.
    GONE = 2  # The reader withdrew; the subscription has ended.
    REFUSED = 3  # Our authorisation was refused; a person must look. Never costs a reader.
    FAILED = 4  # This message will not go to this recipient; the subscription stays.
    HELD = 5  # The reader's own rules kept it back.
    EXPIRED = 6  # The time to live ran out before a push service took it.
    RECALLED = 7  # An editor took the alert back before this recipient's turn.

    @property
    def label(self) -> str:
        return self.name.lower()


class Cause(StrEnum):
    """Why, in one word: what logs and counters say, and what lanes and tidying act on."""

    ACCEPTED = "accepted"
    GONE = "gone"  # 404, 410
    KEY_MISMATCH = "key_mismatch"  # The subscription belongs to another VAPID key.
    OUR_AUTHORISATION = "our_authorisation"  # Token, clock or contact: we are wrong.
    OUR_REQUEST = "our_request"  # A header or the protocol: we are wrong.
    TOO_BIG = "too_big"  # 413
    DROPPED = "dropped"  # Microsoft answered 2xx and threw the message away, as the browser wishes or after an error.
    THROTTLED = "throttled"  # 429, 406 from WNS: slow the lane down.
    BUSY = "busy"  # 5xx, 408, 425
    UNREACHABLE = "unreachable"  # No answer: DNS, connect, TLS, timeout, reset.
    BLOCKED = "blocked"  # The address guard refused to connect.
    REDIRECTED = "redirected"  # Never followed.
    UNCLEAR = "unclear"  # Anything else.


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one envelope.

    status 0 means that there was no HTTP answer; `trouble` then says why ("timeout", "connect", "blocked", …).
    headers have lower-case names and only those that judging needs; body is at most the first 4 KiB.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trouble: str = ""


class Remedy(Enum):
    """How the same message may be taken after all. It is sent so once in each pass, and at once."""

    SHORTER = auto()
    WITHOUT_TOPIC = auto()
    LONGER_TTL = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means. WAITING asks for another try, not before `retry_after` if one was named.

    remedy: what to try before the outcome is one.
    """

    outcome: Outcome
    cause: Cause
    retry_after: timedelta | None = None
    remedy: Remedy | None = None


ACCEPTED = Verdict(Outcome.ACCEPTED, Cause.ACCEPTED)
GONE = Verdict(Outcome.GONE, Cause.GONE)
OTHER_KEY = Verdict(Outcome.REFUSED, Cause.KEY_MISMATCH)
OUR_TOKEN = Verdict(Outcome.REFUSED, Cause.OUR_AUTHORISATION)
OUR_REQUEST = Verdict(Outcome.FAILED, Cause.OUR_REQUEST)
OUR_TOPIC = replace(OUR_REQUEST, remedy=Remedy.WITHOUT_TOPIC)
OUR_TTL = replace(OUR_REQUEST, remedy=Remedy.LONGER_TTL)
TOO_BIG = Verdict(Outcome.FAILED, Cause.TOO_BIG, remedy=Remedy.SHORTER)
DROPPED = Verdict(Outcome.FAILED, Cause.DROPPED)
BLOCKED = Verdict(Outcome.FAILED, Cause.BLOCKED)
REDIRECTED = Verdict(Outcome.FAILED, Cause.REDIRECTED)
UNCLEAR = Verdict(Outcome.FAILED, Cause.UNCLEAR)
THROTTLED = Verdict(Outcome.WAITING, Cause.THROTTLED)
BUSY = Verdict(Outcome.WAITING, Cause.BUSY)
UNREACHABLE = Verdict(Outcome.WAITING, Cause.UNREACHABLE)


@dataclass(frozen=True, slots=True)
class Rule:
    """A line of the table: these statuses, from this host or below it, with these words in body or X-WNS headers."""

    statuses: Container[int]
    verdict: Verdict
    host: str = ""
    words: str = ""
    heeds_retry_after: bool = True

    def fits(self, host: str, answer: Answer) -> bool:
        if self.host and host != self.host and not host.endswith("." + self.host):
            return False
        return not self.words or re.search(self.words, _words(answer), re.IGNORECASE) is not None


WNS = "notify.windows.com"

# The first line that fits decides; an answer that fits none is UNCLEAR. Apple, Google and Mozilla speak in the body and
# are told apart by their words, since a self-hosted service may speak like any of them; Microsoft speaks in headers.
RULES = (
    # Only these two end a subscription.
    Rule({404, 410}, GONE),
    # Microsoft drops what it throttles, and more, whatever the status says: X-WNS-Status (pywebpush #162) and the older
    # X-WNS-NotificationStatus are "received", "dropped" or "channelthrottled".
    Rule(range(200, 600), THROTTLED, WNS, r"throttled"),
    Rule({406}, THROTTLED, WNS),
    Rule(range(200, 300), DROPPED, WNS, r"\bdropped\b"),
    Rule({200, 201, 202, 204}, ACCEPTED),
    # The subscription was made with another VAPID key: Apple (as 400 or 403), Google, Mozilla.
    Rule({400, 401, 403}, OTHER_KEY, words=r"VapidPkHashMismatch"),
    Rule({400, 401, 403}, OTHER_KEY, words=r"MismatchSenderId|do(es)? not correspond to"),
    Rule({400, 401, 403}, OTHER_KEY, words=r"public key mismatch"),
    # The token, the clock or the contact is wrong: Apple, Google, Mozilla.
    Rule({400}, OUR_TOKEN, words=r"BadJwtToken|ExpiredJwtToken|BadVapidPublicKey"),
    Rule({400}, OUR_TOKEN, words=r"UnauthorizedRegistration|invalid JWT|aud claim"),
    Rule({400}, OUR_TOKEN, words=r'"errno"\s*:\s*109\b'),
    Rule({401, 403}, OUR_TOKEN),
    # A header is wrong: Apple, Mozilla, Microsoft.
    Rule({400}, OUR_TOPIC, words=r"BadWebPushTopic"),
    Rule({400}, OUR_REQUEST, words=r"BadTtl|BadUrgency|BadWebPushRequest"),
    Rule({400}, OUR_TOPIC, words=r'"errno"\s*:\s*113\b'),
    Rule({400}, OUR_REQUEST, words=r'"errno"\s*:\s*(101|110|111|112|114)\b'),
    Rule({400}, OUR_TTL, WNS, r"ttl|cache-policy"),
    Rule({405, 406, 411, 415, 417, 421, 426, 428, 431}, OUR_REQUEST),
    Rule({413}, TOO_BIG),
    Rule({400}, TOO_BIG, words=r"PayloadTooLarge"),
    Rule({429}, THROTTLED),
    # Mozilla's errno 202: may be tried again at once, in spite of the Retry-After that comes with every 503.
    Rule({503}, BUSY, words=r'"errno"\s*:\s*202\b', heeds_retry_after=False),
    Rule({408, 425, *range(500, 600)}, BUSY),
    Rule(range(300, 400), REDIRECTED),
)

# Where there was no HTTP answer. Every other trouble is of the network and passes.
TROUBLES = {"blocked": BLOCKED, "bad_keys": UNCLEAR, "malformed": UNCLEAR}


def judge(origin_host: str, answer: Answer, now: datetime | None = None) -> Verdict:
    """What the answer of this host means. `now` helps to read a Retry-After date that comes without a Date."""
    if not answer.status:
        return TROUBLES.get(answer.trouble, UNREACHABLE)
    for rule in RULES:
        if answer.status in rule.statuses and rule.fits(origin_host, answer):
            asks = rule.verdict.outcome is Outcome.WAITING and rule.heeds_retry_after
            return replace(rule.verdict, retry_after=retry_after(answer.headers, now)) if asks else rule.verdict
    return UNCLEAR


def _words(answer: Answer) -> str:
    headers = [value for name, value in answer.headers.items() if name.startswith("x-wns-")]
    return "\n".join([*headers, answer.body.decode("utf-8", "replace")])


# A push service that asks for more has made a mistake, or somebody has with its clock.
LONGEST_ASKED = timedelta(hours=24)


def retry_after(headers: dict[str, str], now: datetime | None = None) -> timedelta | None:
    """How long the service asks us to wait (RFC 9110 section 10.2.3), by its own clock if it told the time."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(timedelta(seconds=int(value[:9])), LONGEST_ASKED)
    until, since = _date(value), _date(headers.get("date", "")) or now
    if until is None or since is None or until < since:
        return None
    return min(until - since, LONGEST_ASKED)


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=15)


def next_try(tries: int, asked: timedelta | None, luck: float) -> timedelta:
    """How long to wait after so many tries: exponential back-off with full jitter, `luck` being in [0, 1).

    What the service asked for comes first and the jitter on top, or everybody would be back in the same second.
    """
    doublings = min(max(tries, 1) - 1, 20)
    return (asked or timedelta(0)) + min(FIRST_WAIT * (1 << doublings), LONGEST_WAIT) * luck
