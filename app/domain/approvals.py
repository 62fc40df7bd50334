"""Approvals: which alerts take a second person's word, and whose that can be."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain import shards
from app.domain.alerts import Alert, Level, replaced_by
from app.domain.editors import Editor, Role
from app.domain.own_browsers import EditorBrowser
from app.domain.subscriptions import Subscription
from app.domain.topics import Topic


@dataclass(frozen=True)
class TwoPeople:
    """The newsroom's rule. Nothing named: nobody needs a second person."""

    levels: Collection[str] = ()
    audience: int = 0

    async def apply_to(self, session: AsyncSession, alert: Alert, at: datetime) -> bool:
        """`at`: when it is to go out. At night a few are awake whom it rings for; in the morning it rings for all."""
        return await self.hold_for(session, alert.level, alert.topics, at)

    async def hold_for(self, session: AsyncSession, level: Level, topics: Sequence[Topic], at: datetime) -> bool:
        if level in self.levels:
            return True
        if not self.audience:
            return False
        return (await shards.audience(session, [topic.id for topic in topics], level, at)).rings >= self.audience

    async def apply_to_correction(self, session: AsyncSession, right: Alert) -> bool:
        """As to what it corrects; and wherever there is a rule, to another link than the one that was approved."""
        before = await replaced_by(session, right)
        if right.level in self.levels or any(wrong.approved_by for wrong in before):
            return True
        if (self.levels or self.audience) and any(
            wrong.id == right.corrects_id and wrong.url != right.url for wrong in before
        ):
            return True
        if not self.audience:
            return False
        ids = [wrong.id for wrong in before]
        on_their_way = sum(counts["waiting"] for counts in (await shards.progress_of(session, ids)).values())
        return (await shards.audience_of_correction(session, ids)).rings + on_their_way >= self.audience


async def approvers(session: AsyncSession, *, besides: Collection[int]) -> Sequence[int]:
    """Editors who may approve and have a browser on which they can be asked."""
    mine = EditorBrowser.subscription_id == Subscription.id
    reachable = exists().where(EditorBrowser.editor_id == Editor.id, mine, Subscription.ended_at.is_(None))
    able = select(Editor.id).where(Editor.role.in_((Role.EDITOR, Role.OWNER)), Editor.disabled_at.is_(None), reachable)
    return (await session.scalars(able.where(Editor.id.not_in(besides)).order_by(Editor.id))).all()
