"""Editors' own browsers: where tests of an alert and requests to approve one go."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ForeignKey, delete, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base
from app.domain.editors import Editor
from app.domain.refusals import Conflict, NotFound
from app.domain.subscriptions import Subscription, follows

MOST = 20


class EditorBrowser(Base):
    """A browser of an editor's own, for tests and for requests to approve. It is a subscription like any other."""

    __tablename__ = "editor_browsers"

    editor_id: Mapped[int] = mapped_column(ForeignKey(Editor.id, ondelete="CASCADE"), primary_key=True)
    subscription_id: Mapped[int] = mapped_column(
        ForeignKey(Subscription.id, ondelete="CASCADE"), primary_key=True, index=True
    )
    name: Mapped[str]
    added_at: Mapped[datetime]


async def browsers_of(session: AsyncSession, editor_id: int) -> Sequence[EditorBrowser]:
    """Those that can still be reached, in the order in which they came."""
    query = select(EditorBrowser).join(Subscription, Subscription.id == EditorBrowser.subscription_id)
    living = query.where(EditorBrowser.editor_id == editor_id, Subscription.ended_at.is_(None))
    return (await session.scalars(living.order_by(EditorBrowser.added_at, EditorBrowser.subscription_id))).all()


async def keep(
    session: AsyncSession, editor_id: int, subscription: Subscription, *, name: str, now: datetime
) -> EditorBrowser:
    """This browser is the editor's own from now on; one that was already gets the new name.

    An editor has only so many: each test goes to all of them.
    """
    theirs = (
        await session.scalars(select(EditorBrowser.subscription_id).where(EditorBrowser.editor_id == editor_id))
    ).all()
    if len(theirs) >= MOST and subscription.id not in theirs:
        raise Conflict(f"You have {MOST} browsers of your own already. Remove one first.")
    row = insert(EditorBrowser).values(editor_id=editor_id, subscription_id=subscription.id, name=name, added_at=now)
    row = row.on_conflict_do_update(
        index_elements=[EditorBrowser.editor_id, EditorBrowser.subscription_id], set_={"name": name}
    )
    kept = await session.scalars(row.returning(EditorBrowser), execution_options={"populate_existing": True})
    return kept.one()


async def let_go(session: AsyncSession, editor_id: int, subscription_id: int) -> str:
    """No tests go there any more: its name. A browser that came only for them and follows nothing is forgotten."""
    of = EditorBrowser
    theirs = delete(of).where(of.editor_id == editor_id, of.subscription_id == subscription_id)
    gone = (await session.execute(theirs.returning(of.name, of.added_at))).one_or_none()
    if gone is None:
        raise NotFound("This is not one of your browsers (any more).")
    came_for_tests = (Subscription.id == subscription_id, Subscription.created_at == gone.added_at)
    follows_any = exists().where(follows.c.subscription_id == Subscription.id)
    is_anybodys = exists().where(of.subscription_id == Subscription.id)
    await session.execute(delete(Subscription).where(*came_for_tests, ~follows_any, ~is_anybodys))
    name: str = gone.name
    return name
