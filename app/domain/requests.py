"""Requests that carry an Idempotency-Key: asked again, they are answered again and nothing is done twice."""

from datetime import datetime
from typing import Any

from sqlalchemy import LargeBinary
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base


class AnsweredRequest(Base):
    __tablename__ = "answered_requests"

    name: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)  # Hash of who asked, where, with which key.
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)  # Of what was asked.
    status: Mapped[int]
    answer: Mapped[Any] = mapped_column(JSONB)
    at: Mapped[datetime] = mapped_column(index=True)
