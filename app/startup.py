"""What must be right before anything starts: the port, the contact, the key. Each is refused with one sentence."""

import shlex
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from app import database
from app.domain.editors import Editor
from app.domain.feeds import Feed
from app.domain.refusals import Refusal
from app.domain.subscriptions import Subscription
from app.domain.topics import Topic
from app.settings import Settings
from app.supervisor import port_is_free
from app.vapid import check_subject, load_key, make_key

Again = Callable[[int], str]  # the command that was given, on another port
USUAL_PORT, LAST_PORT = 8000, 65535
FIRST_FREE_FOR_ALL = 1024  # below, systems want rights that a web server has


def must_be_free(host: str, ports: Sequence[int], again: Again) -> None:
    for port in ports:
        if port > LAST_PORT:
            raise Refusal(f"There is no port {port}, and a demo takes two in a row: {again(USUAL_PORT)}")
        if not _is_free(host, port, again):
            raise Refusal(f"Port {port} is taken. Stop what uses it, or choose another: {again(_another(host, ports))}")


def as_given(port: int) -> str:
    """The command as it was given, on another port: its other options stay."""
    words = sys.argv[1:]
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if "--port" not in (before, word) and not word.startswith("--port=")
    ]
    return shlex.join(["./newsbell", *kept, "--port", str(port)])


def _is_free(host: str, port: int, again: Again) -> bool:
    try:
        return port_is_free(host, port)
    except (socket.gaierror, UnicodeError):
        raise Refusal(
            f"There is no address “{host}” to listen on. --host takes 127.0.0.1, or 0.0.0.0 for all."
        ) from None
    except PermissionError:
        raise Refusal(
            f"Port {port} takes rights that this account lacks. Choose one from 1024 on and let your web server pass "
            f"requests on to it: {again(_another(host, [port]))}"
        ) from None
    except (OSError, OverflowError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise Refusal(
            f"Nothing can listen on {host}, port {port} ({why}). --host takes an address of this machine."
        ) from None


def _another(host: str, ports: Sequence[int]) -> int:
    """Where as many ports in a row are free."""
    first = ports[0] if ports[0] >= FIRST_FREE_FOR_ALL else USUAL_PORT - 10
    for port in range(first + 10, LAST_PORT - len(ports), 10):
        if all(port_is_free(host, port + more) for more in range(len(ports))):
            return port
    return USUAL_PORT


def must_have_a_contact(settings: Settings) -> None:
    """Push services refuse messages without a contact that looks real, Apple all of them."""
    try:
        check_subject(settings.vapid_contact)
    except Refusal as refusal:
        raise Refusal(f"“{settings.vapid_contact}” will not do for NEWSBELL_VAPID_SUBJECT. {refusal}") from None


def must_have_authorities(settings: Settings) -> None:
    """Without the file that is named, or with an empty one, every push service would seem to be an impostor."""
    if (path := settings.push_ca_file) is None:
        return
    try:
        ssl.create_default_context(cafile=path)
    except OSError as problem:  # ssl.SSLError is one
        why = problem.strerror if isinstance(problem, FileNotFoundError | PermissionError) else "no certificate in it"
        raise Refusal(f"NEWSBELL_PUSH_CA_FILE: {path} cannot be used ({why}).") from None


def ensure_key(settings: Settings) -> None:
    """Make the VAPID key on the very first start, and never again: a new one orphans every subscription."""
    path = settings.vapid_key_file
    if _is_missing(path):
        if _somebody_subscribed(settings.database_url):
            raise Refusal(
                f"The VAPID key {path} is missing, and readers have subscribed with it. Put your copy of it back; "
                "a new key would silence every one of them."
            )
        make_key(path)
    must_be_the_readers_key(settings)


def must_be_the_readers_key(settings: Settings) -> None:
    """With any other one push services refuse every message, and the first alert would pause every lane."""
    path = settings.vapid_key_file
    if not _fits(settings.database_url, load_key(path).id):
        raise Refusal(f"The VAPID key {path} is not the one that your readers subscribed with. Put the right one back.")


def first_steps(settings: Settings, *, owner_follows: bool = False) -> list[str]:
    """What a new site lacks before anything can ring, each with the command that makes it.

    owner_follows: somebody has a link that makes them the owner.
    """
    lacking = {
        "./newsbell topic add ukraine --name Ukraine": Topic.id,
        "./newsbell feed add https://news.example/rss --topic ukraine": Feed.id,
        "./newsbell editor add you@news.example --role owner": Editor.id,
    }
    steps = [
        step for step, id_ in lacking.items() if not _is_true(settings.database_url, exists().where(id_.is_not(None)))
    ]
    if owner_follows:
        steps = [step for step in steps if "editor add" not in step]
    if _is_missing(settings.vapid_key_file):
        steps.insert(0, "./newsbell vapid new")
    return [f"Next: {step}" for step in steps]


def _is_missing(path: Path) -> bool:
    """Not: it is there and we may not look at it, which loading it says."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


def _somebody_subscribed(url: str) -> bool:
    return _is_true(url, exists().where(Subscription.id.is_not(None)))


def _fits(url: str, key_id: str) -> bool:
    """A living subscription has this key, or there is none."""
    living = exists().where(Subscription.ended_at.is_(None))
    return _is_true(url, living.where(Subscription.vapid_key_id == key_id) | ~living)


def _is_true(url: str, question: ColumnElement[bool]) -> bool:
    engine = database.connect_for_a_moment(url)
    try:
        with Session(engine) as session:
            return bool(session.scalar(select(question)))
    finally:
        engine.dispose()
