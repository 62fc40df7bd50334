"""Lookups: questions to the outside world that a door asks and a worker, which may go there, answers."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base


class Kind(StrEnum):
    FEED = "feed"  # What is in this document, and of which topics would it be?
    LINK = "link"  # Would readers who click find something there?


class Lookup(Base):
    __tablename__ = "lookups"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    kind: Mapped[Kind]
    url: Mapped[str]
    asked_at: Mapped[datetime] = mapped_column(index=True)
    answered_at: Mapped[datetime | None]
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


# Answers are for the person who waits for them.
KEPT = timedelta(hours=1)


def a_lookup(kind: Kind, url: str, now: datetime) -> Lookup:
    return Lookup(id=uuid4(), kind=kind, url=url.strip(), asked_at=now)


async def forget(session: AsyncSession, now: datetime) -> None:
    await session.execute(delete(Lookup).where(Lookup.asked_at < now - KEPT))
