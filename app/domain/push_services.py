"""Push services: the hosts and paths that browsers give out, each with its source."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit


class PushService(NamedTuple):
    """host: exact, or with one label for their machines' numbers. paths: how every endpoint that was seen begins."""

    name: str
    host: str  # regular expressions, to be matched as a whole
    paths: str

    def owns(self, host: str) -> bool:
        return re.fullmatch(self.host, host) is not None

    def has_path(self, path: str) -> bool:
        return re.match(self.paths, path) is not None


# A host that is not here is the operator's to allow (NEWSBELL_PUSH_HOSTS): whoever may name any host below a service's
# domain makes up a thousand of them. A path that is not here is taken, and counted (marks.Happening.ODD_PATH).
PUSH_SERVICES = (
    # Chrome, Edge on Android, Opera, Brave, Samsung Internet; and staging, which Chromium's own builds may be told to
    # use. Chromium: components/push_messaging/push_messaging_constants.cc.
    PushService("Google (Chrome, Opera, Samsung Internet, …)", r"fcm\.googleapis\.com", r"/(fcm/send|(preprod/)?wp)/."),
    PushService("Google (Chromium)", r"jmt17\.google\.com", r"/fcm/send/."),
    # autopush-rs, docs/src/http.md: what `endpoint_url` is in production. Its staging and development (mozaws.net) are
    # for builds that were told so.
    PushService("Mozilla (Firefox)", r"updates\.push\.services\.mozilla\.com", r"/wpush/(v\d/)?."),
    # Apple's "Sending web push notifications in web apps and browsers" asks to let *.push.apple.com through; endpoints
    # that were seen all have this one host, and a token that begins with Q.
    PushService("Apple (Safari)", r"web\.push\.apple\.com", r"/Q."),
    # Region and number, as in wns2-par02p (web-push-libs/pywebpush #162, rpush #714), wns2-pn1p (block65/
    # webcrypto-web-push #13), wns2-ln2p (MicrosoftEdge/DevTools #262), and older par02p and db3 (pywebpush #151).
    PushService("Microsoft (Edge)", r"(wns\d-)?[a-z]{2,4}\d{1,2}p?\.notify\.windows\.com", r"/(w/)?\?token=."),
)


def service_of(host: str) -> PushService | None:
    return next((service for service in PUSH_SERVICES if service.owns(host)), None)


def service_with_odd_path(endpoint: str) -> PushService | None:
    """The service of an endpoint, if no endpoint of that service began so before. An operator's host has no form."""
    parts = urlsplit(endpoint)
    service = service_of(parts.hostname or "")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return service if service and not service.has_path(path) else None


def service_name(lane: str) -> str:
    """Whose browsers a push service serves, for people."""
    parts = urlsplit(lane)
    service = service_of(parts.hostname or lane)
    return service.name if service else parts.netloc or lane or "Other push services"
