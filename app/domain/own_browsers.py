"""Editors' own browsers: where tests of an alert and requests to approve one go."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base
from app.domain.editors import Editor
from app.domain.subscriptions import Subscription


class EditorBrowser(Base):
    """A browser of an editor's own, for tests and for requests to approve. It is a subscription like any other."""

    __tablename__ = "editor_browsers"

    editor_id: Mapped[int] = mapped_column(ForeignKey(Editor.id, ondelete="CASCADE"), primary_key=True)
    subscription_id: Mapped[int] = mapped_column(
        ForeignKey(Subscription.id, ondelete="CASCADE"), primary_key=True, index=True
    )
    name: Mapped[str]
    added_at: Mapped[datetime]
