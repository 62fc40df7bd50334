"""The log: one line an event, for a person who reads it in a terminal or in journald."""

import logging
import os
import sys

from app.outage import trouble_of
from app.supervisor import NAME
from app.visible import visible


class OneLine(logging.Formatter):
    """What is logged may quote a feed or a person, so no part of it can look like another event's line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return visible(super().formatMessage(record))

    def formatException(self, ei: object) -> str:
        return _indented(super().formatException(ei))  # type: ignore[arg-type]  # typeshed's private name

    def formatStack(self, stack_info: str) -> str:
        return _indented(super().formatStack(stack_info))


def _is_news(record: logging.LogRecord) -> bool:
    """What libraries say of a database in trouble has been said by app/outage.py, once and in a sentence."""
    error = record.exc_info[1] if record.exc_info else None
    return record.name.startswith("newsbell") or trouble_of(error) is None


def _indented(lines: str) -> str:
    return "\n".join(f"  {visible(line)}" for line in lines.split("\n"))


def speak() -> None:
    """Newsbell's own words from INFO, libraries' from WARNING. Endpoints, keys and tokens are never logged."""
    name = os.environ.get(NAME, "newsbell")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(f"%(asctime)s {name:<9} %(levelname).1s %(message)s", datefmt="%H:%M:%S"))
    handler.addFilter(_is_news)
    for library in ("psycopg", "sqlalchemy.pool"):  # at each try to connect
        logging.getLogger(library).setLevel(logging.CRITICAL)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("newsbell").setLevel(logging.INFO)
