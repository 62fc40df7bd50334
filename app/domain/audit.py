"""Audit: who did what at the desk. It can be read and added to; the database refuses everything else."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Identity, and_, or_, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base

NOTES = 5  # at most, that stand at somebody's desk

COMMAND_LINE = "command line"  # The actor where somebody who has the machine gave a command.


class AuditEntry(Base):
    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str]  # An editor's e-mail, "key NAME", "command line" or "newsbell".
    action: Mapped[str]  # noun.verb: alert.release, editor.add, session.refused …
    subject: Mapped[str] = mapped_column(index=True)  # What it was done to: an alert's id, an e-mail, a feed's address.
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)


def note(
    session: AsyncSession, now: datetime, *, actor: str, action: str, subject: str = "", **detail: Any
) -> AuditEntry:
    """Write it down in the transaction that does it: neither can be without the other."""
    entry = AuditEntry(at=now, actor=actor, action=action, subject=subject, detail=detail)
    session.add(entry)
    return entry


async def notes_for(session: AsyncSession, email: str, *, owner: bool, since: datetime) -> Sequence[AuditEntry]:
    """What others did that lets somebody in as this editor or, which owners see, as anybody; the newest first.

    The link that makes the first owner is nobody's: it lets in whoever reads this.
    """
    links = and_(AuditEntry.action == "link.made", AuditEntry.subject != "")
    wanted = or_(links, AuditEntry.action == "editor.add") if owner else and_(links, AuditEntry.subject == email)
    query = select(AuditEntry).where(wanted, AuditEntry.at > since, AuditEntry.actor != email)
    return (await session.scalars(query.order_by(AuditEntry.id.desc()).limit(NOTES))).all()


async def read(
    session: AsyncSession,
    *,
    limit: int,
    before: int | None = None,
    action: str | None = None,
    subject: str | None = None,
    actor: str | None = None,
) -> Sequence[AuditEntry]:
    """The newest first. `action` is one (alert.release) or all of a noun (alert)."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    if action is not None:
        exactly, of_noun = AuditEntry.action == action, AuditEntry.action.startswith(f"{action}.", autoescape=True)
        query = query.where(or_(exactly, of_noun))
    if subject is not None:
        query = query.where(AuditEntry.subject == subject)
    if actor is not None:
        query = query.where(AuditEntry.actor == actor)
    return (await session.scalars(query)).all()
