"""Requests that carry an Idempotency-Key: asked again, they are answered again and nothing is done twice."""

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import LargeBinary, delete, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base
from app.domain.refusals import Refusal

# How long an answer is given again: longer than any program goes on trying.
KEPT = timedelta(hours=24)
LONGEST_KEY = 255


class AnsweredRequest(Base):
    __tablename__ = "answered_requests"

    name: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)  # Hash of who asked, where, with which key.
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)  # Of what was asked.
    status: Mapped[int]
    answer: Mapped[Any] = mapped_column(JSONB)
    at: Mapped[datetime] = mapped_column(index=True)


def name_of(*words: str) -> bytes:
    """Of a request: whose it is, what it asks for and, last, the key that came with it."""
    if not 1 <= len(words[-1]) <= LONGEST_KEY:
        raise Refusal(f"An idempotency key has 1 to {LONGEST_KEY} characters.")
    return hash_of(*words)


def hash_of(*words: str) -> bytes:
    return hashlib.sha256(json.dumps(words).encode()).digest()


async def begin(session: AsyncSession, name: bytes, fingerprint: bytes, now: datetime) -> AnsweredRequest | None:
    """The answer that this request got before; None if it is the first of its name, which must `end` what it begins.

    A twin that comes while the first is still being worked on waits here until that one's transaction is over: the
    index lets nobody in before. If it was rolled back, the twin is the first.
    """
    fresh = {"name": name, "fingerprint": fingerprint, "status": 0, "answer": None, "at": now}
    mine = insert(AnsweredRequest).values(fresh).on_conflict_do_nothing().returning(AnsweredRequest.name)
    if await session.scalar(mine) is not None:
        return None
    before = (await session.scalars(select(AnsweredRequest).where(AnsweredRequest.name == name))).one()
    if before.fingerprint != fingerprint:
        raise Refusal("This idempotency key came with another request before. Take a new key for a new request.")
    return before


async def end(session: AsyncSession, name: bytes, status: int, answer: Any) -> None:
    values = {"status": status, "answer": answer}
    await session.execute(update(AnsweredRequest).where(AnsweredRequest.name == name).values(values))


async def forget(session: AsyncSession, now: datetime) -> None:
    await session.execute(delete(AnsweredRequest).where(AnsweredRequest.at < now - KEPT))
