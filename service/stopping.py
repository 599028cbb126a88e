"""How a process of ours ends: told by a signal, in time, whatever it waits for."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from service.logs import get_logger

CLOSE_SECONDS = 1.6
"""For a stopping server to close what it has open, once its requests have ended."""

log = get_logger(__name__)


def on_signals(callback: Callable[[int, Callable[[], None]], object], give_up_after: float) -> None:
    """Calls `callback` at SIGTERM and SIGINT, and ends this process some time after the first.

    What was acknowledged is on disk then, whatever is still waited for.

    Args:
        callback: is given the signal's number, and a function that passes the signal on to whoever
            handled it before.
        give_up_after: seconds.
    """
    # A pipe, as nothing that a signal interrupts may be waited for where it is handled.
    told, tell = os.pipe()
    threading.Thread(
        target=_give_up_waiting, args=(told, give_up_after), name="stop-watch", daemon=True
    ).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        previous = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None, previous: object = previous) -> None:
            def pass_on() -> None:
                if callable(previous):
                    previous(received, None)

            os.write(tell, b"!")
            callback(received, pass_on)

        signal.signal(number, handle)


def _give_up_waiting(told: int, seconds: float) -> None:
    os.read(told, 1)
    time.sleep(seconds)
    log.warning("stopped without waiting for all that was under way")
    os._exit(0)


def say_stopped() -> None:
    """Says that this process has stopped: in the log, or on a terminal where that leaves it out."""
    log.info("stopped")
    if sys.stderr.isatty() and not log.is_enabled_for(logging.INFO):
        print("stopped", file=sys.stderr, flush=True)


def exit_at_once() -> NoReturn:
    """Ends this process with status 0, all of it closed: Python may take seconds to clean up."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
