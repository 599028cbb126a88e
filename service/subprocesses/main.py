"""The main function of the child processes: takes tasks from the server and answers them."""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from numpy.typing import NDArray

import adapters
from service.subprocesses import frames

NICENESS = 10
BEAT_SECONDS = 1.0
"""Between signs of life; settings allow no silence that is not several times as long."""


class Server:
    """The server that started this process: frames come from it and go to it."""

    def __init__(self) -> None:
        self._input: queue.SimpleQueue[frames.Frame] = queue.SimpleQueue()
        self._output = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)  # whatever a library prints must not get between the frames
        self._lock = threading.Lock()
        threading.Thread(target=self._receive, daemon=True).start()

    def read(self) -> frames.Frame:
        """Waits for the next frame."""
        return self._input.get()

    def write(self, frame: frames.Parts) -> None:
        """Writes a frame as a whole; any thread may."""
        with self._lock:
            for part in frame:
                self._output.write(part)

    def progress(
        self, share: float, phase: str, details: Mapping[str, Any] | None = None, /
    ) -> None:
        """Reports how far the work is; see `adapters.Progress`."""
        self.write(frames.pack({"progress": share, "phase": phase, "details": details}))

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

    def _receive(self) -> None:
        """Reads frames until standard input ends, which the server alone has open."""
        while frame := frames.read(sys.stdin.buffer):
            self._input.put(frame)
            del frame  # examples that are forgotten should not stay here
        os._exit(0)


Answer = Callable[[dict[str, Any], dict[str, NDArray[Any]], Server], frames.Parts]
"""Takes the header and the arrays of a task; returns the frame to answer with."""


def serve(answer: Answer) -> NoReturn:
    """Answers the server's tasks at low priority; ends the process, at once, with the server."""
    os.nice(NICENESS)
    server = Server()
    while True:
        server.write(_answer_next(answer, server))


def _answer_next(answer: Answer, server: Server) -> frames.Parts:
    header, arrays = server.read()
    with server.alive():
        try:
            return answer(header, arrays, server)
        except Exception as error:  # a fault of ours costs this task alone, not the process
            return _failure(error)


def _failure(error: Exception) -> frames.Parts:
    """Returns the frame that reports an error: in words if the examples are to blame for it."""
    if not isinstance(error, adapters.InvalidArgument):
        traceback.print_exception(error)
        return frames.pack({"failed": True})
    facts = {"field": error.field, "limit": error.limit, "value": error.value}
    return frames.pack({"error": str(error), **facts})
