import base64
import json
import os
import pwd
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from py_vapid import Vapid02

from app.domain.refusals import Refusal
from app.vapid import Signer, VapidKey, check_subject, load_key, make_key, whose
from tests.test_embedded import a_folder, as_root_only, unprivileged

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
MOZILLA = "https://updates.push.services.mozilla.com"
APPLE = "https://web.push.apple.com"
LOCAL = "http://127.0.0.1:8090"
KEY = VapidKey.of(ec.generate_private_key(ec.SECP256R1()))


def claims(header: str) -> dict[str, object]:
    payload = header.split("t=")[1].split(",")[0].split(".")[1]
    decoded: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return decoded


def signer() -> Signer:
    return Signer(KEY, "https://news.example/contact")


# The key


def test_a_key_that_was_made_can_be_loaded(tmp_path: Path) -> None:
    made = make_key(tmp_path / "vapid.pem")
    loaded = load_key(tmp_path / "vapid.pem")
    assert loaded == made
    assert loaded.id == made.id
    assert os.listdir(tmp_path) == ["vapid.pem"]


def test_only_its_owner_can_read_a_new_key(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        make_key(tmp_path / "vapid.pem")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "vapid.pem").stat().st_mode) == 0o600


def test_a_new_key_is_pkcs8_on_p256_and_read_by_py_vapid(tmp_path: Path) -> None:
    made = make_key(tmp_path / "vapid.pem")
    assert (tmp_path / "vapid.pem").read_text().startswith("-----BEGIN PRIVATE KEY-----")
    theirs = Vapid02.from_file(str(tmp_path / "vapid.pem"))
    point = theirs.public_key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    assert base64.urlsafe_b64decode(made.public_key + "=") == point


@pytest.mark.parametrize("content", ["", "something dear to somebody"])
def test_what_is_there_is_never_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "vapid.pem"
    path.write_text(content)
    with pytest.raises(Refusal, match="never overwritten"):
        make_key(path)
    assert path.read_text() == content
    assert os.listdir(tmp_path) == ["vapid.pem"]


def test_a_dangling_link_counts_as_there(tmp_path: Path) -> None:
    (tmp_path / "vapid.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(Refusal):
        make_key(tmp_path / "vapid.pem")
    assert not (tmp_path / "elsewhere.pem").exists()


def test_of_two_who_make_a_key_at_once_one_wins(tmp_path: Path) -> None:
    def attempt(_: int) -> VapidKey | None:
        try:
            return make_key(tmp_path / "vapid.pem")
        except Refusal:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [key for key in pool.map(attempt, range(8)) if key]
    assert made == [load_key(tmp_path / "vapid.pem")]


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="No such file"):
        make_key(tmp_path / "nowhere" / "vapid.pem")


def test_a_missing_key_is_not_made_up(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="vapid new"):
        load_key(tmp_path / "vapid.pem")
    assert os.listdir(tmp_path) == []


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="cannot be read"):
        load_key(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "vapid.pem"
    make_key(path)
    path.chmod(mode)
    with pytest.raises(Refusal, match="chmod 600"):
        load_key(path)


@as_root_only
def test_what_root_makes_in_the_services_folder_is_the_services() -> None:
    with a_folder(owner=pwd.getpwnam("nobody").pw_uid) as var:
        made = make_key(var / "vapid.pem")
        assert "Only nobody can read it" in whose(var / "vapid.pem")
        with unprivileged():
            assert load_key(var / "vapid.pem") == made


@as_root_only
def test_a_key_of_somebody_else_is_refused_with_the_way_out() -> None:
    with a_folder() as var:
        make_key(var / "vapid.pem")
        with unprivileged(), pytest.raises(Refusal, match=rf"by nobody, who runs this.*chown nobody {var}/vapid\.pem"):
            load_key(var / "vapid.pem")


PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def pem(key: PrivateKey, *, password: bytes | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff" * 100,
        b"-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n",
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(ec.generate_private_key(ec.SECP256K1())),
        pem(ed25519.Ed25519PrivateKey.generate()),
        pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        pem(KEY.private, password=b"secret"),
        KEY.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    ],
)
def test_what_is_no_p256_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vapid.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Refusal):
        load_key(path)


def test_the_public_key_is_what_a_browser_takes() -> None:
    assert len(KEY.public_key) == 87
    assert base64.urlsafe_b64decode(KEY.public_key + "=")[0] == 4


def test_the_id_names_the_key_and_no_other() -> None:
    other = VapidKey.of(ec.generate_private_key(ec.SECP256R1()))
    assert KEY.id == VapidKey.of(KEY.private).id != other.id
    assert len(KEY.id) == 16


def test_the_private_key_is_not_printed() -> None:
    assert "private" not in repr(KEY)


# The tokens


@pytest.mark.parametrize("origin", [MOZILLA, APPLE, LOCAL, "https://[::1]:8443"])
def test_a_token_is_verified_by_py_vapid(origin: str) -> None:
    header = signer().authorization(origin, NOW)
    assert header.startswith("vapid t=")
    assert header.endswith(f", k={KEY.public_key}")
    assert Vapid02.verify(header.replace(", ", ","))  # py_vapid reads no space; RFC 8292 allows it.
    assert claims(header) == {
        "aud": origin,
        "exp": (NOW + timedelta(hours=12)).timestamp(),
        "sub": "https://news.example/contact",
    }


def test_a_forged_token_is_not() -> None:
    header = signer().authorization(MOZILLA, NOW).replace(", ", ",")
    other = VapidKey.of(ec.generate_private_key(ec.SECP256R1()))
    assert not Vapid02.verify(header.replace(KEY.public_key, other.public_key))


def test_every_signature_has_64_bytes() -> None:
    ours = signer()
    for minutes in range(0, 400 * 400, 400):
        header = ours.authorization(MOZILLA, NOW + timedelta(minutes=minutes))
        assert len(header.split("t=")[1].split(",")[0].split(".")[2]) == 86


def test_a_token_is_used_for_six_hours() -> None:
    ours = signer()
    first = ours.authorization(MOZILLA, NOW)
    assert ours.authorization(MOZILLA, NOW + timedelta(hours=5, minutes=59)) == first
    renewed = ours.authorization(MOZILLA, NOW + timedelta(hours=6))
    assert renewed != first
    assert claims(renewed)["exp"] == (NOW + timedelta(hours=18)).timestamp()


def test_every_push_service_has_its_own() -> None:
    ours = signer()
    headers = {origin: ours.authorization(origin, NOW) for origin in (MOZILLA, APPLE, LOCAL, LOCAL + "1")}
    assert len(set(headers.values())) == 4
    assert {origin: claims(header)["aud"] for origin, header in headers.items()} == {o: o for o in headers}
    assert ours.authorization(MOZILLA, NOW) == headers[MOZILLA]


@pytest.mark.parametrize("hours", [-1, -5.9])
def test_a_clock_that_was_set_back_a_little_changes_nothing(hours: float) -> None:
    ours = signer()
    first = ours.authorization(MOZILLA, NOW)
    assert ours.authorization(MOZILLA, NOW + timedelta(hours=hours)) == first


@pytest.mark.parametrize("jump", [timedelta(days=-400), timedelta(hours=-6), timedelta(hours=6), timedelta(days=400)])
def test_no_token_ever_ends_more_than_a_day_ahead(jump: timedelta) -> None:
    ours = signer()
    ours.authorization(MOZILLA, NOW)
    then = NOW + jump
    for skew in (timedelta(minutes=-5), timedelta(0), timedelta(minutes=5)):
        end = datetime.fromtimestamp(float(str(claims(ours.authorization(MOZILLA, then + skew))["exp"])), UTC)
        assert then < end - timedelta(minutes=5) < then + timedelta(hours=23)


def test_many_threads_at_once_sign_once() -> None:
    ours = signer()
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(lambda _: ours.authorization(MOZILLA, NOW), range(200)))) == 1


# The contact


@pytest.mark.parametrize(
    "subject",
    [
        "mailto:ops@news.example",
        "mailto:push+ops@mail.news.co.uk",
        "https://news.example",
        "https://news.example/contact",
        "https://news.example:8443/contact?topic=push",
        "https://xn--80aa.xn--p1ai/",
    ],
)
def test_a_contact_that_can_be_reached_is_taken(subject: str) -> None:
    assert check_subject(subject) == subject


@pytest.mark.parametrize(
    "subject",
    [
        "",
        " ",
        "mailto:",
        "mailto:@news.example",
        "mailto:ops",
        "mailto:ops@localhost",
        "mailto:ops@news.localhost",
        "mailto:ops@printer.local",
        "mailto:ops@127.0.0.1",
        "mailto: ops@news.example",
        "mailto:ops@news.example ",
        "mailto:ops@news.example\n",
        "mailto:<ops@news.example>",
        "mailto:a@b.example,c@d.example",
        "mailto:a@b@c.example",
        "mailto:ops@news..example",
        "mailto:ops@-news.example",
        "ops@news.example",
        "http://news.example",
        "https://",
        "https://localhost",
        "https://localhost:8000/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::1",
        "https://user@news.example/",
        "https://news.example/a b",
        "https://news.example:port/",
        "https://news.example\t/",
        "https:news.example",
        "https://новости.example/",
        "tel:+441234567",
        "javascript:alert(1)",
    ],
)
def test_a_contact_that_push_services_refuse_is_refused(subject: str) -> None:
    with pytest.raises(Refusal, match="mailto:"):
        check_subject(subject)


def test_development_may_sign_with_any_contact() -> None:
    assert claims(Signer(KEY, "https://localhost:8000").authorization(LOCAL, NOW))["sub"] == "https://localhost:8000"
