"""Ctrl-C and SIGTERM: a command ends with words on what is done and how to go on."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The signal of this number has ended the command. Its notes are for the user."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_status(interrupt: KeyboardInterrupt) -> int:
    """Returns the exit status that shells give a program which a signal has ended: 130 or 143."""
    number = interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT
    return 128 + number


def end_at_once(interrupt: KeyboardInterrupt) -> None:
    """Ends the process if it was a signal, without Python's cleaning up.

    That would wait, possibly for ever, for a call that the signal has torn away from grpc.
    """
    if isinstance(interrupt, Interrupted):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # nobody reads it any more
                stream.flush()
        os._exit(exit_status(interrupt))


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Lets the first signal raise `Interrupted`, and the next one end the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def if_interrupted(words: Callable[[], str]) -> Iterator[None]:
    """Adds words, as they are by then, to an interrupt within the block."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(words())
        raise
