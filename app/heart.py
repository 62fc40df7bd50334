"""Heart: a process that hangs ends itself, and its supervisor replaces it.

What must go round says `beat` each time; a thread of its own looks whether everything that has begun to beat still
does. It counts its own looks and not the time, so that a machine that slept or a process that was held is not taken for
one that hangs.
"""

import asyncio
import logging
import os
import threading
import time

log = logging.getLogger("newsbell.heart")

LOOK = 1.0  # seconds
LOOP = "its event loop"
BLOCKED = 10  # looks without a turn of the event loop: nothing may keep that busy for so long
HANGS = 75  # looks without a turn of anything else: more than a statement may take, and its margin
CODE = 70  # with which the process ends (EX_SOFTWARE)

_beats: dict[str, int] = {}


def beat(name: str) -> None:
    """It has gone round once more."""
    _beats[name] = _beats.get(name, 0) + 1


def rest(name: str) -> None:
    """It has a reason not to go round, until the next beat."""
    _beats.pop(name, None)


def start() -> None:
    """Watch this process, on whose event loop it is called, from now on."""
    loop = asyncio.get_running_loop()

    def turn() -> None:
        beat(LOOP)
        loop.call_later(LOOK / 2, turn)

    turn()
    threading.Thread(target=_watch, name="heart", daemon=True).start()


def _watch() -> None:
    before: dict[str, int] = {}
    still: dict[str, int] = {}
    while True:
        time.sleep(LOOK)
        beats = dict(_beats)
        still = {name: still.get(name, 0) + 1 if before.get(name) == count else 0 for name, count in beats.items()}
        before = beats
        for name, looks in still.items():
            if looks >= (BLOCKED if name == LOOP else HANGS):
                log.error("This process hangs (%s has stood still for %d s), so it ends to be replaced.", name, looks)
                os._exit(CODE)
