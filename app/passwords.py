"""Passwords: what one must be like, and how it is kept. The only door to argon2-cffi."""

import os
import re
import secrets
import unicodedata
from base64 import b64encode

from anyio import CapacityLimiter, to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.domain.refusals import Refusal, TooMany

# Length is what makes a password hard to guess; rules about capitals and digits only make people write it down
# (NIST SP 800-63B-4, section 3.1.1.2).
SHORTEST, LONGEST = 12, 1024
# What is long enough and still among the first that anybody tries: these words, repeated or with a number behind.
OBVIOUS = re.compile(
    r"(password|passw0rd|passwort|qwerty(uiop(asdfgh)?)?|welcome|letmein|iloveyou|changeme|admin(istrator)?|newsbell|"
    r"1q2w3e4r(5t6y)?|1qaz2wsx(3edc)?|zaq12wsx(cde3)?|abc(def(ghi(jkl(mno)?)?)?)?|correcthorsebatterystaple)+[\d!.]*"
)
IN_ORDER = "0123456789" * 2, "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm"
IN_LINE = 32  # Beyond so many who wait for their check, the rest had better come back.


def a_password(text: str, *, email: str) -> str:
    """One that an editor may choose."""
    password = _one_form(text)
    if not SHORTEST <= len(password) <= LONGEST:
        raise Refusal(f"A password has at least {SHORTEST} characters. A few words in a row are easy to remember.")
    folded = password.casefold()
    if folded == email.casefold():
        raise Refusal("A password must not be the e-mail address.")
    if OBVIOUS.fullmatch(folded) or len(set(folded)) < 4 or any(folded in row for row in IN_ORDER):
        raise Refusal("This password is among the first that anybody would try.")
    return password


def _one_form(text: str) -> str:
    """Keyboards write é as one character or as two; it is the same password (NIST SP 800-63B-4, section 3.1.1.2)."""
    return unicodedata.normalize("NFKC", text)


class Passwords:
    """Argon2id with the library's current parameters, which are slow on purpose: some 0.3 s and 64 MiB for each.

    So it happens in threads, one for each core, and whoever knocks a thousand times at once gets no more memory.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._places = CapacityLimiter(os.cpu_count() or 1)
        self._place_apart = CapacityLimiter(1)  # For browsers that we know: strangers' line is not theirs.

    def hash_now(self, password: str) -> str:
        return self._hasher.hash(_one_form(password))

    async def hash(self, password: str) -> str:
        self._must_not_be_long(self._places)
        return await to_thread.run_sync(self.hash_now, password, limiter=self._places)

    async def fits(self, password: str, kept: str | None, *, apart: bool = False) -> bool:
        """Without a kept one it takes as long and never fits: the time does not tell whose account there is."""
        places = self._place_apart if apart else self._places
        self._must_not_be_long(places)
        return await to_thread.run_sync(self._fits, _one_form(password), kept or self._nobody(), limiter=places)

    def is_outdated(self, kept: str) -> bool:
        """Kept with other parameters than the library's of today: to be hashed anew when the password is at hand."""
        return self._hasher.check_needs_rehash(kept)

    def _fits(self, password: str, kept: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False

    def _nobody(self) -> str:
        """What no password fits to."""
        used = self._hasher
        salt, digest = (
            b64encode(secrets.token_bytes(length)).decode().rstrip("=") for length in (used.salt_len, used.hash_len)
        )
        return f"$argon2id$v=19$m={used.memory_cost},t={used.time_cost},p={used.parallelism}${salt}${digest}"

    def _must_not_be_long(self, places: CapacityLimiter) -> None:
        if places.statistics().tasks_waiting >= IN_LINE:
            raise TooMany("Very many people are signing in at this moment. Please try again.", 5)
