"""Audit: who did what at the desk. It can be read and added to; the database refuses everything else."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Identity
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base


class AuditEntry(Base):
    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str]  # An editor's e-mail, "key NAME", "command line" or "newsbell".
    action: Mapped[str]  # noun.verb: alert.release, editor.add, session.refused …
    subject: Mapped[str]  # What it was done to: an alert's id, an e-mail, a feed's address.
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)


def note(
    session: AsyncSession, now: datetime, *, actor: str, action: str, subject: str = "", **detail: Any
) -> AuditEntry:
    """Write it down in the transaction that does it: neither can be without the other."""
    entry = AuditEntry(at=now, actor=actor, action=action, subject=subject, detail=detail)
    session.add(entry)
    return entry
