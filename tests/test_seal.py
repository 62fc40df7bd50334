import base64
import hmac as standard
import os

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pywebpush import WebPusher

from worker.seal import MAX_CLEAR, STEPS, hmac, padded, record, seal

CURVE = ec.SECP256R1()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Browser:
    """A reader's end: makes keys and opens what was sealed for them, with somebody else's code."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(CURVE)
        self.auth = os.urandom(16)
        self.p256dh = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def open(self, body: bytes) -> bytes:
        clear: bytes = http_ece.decrypt(body, private_key=self.key, auth_secret=self.auth, version="aes128gcm")
        return clear


def test_the_example_of_rfc_8291_byte_for_byte() -> None:
    body = record(
        unb64("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"),
        unb64("BTBZMqHH6r4Tts7J_aSIgg"),
        b"When I grow up, I want to be a watermelon\x02",
        key=unb64("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"),
        salt=unb64("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert body == unb64(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A"
        "_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 1024, 1025, 2048, 2049, 2800, 2801, 3992, 3993])
def test_the_browser_reads_what_was_sealed(length: int) -> None:
    browser, clear = Browser(), os.urandom(length)
    assert browser.open(seal(browser.p256dh, browser.auth, clear)) == clear


def test_the_reference_library_and_we_are_read_by_the_same_browser() -> None:
    browser = Browser()
    keys = {"p256dh": base64.urlsafe_b64encode(browser.p256dh), "auth": base64.urlsafe_b64encode(browser.auth)}
    theirs = WebPusher({"endpoint": "https://push.example/1", "keys": keys}).encode(b"Kyiv")["body"]
    ours = seal(browser.p256dh, browser.auth, b"Kyiv")
    assert browser.open(theirs) == browser.open(ours) == b"Kyiv"
    assert ours[16:21] == theirs[16:21]  # Record size and length of the key.


@pytest.mark.parametrize("length", range(0, MAX_CLEAR + 1, 37))
def test_padding_keeps_the_text_and_hides_its_length(length: int) -> None:
    clear = os.urandom(length)
    block = padded(clear)
    assert block[:length] == clear
    assert block[length:].rstrip(b"\0") == b"\x02"
    assert len(block) - 1 in STEPS
    assert len(block) - 1 == min(step for step in STEPS if step >= length)


def test_every_message_is_of_one_record() -> None:
    browser = Browser()
    for step in STEPS:
        body = seal(browser.p256dh, browser.auth, b"x" * step)
        assert len(body) == 86 + step + 1 + 16
        assert int.from_bytes(body[16:20], "big") > len(body) - 86


def test_the_longest_text_makes_the_longest_body_and_one_byte_more_is_refused() -> None:
    browser = Browser()
    assert len(seal(browser.p256dh, browser.auth, b"x" * 3993)) == 4096
    with pytest.raises(ValueError, match="3993"):
        seal(browser.p256dh, browser.auth, b"x" * 3994)


def test_no_two_messages_share_salt_or_key() -> None:
    browser = Browser()
    bodies = [seal(browser.p256dh, browser.auth, b"the same") for _ in range(50)]
    assert len({body[:16] for body in bodies}) == 50
    assert len({body[21:86] for body in bodies}) == 50


GOOD = Browser()
COMPRESSED = GOOD.key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


@pytest.mark.parametrize(
    "p256dh, auth",
    [
        (b"", GOOD.auth),
        (COMPRESSED, GOOD.auth),
        (GOOD.p256dh[:-1], GOOD.auth),
        (GOOD.p256dh + b"\0", GOOD.auth),
        (b"\x04" + bytes(64), GOOD.auth),
        (b"\x04" + b"\xff" * 64, GOOD.auth),
        (b"\x05" + GOOD.p256dh[1:], GOOD.auth),
        (bytes(65), GOOD.auth),
        (GOOD.p256dh, b""),
        (GOOD.p256dh, GOOD.auth[:8]),
        (GOOD.p256dh, GOOD.auth + b"\0"),
    ],
    ids=[f"wrong-{number}" for number in range(11)],  # the keys differ from run to run, and processes compare names
)
def test_keys_that_no_browser_made_are_refused_in_one_way(p256dh: bytes, auth: bytes) -> None:
    with pytest.raises(ValueError):
        seal(p256dh, auth, b"Kyiv")


@pytest.mark.parametrize("length", [0, 1, 16, 32, 63, 64])
def test_our_hmac_is_the_standard_one(length: int) -> None:
    key, text = os.urandom(length), os.urandom(200 - length)
    assert hmac(key, text) == standard.digest(key, text, "sha256")
