"""People, keys and the audit: what an owner decides about who may do what."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, notices
from app.context import HereSite, OwnerActor, Site
from app.database import transaction
from app.domain import api_keys, audit, sign_ins
from app.domain.api_keys import an_api_key
from app.domain.editors import (
    Actor,
    Editor,
    Role,
    a_name,
    add_editor,
    an_editor,
    editor_by_id,
    every_editor,
    must_leave_an_owner,
    set_password,
)
from app.domain.refusals import Refusal
from app.domain.topics import topics_named
from app.editor_shapes import (
    AuditOut,
    EditorChangeIn,
    EditorIn,
    EditorsOut,
    KeyIn,
    KeysOut,
    NewEditorOut,
    NewKeyOut,
    audit_entry_out,
    editor_out,
    key_out,
)
from app.once import Once
from app.passwords import a_password
from app.shapes import problems

router = APIRouter(tags=["people"])
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
KEPT = r"^[^\x00]*$"  # PostgreSQL's text has no NUL, so it need not be asked for one.


@router.get("/api/editors", responses=problems(401, 403))
async def editors(here: HereSite, actor: OwnerActor) -> EditorsOut:
    """Everybody who works at the desk, or did."""
    async with transaction(here.sessions) as session:
        counts = await sign_ins.count_sessions(session, _now())
        found = await every_editor(session)
    return EditorsOut(items=[editor_out(editor, counts.get(editor.id, 0)) for editor in found])


@router.post("/api/editors", status_code=201, responses=problems(401, 403, 409, 413, 422, 429))
async def add(here: HereSite, actor: OwnerActor, wish: EditorIn, once: Once) -> NewEditorOut:
    """Without a password they come in by a link, which is good for one sign-in within a day."""
    editor = an_editor(wish.email, role=wish.role, name=wish.name, now=once.now)
    if wish.password is not None:
        hashed = await here.passwords.hash(a_password(wish.password, email=editor.email))
        set_password(editor, hashed, makers=actor.people, now=once.now)

    async def work(session: AsyncSession) -> NewEditorOut:
        await add_editor(session, editor)
        _note(session, actor.name, "editor.add", editor, role=editor.role)
        link = await _a_link(here, session, actor, editor) if editor.password_hash is None else None
        return _with_link(editor, 0, link)

    return await once(actor, NewEditorOut, work, shown_once=["sign_in_link"])


@router.patch("/api/editors/{id}", responses=problems(401, 403, 404, 409, 413, 422))
async def change(here: HereSite, actor: OwnerActor, id: Id, wish: EditorChangeIn) -> NewEditorOut:
    """What is not named stays. There is always an owner left."""
    async with transaction(here.sessions) as session:
        if wish.disabled or wish.role not in (None, Role.OWNER):
            await must_leave_an_owner(session, id)
        editor = await editor_by_id(session, id, lock=True)
        changed = _changes(editor, wish)
        if changed:
            _note(session, actor.name, "editor.change", editor, **changed)
        if wish.disabled is not None:
            await _switch(session, actor.name, editor, disabled=wish.disabled)
        link = await _a_link(here, session, actor, editor) if wish.sign_in_link else None
        counts = await sign_ins.count_sessions(session, _now())
        return _with_link(editor, counts.get(editor.id, 0), link)


@router.delete("/api/editors/{id}/sessions", status_code=204, responses=problems(401, 403, 404, 422))
async def sign_out(here: HereSite, actor: OwnerActor, id: Id) -> None:
    """Sign an editor out of every browser, and end a link that they were given."""
    async with transaction(here.sessions) as session:
        editor = await editor_by_id(session, id, lock=True)
        await sign_ins.end_links(session, editor.id)
        _note(
            session, actor.name, "session.end", editor, sessions_ended=await sign_ins.end_sessions(session, editor.id)
        )


@router.get("/api/keys", responses=problems(401, 403))
async def keys(here: HereSite, actor: OwnerActor) -> KeysOut:
    """All keys that ever were; the newest first."""
    async with transaction(here.sessions) as session:
        return KeysOut(items=[key_out(key) for key in await api_keys.every_key(session)])


@router.post("/api/keys", status_code=201, responses=problems(401, 403, 404, 409, 413, 422))
async def add_key(here: HereSite, actor: OwnerActor, wish: KeyIn, once: Once) -> NewKeyOut:
    """The key is in this answer and nowhere else."""
    key, secret = an_api_key(
        name=wish.name,
        role=wish.role,
        topics=wish.topics,
        levels=[level.value for level in wish.levels],
        created_by=actor.name,
        makers=actor.people,
        now=once.now,
    )

    async def work(session: AsyncSession) -> NewKeyOut:
        await topics_named(session, wish.topics)
        await api_keys.must_be_free(session, key.name)
        session.add(key)
        limits = {"role": key.role, "topics": key.topics, "levels": key.levels}
        audit.note(session, once.now, actor=actor.name, action="key.add", subject=key.name, start=key.start, **limits)
        await session.flush()
        return NewKeyOut(**key_out(key).model_dump(), key=secret)

    return await once(actor, NewKeyOut, work, shown_once=["key"])


@router.delete("/api/keys/{id}", status_code=204, responses=problems(401, 403, 404, 409, 422))
async def revoke(here: HereSite, actor: OwnerActor, id: Id) -> None:
    """It opens nothing any more, from this moment on."""
    async with transaction(here.sessions) as session:
        key = await api_keys.revoke(session, id, _now())
        audit.note(session, _now(), actor=actor.name, action="key.revoke", subject=key.name, start=key.start)


@router.get("/api/audit", responses=problems(401, 403, 422))
async def read_audit(
    here: HereSite,
    actor: OwnerActor,
    after: Annotated[str | None, Query(max_length=20, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    action: Annotated[str | None, Query(max_length=64, pattern=KEPT, description="one, or a noun: alert")] = None,
    subject: Annotated[str | None, Query(max_length=2048, pattern=KEPT)] = None,
    by: Annotated[str | None, Query(max_length=254, pattern=KEPT, description="who did it")] = None,
) -> AuditOut:
    """Who did what; the newest first. Nobody can change it."""
    wanted = {"action": action, "subject": subject, "actor": by}
    async with transaction(here.sessions) as session:
        found = await audit.read(session, limit=limit + 1, before=_cursor(after), **wanted)
    page = found[:limit]
    more = str(page[-1].id) if len(found) > limit else None
    return AuditOut(items=[audit_entry_out(entry) for entry in page], next=more)


def _now() -> datetime:
    return clock.now()


def _note(session: AsyncSession, by: str, action: str, editor: Editor, **detail: Any) -> None:
    audit.note(session, _now(), actor=by, action=action, subject=editor.email, **detail)


def _changes(editor: Editor, wish: EditorChangeIn) -> dict[str, Any]:
    """Makes them, and says what is different now: before and after."""
    wanted = {"name": None if wish.name is None else a_name(wish.name), "role": wish.role}
    changed = {}
    for field, value in wanted.items():
        before = getattr(editor, field)
        if value is not None and value != before:
            changed[field] = [before, value]
            setattr(editor, field, value)
    return changed


async def _switch(session: AsyncSession, by: str, editor: Editor, *, disabled: bool) -> None:
    if disabled:
        ended = await sign_ins.disable(session, editor, _now())
        _note(session, by, "editor.disable", editor, sessions_ended=ended)
    elif editor.disabled_at is not None:
        editor.disabled_at = None
        _note(session, by, "editor.change", editor, disabled=[True, False])


async def _a_link(here: Site, session: AsyncSession, actor: Actor, editor: Editor) -> str:
    """Whoever has it is signed in as that editor, so the editor is told."""
    if editor.disabled_at is not None:
        raise Refusal("Somebody who is disabled cannot sign in. Enable them first.")
    if editor.id == actor.editor_id:
        # It would set a new password without the old one: a browser that was left open must not be enough for that.
        raise Refusal("A link for yourself is made by another owner, or by ./newsbell editor link on the server.")
    secret = await sign_ins.make_link(session, editor, _now(), makers=actor.people)
    _note(session, actor.name, "link.made", editor)
    if editor.id != actor.editor_id:
        await notices.link_made(session, editor, by=actor.name, site_url=here.settings.site_url, now=_now())
    return sign_ins.link_address(here.settings.site_url, secret)


def _with_link(editor: Editor, sessions: int, link: str | None) -> NewEditorOut:
    return NewEditorOut(**editor_out(editor, sessions).model_dump(), sign_in_link=link)


def _cursor(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) >= 2**63:
        raise Refusal("This is not a page that we gave out.")
    return int(text)
