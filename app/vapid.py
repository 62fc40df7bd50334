"""VAPID: the newsroom's key, and the tokens that prove to a push service who is sending (RFC 8292)."""

import hashlib
import json
import os
import pwd
import re
import stat
import tempfile
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from app.domain.refusals import Refusal

# A token may live for 24 h (RFC 8292 section 2); half of that leaves room for clocks that are wrong, theirs and ours.
LIFETIME = timedelta(hours=12)
# Using one token for long lets the service remember that it is good (RFC 8292 section 5), and Apple asks for it.
RENEWED_AFTER = timedelta(hours=6)
# Apple asks not to be shown a new token more often than this.
DOUBTED_FOR = timedelta(hours=1)
RECEIPTS = "receipts"  # The purpose of the secret by which workers sign proofs and the web process knows them.


@dataclass(frozen=True, slots=True)
class VapidKey:
    """Every subscription is bound to the key it was made with; losing the key loses the readers."""

    public_key: str  # What a browser is given: the uncompressed point in base64url without padding.
    private: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    @classmethod
    def of(cls, private: ec.EllipticCurvePrivateKey) -> "VapidKey":
        point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return cls(_base64url(point), private)

    @property
    def id(self) -> str:
        """Names the key in the database; says nothing about it."""
        return hashlib.sha256(self.public_key.encode()).hexdigest()[:16]

    def secret_for(self, purpose: str) -> bytes:
        """A secret of its own for each purpose (RFC 5869), which all processes share and no restart changes."""
        own = self.private.private_numbers().private_value.to_bytes(32)
        return HKDF(hashes.SHA256(), length=32, salt=None, info=f"newsbell {purpose}".encode()).derive(own)


def make_key(path: Path) -> VapidKey:
    """Write a new key that only its owner can read. An existing file is never touched."""
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        _write_once(path, pem)
    except FileExistsError:
        raise Refusal(f"There is a file at {path} already, and a key is never overwritten.") from None
    except OSError as error:
        raise Refusal(f"The VAPID key cannot be written to {path}: {error.strerror}.") from None
    return VapidKey.of(private)


def _write_once(path: Path, content: bytes) -> None:
    """The file appears whole or not at all: a hard link, unlike a rename, fails if the name is taken."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # Mode 0600 from the start.
    try:
        with os.fdopen(descriptor, "wb") as file:
            _give_to_folders_owner(descriptor, path.parent)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        os.unlink(draft)
    _sync_folder(path.parent)


def _give_to_folders_owner(descriptor: int, folder: Path) -> None:
    """What root makes in the service's folder is the service's: nobody else could read it."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def whose(path: Path) -> str:
    """Whose key it is, and what that means for a service of somebody else."""
    owner = _account(path.stat().st_uid)
    return f"Only {owner} can read it; if the service runs as somebody else: chown USER {path}"


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_key(path: Path) -> VapidKey:
    """The key must exist: one made silently would orphan every subscription."""
    try:
        pem = _read_secret(path)
    except FileNotFoundError:
        raise Refusal(f"There is no VAPID key at {path}. Make one with ./newsbell vapid new.") from None
    except PermissionError:
        raise Refusal(
            f"The VAPID key at {path} cannot be read by {_account(os.geteuid())}, who runs this. "
            f"As root: chown {_account(os.geteuid())} {path}"
        ) from None
    except OSError as error:
        raise Refusal(f"The VAPID key at {path} cannot be read: {error.strerror}.") from None
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Refusal(f"The file at {path} is not a private key in PEM form without a password.") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise Refusal(f"The key at {path} is not of the curve P-256, the only one that push services accept.")
    return VapidKey.of(private)


def _read_secret(path: Path) -> bytes:
    with open(path, "rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
            raise Refusal(f"The VAPID key at {path} can be read by others. Run: chmod 600 {path}")
        return file.read(65536)


class Signer:
    """One token per push service, kept while it is fresh. May be used by several threads."""

    def __init__(self, key: VapidKey, subject: str) -> None:
        self.key, self.subject = key, subject
        self._signed: dict[str, tuple[datetime, str]] = {}
        self._doubted: dict[str, datetime] = {}
        self._lock = Lock()

    def authorization(self, origin: str, now: datetime) -> str:
        """The Authorization header for `scheme://host[:port]`; default ports and a closing slash are left out."""
        with self._lock:
            signed_at, header = self._signed.get(origin, (None, ""))
            # A clock that was set back leaves the token in use: it ends within 18 h, and 24 are allowed.
            if signed_at is None or abs(now - signed_at) >= RENEWED_AFTER:
                header = self._sign(origin, now)
                self._signed[origin] = now, header
            return header

    def renew(self, origin: str, refused: str, now: datetime) -> bool:
        """A service refused this header: whether there is another one to try, a fresh one at most once an hour."""
        with self._lock:
            if self._signed.get(origin, (now, ""))[1] != refused:
                return True  # renewed since
            if origin in self._doubted and now - self._doubted[origin] < DOUBTED_FOR:
                return False
            self._doubted[origin] = now
            del self._signed[origin]
            return True

    def _sign(self, origin: str, now: datetime) -> str:
        claims = {"aud": origin, "exp": int((now + LIFETIME).timestamp()), "sub": self.subject}
        text = ".".join(_base64url(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ES256"}, claims))
        r, s = decode_dss_signature(self.key.private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        signature = _base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return f"vapid t={text}.{signature}, k={self.key.public_key}"


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=^_`{|}~-]+@(?P<host>[^@]+)")
HOST = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]", re.IGNORECASE)
PRIVATE_NAMES = re.compile(r".*\.(localhost|localdomain|local|internal|invalid)", re.IGNORECASE)


def check_subject(subject: str) -> str:
    """Where a push service may reach the newsroom. Apple refuses every push whose contact does not look real."""
    host = _contact_host(subject)
    if not HOST.fullmatch(host) or PRIVATE_NAMES.fullmatch(host):
        raise Refusal(
            "Push services want a contact they can reach: mailto: and an address, or an https: address, at a public "
            "domain and without spaces, such as mailto:editors@news.example."
        )
    return subject


def _contact_host(subject: str) -> str:
    """Empty if there is none."""
    if not subject.isascii() or not subject.isprintable() or " " in subject:
        return ""
    if subject.startswith("mailto:"):
        mailbox = MAILBOX.fullmatch(subject.removeprefix("mailto:"))
        return mailbox["host"] if mailbox else ""
    try:
        url = urlsplit(subject)
        return (url.hostname or "") if url.scheme == "https" and "@" not in url.netloc and url.port != 0 else ""
    except ValueError:  # A port that is no number, brackets that do not close.
        return ""
