"""An editor at the desk, in whichever browser: what journeys and pages are written in terms of."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.editors import Role
from app.passwords import Passwords
from tests.browser import Firefox, until
from tests.chromium import Chromium
from tests.makers import an_editor_row
from tests.push_service import PushService

# Where the editor looks: an open dialog is before everything else.
PLACE = "const place = document.querySelector('dialog:modal') ?? document.body;"
BUTTON = f"""{PLACE}
  return [...place.querySelectorAll('button, a')].find((e) => e.checkVisibility()
    && !e.matches(':disabled, [aria-disabled=true]')
    && e.innerText.replace(/\\s+/g, ' ').trim() === arguments[0]) ?? null"""
FIELD = f"""{PLACE}
  const label = [...place.querySelectorAll('label, legend')].find((e) => e.checkVisibility()
    && e.firstChild.textContent.trim() === arguments[0]);
  return label?.control ?? null"""


PASSWORD = "nine lanterns over Lisbon"


async def let_in(session: AsyncSession, people: Mapping[str, Role]) -> None:
    """Editors by their addresses, all with the one password."""
    for email, role in people.items():
        editor = await an_editor_row(session, role, email)
        editor.password_hash = Passwords().hash_now(PASSWORD)


class Editor(ABC):
    """What is typed and clicked is so by the browser, as from a keyboard and a mouse."""

    name: ClassVar[str]
    allowed = False

    @property
    @abstractmethod
    def site(self) -> str: ...

    @property
    @abstractmethod
    def push_service(self) -> PushService: ...

    @abstractmethod
    def open(self, path: str) -> None: ...

    @abstractmethod
    def look(self, script: str, *arguments: object) -> Any:
        """What a script returns."""

    @abstractmethod
    def run(self, script: str, *arguments: object) -> Any:
        """What an asynchronous script returns; its arguments are `args`."""

    @abstractmethod
    def without_indexed_db(self) -> AbstractContextManager[None]:
        """As where its data are broken or blocked."""

    @abstractmethod
    def click_what(self, script: str, *arguments: object) -> None:
        """Click the element that a script finds; wait for it."""

    @abstractmethod
    def type_into(self, script: str, argument: str, text: str) -> None:
        """Instead of what stands there."""

    @abstractmethod
    def allow(self) -> None:
        """The browser asks whether the site may notify."""

    @abstractmethod
    def notifications(self) -> list[str]:
        """The titles on the screen."""

    @abstractmethod
    def complaints(self) -> list[str]: ...

    # What a person does.

    def sign_in(self, email: str) -> None:
        """As somebody who was let in."""
        self.open("/desk")
        self.fill("E-mail", email)
        self.fill("Password", PASSWORD)
        self.click("Sign in")
        self.until_text("Stories", "h1")

    def click(self, words: str) -> None:
        """The button or link that says so."""
        self.click_what(BUTTON, words)

    def click_at(self, selector: str) -> None:
        self.click_what(f"{PLACE} return place.querySelector(arguments[0])", selector)

    def fill(self, label: str, text: str) -> None:
        self.type_into(FIELD, label, text)

    def choose(self, name: str, value: str) -> None:
        """One of several: a radio button or a tick."""
        self.click_at(f"input[name={name}][value='{value}']")

    def pick(self, name: str, value: str) -> None:
        """In a field that drops down, or one of a date."""
        self.look(
            "const [box] = document.getElementsByName(arguments[0]); box.value = arguments[1];"
            "for (const kind of ['input', 'change']) box.dispatchEvent(new Event(kind, { bubbles: true }));",
            name,
            value,
        )

    # What a person sees.

    def text(self, selector: str = "body") -> str:
        return str(self.look("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def shows(self, selector: str) -> bool:
        return bool(self.look("return document.querySelector(arguments[0])?.checkVisibility() ?? false", selector))

    def until_text(self, wanted: str, selector: str = "body") -> None:
        until(lambda: wanted in self.text(selector), lambda: f"“{wanted}” in {selector}; the page: {self.text()}")

    def until_value(self, label: str, wanted: str) -> None:
        """What stands in the field of that name."""
        value = FIELD.replace("return label?.control ?? null", "return label?.control.value ?? null")
        until(lambda: self.look(value, label) == wanted, f"“{wanted}” in {label}")

    def until_shown(self, selector: str) -> None:
        until(lambda: self.shows(selector), selector)

    def until_notified(self, title: str) -> None:
        until(
            lambda: title in self.notifications(),
            lambda: f"the notification “{title}”; shown: {self.notifications()}; {self.push_service.seen()}",
        )

    def hash(self) -> str:
        return str(self.look("return location.hash"))


class AtFirefox(Editor):
    name = "firefox"

    def __init__(self, firefox: Firefox) -> None:
        self.firefox = firefox

    @property
    def site(self) -> str:
        return self.firefox.site

    @property
    def push_service(self) -> PushService:
        return self.firefox.push_service

    def open(self, path: str) -> None:
        self.firefox.open("/healthz")  # else a new fragment alone would not load the page anew
        self.firefox.open(path)

    def look(self, script: str, *arguments: object) -> Any:
        return self.firefox.driver.page(script, *arguments)

    def run(self, script: str, *arguments: object) -> Any:
        return self.firefox.driver.page_async(script, *arguments)

    def without_indexed_db(self) -> AbstractContextManager[None]:
        return self.firefox.without_indexed_db()

    def click_what(self, script: str, *arguments: object) -> None:
        self.firefox.driver.click_what(script, *arguments)

    def type_into(self, script: str, argument: str, text: str) -> None:
        self.firefox.driver.type_into(script, argument, text)

    def allow(self) -> None:
        self.firefox.allow()

    def notifications(self) -> list[str]:
        return self.firefox.titles()

    def complaints(self) -> list[str]:
        return self.firefox.complaints()


class AtChromium(Editor):
    name = "chromium"

    def __init__(self, chromium: Chromium) -> None:
        self.chromium = chromium

    @property
    def site(self) -> str:
        return self.chromium.site

    @property
    def push_service(self) -> PushService:
        return self.chromium.push_service

    def open(self, path: str) -> None:
        self.chromium.open("/healthz")
        self.chromium.open(path)

    def look(self, script: str, *arguments: object) -> Any:
        return self.chromium.page(script, *arguments)

    def run(self, script: str, *arguments: object) -> Any:
        return self.chromium.page(f"const args = arguments; {script}", *arguments)

    def without_indexed_db(self) -> AbstractContextManager[None]:
        return self.chromium.without_indexed_db()

    def click_what(self, script: str, *arguments: object) -> None:
        self.chromium.click_what(script, *arguments)

    def type_into(self, script: str, argument: str, text: str) -> None:
        self.chromium.type_into(script, argument, text)

    def allow(self) -> None:
        """Nothing to do: its question cannot be clicked, so `Chromium` has been told the answer beforehand."""

    def notifications(self) -> list[str]:
        return self.chromium.titles()

    def complaints(self) -> list[str]:
        return self.chromium.complaints()
