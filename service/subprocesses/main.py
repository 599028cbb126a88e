"""Common parts of the child processes' mains: start, end, and failures."""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import adapters
from service.subprocesses import frames

NICENESS = 10
BEAT_SECONDS = 1.0
"""Between signs of life; settings allow no silence that is not several times as long."""


class Output:
    """Where frames are written to, each as a whole."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, frame: bytes) -> None:
        """Writes a frame; any thread may."""
        with self._lock:
            self._stream.write(frame)

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Writes signs of life within the block."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(BEAT_SECONDS):
                self.write(frames.pack(frames.ALIVE))

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def begin() -> Output:
    """Lowers the priority and returns where frames are written to.

    From then on standard output is standard error: whatever a library prints must not get between
    the frames.
    """
    os.nice(NICENESS)
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return Output(output)


def exit_with_server() -> None:
    """Ends this process as soon as its standard input ends, which the server alone has open."""
    threading.Thread(target=_wait_for_end, args=(sys.stdin.buffer,), daemon=True).start()


def answers_of_server() -> Callable[[], dict[str, Any]]:
    """Ends this process as `exit_with_server` does; returns what waits for the server's next frame.

    What is read on standard input before that must have been frames.
    """
    answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def read() -> None:
        while (frame := frames.read(sys.stdin.buffer)) is not None:
            answers.put(frame[0])
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return answers.get


def failure(error: Exception) -> bytes:
    """Returns the frame that reports an error: in words if the examples are to blame for it."""
    if not isinstance(error, adapters.InvalidArgument):
        traceback.print_exception(error)
        return frames.pack({"failed": True})
    facts = {"field": error.field, "limit": error.limit, "value": error.value}
    return frames.pack({"error": str(error), **facts})


def _wait_for_end(stream: BinaryIO) -> None:
    stream.read(1)
    os._exit(0)
