"""Proofs: by which a receipt shows that it comes of a delivery, without telling whose.

Each message carries some random letters and their signature, drawn anew for each and kept nowhere. So the site can tell
that it made them for this alert, and that nobody has used them for this before. To whom they went, it does not know.
"""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest
from uuid import UUID

RANDOM, SIGNED = 9, 9  # bytes; together a whole number of base64's letters
BLANK = "0" * (4 * (RANDOM + SIGNED) // 3)
# In a JSON text the quotes of titles and addresses are escaped, so this is the member and nothing that somebody wrote.
_MEMBER = b'"proof":"%b"'


class Proofs:
    """key: the same in every process and after a restart."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def stamper(self, clear: bytes, alert_id: UUID) -> Callable[[], bytes]:
        """For each message of an alert: the clear text with a proof in place of the blank one."""
        head, blank, tail = clear.partition(_MEMBER % BLANK.encode())
        if not blank:
            return lambda: clear
        key = self._key_of(alert_id)

        def stamped() -> bytes:
            number = os.urandom(RANDOM)
            proof = urlsafe_b64encode(number + blake2b(number, key=key, digest_size=SIGNED).digest())
            return b'%b"proof":"%b"%b' % (head, proof, tail)

        return stamped

    def number(self, alert_id: UUID, proof: str) -> bytes | None:
        """The random part of a proof of ours; None for any other text."""
        try:
            text = urlsafe_b64decode(proof) if len(proof) == len(BLANK) and proof.isascii() else b""
        except Error:
            return None
        number, signature = text[:RANDOM], text[RANDOM:]
        expected = blake2b(number, key=self._key_of(alert_id), digest_size=SIGNED).digest()
        return number if compare_digest(signature, expected) else None

    def of_reader(self, alert_id: UUID, reader_id: int) -> bytes:
        """In place of a proof, for what a reader does with their own key: once for each alert."""
        return blake2b(b"reader %d" % reader_id, key=self._key_of(alert_id), digest_size=RANDOM).digest()

    def _key_of(self, alert_id: UUID) -> bytes:
        return blake2b(alert_id.bytes, key=self._key, digest_size=32).digest()
