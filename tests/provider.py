"""A small OpenID Connect provider on loopback: real HTTP, real signatures, and as strict as one should be."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "newsbell", "s3cret of the client"
Params = dict[str, str]


@dataclass
class Provider:
    """Whoever comes is signed in at once as `person`; the knobs below make it behave worse."""

    issuer: str = ""
    person: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)  # Put into the token in place of what belongs there.
    described: dict[str, Any] = field(default_factory=dict)  # The same for its description.
    user_info: dict[str, Any] = field(default_factory=dict)
    sign: Callable[[dict[str, Any]], str] | None = None
    refuses: str = ""  # With this error: access_denied is a person who clicked Cancel.
    broken: bool = False
    asked: list[str] = field(default_factory=list)
    authorizations: list[Params] = field(default_factory=list)
    codes: dict[str, Params] = field(default_factory=dict)
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}))

    def reset(self) -> None:
        self.person = {"sub": "ada-1", "email": "ada@news.example", "email_verified": True, "name": "Ada"}
        self.claims, self.described, self.user_info = {}, {}, {}
        self.sign, self.refuses, self.broken = None, "", False
        self.asked.clear()

    def description(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        } | self.described

    def authorize(self, asked: Params) -> str:
        """Where the browser is sent back to."""
        self.authorizations.append(asked)
        assert asked["client_id"] == CLIENT and asked["response_type"] == "code"
        assert "openid" in asked["scope"].split() and asked["code_challenge_method"] == "S256"
        if self.refuses:
            back = {"error": self.refuses, "state": asked["state"]}
        else:
            code = secrets.token_urlsafe(16)
            self.codes[code] = asked
            back = {"code": code, "state": asked["state"]}
        return f"{asked['redirect_uri']}?{urlencode(back)}"

    def token(self, asked: Params, authorization: str) -> tuple[int, dict[str, Any]]:
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        posted = (asked.get("client_id"), asked.get("client_secret")) == (CLIENT, SECRET)
        method = self.description()["token_endpoint_auth_methods_supported"][0]
        if not (posted if method == "client_secret_post" else authorization == f"Basic {basic}"):
            return 401, {"error": "invalid_client"}
        begun = self.codes.pop(asked.get("code", ""), None)  # good for once
        digest = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if begun is None or begun["code_challenge"] != challenge or begun["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": begun["nonce"]}
        claims = {name: value for name, value in (claims | self.person | self.claims).items() if value is not None}
        token = self.sign(claims) if self.sign else self.signed(claims)
        return 200, {"access_token": "an access token", "token_type": "Bearer", "id_token": token}

    def signed(self, claims: dict[str, Any], key: RSAKey | None = None) -> str:
        return jwt.encode({"alg": "RS256", "kid": (key or self.key).kid}, claims, key or self.key)


@contextmanager
def provider() -> Iterator[Provider]:
    made = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, asked = urlsplit(self.path).path, first(urlsplit(self.path).query)
            made.asked.append(path)
            match path:
                case "/.well-known/openid-configuration":
                    self.answer(500 if made.broken else 200, made.description())
                case "/keys":
                    self.answer(200, {"keys": [{"kty": "oct", "k": "AAAA"}, made.key.as_dict(private=False)]})
                case "/userinfo" if self.headers["Authorization"] == "Bearer an access token":
                    self.answer(200, made.user_info)
                case "/authorize":
                    self.send_response(302)
                    self.send_header("Location", made.authorize(asked))
                    self.end_headers()
                case _:
                    self.answer(404, {})

        def do_POST(self) -> None:
            made.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.answer(*made.token(first(body), self.headers.get("Authorization", "")))

        def answer(self, status: int, document: dict[str, Any]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.issuer = f"http://127.0.0.1:{server.server_address[1]}"
        made.reset()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


def first(query: str) -> Params:
    return {name: values[0] for name, values in parse_qs(query).items()}
