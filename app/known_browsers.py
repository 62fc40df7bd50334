"""Known browsers: a cookie shows whose sign-ins a browser has seen, so that its owner's guesses are counted apart.

Anybody can guess at somebody's password, and guessing slows down whoever comes next. Without this, a stranger could
keep an editor out by guessing all day. (OWASP, "Slow down online guessing attacks with device cookies".) The cookie
opens nothing and names nobody: a random number, and for each account a keyed hash that only this site can tell apart
from another random number. Whoever steals it has a few guesses of their own, and these become slow as well.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import timedelta

LIFE = timedelta(days=400)  # As long as browsers keep any cookie; renewed at each sign-in.
ACCOUNTS = 4  # At one browser; the one that signed in longest ago is forgotten first.
_PART = "[A-Za-z0-9_-]{22}"
_COOKIE = re.compile(rf"{_PART}(\.{_PART}){{1,{ACCOUNTS + 1}}}")
NOBODY = b""  # The mark of no account says that the number is one of ours.


@dataclass(frozen=True)
class KnownBrowser:
    number: str  # Random.
    marks: tuple[str, ...]  # Of accounts, the newest first.

    def budget(self, account: bytes) -> bytes:
        """Under which its guesses at this account are counted."""
        return hashlib.sha256(b"browser %b %b" % (self.number.encode(), account)).digest()


class KnownBrowsers:
    """key: the same in every process and after a restart."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def read(self, cookie: str | None) -> KnownBrowser | None:
        """None if we did not make it."""
        if not cookie or not _COOKIE.fullmatch(cookie):
            return None
        number, ours, *marks = cookie.split(".")
        return KnownBrowser(number, tuple(marks)) if self._fits(ours, number, NOBODY) else None

    def has_seen(self, browser: KnownBrowser | None, account: bytes) -> bool:
        return browser is not None and any(self._fits(mark, browser.number, account) for mark in browser.marks)

    def remember(self, browser: KnownBrowser | None, account: bytes) -> str:
        """The cookie of a browser in which somebody has just signed in."""
        number = browser.number if browser else secrets.token_urlsafe(16)
        own = self._mark(number, account)
        others = [mark for mark in (browser.marks if browser else ()) if mark != own]
        return ".".join((number, self._mark(number, NOBODY), own, *others[: ACCOUNTS - 1]))

    def _mark(self, number: str, account: bytes) -> str:
        digest = hmac.digest(self._key, b"%b %b" % (number.encode(), account), "sha256")
        return urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()

    def _fits(self, mark: str, number: str, account: bytes) -> bool:
        return hmac.compare_digest(mark, self._mark(number, account))
