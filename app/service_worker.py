"""The service worker as browsers get it: the site's name and icons, then static/sw.js.

Browsers fetch a notification's icons before they show it and wait as long as the server takes to answer: 90 seconds in
Chromium, without end in Firefox. With the icons inside, a million browsers that show an alert ask for nothing.
"""

import hashlib
import json
from base64 import b64encode
from functools import cache

from fastapi import Request, Response

from app.context import STATIC

ICONS = {"icon": "icon-192.png", "badge": "badge-96.png"}

# The worker itself fetches the pictures of alerts, from wherever publishers keep them, to know when they have come.
POLICY = (
    "default-src 'self'; connect-src 'self' https:; img-src 'self' https: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


def service_worker(request: Request, site_name: str) -> Response:
    script, etag = _script(site_name)
    headers = {"ETag": etag, "Content-Security-Policy": POLICY}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(script, media_type="text/javascript", headers=headers)


@cache
def _script(site_name: str) -> tuple[str, str]:
    """The script and its ETag."""
    site = {"name": site_name} | {role: _data_url(file) for role, file in ICONS.items()}
    script = f"self.newsbell = {json.dumps(site)};\n{(STATIC / 'sw.js').read_text('utf-8')}"
    return script, f'"{hashlib.sha256(script.encode()).hexdigest()[:32]}"'


def _data_url(file: str) -> str:
    return f"data:image/png;base64,{b64encode((STATIC / file).read_bytes()).decode()}"
