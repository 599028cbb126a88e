"""What the operating system gives this process: open files, and memory that it takes back."""

from __future__ import annotations

import asyncio
import ctypes
import resource
from collections.abc import Callable
from typing import Any

from service.logs import Seldom, get_logger

RESERVED_FILES = 256
"""Files for the store, the libraries, and the processes that fit and tune."""

LEAST_CONNECTIONS = 16
TRIM_BYTES = 64 * 1024 * 1024
"""Bytes of large requests after which memory is given back again."""

TRIM_SECONDS = 5.0
ACCEPT_FAILED = "socket.accept() out of system resource"

log = get_logger(__name__)


def raise_file_limit() -> int:
    """Raises this process's limit of open files as far as it may; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    log.info("open files", limit=hard, before=soft)
    return hard


def connections_within(files: int, wanted: int, ports: int = 2) -> int:
    """Returns how many connections each port may have; says so if files are too few.

    Args:
        files: the limit of open files.
        wanted: connections to each port.
        ports: how many ports share the files.
    """
    if files == resource.RLIM_INFINITY:
        return wanted
    possible = max(LEAST_CONNECTIONS, (files - RESERVED_FILES) // ports)
    if possible < wanted:
        log.warning("fewer connections than max_connections", limit=possible, open_files=files)
    return min(possible, wanted)


def limit_accept_log(loop: asyncio.AbstractEventLoop) -> None:
    """Logs at most once a second that no connection can be accepted; asyncio does it for each."""
    seldom = Seldom()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context.get("message") != ACCEPT_FAILED:
            loop.default_exception_handler(context)
        elif (left_out := seldom()) is not None:
            log.error(
                "no connection was accepted", reason=str(context["exception"]), left_out=left_out
            )

    loop.set_exception_handler(handle)


class MemoryReturn:
    """Gives memory that large requests took back to the operating system.

    glibc keeps what is freed between other allocations; `malloc_trim` returns it.
    """

    def __init__(self, trim: Callable[[], object] | None = None) -> None:
        self._trim = trim or _malloc_trim()
        self._freed = 0
        self._timer: asyncio.TimerHandle | None = None
        self._trimming: asyncio.Future[object] | None = None

    def after(self, nbytes: int) -> None:
        """A large request took so many bytes, and needs them no longer."""
        self._freed += nbytes
        if self._timer is None:
            self._arm()

    def _arm(self) -> None:
        if self._trim is None or self._freed < TRIM_BYTES:
            return
        # grpcio frees the last of them some time after this call; so what ends until then does
        # not count as given back.
        self._freed = 0
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TRIM_SECONDS, self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        assert self._trim is not None
        self._trimming = loop.run_in_executor(None, self._trim)
        self._arm()


def _malloc_trim() -> Callable[[], object] | None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return None if trim is None else lambda: trim(0)
