"""The contract's JSON shapes of the desk's people (README, "HTTP"): sessions, editors, keys, the audit."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.domain.alerts import Level
from app.domain.api_keys import ApiKey
from app.domain.audit import COMMAND_LINE, AuditEntry
from app.domain.editors import Editor, Role
from app.domain.own_browsers import EditorBrowser
from app.domain.sign_ins import EditorSession
from app.shapes import Language, PushSubscription, Zone

Email = Annotated[str, Field(max_length=254, examples=["ada@news.example"])]
Name = Annotated[str, Field(max_length=100)]
Password = Annotated[str, Field(max_length=1024)]
Slug = Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9-]*$")]


class SignInIn(BaseModel):
    """An e-mail address and its password; or a link; or a link and the password that is to be from now on."""

    model_config = ConfigDict(extra="forbid")

    email: Email | None = None
    password: Password | None = None
    link: str | None = Field(None, max_length=128, description="what stands behind #link= in a sign-in link")


class SingleSignOnOut(BaseModel):
    name: str
    url: str


class SignInOut(BaseModel):
    """The ways in."""

    password: bool
    single_sign_on: SingleSignOnOut | None
    first_owner: bool = Field(description="nobody owns this newsroom yet: a link makes its first owner")


class MeOut(BaseModel):
    id: int
    email: str
    name: str
    role: Role


class BrowserOut(BaseModel):
    id: int
    name: str
    added_at: AwareDatetime


class TwoPeopleOut(BaseModel):
    levels: list[str]
    audience: int | None


class RulesOut(BaseModel):
    undo_seconds: int
    two_people: TwoPeopleOut


class NewsroomOut(BaseModel):
    name: str
    time_zone: str


class NoteOut(BaseModel):
    """Of the audit: what somebody should know who is signed in."""

    id: int
    at: AwareDatetime
    text: str


class SessionOut(BaseModel):
    editor: MeOut
    has_password: bool
    expires_at: AwareDatetime = Field(description="unless something is done before")
    browsers: list[BrowserOut] = Field(description="where tests and requests to approve go")
    rules: RulesOut
    site: NewsroomOut
    now: AwareDatetime = Field(description="what time it is")
    notes: list[NoteOut] = Field(description="who was let in, or could come in as you, in the last week")


class SignedInOut(BaseModel):
    """One browser in which an editor is signed in."""

    id: int
    about: str
    created_at: AwareDatetime
    seen_at: AwareDatetime
    current: bool


class SignedInListOut(BaseModel):
    items: list[SignedInOut]
    next: str | None = None


class NewPasswordIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    old: Password = Field("", description="left out by somebody who has none yet and has just signed in")
    new: Password


class BrowserIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    subscription: PushSubscription
    name: Name = ""
    time_zone: Zone = ""
    language: Language = ""


class EditorIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    email: Email
    name: Name = ""
    role: Role
    password: Password | None = Field(None, description="left out: the answer has a link that signs them in once")


class EditorChangeIn(BaseModel):
    """Only what is named changes."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    role: Role | None = None
    disabled: bool | None = None
    sign_in_link: Literal[True] | None = Field(None, description="make a link that signs them in once")


class EditorOut(BaseModel):
    id: int
    email: str
    name: str
    role: Role
    disabled_at: AwareDatetime | None
    created_at: AwareDatetime
    signed_in_at: AwareDatetime | None
    has_password: bool
    sessions: int = Field(description="browsers in which they are signed in")


class NewEditorOut(EditorOut):
    sign_in_link: str | None = Field(None, description="shown once")


class EditorsOut(BaseModel):
    items: list[EditorOut]
    next: str | None = None


class KeyIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100, examples=["CMS"])]
    role: Literal[Role.WRITER, Role.EDITOR]
    topics: list[Slug] = Field([], max_length=64, description="short names; empty: all topics")
    levels: list[Level] = Field([], max_length=3, description="empty: all levels")


class KeyOut(BaseModel):
    id: int
    name: str
    start: str
    role: Role
    topics: list[str]
    levels: list[str]
    created_by: str
    created_at: AwareDatetime
    used_at: AwareDatetime | None
    revoked_at: AwareDatetime | None


class NewKeyOut(KeyOut):
    key: str | None = Field(None, description="shown once, for Authorization: Bearer")


class KeysOut(BaseModel):
    items: list[KeyOut]
    next: str | None = None


class AuditEntryOut(BaseModel):
    id: int
    at: AwareDatetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


class AuditOut(BaseModel):
    items: list[AuditEntryOut]
    next: str | None


def me_out(editor: Editor) -> MeOut:
    return MeOut(id=editor.id, email=editor.email, name=editor.name, role=editor.role)


def browser_out(browser: EditorBrowser) -> BrowserOut:
    return BrowserOut(id=browser.subscription_id, name=browser.name, added_at=browser.added_at)


def note_out(entry: AuditEntry, email: str) -> NoteOut:
    by = {COMMAND_LINE: "Somebody at the server", "newsbell": "Your single sign-on"}.get(entry.actor, entry.actor)
    whose = "you" if entry.subject == email else entry.subject
    if entry.action == "link.made":
        text = f"{by} made a sign-in link for {whose}: whoever has it can sign in as {whose}, once."
    else:
        text = f"{by} added {whose} to the people of this desk."
    return NoteOut(id=entry.id, at=entry.at, text=text)


def signed_in_out(session: EditorSession, *, current: bool) -> SignedInOut:
    return SignedInOut(
        id=session.id, about=session.about, created_at=session.created_at, seen_at=session.seen_at, current=current
    )


def editor_out(editor: Editor, sessions: int) -> EditorOut:
    same = {name: getattr(editor, name) for name in EditorOut.model_fields if name not in ("has_password", "sessions")}
    return EditorOut(**same, has_password=editor.password_hash is not None, sessions=sessions)


def key_out(key: ApiKey) -> KeyOut:
    alike: dict[str, Any] = {name: getattr(key, name) for name in KeyOut.model_fields}
    return KeyOut(**alike | {"topics": key.topics or [], "levels": key.levels or []})


def audit_entry_out(entry: AuditEntry) -> AuditEntryOut:
    return AuditEntryOut.model_validate(entry, from_attributes=True)
