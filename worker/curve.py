"""Curve: the one-time keys of messages, on P-256 (RFC 8291 section 3.1, RFC 5903 section 3.1).

`cryptography` makes objects of all keys, looks the curve up by name and exports what it has just made: of 132 µs that
sealing takes with it, 40. Here OpenSSL's own points are used, which stay where they are from one message to the next.
The library is the one that pycurl's wheels bring; without it, `cryptography` does the same, more slowly.
"""

import ctypes
import logging
import os
import threading
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ec import ECDH, SECP256R1, EllipticCurvePublicKey, derive_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

log = logging.getLogger("newsbell.curve")

# How many points there are (SP 800-186 section 3.2.1.3). A private key is a number from 1 to this less 1.
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ABOVE = ORDER.to_bytes(32, "big")
# The point that all others are multiples of.
GENERATOR = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
# A public key, uncompressed: this byte, then 32 each for x and y (SEC 1 section 2.3.3).
_UNCOMPRESSED, _SIZE = 4, 65


def fresh_key() -> bytes:
    """A private key by chance: 32 bytes. Every number is equally likely (FIPS 186-5 appendix A.2.2)."""
    while True:
        key = os.urandom(32)
        if bytes(32) < key < _ABOVE:
            return key


class Curve(Protocol):
    def agree(self, key: bytes, theirs: bytes) -> tuple[bytes, bytes]:
        """Our public key (65 bytes), and the secret that we share with the owner of theirs (32).

        key: 32 bytes. Raises ValueError if it is no private key, or theirs no point of the curve in its uncompressed
        form. Every point is safe: the curve has no small subgroups to be lured into.
        """


class KeyObjects:
    """With `cryptography`."""

    _curve, _ecdh, _form = SECP256R1(), ECDH(), (Encoding.X962, PublicFormat.UncompressedPoint)

    def agree(self, key: bytes, theirs: bytes) -> tuple[bytes, bytes]:
        _check(key, theirs)
        ours = derive_private_key(int.from_bytes(key, "big"), self._curve)
        shared = ours.exchange(self._ecdh, EllipticCurvePublicKey.from_encoded_point(self._curve, theirs))
        return ours.public_key().public_bytes(*self._form), shared


_P256 = 415  # NID_X9_62_prime256v1
_CONSTANT_TIME = 4  # BN_FLG_CONSTTIME
_POINTER, _INT, _LENGTH, _BYTES = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p
# What is called, all of it public and none of it deprecated: what it returns and what it takes.
_FUNCTIONS = {
    "BN_CTX_new": (_POINTER,),
    "BN_new": (_POINTER,),
    "BN_set_flags": (None, _POINTER, _INT),
    "BN_bin2bn": (_POINTER, _BYTES, _INT, _POINTER),
    "EC_GROUP_new_by_curve_name": (_POINTER, _INT),
    "EC_POINT_new": (_POINTER, _POINTER),
    "EC_POINT_mul": (_INT, *(_POINTER,) * 6),
    "EC_POINT_oct2point": (_INT, _POINTER, _POINTER, _BYTES, _LENGTH, _POINTER),
    "EC_POINT_point2oct": (_LENGTH, _POINTER, _POINTER, _INT, _BYTES, _LENGTH, _POINTER),
    "ERR_clear_error": (None,),
}


class Points(threading.local):
    """With OpenSSL's libcrypto. Every thread has points of its own, for they are written over with each message."""

    def __init__(self, library: Path) -> None:
        """Raises OSError or AttributeError if the library is not what it should be."""
        libcrypto = ctypes.PyDLL(str(library))  # Keeps Python's lock: a call is shorter than handing that over.
        for name, (returns, *takes) in _FUNCTIONS.items():
            function = getattr(libcrypto, name)
            function.restype, function.argtypes = returns, takes
        self._multiply, self._clear_error = libcrypto.EC_POINT_mul, libcrypto.ERR_clear_error
        self._read, self._write = libcrypto.EC_POINT_oct2point, libcrypto.EC_POINT_point2oct
        self._number = libcrypto.BN_bin2bn

        def made(pointer: int | None) -> ctypes.c_void_p:
            if not pointer:
                self._clear_error()
                raise OSError("OpenSSL has no memory, or not this curve.")
            return ctypes.c_void_p(pointer)

        self._group = group = made(libcrypto.EC_GROUP_new_by_curve_name(_P256))
        self._context = made(libcrypto.BN_CTX_new())
        self._key = made(libcrypto.BN_new())
        libcrypto.BN_set_flags(self._key, _CONSTANT_TIME)
        self._ours, self._theirs, self._shared = (made(libcrypto.EC_POINT_new(group)) for _ in range(3))
        self._out = ctypes.create_string_buffer(_SIZE)

    def agree(self, key: bytes, theirs: bytes) -> tuple[bytes, bytes]:
        _check(key, theirs)
        group, context, number = self._group, self._context, self._key
        if not self._read(group, self._theirs, theirs, _SIZE, context):
            self._clear_error()  # libcurl shares the list of errors and might take this one for its own.
            raise ValueError("This point is not on the curve.")
        # What fails leaves the last message's values where they were, so nothing may go unnoticed.
        self._must(self._number(key, len(key), number))
        self._must(self._multiply(group, self._ours, number, None, None, context))
        self._must(self._multiply(group, self._shared, None, self._theirs, number, context))
        return self._bytes_of(self._ours), self._bytes_of(self._shared)[1:33]

    def _bytes_of(self, point: ctypes.c_void_p) -> bytes:
        self._must(self._write(self._group, point, _UNCOMPRESSED, self._out, _SIZE, self._context) == _SIZE)
        return self._out.raw

    def _must(self, went_well: int | None) -> None:
        """Our own trouble and not the reader's, as no memory would be: no ValueError."""
        if not went_well:
            self._clear_error()
            raise RuntimeError("OpenSSL could not compute with points.")


def _check(key: bytes, theirs: bytes) -> None:
    if len(key) != 32 or not bytes(32) < key < _ABOVE:
        raise ValueError("A private key is a number from 1 to the curve's order less 1.")
    if len(theirs) != _SIZE or theirs[0] != _UNCOMPRESSED:
        raise ValueError("A browser's public key has 65 bytes, the first of them 4.")


def bundled() -> Path | None:
    """The libcrypto of pycurl's wheels."""
    try:
        found = [Path(str(file.locate())) for file in files("pycurl") or () if file.name.startswith("libcrypto")]
    except PackageNotFoundError:
        return None
    return found[0] if found else None


@cache
def fastest() -> Curve:
    """The same for all messages; a library must give one known answer first."""
    library, one = bundled(), (1).to_bytes(32, "big")
    if library:
        with suppress(OSError, AttributeError, RuntimeError):
            points = Points(library)
            if points.agree(one, GENERATOR) == (GENERATOR, GENERATOR[1:33]):
                return points
    log.warning("pycurl brings no libcrypto that will do here; sealing takes half as long again.")
    return KeyObjects()
