"""House rules about who may import what (README, "Layout")."""

import ast
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
DOORS = {
    "prompt",
    "preferences",
    "signin",
    "people",
    "desk",
    "alerts",
    "bell",
    "live",
    "feeds",
    "links",
    "reports",
    "docs",
}
# What each noun of the domain may know: those before it.
NOUNS = [
    "refusals",
    "wall_clock",
    "base",
    "outcomes",
    "time_zones",
    "entries",
    "topics",
    "feeds",
    "feed_rings",
    "stories",
    "proofs",
    "messages",
    "editors",
    "sign_ins",
    "api_keys",
    "guesses",
    "audit",
    "requests",
    "lookups",
    "push_services",
    "probation",
    "shards",
    "alerts",
    "decisions",
    "told",
    "advice",
    "marks",
    "wrong_clocks",
    "receipts",
    "lanes",
    "troubles",
    "subscriptions",
    "reports",
    "pace_meter",
    "moments",
    "own_browsers",
    "approvals",
    "models",
]
# One library, one door.
ONE_DOOR: dict[str, str | tuple[str, ...]] = {
    "fastapi": "app/",
    "httpx": ("worker/fetch.py", "app/oidc.py"),
    "httpcore": "worker/fetch.py",
    "feedparser": "worker/parse.py",
    "ftfy": "worker/parse.py",
    "pycurl": "worker/wire.py",
    "typer": "app/",
    "argon2": "app/passwords.py",
    "authlib": "app/oidc.py",
    "joserfc": "app/oidc.py",
    "procrastinate": ("app/queue.py", "worker/", "migrations/"),
    "uvicorn": "app/",
}


def imports_of(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {f"{node.module}.{name.name}" for name in node.names} | {node.module or ""}
    return found


def source_files() -> list[str]:
    return sorted(str(f.relative_to(PROJECT)) for part in ("app", "worker") for f in (PROJECT / part).rglob("*.py"))


@pytest.mark.parametrize("file", [f for f in source_files() if f.startswith("app/domain/")])
def test_the_domain_knows_the_standard_library_sqlalchemy_and_earlier_nouns_only(file: str) -> None:
    allowed = {"app", "sqlalchemy", *sys.stdlib_module_names}
    imported = imports_of(PROJECT / file)
    assert {name.partition(".")[0] for name in imported} <= allowed
    noun = Path(file).stem
    earlier = set(NOUNS[: NOUNS.index(noun)]) if noun in NOUNS else set()
    ours = {name.split(".")[2] for name in imported if name.startswith("app.domain.")}
    assert ours <= earlier
    assert not {name for name in imported if name.startswith("app.") and not name.startswith("app.domain")}


@pytest.mark.parametrize("file", [f for f in source_files() if Path(f).stem in DOORS and f.startswith("app/")])
def test_doors_know_neither_each_other_nor_the_worker(file: str) -> None:
    imported = imports_of(PROJECT / file)
    assert not {name for name in imported if name.split(".")[0] == "worker"}
    assert not {f"app.{door}" for door in DOORS - {Path(file).stem}} & imported


@pytest.mark.parametrize("file", [f for f in source_files() if f.startswith("worker/")])
def test_the_worker_knows_no_door(file: str) -> None:
    imported = imports_of(PROJECT / file)
    ours = DOORS | {"main", "context", "cli", "shapes", "editor_shapes", "terminal", "up"}
    closed = {"fastapi", "starlette", "typer", *(f"app.{name}" for name in ours)}
    assert not {name for name in imported for shut in closed if name == shut or name.startswith(shut + ".")}


@pytest.mark.parametrize("file", source_files())
def test_one_library_has_one_door(file: str) -> None:
    for library, door in ONE_DOOR.items():
        if any(name == library or name.startswith(library + ".") for name in imports_of(PROJECT / file)):
            assert file.startswith(door), f"{library} belongs behind {door}"
