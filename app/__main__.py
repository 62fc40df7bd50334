"""`python -m app`, which the `newsbell` script starts: the commands, and Ctrl-C in silence from the first moment on.

Importing them takes most of a second, in which an interrupt would end in a traceback from inside some library.
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

INTERRUPTED = 130  # as shells say it: 128 and the signal's number


def start() -> None:
    _on_interrupt(_end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # `newsbell` may have held it back until here
    from app.cli import main

    try:
        _on_interrupt(signal.default_int_handler)
        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        _on_interrupt(_end)


def _on_interrupt(handler: Callable[[int, FrameType | None], object]) -> None:
    """Unless whoever started us wants it ignored, as nohup and `&` do."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    start()
