"""A process that a supervisor keeps running."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress

from service.logs import get_logger

SETTLED_SECONDS = 10.0
"""A process that has served so long is started anew at once when it ends."""
LONGEST_PAUSE = 30.0
NOT_STARTED = 127
"""Status of a process that could not be started."""

log = get_logger(__name__)


class Child:
    """A process of ours: it says on standard output where it serves, and ends when we do.

    Args:
        module: that runs it, and what it is told.

    Attributes:
        ready: set with the addresses when it first serves; raises nothing, and may never be set.
    """

    def __init__(self, name: str, module: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.addresses: dict[str, str] = {}
        self.ready = asyncio.Event()
        self._command = [sys.executable, "-m", *module]
        self._environment = dict(environment)
        self._process: Process | None = None
        self._ready_at = 0.0
        self._failures = 0

    async def run(self, descriptors: Sequence[int] = ()) -> int:
        """Runs it to its end; returns its status.

        Args:
            descriptors: files that it keeps open.
        """
        self.ready.clear()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=PIPE,  # which ends with this process, however that ends
                stdout=PIPE,
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl-C is ours to pass on, once
            )
        except OSError as error:  # there may be room for it later
            log.error("a process could not be started", process=self.name, reason=error.strerror)
            return NOT_STARTED
        self._process = process
        assert process.stdout is not None
        async for line in process.stdout:
            if line.startswith(b"{") and not self.ready.is_set():
                self.addresses = json.loads(line)
                self._ready_at = asyncio.get_running_loop().time()
                self.ready.set()
            else:
                sys.stderr.buffer.write(line)
        return await process.wait()

    def pause(self) -> float:
        """Returns the seconds to wait before it is started anew: the longer, the less it served."""
        served = asyncio.get_running_loop().time() - self._ready_at
        settled = self.ready.is_set() and served >= SETTLED_SECONDS
        self._failures = 0 if settled else self._failures + 1
        return 0.0 if self._failures <= 1 else min(2.0 ** (self._failures - 2), LONGEST_PAUSE)

    def signal(self, number: int) -> None:
        """Sends it a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once."""
        self.signal(signal.SIGKILL)


def end_with_parent() -> None:
    """Ends this process when the one that started it does, whose end of the pipe closes then."""

    def watch() -> None:
        with suppress(OSError):
            while os.read(0, 1):
                pass
        log.error("the supervisor is gone; so is this process")
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
