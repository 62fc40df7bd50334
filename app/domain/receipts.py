"""Receipts: what became of an alert after the push service took it. Counts by the minute, never who."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base


class Event(StrEnum):
    SHOWN = "shown"  # The browser showed it (a sample of browsers tells).
    CLICKED = "clicked"  # The reader opened the story.
    CLOSED = "closed"  # The reader closed it unread.
    STOPPED = "stopped"  # Somebody who got it within the last day stopped all notifications.
    TOPIC_OFF = "topic_off"  # Somebody who got it within the last day gave up one of its topics.


class Receipt(Base):
    __tablename__ = "receipts"

    alert_id: Mapped[UUID] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True)
    event: Mapped[Event] = mapped_column(primary_key=True)
    lane: Mapped[str] = mapped_column(primary_key=True)  # The push service's origin; empty: not told.
    minute: Mapped[datetime] = mapped_column(primary_key=True)
    count: Mapped[int]
