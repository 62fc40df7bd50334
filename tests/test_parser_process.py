"""Parser process: hostile documents against the real child processes, and whoever comes beside them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.test_parse import GOOD, NEWS, URL, item, read, rss
from worker.parse import Parsed, Unreadable
from worker.parser_process import LONG_ONES, Parser, ParserProcess, frame


@pytest.fixture(scope="module")
async def parser() -> AsyncIterator[ParserProcess]:
    parser = ParserProcess(limit=1.0)
    yield parser
    await parser.aclose()


async def ask(parser: ParserProcess, body: bytes) -> Parsed | Unreadable:
    return await parser.parse(body, content_type="application/rss+xml", url=URL)


def alive(pid: int | None) -> bool:
    assert pid
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


SLOW = rss("<" * 4_000_000)  # minutes of work

HOSTILE = {
    "author": rss(item(f"<title>x</title><author>{'a.' * 400_000}</author>")),
    "attributes": rss("<item " + " ".join(f"a{n}='1'" for n in range(100_000)) + "><title>x</title></item>"),
    "nesting": rss("<a>" * 200_000 + "</a>" * 200_000 + GOOD),
    "unclosed": rss(item("<title>" + "<b>" * 200_000)),
    "billion laughs": rss(
        item("<title>&l9;</title>"),
        before="<!DOCTYPE x [<!ENTITY l0 'ha'>"
        + "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10))
        + "]>",
    ),
    "quadratic": rss(item(f"<title>{'&a;' * 50_000}</title>"), before=f"<!DOCTYPE x [<!ENTITY a '{'a' * 50_000}'>]>"),
    "comments": b"<!--" * 1_000_000,
    "document type": b"<!DOCTYPE x [" + b"<!--'\"" * 500_000,
    "references": rss(item(f"<title>{'&nbsp;' * 50_000}</title>")),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_document_costs_only_itself(parser: ParserProcess, name: str) -> None:
    async with asyncio.timeout(15):
        assert isinstance(await ask(parser, HOSTILE[name]), Parsed | Unreadable)
        assert isinstance(await ask(parser, rss(GOOD)), Parsed)


async def test_entities_of_the_document_are_not_expanded(parser: ParserProcess, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    before = f"<!DOCTYPE rss [<!ENTITY x SYSTEM '{secret.as_uri()}'><!ENTITY y 'boom'>]>"
    answer = await ask(parser, rss(item("<title>a &x; &y; b</title>"), before=before))
    assert isinstance(answer, Parsed)
    assert answer.entries[0].title == "a &x; &y; b"


async def test_the_child_answers_like_the_function(parser: ParserProcess) -> None:
    body = rss(item(f"<title>{NEWS} 😀</title><pubDate>1777118874</pubDate><category>World</category>"), GOOD)
    assert await ask(parser, body) == read(body)
    assert await ask(parser, b"{}") == Unreadable("This is JSON, not an RSS or Atom feed.")


async def test_callers_queue(parser: ParserProcess) -> None:
    bodies = [rss(item(f"<title>{n}</title>")) for n in range(20)]
    answers = await asyncio.gather(*(ask(parser, body) for body in bodies))
    assert answers == [read(body) for body in bodies]


async def test_a_slow_document_is_given_up(parser: ParserProcess) -> None:
    async with asyncio.timeout(15):
        assert await ask(parser, SLOW) == Unreadable("Reading this feed took longer than 1 s.")


async def test_a_child_that_dies_is_replaced(parser: ParserProcess) -> None:
    await ask(parser, rss(GOOD))
    pid = parser.pid
    assert pid
    asking = asyncio.create_task(ask(parser, SLOW))
    await asyncio.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    assert await asking == Unreadable("Reading this feed broke the reader.")
    assert isinstance(await ask(parser, rss(GOOD)), Parsed)


async def test_a_caller_who_gives_up_leaves_nothing_behind(parser: ParserProcess) -> None:
    await ask(parser, rss(GOOD))
    pid = parser.pid
    asking = asyncio.create_task(ask(parser, SLOW))
    await asyncio.sleep(0.3)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not alive(pid)
    assert await ask(parser, rss(GOOD)) == read(rss(GOOD))


async def test_signals_for_the_group_do_not_stop_the_child(parser: ParserProcess) -> None:
    await ask(parser, rss(GOOD))
    pid = parser.pid
    assert pid
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    assert isinstance(await ask(parser, rss(GOOD)), Parsed) and parser.pid == pid


async def test_a_child_is_recycled_and_the_last_one_ends_with_the_parser() -> None:
    parser = ParserProcess(recycle=2)
    pids = []
    for _ in range(3):
        assert isinstance(await ask(parser, rss(GOOD)), Parsed)
        pids.append(parser.pid)
    await parser.aclose()
    first, after_second, third = pids
    assert after_second is None and first != third
    assert not alive(first) and not alive(third)
    await parser.aclose()


async def test_memory_is_bounded() -> None:
    parser = ParserProcess(memory=64 * 2**20)
    huge = rss(item(f"<title>{'😀' * 2_000_000}</title>"))
    assert isinstance(await ask(parser, huge), Unreadable)
    assert isinstance(await ask(parser, rss(GOOD)), Parsed)
    await parser.aclose()


@pytest.mark.parametrize("documents", [[], [rss(GOOD)], [rss(GOOD), SLOW]], ids=["idle", "done", "busy"])
def test_a_child_does_not_outlive_its_parent(documents: list[bytes]) -> None:
    """The pipe ends with the parent; a child that is busy then ends at its own limit."""
    command = [sys.executable, "-m", "worker.parser_process", "0.5", str(2**29)]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        for body in documents:
            child.stdin.write(frame(b'[null, "https://gazette.test/", 60]') + frame(body))
        child.stdin.close()
        assert child.wait(20) == (-signal.SIGALRM if SLOW in documents else 0)


# ── Several documents at once ──

GIVEN_UP = "Reading this feed takes more than {:g} s of computing, so it was given up."


@pytest.fixture(scope="module")
async def readers() -> AsyncIterator[Parser]:
    readers = Parser(quick=0.3, costly=1.5)
    bodies = [rss(item(f"<title>{number}</title>")) for number in range(4)]
    await asyncio.gather(*(look(readers, body) for body in bodies), look(readers, bodies[0], takes_long=True))
    yield readers
    await readers.aclose()


async def look(readers: Parser, body: bytes, *, takes_long: bool = False) -> Parsed | Unreadable:
    return await readers.parse(body, content_type="application/rss+xml", url=URL, takes_long=takes_long)


async def test_a_document_is_given_up_after_so_much_computing(parser: ParserProcess) -> None:
    patient = ParserProcess(limit=30)
    answer = await patient.parse(SLOW, content_type=None, url=URL, computing=0.5)
    assert answer == Unreadable(GIVEN_UP.format(0.5), costly=True)
    assert answer.seconds == 0.5
    before = await patient.parse(rss(GOOD), content_type=None, url=URL, computing=0.5)
    assert before == read(rss(GOOD))
    assert 0 <= before.seconds < 0.5  # a small one may take less than the system counts
    await patient.aclose()


async def test_nobody_waits_for_hostile_documents(readers: Parser) -> None:
    """Two processes, three documents of minutes each, and one more feed."""
    hostile = [asyncio.create_task(look(readers, SLOW)) for _ in range(3)]
    await asyncio.sleep(0.1)
    assert await look(readers, rss(GOOD)) == read(rss(GOOD))
    assert not any(task.done() for task in hostile)  # Each takes 1.8 s of computing, the last one 4.8.
    answers = await asyncio.gather(*hostile)
    assert answers == [Unreadable(GIVEN_UP.format(1.5), costly=True)] * 3


async def test_what_is_known_to_take_long_is_in_nobodys_way(readers: Parser) -> None:
    hostile = [asyncio.create_task(look(readers, SLOW, takes_long=True)) for _ in range(LONG_ONES + 2)]
    await asyncio.sleep(0.1)
    assert await look(readers, rss(GOOD)) == read(rss(GOOD))
    turned_away = [task for task in hostile if task.done()]  # they are asked again, and hold no place meanwhile
    assert len(turned_away) == 2
    for task in turned_away:
        answer = task.result()
        assert isinstance(answer, Unreadable) and not answer.costly
    for task in hostile:
        task.cancel()
    await asyncio.gather(*hostile, return_exceptions=True)


async def test_what_takes_long_and_is_harmless_is_read(readers: Parser) -> None:
    long = rss(*(item(f"<title>{number}</title><description>{'word ' * 40}</description>") for number in range(9_000)))
    answer = await look(readers, long)
    assert isinstance(answer, Parsed)
    assert 0.3 < answer.seconds < 1.5
