"""The commands as an operator gives them, in this process: each start of Python would take two seconds more.

That a start of Python comes to the same: test_command, one command of test_reader_journey and one refusal of test_up.
"""

import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app.cli import main
from app.terminal import out


class Ended(NamedTuple):
    code: int
    said: str
    complained: str


class Terminal:
    """`environment`: settings by their names, without the NEWSBELL_ that all begin with."""

    def __init__(self, *first: str, **environment: str) -> None:
        self.first, self.environment = first, environment
        self.columns: int | None = None  # None: what is said goes into a file, whose lines have no end

    def of(self, group: str) -> "Terminal":
        """Where every command is one of `./newsbell {group} …`."""
        return Terminal(group, **self.environment)

    def run(self, *arguments: object, typed: str = "") -> Ended:
        # A command has an event loop of its own, and here may be one already.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._run, [*self.first, *map(str, arguments)], typed).result(timeout=60)

    def _run(self, arguments: list[str], typed: str) -> Ended:
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(io.StringIO()) as said,
            redirect_stderr(io.StringIO()) as complained,
        ):
            for name, value in self.environment.items():
                patch.setenv(f"NEWSBELL_{name}", value)
            patch.delenv("COLUMNS", raising=False)
            if self.columns:
                patch.setenv("COLUMNS", str(self.columns))
            patch.setattr(out, "width", self.columns or 80)
            patch.setattr(sys, "argv", ["./newsbell", *arguments])
            patch.setattr(sys, "stdin", io.StringIO(typed))
            with pytest.raises(SystemExit) as ended:
                main()
        code = ended.value.code
        if isinstance(code, str):  # which Python itself would print
            return Ended(1, said.getvalue(), f"{complained.getvalue()}{code}\n")
        return Ended(code or 0, said.getvalue(), complained.getvalue())

    def said(self, *arguments: object, typed: str = "") -> str:
        ended = self.run(*arguments, typed=typed)
        assert ended.code == 0, ended.complained
        return ended.said

    def json(self, *arguments: object) -> Any:
        return json.loads(self.said(*arguments, "--json"))

    def refused(self, *arguments: object) -> str:
        """The one sentence."""
        ended = self.run(*arguments)
        assert (ended.code, ended.said, ended.complained.count("\n")) == (1, "", 1), ended
        assert ended.complained.startswith("newsbell: ")
        return ended.complained


@pytest.fixture
def terminal(database_url: str, tmp_path: Path) -> Terminal:
    """On this test's own database."""
    return Terminal(DATABASE_URL=database_url, DATA_DIR=str(tmp_path), SITE_URL="https://desk.example")
