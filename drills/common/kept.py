"""Processes that are started again whenever they were ended, as an init system does it."""

from __future__ import annotations

import asyncio
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from drills.common.servers import children
from tests.e2e.processes import END_SECONDS, Running
from tests.postgres import PostgresProcess

PAUSE_SECONDS = 0.1


class Kept(ABC):
    """One process, by its name; its methods block, and may be called from any thread.

    Attributes:
        lock: of whoever starts it.
        killed_at: when it was killed last, on the monotonic clock.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = asyncio.Lock()
        self.killed_at = 0.0

    @property
    @abstractmethod
    def runs(self) -> bool:
        """Whether it has not ended."""

    @abstractmethod
    def start(self) -> None:
        """Starts it; returns when it serves.

        Raises:
            AssertionError: it ended before.
        """

    @abstractmethod
    def kill(self) -> bool:
        """Ends it by SIGKILL, once that is done; returns whether there was anything to end."""

    async def until_up(self, seconds: float) -> float:
        """Starts it unless it runs, again if it ends meanwhile.

        Returns:
            The seconds that it took since this was asked for, or since it was killed last.

        Raises:
            TimeoutError: they are more than these.
        """
        begun = time.monotonic()
        async with self.lock:
            while not self.runs:
                try:
                    await asyncio.to_thread(self.start)
                except AssertionError as error:
                    if time.monotonic() - max(begun, self.killed_at) > seconds:
                        raise TimeoutError(f"{self.name} does not start: {error}") from error
                    await asyncio.sleep(PAUSE_SECONDS)
        took = time.monotonic() - max(begun, self.killed_at)
        if took > seconds:
            raise TimeoutError(f"{self.name} was up after {took:.1f} s")
        return took


class Command(Kept):
    """A program that says nothing of when it serves.

    Args:
        ready: returns when it does, or raises.
    """

    def __init__(
        self, name: str, command: list[str], folder: Path, ready: Callable[[], None]
    ) -> None:
        super().__init__(name)
        self._command, self._ready = command, ready
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + END_SECONDS
        while True:
            try:
                self._ready()
            except Exception as error:
                if not self.runs or time.monotonic() > end:
                    raise AssertionError(f"{self.name}: {error!r}") from error
                time.sleep(PAUSE_SECONDS / 5)
            else:
                return

    def kill(self) -> bool:
        process = self._process
        if process is None or process.poll() is not None:
            return False
        process.kill()
        process.wait(END_SECONDS)
        return True


class Ours(Kept):
    """A process of Trunkline, which says where it serves, and whether, if it answers `/readyz`.

    Attributes:
        logs: of all its lives.
    """

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        super().__init__(name)
        self._command, self._folder = command, folder
        self.logs: list[Path] = []
        self.running: Running | None = None

    @property
    def runs(self) -> bool:
        return self.running is not None and self.running.process.poll() is None

    def start(self) -> None:
        self._close_output()  # of one that ended by itself
        self.logs.append(self._folder / f"{self.name}-{len(self.logs)}.log")
        self.running = Running.start(self._command, self.logs[-1])
        self.running.wait_until_serving()
        if "rest" not in self.running.addresses:
            return
        with self.running.http() as http:
            while not _is_ready(http):
                assert self.runs, f"{self.name} has ended"
                time.sleep(PAUSE_SECONDS)

    def kill(self) -> bool:
        running = self.running
        if running is None or running.process.poll() is not None:
            return False
        family = psutil.Process(running.pid).children(recursive=True)
        running.process.kill()
        running.process.wait(END_SECONDS)
        psutil.wait_procs(family, END_SECONDS)
        self._close_output()
        return True

    def stop(self) -> int:
        """SIGTERM; returns the status that it ends with."""
        assert self.running is not None
        with suppress(ProcessLookupError):
            self.running.process.terminate()
        status = self.running.process.wait(END_SECONDS)
        self._close_output()
        return status

    def _close_output(self) -> None:
        if self.running is not None and self.running.process.stdout is not None:
            self.running.process.stdout.close()

    def kill_child(self, module: str) -> bool:
        """Ends a process that runs this module for it, if there is one."""
        found = children(self.running, module) if self.running is not None else []
        return any(_ended(child) for child in found)


class Postgres(Kept):
    """A PostgreSQL server."""

    def __init__(self) -> None:
        super().__init__("postgres")
        self.process = PostgresProcess()
        self.up = False

    @property
    def runs(self) -> bool:
        return self.up

    def start(self) -> None:
        self.process.start()
        self.up = True

    def kill(self) -> bool:
        if not self.up:
            return False
        self.up = False
        self.process.kill()
        return True

    def kill_backend(self, choose: Callable[[list[psutil.Process]], psutil.Process]) -> bool:
        """Ends one of its processes, after which it ends all others, and recovers."""
        if not self.up:
            return False
        found = psutil.Process(self.process.pid).children()
        return bool(found) and _ended(choose(found))


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _ended(process: psutil.Process) -> bool:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True
