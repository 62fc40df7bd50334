"""The page for programs: it is there, it lists what there is, and it loads nothing from elsewhere."""

import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from app.context import STATIC
from app.docs import TAGS
from app.main import create_app
from app.settings import Settings
from app.vapid import make_key
from tests.browser import Firefox, until

NOBODY = "postgresql://bell@127.0.0.1:1/newsbell"  # /docs and /openapi.json need no database.
OURS = ("docs.html", "docs.js", "docs-operation.js", "docs-schema.js", "copy.js", "page.js", "api.js")


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    folder = tmp_path_factory.mktemp("data")
    make_key(folder / "vapid.pem")
    return create_app(Settings(database_url=NOBODY, data_dir=folder))


@pytest.fixture
async def api(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="https://news.example") as client:
        yield client


@pytest.fixture(scope="module")
def served(application: FastAPI) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, "the server")
    yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, what) for path, each in document["paths"].items() for method, what in each.items()]


async def test_the_page_is_served_with_the_strict_policy(api: httpx.AsyncClient) -> None:
    answer = await api.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


async def test_the_page_is_not_one_of_the_requests_it_lists(api: httpx.AsyncClient) -> None:
    assert "/docs" not in (await api.get("/openapi.json")).json()["paths"]


@pytest.mark.parametrize("name", OURS)
def test_nothing_is_loaded_from_another_origin(name: str) -> None:
    text = (STATIC / name).read_text()
    assert not re.search(r"""(?:src|href|from|import)\s*[=(]?\s*["'](?:https?:)?//""", text)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|innerHTML", text)


def test_every_request_has_words_and_a_group_that_is_explained(application: FastAPI) -> None:
    explained = {tag["name"] for tag in TAGS}
    for method, path, what in operations(application.openapi()):
        assert set(what.get("tags", ())) & explained, f"{method} {path} stands in no group."
        assert what.get("description"), f"{method} {path} does not say what it does."


def test_the_examples_of_the_guide_are_requests_that_exist(application: FastAPI) -> None:
    page = (STATIC / "docs.html").read_text()
    asked = set(re.findall(r"</span>(/api/[A-Za-z0-9/.$-]+)", page))
    assert len(asked) >= 3
    known = {re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)) for path in application.openapi()["paths"]}
    for path in asked:
        assert any(pattern.fullmatch(path) for pattern in known), f"There is no {path}."


def test_it_lists_every_documented_request_with_an_example(application: FastAPI, firefox: Firefox, served: str) -> None:
    firefox.site = served
    firefox.open("/docs")
    until(lambda: firefox.shows("#find-request"), "the list of requests")
    script = "return JSON.stringify([...document.querySelectorAll('.request summary code')].map((c) => c.textContent))"
    listed = sorted(json.loads(str(firefox.driver.page(script))))
    assert listed == sorted(f"{m.upper()} {path}" for m, path, _ in operations(application.openapi()))

    firefox.driver.page("for (const each of document.querySelectorAll('.request')) each.open = true;")
    examples = "return document.querySelectorAll('.request .example code').length"
    until(lambda: firefox.driver.page(examples) == len(listed), "an example of each")
    said = str(firefox.driver.page("return document.querySelector('#reference').textContent"))
    assert not re.search(r"undefined|\[object", said)
    assert [each for each in firefox.complaints() if "api/site" not in each] == []  # It has no database.
