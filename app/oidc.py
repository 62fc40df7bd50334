"""Single sign-on: the newsroom's OpenID Connect provider says who somebody is. The only door to authlib and joserfc.

The authorization code flow of OpenID Connect Core 1.0, section 3.1, with PKCE (RFC 7636), state and nonce, as RFC 9700
(OAuth 2.0 Security Best Current Practice) wants it.

joserfc is imported where it is needed: it takes a tenth of the web process's start, and few newsrooms have a provider.
"""

import asyncio
import hmac
import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from app import clock
from app.domain.editors import an_email
from app.domain.refusals import Forbidden, Refusal
from app.settings import Settings

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

# Signatures that only the issuer can make. A shared secret (HS256) is not among them, and "none" least of all.
ALGORITHMS = [f"{kind}{size}" for kind in ("RS", "PS", "ES") for size in (256, 384, 512)] + ["Ed25519", "EdDSA"]
SCOPE = "openid email profile"
CALLBACK = "/api/oidc/callback"
PATIENCE = timedelta(minutes=10)  # For a person who looks for a password and a second factor.
LARGEST = 512 * 1024  # bytes; a provider's keys with their certificates may be many
KEPT = timedelta(hours=1)  # How long its description and keys are believed without asking again.
FAILURE_KEPT = timedelta(seconds=5)  # How long its silence is believed.
ASKED_AGAIN = timedelta(minutes=1)  # At most so often for a key that nobody knows: anybody could name one.
SKEW = 60  # seconds that the two clocks may differ


class ProviderTrouble(Refusal):
    """The provider does not answer, or not as it should."""


class BrokenOff(Forbidden):
    """The person said no at the provider."""


class BeginAgain(Forbidden):
    """What came back does not belong to what this browser began."""

    def __init__(self) -> None:
        super().__init__("This sign-in was not begun in this browser, or too long ago. Please begin again.")


@dataclass(frozen=True)
class Attempt:
    """What only the browser that began it knows, for the few minutes until it comes back."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def begin(cls) -> "Attempt":
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))

    def signed(self, key: bytes, now: datetime) -> str:
        """For the browser to keep. It says until when it is good, and that it is ours."""
        text = ".".join((self.state, self.nonce, self.verifier, str(int((now + PATIENCE).timestamp()))))
        return f"{text}.{_signature(key, text)}"

    @classmethod
    def read(cls, cookie: str, key: bytes, now: datetime) -> "Attempt":
        """One that was begun here. What a stranger made up is refused before anybody is asked."""
        text, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(_signature(key, text).encode(), signature.encode()):
            raise BeginAgain()
        *secrets_, until = text.split(".")
        if int(until) < now.timestamp():
            raise BeginAgain()
        return cls(*secrets_)

    def code(self, answer: Mapping[str, str]) -> str:
        """The code in an answer to this attempt."""
        if not hmac.compare_digest(self.state.encode(), answer.get("state", "").encode()):
            raise BeginAgain()
        if answer.get("error", "access_denied") != "access_denied":
            raise ProviderTrouble(f"The provider answered with an error: {answer['error'][:100]!r}.")
        if not answer.get("code"):
            raise BrokenOff("The sign-in was broken off.")
        return answer["code"]


def _signature(key: bytes, text: str) -> str:
    return urlsafe_b64encode(hmac.digest(key, text.encode(), "sha256")).rstrip(b"=").decode()


@dataclass(frozen=True)
class Identity:
    """Whom the provider vouches for."""

    subject: str  # Issuer and subject: it stays when somebody's address changes.
    email: str
    name: str


class SingleSignOn:
    """One provider, named by the settings. Its description and keys are read when they are first needed."""

    def __init__(self, settings: Settings) -> None:
        self._issuer, self._client_id = settings.oidc_issuer, settings.oidc_client_id
        self._plain_http = settings.allow_private_addresses
        self._callback = settings.site_url + CALLBACK
        self._secret = _secret(settings)
        self._read: dict[str, tuple[datetime, dict[str, Any] | ProviderTrouble]] = {}
        self._asking = asyncio.Lock()

    @classmethod
    def of(cls, settings: Settings) -> "SingleSignOn | None":
        """None where the settings name no provider; what cannot work is refused with one sentence."""
        if not settings.oidc_issuer:
            return None
        if not settings.oidc_client_id:
            raise Refusal("NEWSBELL_OIDC_ISSUER needs NEWSBELL_OIDC_CLIENT_ID: what the provider knows this desk by.")
        made = cls(settings)
        made._address({"NEWSBELL_OIDC_ISSUER": settings.oidc_issuer}, "NEWSBELL_OIDC_ISSUER")
        return made

    async def begin(self, attempt: Attempt) -> str:
        """Where to send the browser."""
        described = await self._described()
        address: str = prepare_grant_uri(
            self._address(described, "authorization_endpoint"),
            client_id=self._client_id,
            response_type="code",
            redirect_uri=self._callback,
            scope=SCOPE,
            state=attempt.state,
            nonce=attempt.nonce,
            code_challenge=create_s256_code_challenge(attempt.verifier),
            code_challenge_method="S256",
        )
        return address

    async def finish(self, attempt: Attempt, answer: Mapping[str, str]) -> Identity:
        """Who came back with this answer in their address."""
        code = attempt.code(answer)
        described = await self._described()
        # RFC 9207: the answer of another provider must not be taken to this one.
        says_who = described.get("authorization_response_iss_parameter_supported")
        if answer.get("iss", None if says_who else self._issuer) != self._issuer:
            raise BeginAgain()
        tokens = await self._tokens(described, code, attempt.verifier)
        claims = await self._checked(described, str(tokens.get("id_token", "")), attempt.nonce)
        if not {"email", "email_verified"} <= claims.keys() and "userinfo_endpoint" in described:
            claims |= await self._user_info(described, str(tokens.get("access_token", "")), claims["sub"])
        return self._identity(claims)

    async def _described(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0, section 4."""
        described = await self._kept(self._issuer.rstrip("/") + "/.well-known/openid-configuration", KEPT)
        if described.get("issuer") != self._issuer:
            raise ProviderTrouble(
                f"NEWSBELL_OIDC_ISSUER is not what the provider calls itself: {described.get('issuer')}."
            )
        return described

    async def _tokens(self, described: dict[str, Any], code: str, verifier: str) -> dict[str, Any]:
        """The code is good for one exchange, by whoever has the verifier and the secret."""
        known = described.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        how = "client_secret_basic" if "client_secret_basic" in known else "client_secret_post"
        client = ClientAuth(self._client_id, self._secret, how if self._secret else "none")
        asked = {"redirect_uri": self._callback, "code": code, "code_verifier": verifier}
        body = prepare_token_request("authorization_code", **asked)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        address = self._address(described, "token_endpoint")
        _, headers, body = client.prepare("POST", address, headers, body)
        status, tokens = await self._ask(httpx.Request("POST", address, headers=headers, content=body))
        if tokens.get("error") == "invalid_grant":  # The code was used already, as by the browser's back button.
            raise BeginAgain()
        if status != 200:
            raise ProviderTrouble(f"The provider answered {status} to a sign-in: {str(tokens.get('error'))[:100]}.")
        return tokens

    async def _checked(self, described: dict[str, Any], id_token: str, nonce: str) -> dict[str, Any]:
        """OpenID Connect Core 1.0, section 3.1.3.7."""
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError, JoseError

        wanted = jwt.JWTClaimsRegistry(
            now=int(clock.now().timestamp()),
            leeway=SKEW,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._client_id},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            try:
                token = jwt.decode(id_token, await self._keys(described, KEPT), ALGORITHMS)
            except InvalidKeyIdError:  # They have changed since we read them.
                token = jwt.decode(id_token, await self._keys(described, ASKED_AGAIN), ALGORITHMS)
            wanted.validate(token.claims)
        except (JoseError, ValueError, TypeError, AttributeError) as error:
            raise ProviderTrouble(f"The provider's word for a sign-in does not hold: {error}") from None
        for_several = isinstance(token.claims["aud"], list) and len(token.claims["aud"]) > 1
        if token.claims.get("azp", None if for_several else self._client_id) != self._client_id:
            raise ProviderTrouble("The provider's word for a sign-in was given to another program.")
        return token.claims

    async def _keys(self, described: dict[str, Any], not_older: timedelta) -> "KeySet":
        from joserfc.jwk import KeySet

        found = await self._kept(self._address(described, "jwks_uri"), not_older)
        # A secret that is published is none; joserfc passes over the kinds that it does not know.
        return KeySet.import_key_set({"keys": [key for key in found.get("keys", []) if key.get("kty") != "oct"]})

    async def _user_info(self, described: dict[str, Any], access_token: str, subject: str) -> dict[str, Any]:
        """Some providers say more here than in the token (section 5.3); it must be about the same person."""
        headers = {"Authorization": f"Bearer {access_token}"}
        status, said = await self._ask(
            httpx.Request("GET", self._address(described, "userinfo_endpoint"), headers=headers)
        )
        if status != 200 or said.get("sub") != subject:
            raise ProviderTrouble(f"The provider answered {status} to who has signed in.")
        return {name: said[name] for name in ("email", "email_verified", "name") if name in said}

    def _identity(self, claims: dict[str, Any]) -> Identity:
        # Anybody can write anybody's address into a profile; only a verified one is a person's own.
        if claims.get("email_verified") not in (True, "true"):
            raise Forbidden("The provider has not verified this person's e-mail address.")
        subject = f"{self._issuer} {claims['sub']}"
        if not subject.isprintable() or len(subject) > 1024:
            raise ProviderTrouble("The provider names this person in a way that cannot be kept.")
        name = str(claims.get("name", ""))
        return Identity(subject, an_email(str(claims.get("email", ""))), name[:100] if name.isprintable() else "")

    def _address(self, described: Mapping[str, Any], name: str) -> str:
        address = str(described.get(name, ""))
        if urlsplit(address).scheme != "https" and not (self._plain_http and address.startswith("http://")):
            raise ProviderTrouble(f"{name} is no https:// address.")
        return address

    async def _kept(self, address: str, not_older: timedelta) -> dict[str, Any]:
        """A document of the provider, asked for again when it is older than that.

        Anybody can begin to sign in. However many do at once, it is asked once, and after a failure not for a while.
        """
        async with self._asking:
            at, found = self._read.get(address, (clock.now(), None))
            limit = FAILURE_KEPT if isinstance(found, ProviderTrouble) else not_older
            if found is None or clock.now() - at > limit:
                found = await self._document(address)
                self._read[address] = clock.now(), found
        if isinstance(found, ProviderTrouble):
            raise ProviderTrouble(str(found))
        return found

    async def _document(self, address: str) -> dict[str, Any] | ProviderTrouble:
        try:
            status, document = await self._ask(httpx.Request("GET", address, headers={"Accept": "application/json"}))
        except ProviderTrouble as trouble:
            return trouble
        return document if status == 200 else ProviderTrouble(f"The provider answered {status} at {address}.")

    async def _ask(self, request: httpx.Request) -> tuple[int, dict[str, Any]]:
        """One request and its JSON object. No redirects: the secret goes where it is meant to or nowhere."""
        try:
            async with asyncio.timeout(15), httpx.AsyncClient(timeout=10) as client:
                answer = await client.send(request, stream=True)
                body = bytearray()
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > LARGEST:
                        raise ProviderTrouble(f"The provider's answer at {request.url} is too large.")
            document = json.loads(body)
        except (httpx.HTTPError, TimeoutError) as error:
            raise ProviderTrouble(f"The provider does not answer: {type(error).__name__}.") from None
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ProviderTrouble(f"The provider answered {answer.status_code} and no JSON object at {request.url}.")
        return answer.status_code, document


def _secret(settings: Settings) -> str:
    file = settings.oidc_client_secret_file
    try:
        return file.read_text().strip() if file else ""
    except (OSError, UnicodeError) as error:
        raise Refusal(f"NEWSBELL_OIDC_CLIENT_SECRET_FILE: {file} cannot be read: {error}.") from None
