"""`./newsbell editor …`: who may sign in at the desk."""

import sys
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain import audit, sign_ins
from app.domain.editors import (
    Editor,
    Role,
    add_editor,
    an_editor,
    an_email,
    editor_by_email,
    every_editor,
    must_leave_an_owner,
)
from app.domain.refusals import NotFound, Refusal
from app.passwords import Passwords, a_password
from app.settings import read_settings
from app.terminal import Json, now, out, run, show

editor = typer.Typer(no_args_is_help=True, help="The people of the desk.")

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="By which they sign in.")]


@editor.command("add")
def editor_add(
    email: Email,
    role: Annotated[
        Role, typer.Option(help="writer: drafts; editor: also releases; owner: also people, keys and feeds.")
    ] = Role.EDITOR,
    name: Annotated[str, typer.Option(help="What the others see.")] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read a password from the first line of standard input.")
    ] = False,
) -> None:
    """Let somebody sign in. Without a password, a link is printed that signs them in once."""
    added = an_editor(email, role=role, name=name, now=now())
    if password_stdin:
        chosen = a_password(sys.stdin.readline().rstrip("\r\n"), email=added.email)
        added.password_hash = Passwords().hash_now(chosen)

    async def add(session: AsyncSession) -> str | None:
        await add_editor(session, added)
        audit.note(session, now(), actor=audit.COMMAND_LINE, action="editor.add", subject=added.email, role=role)
        return None if password_stdin else await _link(session, added)

    link = run(add)
    out.print(f"Added {added.email}, {role}.")
    if link:
        _show_link(link)


@editor.command("list")
def editor_list(as_json: Json = False) -> None:
    """Everybody who may sign in, or might once."""

    async def read(session: AsyncSession) -> list[dict[str, Any]]:
        counts = await sign_ins.count_sessions(session, now())
        return [_as_row(one, counts.get(one.id, 0)) for one in await every_editor(session)]

    rows = run(read)
    if not as_json:
        for row in rows:  # A terminal has 80 columns.
            row["password"] = "yes" if row.pop("has_password") else "no"
            row["signed_in"] = row.pop("signed_in_at")
            row["disabled"] = row.pop("disabled_at")
    show(rows, as_json, empty="No editors yet. ./newsbell editor add name@example.org --role owner makes one.")


@editor.command("link")
def editor_link(email: Email) -> None:
    """Print a link that signs an editor in once, within a day: for somebody who has lost their password."""

    async def make(session: AsyncSession) -> str:
        found = await _named(session, email)
        if found.disabled_at is not None:
            raise Refusal(f"{found.email} is disabled.")
        return await _link(session, found)

    _show_link(run(make))


@editor.command("disable")
def editor_disable(email: Email) -> None:
    """Sign an editor out everywhere, for good. An owner can undo it at the desk."""

    async def disable(session: AsyncSession) -> tuple[str, int]:
        found = await _named(session, email)
        await must_leave_an_owner(session, found.id)
        ended = await sign_ins.disable(session, found, now())
        audit.note(
            session, now(), actor=audit.COMMAND_LINE, action="editor.disable", subject=found.email, sessions_ended=ended
        )
        return found.email, ended

    disabled, ended = run(disable)
    out.print(f"Disabled {disabled}, who was signed in {_in_browsers(ended)}.")


async def _named(session: AsyncSession, email: str) -> Editor:
    found = await editor_by_email(session, an_email(email))
    if found is None:
        raise NotFound(f"There is no editor {an_email(email)}.")
    return found


async def _link(session: AsyncSession, whose: Editor) -> str:
    secret = await sign_ins.make_link(session, whose, now())
    audit.note(session, now(), actor=audit.COMMAND_LINE, action="link.made", subject=whose.email)
    return sign_ins.link_address(read_settings().site_url, secret)


def _show_link(link: str) -> None:
    out.print("This link signs them in once, within 24 hours:")
    typer.echo(link)


def _as_row(one: Editor, sessions: int) -> dict[str, Any]:
    return {
        "email": one.email,
        "name": one.name,
        "role": one.role.value,
        "signed_in_at": one.signed_in_at,
        "sessions": sessions,
        "has_password": one.password_hash is not None,
        "disabled_at": one.disabled_at,
    }


def _in_browsers(count: int) -> str:
    return "nowhere" if not count else "in one browser" if count == 1 else f"in {count} browsers"
