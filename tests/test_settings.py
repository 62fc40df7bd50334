"""Settings: each is read from the environment and stands in the README with its default."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings

README = Path(__file__).parent.parent / "README.md"
NAMES = list(Settings.model_fields)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that runs the tests may have its own."""
    for name in NAMES:
        monkeypatch.delenv(f"NEWSBELL_{name.upper()}", raising=False)


def shown(default: object) -> str:
    """As a person writes it in the environment; the README says nothing where there is nothing."""
    match default:
        case None | () | "":
            return ""
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case _:
            return str(default)


def table() -> dict[str, tuple[str, str]]:
    """The README's rows `| `NEWSBELL_X` | default | meaning |`: name → (default, meaning)."""
    rows = re.findall(r"^\| *`NEWSBELL_(\w+)` *\|([^|]*)\|([^|]*)\|", README.read_text(), re.MULTILINE)
    return {name: (default.strip().strip("`").strip(), meaning.strip()) for name, default, meaning in rows}


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_in_the_readme_with_its_default(name: str) -> None:
    default, meaning = table()[name.upper()]
    # Where there is no default, a dash or a word (“none”, “empty”) may say so.
    given = "" if re.fullmatch(r"[–—-]|\W*(none|empty|not set)\W*", default) else default.removeprefix("./")
    assert given == shown(Settings.model_fields[name].default)
    assert meaning


def test_the_readme_names_no_setting_that_there_is_not() -> None:
    assert set(table()) == {name.upper() for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_says_what_it_is(name: str) -> None:
    assert Settings.model_fields[name].description


def test_all_settings_have_defaults() -> None:
    settings = Settings()
    assert settings.vapid_key_file == Path("var/vapid.pem")
    assert settings.site_url == "http://localhost:8000"
    assert settings.vapid_contact.startswith("mailto:")  # localhost is no contact that a push service accepts
    assert settings.poll_every == timedelta(minutes=3)


@pytest.mark.parametrize(
    "name, value, read",
    [
        ("push_hosts", "push.example, 127.0.0.1:8090 ,", ("push.example", "127.0.0.1:8090")),
        ("push_hosts", "Push.Example", ("push.example",)),
        ("push_hosts", "", ()),
        ("push_hosts", " , ,", ()),
        ("origins", "https://www.example.com/,HTTPS://Example.com", ("https://www.example.com", "https://example.com")),
        ("site_url", "https://bell.example/", "https://bell.example"),
        ("allow_private_addresses", "true", True),
        ("allow_private_addresses", "0", False),
        ("poll_floor", "60", 60.0),
        ("workers", "2", 2),
        ("data_dir", "/srv/newsbell", Path("/srv/newsbell")),
        ("vapid_private_key_file", "/run/secrets/vapid.pem", Path("/run/secrets/vapid.pem")),
    ],
)
def test_a_setting_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, read: object
) -> None:
    monkeypatch.setenv(f"NEWSBELL_{name.upper()}", value)
    assert getattr(Settings(), name) == read


@pytest.mark.parametrize(
    "name, value",
    [
        ("poll_floor", "0"),
        ("poll_floor", "-1"),
        ("poll_floor", "often"),
        ("poll_floor", "nan"),
        ("workers", "-1"),
        ("workers", "many"),
        ("allow_private_addresses", "perhaps"),
    ],
)
def test_a_setting_that_makes_no_sense_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"NEWSBELL_{name.upper()}", value)
    with pytest.raises(ValidationError, match=name):
        Settings()


def test_a_named_key_and_contact_come_first() -> None:
    settings = Settings(vapid_private_key_file=Path("/k.pem"), vapid_subject="mailto:ops@news.example")
    assert (settings.vapid_key_file, settings.vapid_contact) == (Path("/k.pem"), "mailto:ops@news.example")


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().workers = 3  # type: ignore[misc]
