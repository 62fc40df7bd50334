import ctypes
import threading
from pathlib import Path

import pytest

from worker import curve
from worker.curve import ORDER, Curve, KeyObjects, Points, bundled, fastest, fresh_key

# RFC 5903 section 8.1: each side's private and public key, and what they share.
KEY, PUBLIC, THEIR_KEY, THEIRS, SHARED = (
    bytes.fromhex(line)
    for line in (
        "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
        "04DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180"
        "5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
        "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
        "04D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63"
        "56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
        "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
    )
)
OFF_THE_CURVE = THEIRS[:-1] + bytes([THEIRS[-1] ^ 1])
HYBRID = bytes([6 + (THEIRS[-1] & 1)]) + THEIRS[1:]  # SEC 1's third form, which no browser writes.


def points() -> Points:
    library = bundled()
    return Points(library) if library else pytest.skip("pycurl was not installed from a wheel")


@pytest.fixture(params=[points, KeyObjects])
def each(request: pytest.FixtureRequest) -> Curve:
    made: Curve = request.param()
    return made


def test_both_agree_on_the_example_of_rfc_5903(each: Curve) -> None:
    assert each.agree(KEY, THEIRS) == (PUBLIC, SHARED)
    assert each.agree(THEIR_KEY, PUBLIC) == (THEIRS, SHARED)


def test_both_say_the_same_of_any_key() -> None:
    fast, plain = points(), KeyObjects()
    for _ in range(50):
        key, (theirs, _) = fresh_key(), plain.agree(fresh_key(), THEIRS)
        assert fast.agree(key, theirs) == plain.agree(key, theirs)
    for number in (1, 2, ORDER - 1):
        key = number.to_bytes(32, "big")
        assert fast.agree(key, THEIRS) == plain.agree(key, THEIRS)


@pytest.mark.parametrize(
    "theirs",
    [
        b"",
        THEIRS[:-1],
        THEIRS + b"\0",
        bytes(65),
        b"\4" + bytes(64),
        b"\4" + b"\xff" * 64,
        b"\5" + THEIRS[1:],
        HYBRID,
        OFF_THE_CURVE,
    ],
)
def test_what_is_no_point_is_refused_and_the_next_one_is_served(each: Curve, theirs: bytes) -> None:
    with pytest.raises(ValueError):
        each.agree(KEY, theirs)
    assert each.agree(KEY, THEIRS) == (PUBLIC, SHARED)


@pytest.mark.parametrize("number", [0, ORDER, ORDER + 1, 2**256 - 1, 2**256])
def test_a_number_that_is_no_private_key_is_refused(each: Curve, number: int) -> None:
    with pytest.raises(ValueError):
        each.agree(number.to_bytes(32 if number < 2**256 else 33, "big"), THEIRS)
    assert each.agree(KEY, THEIRS) == (PUBLIC, SHARED)


def test_a_refusal_leaves_no_error_behind_for_libcurl_to_find() -> None:
    libcrypto = ctypes.PyDLL(str(bundled()))
    with pytest.raises(ValueError):
        points().agree(KEY, OFF_THE_CURVE)
    assert libcrypto.ERR_peek_error() == 0


def test_threads_do_not_write_over_each_others_points() -> None:
    shared, plain = points(), KeyObjects()
    pairs = [(key, plain.agree(key, THEIRS)) for key in (fresh_key() for _ in range(8))]
    wrong: list[bytes] = []

    def work(key: bytes, expected: tuple[bytes, bytes]) -> None:
        wrong.extend(key for _ in range(500) if shared.agree(key, THEIRS) != expected)

    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_keys_are_by_chance_and_within_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([bytes(32), b"\xff" * 32, ORDER.to_bytes(32, "big"), KEY])
    monkeypatch.setattr("os.urandom", lambda size: next(drawn))
    assert fresh_key() == KEY


@pytest.mark.parametrize("function", ["_number", "_multiply", "_write"])
def test_what_openssl_cannot_do_never_passes_for_the_last_messages_keys(
    function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = points()
    assert fast.agree(THEIR_KEY, PUBLIC) == (THEIRS, SHARED)
    with monkeypatch.context() as broken:
        broken.setattr(fast, function, lambda *_: 0)
        with pytest.raises(RuntimeError):
            fast.agree(KEY, THEIRS)
    assert fast.agree(KEY, THEIRS) == (PUBLIC, SHARED)


def test_without_a_library_that_will_do_keys_are_objects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert isinstance(points(), Points)
    real = bundled()
    assert real
    assert isinstance(fastest.__wrapped__(), Points)
    (tmp_path / "libcrypto.so").write_bytes(b"not a library")
    without_curves = next(path for path in real.parent.iterdir() if path.name.startswith("libnghttp2"))
    for library in (None, tmp_path / "libcrypto.so", tmp_path / "missing.so", without_curves):
        monkeypatch.setattr(curve, "bundled", lambda library=library: library)
        assert isinstance(fastest.__wrapped__(), KeyObjects)
    monkeypatch.setattr(curve, "bundled", lambda: real)
    monkeypatch.setattr(Points, "agree", lambda *_: (PUBLIC, SHARED))  # a library that computes something else
    assert isinstance(fastest.__wrapped__(), KeyObjects)
