"""Cookies: nothing that a stranger sends reaches a slow parser, and ours get through."""

import http.cookies

import httpx
import pytest

from app.cookies import LARGEST, only_ours
from app.domain.editors import Role
from tests.desk import Desk

# The smallest form of CVE-2024-7592: each backslash makes what follows be copied once more.
QUADRATIC = b'newsbell="' + b"\\" * 64_000 + b'"'


def read(*values: bytes) -> bytes:
    headers = only_ours([(b"host", b"news.example"), *((b"cookie", value) for value in values)])
    assert headers[0] == (b"host", b"news.example")
    return b"".join(value for name, value in headers[1:] if name == b"cookie")


@pytest.mark.parametrize("path", ["/healthz", "/api/site", "/api/session", "/api/oidc/callback", "/nowhere"])
@pytest.mark.parametrize("size", [100, 8_000, 64_000])
async def test_no_request_reaches_the_slow_parser(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, path: str, size: int
) -> None:
    def unquote(value: str) -> str:
        assert '"' not in value and "\\" not in value, "what a stranger wrote is unquoted"
        return value

    monkeypatch.setattr(http.cookies, "_unquote", unquote)
    name = desk.cookie.encode()
    for value in (name + b'="' + b"\\" * size + b'"', name + b'-sign-on="' + b"\\134" * (size // 4) + b'"'):
        answer = await desk.browser().get(path, headers=[(b"cookie", value)])
        assert answer.status_code < 500


async def test_a_signed_in_browser_with_cookies_of_others_stays_signed_in(desk: Desk) -> None:
    client = await desk.somebody(Role.WRITER)
    ours = f"{desk.cookie}={client.cookies[desk.cookie]}"
    client.cookies.clear()
    for sent in (ours, f'theirs="a\\"b"; {ours};odd; =; x=y', f"a=b;{ours}"):
        assert (await client.get("/api/session", headers={"Cookie": sent})).status_code == 200
    two = httpx.Headers([("Cookie", "theirs=1"), ("Cookie", ours)])
    assert (await client.get("/api/session", headers=two)).status_code == 200


def test_only_what_we_give_gets_in() -> None:
    assert (
        read(b"a=b; newsbell=abc-_1; __Host-newsbell-sign-on=a.b.c")
        == b"newsbell=abc-_1; __Host-newsbell-sign-on=a.b.c"
    )
    assert read(b'newsbell="abc"') == read(b"newsbell=") == read(b"Newsbell=abc") == read(b"newsbell =abc") == b""
    assert read(b"newsbell=" + b"a" * 600) == read(QUADRATIC) == read(b"") == b""
    assert read(b"a=" + b"b" * LARGEST, b"newsbell=abc") == b""
    assert only_ours([(b"host", b"x")]) == [(b"host", b"x")]
