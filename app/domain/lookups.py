"""Lookups: questions to the outside world that a door asks and a worker, which may go there, answers."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.dialects.postgresql import JSONB
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
