"""Single sign-on: with a provider that speaks the truth, and with everything that could be a lie."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from sqlalchemy import select

from app.database import transaction
from app.domain.audit import AuditEntry
from app.domain.editors import Editor, Role, editor_by_email
from app.domain.refusals import Refusal
from app.domain.sign_ins import disable
from app.oidc import PATIENCE, Attempt, BeginAgain, SingleSignOn
from app.settings import Settings
from tests.desk import SITE, Desk, a_database, a_desk
from tests.makers import NOW, an_editor_row
from tests.provider import CLIENT, SECRET, Provider, provider
from tests.test_api import explained

START, CALLBACK = "/api/oidc/start", "/api/oidc/callback"


@pytest.fixture(scope="module")
def idp_process() -> Iterator[Provider]:
    with provider() as made:
        yield made


@pytest.fixture
def idp(idp_process: Provider) -> Provider:
    idp_process.reset()
    return idp_process


@pytest.fixture(scope="module")
async def open_house(
    server: str, migrated: str, tmp_path_factory: pytest.TempPathFactory, idp_process: Provider
) -> AsyncIterator[Desk]:
    """A desk that knows the provider, and lets everybody of news.example in."""
    folder = tmp_path_factory.mktemp("oidc")
    (folder / "secret").write_text(SECRET + "\n")
    settings = {
        "oidc_issuer": idp_process.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret_file": folder / "secret",
        "oidc_name": "the Courier's account",
        "oidc_domains": ("news.example",),
        "allow_private_addresses": True,
    }
    with a_database(server, "oidc") as url:
        async with a_desk(url, folder, **settings) as made:
            yield made


async def asked(address: str) -> str:
    """Where a page that is not ours sends the browser."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(address)
    assert answer.status_code == 302
    return str(answer.headers["location"])


async def begun(client: httpx.AsyncClient) -> str:
    answer = await client.get(START)
    assert answer.status_code == 302
    return str(answer.headers["location"])


async def sign_on(client: httpx.AsyncClient) -> str:
    """There and back again: where one ends up at the desk."""
    back = await asked(await begun(client))
    assert back.startswith(f"{SITE}{CALLBACK}?")
    return await came_back(client, back)


async def came_back(client: httpx.AsyncClient, address: str) -> str:
    answer = await client.get(address)
    assert answer.status_code == 302
    return str(answer.headers["location"])


async def me(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/api/session")
    assert answer.status_code == 200
    editor: dict[str, Any] = answer.json()["editor"]
    return editor


async def found(desk: Desk, email: str) -> Editor | None:
    async with transaction(desk.sessions) as session:
        return await editor_by_email(session, email)


async def last_refusal(desk: Desk) -> AuditEntry:
    async with transaction(desk.sessions) as session:
        refusals = select(AuditEntry).where(AuditEntry.action == "session.refused")
        return (await session.scalars(refusals.order_by(AuditEntry.id.desc()).limit(1))).one()


async def an_editor(desk: Desk, email: str, role: Role = Role.EDITOR) -> None:
    async with transaction(desk.sessions) as session:
        await an_editor_row(session, role, email)


# The way in


async def test_the_desk_says_that_there_is_single_sign_on(open_house: Desk) -> None:
    said = (await open_house.browser().get("/api/sign-in")).json()
    assert said["single_sign_on"] == {"name": "the Courier's account", "url": START}


async def test_where_there_is_none_there_is_no_way_to_it(desk: Desk) -> None:
    assert (await desk.browser().get("/api/sign-in")).json()["single_sign_on"] is None
    for path in (START, CALLBACK):
        explained(await desk.browser().get(path), 404)


async def test_an_editor_comes_in_and_keeps_the_role(open_house: Desk, idp: Provider) -> None:
    await an_editor(open_house, "olga@elsewhere.example", Role.OWNER)
    idp.person |= {"sub": "olga-1", "email": "Olga@Elsewhere.example"}
    client = open_house.browser()
    assert await sign_on(client) == "/desk"
    assert ((await me(client))["email"], (await me(client))["role"]) == ("olga@elsewhere.example", "owner")
    cookie = client.cookies[open_house.cookie]
    assert len(cookie) >= 43
    idp.person["email"] = "olga@married.example"  # another address, and the same person
    again = open_house.browser()
    assert await sign_on(again) == "/desk"
    assert (await me(again))["email"] == "olga@elsewhere.example"
    assert again.cookies[open_house.cookie] != cookie


async def test_somebody_of_the_house_becomes_a_writer(open_house: Desk, idp: Provider) -> None:
    idp.person |= {"sub": "new-1", "email": "new@news.example", "name": "A New One"}
    client = open_house.browser()
    assert await sign_on(client) == "/desk"
    editor = await me(client)
    assert (editor["email"], editor["role"], editor["name"]) == ("new@news.example", "writer", "A New One")
    async with transaction(open_house.sessions) as session:
        actions = select(AuditEntry.action).where(AuditEntry.subject == "new@news.example").order_by(AuditEntry.id)
        assert (await session.scalars(actions)).all() == ["editor.add", "session.open"]


@pytest.mark.parametrize("email", ["eve@evil.example", "eve@sub.news.example", "eve@xnews.example"])
async def test_a_stranger_stays_outside(open_house: Desk, idp: Provider, email: str) -> None:
    idp.person |= {"sub": "eve", "email": email}
    client = open_house.browser()
    assert await sign_on(client) == "/desk#sign-in=refused"
    explained(await client.get("/api/session"), 401)
    assert await found(open_house, email) is None
    assert (await last_refusal(open_house)).subject == email


async def test_whoever_is_disabled_stays_outside(open_house: Desk, idp: Provider) -> None:
    async with transaction(open_house.sessions) as session:
        editor = await an_editor_row(session, Role.EDITOR, "gone@news.example")
        await disable(session, editor, NOW)
    idp.person |= {"sub": "gone-1", "email": "gone@news.example"}
    assert await sign_on(open_house.browser()) == "/desk#sign-in=refused"


async def test_an_address_that_passed_to_another_person_does_not_pass_the_account_on(
    open_house: Desk, idp: Provider
) -> None:
    idp.person |= {"sub": "first-holder", "email": "desk@news.example"}
    assert await sign_on(open_house.browser()) == "/desk"
    idp.person["sub"] = "second-holder"
    assert await sign_on(open_house.browser()) == "/desk#sign-in=refused"


@pytest.mark.parametrize("verified", [False, None, "false", 0, "yes"])
async def test_an_address_that_nobody_has_verified_proves_nothing(
    open_house: Desk, idp: Provider, verified: object
) -> None:
    email = f"victim-{type(verified).__name__}-{verified}@news.example".lower()
    await an_editor(open_house, email, Role.OWNER)
    idp.person |= {"sub": "eve", "email": email, "email_verified": verified}
    assert await sign_on(open_house.browser()) == "/desk#sign-in=refused"


async def test_what_the_token_does_not_say_the_provider_may_say_elsewhere(open_house: Desk, idp: Provider) -> None:
    idp.described = {"userinfo_endpoint": f"{idp.issuer}/userinfo"}
    idp.person = {"sub": "thin-1"}
    idp.user_info = {"sub": "thin-1", "email": "thin@news.example", "email_verified": True}
    await without_memory(open_house)
    client = open_house.browser()
    assert await sign_on(client) == "/desk"
    assert (await me(client))["email"] == "thin@news.example"
    idp.user_info["sub"] = "somebody else"
    assert await sign_on(open_house.browser()) == "/desk#sign-in=unreachable"
    await without_memory(open_house)


async def test_the_secret_goes_where_the_provider_wants_it(open_house: Desk, idp: Provider) -> None:
    idp.described = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    await without_memory(open_house)
    assert await sign_on(open_house.browser()) == "/desk"
    await without_memory(open_house)


async def without_memory(desk: Desk) -> None:
    """As after a restart: the provider's description is read again."""
    assert desk.site.sign_on
    desk.site.sign_on._read.clear()


# State, nonce, PKCE


async def test_each_attempt_is_new_and_bound_to_its_browser(open_house: Desk, idp: Provider) -> None:
    client = open_house.browser()
    first, second = [parse_qs(urlsplit(await begun(client)).query) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name] and len(first[name][0]) >= 43
    assert first["redirect_uri"] == [f"{SITE}{CALLBACK}"]
    answer = await client.get(START)
    assert answer.headers["set-cookie"].startswith("__Host-newsbell-sign-on=")
    assert len(answer.headers["set-cookie"].split("=")[1].split(";")[0]) < 512
    for attribute in ("HttpOnly", "Secure", "SameSite=lax", "Max-Age=600"):
        assert attribute in answer.headers["set-cookie"]


async def test_what_another_browser_began_is_not_finished_here(open_house: Desk, idp: Provider) -> None:
    """Or somebody could be signed in, unnoticed, as whoever sent them a link."""
    mallory, victim = open_house.browser(), open_house.browser()
    back = await asked(await begun(mallory))
    assert await came_back(victim, back) == "/desk#sign-in=again"  # it has begun nothing
    await begun(victim)
    assert await came_back(victim, back) == "/desk#sign-in=again"  # it has begun something else
    explained(await victim.get("/api/session"), 401)


async def test_an_answer_is_good_for_once(open_house: Desk, idp: Provider) -> None:
    client = open_house.browser()
    back = await asked(await begun(client))
    attempt = client.cookies["__Host-newsbell-sign-on"]
    assert await came_back(client, back) == "/desk"
    assert "__Host-newsbell-sign-on" not in client.cookies
    assert await came_back(client, back) == "/desk#sign-in=again"
    thief = open_house.browser()
    thief.cookies.set("__Host-newsbell-sign-on", attempt, domain="news.example")
    assert await came_back(thief, back) == "/desk#sign-in=again"  # the provider knows the code as spent


async def test_a_code_of_another_attempt_does_not_fit(open_house: Desk, idp: Provider) -> None:
    """An attacker's code in the victim's own answer: the verifier belongs to another challenge."""
    mallory, victim = open_house.browser(), open_house.browser()
    stolen = parse_qs(urlsplit(await asked(await begun(mallory))).query)["code"][0]
    own = parse_qs(urlsplit(await asked(await begun(victim))).query)
    assert await came_back(victim, f"{CALLBACK}?code={stolen}&state={own['state'][0]}") == "/desk#sign-in=again"


async def test_the_provider_is_not_asked_about_what_was_not_begun_here(open_house: Desk, idp: Provider) -> None:
    await sign_on(open_house.browser())
    idp.asked.clear()
    honest = open_house.browser()
    await begun(honest)
    real = honest.cookies["__Host-newsbell-sign-on"]
    _, nonce, verifier, until, signature = real.split(".")
    made_up = [
        "mine.nonce.verifier",
        f"mine.{nonce}.{verifier}.{until}.{signature}",
        f"mine.{nonce}.{verifier}.{int(until) + 1}.{signature}",
        f"mine.{nonce}.{verifier}",
        "mine....",
    ]
    for cookie in made_up * 8:
        stranger = open_house.browser()
        stranger.cookies.set("__Host-newsbell-sign-on", cookie, domain="news.example")
        assert await came_back(stranger, f"{CALLBACK}?code=x&state=mine") == "/desk#sign-in=again"
    assert idp.asked == []


async def test_an_attempt_that_was_begun_long_ago_is_over(open_house: Desk, idp: Provider) -> None:
    key, begun_at = open_house.site.attempts_key, datetime.now(UTC)
    attempt = Attempt.begin()
    cookie = attempt.signed(key, begun_at)
    assert Attempt.read(cookie, key, begun_at + PATIENCE - timedelta(seconds=2)) == attempt
    for at, by in ((begun_at + PATIENCE + timedelta(seconds=2), key), (begun_at, b"another site's key")):
        with pytest.raises(BeginAgain):
            Attempt.read(cookie, by, at)


async def test_codes_that_are_made_up_are_slowed_like_guesses(open_house: Desk, idp: Provider) -> None:
    await sign_on(open_house.browser())
    idp.asked.clear()
    stranger, places = open_house.browser(address="198.51.100.200"), []
    for number in range(12):
        state = parse_qs(urlsplit(await begun(stranger)).query)["state"][0]
        places.append(await came_back(stranger, f"{CALLBACK}?code=made-up-{number}&state={state}"))
    assert places[:5] == ["/desk#sign-in=again"] * 5 and places[-1] == "/desk#sign-in=slower"
    assert idp.asked.count("/token") <= 7


async def test_a_provider_that_fails_is_asked_once_however_many_begin(open_house: Desk, idp: Provider) -> None:
    idp.broken = True
    await without_memory(open_house)
    places = await asyncio.gather(*(open_house.browser().get(START) for _ in range(20)))
    assert {answer.headers["location"] for answer in places} == {"/desk#sign-in=unreachable"}
    assert idp.asked.count("/.well-known/openid-configuration") == 1
    await without_memory(open_house)


@pytest.mark.parametrize("query", ["", "?code=x", "?state=x", "?error=access_denied", "?state=%00&code=%ff"])
async def test_a_callback_out_of_nowhere_is_no_sign_in(open_house: Desk, query: str) -> None:
    assert await came_back(open_house.browser(), CALLBACK + query) == "/desk#sign-in=again"


async def test_whoever_says_no_at_the_provider_is_back_at_the_desk(open_house: Desk, idp: Provider) -> None:
    idp.refuses = "access_denied"
    assert await sign_on(open_house.browser()) == "/desk"
    idp.refuses = "server_error"
    assert await sign_on(open_house.browser()) == "/desk#sign-in=unreachable"


async def test_an_answer_of_another_provider_is_not_taken_to_this_one(open_house: Desk, idp: Provider) -> None:
    client = open_house.browser()
    back = await asked(await begun(client))
    assert await came_back(client, f"{back}&iss=https://other.example") == "/desk#sign-in=again"
    back = await asked(await begun(client))
    assert await came_back(client, f"{back}&iss={idp.issuer}") == "/desk"


# The provider's word


@pytest.mark.parametrize(
    "lie",
    [
        {"iss": "https://other.example"},
        {"iss": None},
        {"aud": "another program"},
        {"aud": ["another program"]},
        {"aud": None},
        {"aud": [CLIENT, "another program"]},
        {"aud": [CLIENT, "another program"], "azp": "another program"},
        {"azp": "another program"},
        {"exp": int(time.time()) - 120},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": int(time.time()) + 3600},
        {"iat": None},
        {"nonce": "of another attempt"},
        {"nonce": None},
        {"sub": None},
        {"sub": 12},
        {"sub": "nul\x00"},
    ],
)
async def test_a_word_that_does_not_hold_lets_nobody_in(open_house: Desk, idp: Provider, lie: dict[str, Any]) -> None:
    idp.claims = lie
    client = open_house.browser()
    assert await sign_on(client) == "/desk#sign-in=unreachable"
    explained(await client.get("/api/session"), 401)


async def test_a_token_for_this_desk_and_others_is_good_if_it_was_made_for_this_one(
    open_house: Desk, idp: Provider
) -> None:
    idp.claims = {"aud": [CLIENT, "another program"], "azp": CLIENT}
    assert await sign_on(open_house.browser()) == "/desk"


async def test_only_the_providers_own_signature_counts(open_house: Desk, idp: Provider) -> None:
    stranger = RSAKey.generate_key(2048, {"kid": "one"})
    public = idp.key.as_pem(private=False)

    ways: dict[str, Callable[[dict[str, Any]], str]] = {
        "signed by somebody else under its name": lambda claims: idp.signed(claims, stranger),
        "signed with the client's secret": lambda claims: hmac_signed(claims, SECRET.encode().ljust(32, b"_")),
        "signed with the public key as a secret": lambda claims: hmac_signed(claims, public),
        "not signed": unsigned,
        "no token": lambda claims: "",
        "not even base64": lambda claims: "a.b.c",
        "tampered with": lambda claims: tampered(idp.signed(claims)),
    }
    for way, sign in ways.items():
        idp.sign = sign
        assert await sign_on(open_house.browser()) == "/desk#sign-in=unreachable", way


def hmac_signed(claims: dict[str, Any], secret: bytes) -> str:
    return jwt.encode({"alg": "HS256", "kid": "one"}, claims, OctKey.import_key(secret), algorithms=["HS256"])


def unsigned(claims: dict[str, Any]) -> str:
    signed = jwt.encode({"alg": "none"}, claims, OctKey.import_key(b"x" * 32), algorithms=["none"])
    return signed.rpartition(".")[0] + "."


def tampered(token: str) -> str:
    head, body, signature = token.split(".")
    return f"{head}.{body[:-2]}AA.{signature}"


async def test_a_new_key_of_the_provider_is_learnt(open_house: Desk, idp: Provider) -> None:
    assert await sign_on(open_house.browser()) == "/desk"
    before = idp.key
    idp.key = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"})
    assert open_house.site.sign_on
    # As if the old one had been read a while ago.
    kept = open_house.site.sign_on._read
    kept[f"{idp.issuer}/keys"] = (NOW, kept[f"{idp.issuer}/keys"][1])
    assert await sign_on(open_house.browser()) == "/desk"
    idp.key = before
    await without_memory(open_house)


async def test_a_key_that_nobody_knows_is_not_asked_for_again_and_again(open_house: Desk, idp: Provider) -> None:
    assert await sign_on(open_house.browser()) == "/desk"
    unknown = RSAKey.generate_key(2048, {"kid": "never seen"})
    idp.sign = lambda claims: idp.signed(claims, unknown)
    for _ in range(3):
        assert await sign_on(open_house.browser()) == "/desk#sign-in=unreachable"
    assert idp.asked.count("/keys") <= 1


async def test_its_description_is_read_once(open_house: Desk, idp: Provider) -> None:
    await without_memory(open_house)
    for _ in range(3):
        assert await sign_on(open_house.browser()) == "/desk"
    assert idp.asked.count("/.well-known/openid-configuration") == 1


@pytest.mark.parametrize(
    "described",
    [
        {"issuer": "https://other.example"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "/authorize"},
    ],
)
async def test_a_description_that_makes_no_sense_leads_nowhere(
    open_house: Desk, idp: Provider, described: dict[str, Any]
) -> None:
    idp.described = described
    await without_memory(open_house)
    assert (await open_house.browser().get(START)).headers["location"] == "/desk#sign-in=unreachable"
    await without_memory(open_house)


async def test_a_provider_that_is_broken_or_gone_is_one_word(open_house: Desk, idp: Provider, tmp_path: Path) -> None:
    idp.broken = True
    await without_memory(open_house)
    assert (await open_house.browser().get(START)).headers["location"] == "/desk#sign-in=unreachable"
    gone = Settings(oidc_issuer="http://127.0.0.1:1", oidc_client_id=CLIENT, allow_private_addresses=True)
    sign_on = SingleSignOn.of(gone)
    assert sign_on
    with pytest.raises(Refusal, match="does not answer"):
        await sign_on._described()
    await without_memory(open_house)


# Settings


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"oidc_client_id": ""}, "NEWSBELL_OIDC_CLIENT_ID"),
        ({"oidc_client_secret_file": Path("/nowhere/secret")}, "NEWSBELL_OIDC_CLIENT_SECRET_FILE"),
        ({"oidc_issuer": "http://sso.news.example"}, "NEWSBELL_OIDC_ISSUER"),
        ({"oidc_issuer": "sso.news.example"}, "NEWSBELL_OIDC_ISSUER"),
    ],
)
def test_settings_that_cannot_work_stop_the_start(settings: dict[str, Any], sentence: str) -> None:
    wanted = {"oidc_issuer": "https://sso.news.example", "oidc_client_id": CLIENT} | settings
    with pytest.raises(Refusal, match=sentence):
        SingleSignOn.of(Settings(**wanted))


def test_without_an_issuer_there_is_none() -> None:
    assert SingleSignOn.of(Settings()) is None
