"""Cursors: where the next page of a list begins. A list is in order of time, and of ids where times are equal."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from app.domain.refusals import Refusal

Id = TypeVar("Id")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def cursor(at: datetime, of: object) -> str:
    return f"{(at - _EPOCH) // timedelta(microseconds=1)}-{of}"


def read_cursor(text: str | None, id_of: Callable[[str], Id]) -> tuple[datetime, Id] | None:
    if text is None:
        return None
    when, _, of = text.partition("-")
    try:
        return _EPOCH + timedelta(microseconds=int(when)), id_of(of)
    except (ValueError, OverflowError):
        raise Refusal("This is not a page that we gave out.") from None


def big_int(text: str) -> int:
    """As many as the database counts to."""
    number = int(text)
    number.to_bytes(8, signed=True)
    return number
