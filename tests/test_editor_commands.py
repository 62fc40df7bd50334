"""`./newsbell editor …` as an operator uses it, on a real database."""

from urllib.parse import urlsplit

import psycopg
import pytest

from app.passwords import Passwords
from tests.terminal import Terminal

SITE = "https://desk.example"
PASSWORD = "correct horse battery"


@pytest.fixture
def shell(terminal: Terminal) -> Terminal:
    return terminal.of("editor")


def link_in(said: str) -> str:
    [link] = [word for word in said.split() if word.startswith(SITE)]
    assert urlsplit(link).path == "/desk"
    assert len(urlsplit(link).fragment) >= len("link=") + 43
    return link


def actions(url: str) -> list[tuple[str, str, str]]:
    with psycopg.connect(url) as db:
        return db.execute("SELECT actor, action, subject FROM audit ORDER BY id").fetchall()


def test_an_editor_is_added_by_a_link_and_disabled(shell: Terminal, database_url: str) -> None:
    assert "No editors yet" in shell.said("list")
    assert shell.json("list") == []
    said = shell.said("add", "Ada@desk.example", "--role", "owner", "--name", "Ada")
    assert "Added ada@desk.example, owner." in said
    first = link_in(said)
    assert link_in(shell.said("link", "ada@desk.example")) != first
    assert shell.json("list") == [
        {
            "email": "ada@desk.example",
            "name": "Ada",
            "role": "owner",
            "signed_in_at": None,
            "sessions": 0,
            "has_password": False,
            "disabled_at": None,
        }
    ]
    assert "ada@desk.example" in shell.said("list") and "Ada" in shell.said("list")
    assert "last owner" in shell.refused("disable", "ada@desk.example")
    shell.said("add", "grace@desk.example")
    assert "nowhere" in shell.said("disable", "GRACE@desk.example")
    assert "disabled" in shell.refused("link", "grace@desk.example")
    assert [(row["role"], bool(row["disabled_at"])) for row in shell.json("list")] == [
        ("owner", False),
        ("editor", True),
    ]
    assert [action for action in actions(database_url) if action[2].startswith("grace")] == [
        ("command line", "editor.add", "grace@desk.example"),
        ("command line", "link.made", "grace@desk.example"),
        ("command line", "editor.disable", "grace@desk.example"),
    ]


async def test_a_password_is_read_from_standard_input(shell: Terminal, database_url: str) -> None:
    said = shell.said("add", "ada@desk.example", "--password-stdin", typed=PASSWORD + "\n")
    assert SITE not in said and PASSWORD not in said
    with psycopg.connect(database_url) as db:
        [kept] = db.execute("SELECT password_hash FROM editors").fetchone() or (None,)
    assert await Passwords().fits(PASSWORD, kept)
    assert not [action for action in actions(database_url) if action[1] == "link.made"]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["add", "nobody"], "looks like"),
        (["add", "a@desk.example", "--role", "emperor"], "--role"),
        (["add", "a@desk.example", "--password-stdin"], "at least 12"),
        (["link", "nobody@desk.example"], "no editor"),
        (["disable", "nobody@desk.example"], "no editor"),
    ],
)
def test_what_cannot_be_is_one_sentence(shell: Terminal, arguments: list[str], sentence: str) -> None:
    assert sentence in shell.refused(*arguments)


def test_an_address_is_one_editors_only(shell: Terminal) -> None:
    shell.said("add", "ada@desk.example")
    assert "already" in shell.refused("add", "Ada@desk.example")
