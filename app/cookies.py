"""Cookies: of those that a browser sends, only ours get in, and only in the form in which we give them.

Python before 3.11.10 and 3.12.6 needs 16 seconds for one quoted value of 64 KB (CVE-2024-7592), and FastAPI reads the
cookies of every request. After this, what it reads is never quoted.
"""

import re

Headers = list[tuple[bytes, bytes]]

LARGEST = 16 * 1024  # bytes; browsers send a few hundred, and on localhost those of every other program as well
# A name that app.context or app.signin gives, and a value in the letters of secrets.token_urlsafe.
OURS = re.compile(rb"(?:__Host-)?newsbell[a-z-]{0,32}=[A-Za-z0-9._~-]{1,512}")


def only_ours(headers: Headers) -> Headers:
    """The request's headers, with no other cookie than ours."""
    if all(name != b"cookie" for name, _ in headers):
        return headers
    sent = [value for name, value in headers if name == b"cookie"]
    others = [(name, value) for name, value in headers if name != b"cookie"]
    if sum(map(len, sent)) > LARGEST:
        return others
    kept = [pair for value in sent for pair in map(bytes.strip, value.split(b";")) if OURS.fullmatch(pair)]
    return [*others, (b"cookie", b"; ".join(kept))] if kept else others
