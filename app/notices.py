"""Notices: what rings on an editor's own browsers and nowhere else, by the way that every alert goes."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app import release
from app.domain.alerts import NEWSBELL, Alert, Level, an_alert
from app.domain.editors import Editor
from app.domain.own_browsers import browsers_of
from app.domain.topics import Topic

# Whoever comes to the desk later than that sees there what waits for them.
PRIVATE_TTL = timedelta(hours=1)


async def ring_for(
    session: AsyncSession, editor_id: int, *, now: datetime, topics: Sequence[Topic] = (), **words: Any
) -> Alert:
    told = an_alert(**words, topics=topics, ttl=PRIVATE_TTL, for_editor_id=editor_id, now=now)
    session.add(told)
    await release.release(session, told, now)
    return told


async def link_made(session: AsyncSession, editor: Editor, *, by: str, site_url: str, now: datetime) -> None:
    """Somebody else can sign in as this editor, once. It stands at their desk as well."""
    if not await browsers_of(session, editor.id):
        return
    await ring_for(
        session,
        editor.id,
        title=f"{by} made a sign-in link for you",
        body="Whoever has it can sign in as you, once. If you did not ask for it, tell an owner now.",
        url=f"{site_url}/desk#/people/me",
        level=Level.BREAKING,
        made_by=NEWSBELL,
        now=now,
    )
