"""Open files, the log of those that are missing, and memory that is given back."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Sequence

import pytest

from service.logs import Seldom, configure_logging
from service.process_limits import (
    ACCEPT_FAILED,
    RESERVED_FILES,
    TRIM_BYTES,
    MemoryReturn,
    connections_within,
    limit_accept_log,
    raise_file_limit,
)

pytestmark = pytest.mark.usefixtures("own_logging")


def test_limit_of_open_files_is_raised_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, soft), hard))
    try:
        assert raise_file_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert f'"limit": {hard}' in capsys.readouterr().err


def test_connections_are_fewer_where_files_are_and_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("info", "json")
    assert connections_within(10_000, 1000) == 1000
    assert connections_within(resource.RLIM_INFINITY, 1000) == 1000
    assert capsys.readouterr().err == ""
    fewer = connections_within(1024, 1000)
    assert 2 * fewer + RESERVED_FILES <= 1024
    assert "max_connections" in capsys.readouterr().err


def test_event_is_logged_once_in_its_time_with_how_often_it_was_left_out() -> None:
    now = 0.0
    seldom = Seldom(1.0, lambda: now)
    assert seldom() == 0
    assert [seldom() for _ in range(1000)] == [None] * 1000
    now = 1.0
    assert seldom() == 1000
    assert seldom() is None


async def test_thousand_connections_that_cannot_be_accepted_are_a_line_of_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("info", "json")
    loop = asyncio.get_running_loop()
    limit_accept_log(loop)
    for _ in range(1000):
        error = OSError(24, "Too many open files")
        loop.call_exception_handler({"message": ACCEPT_FAILED, "exception": error})
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) < 100, "one a second"
    assert "Too many open files" in lines[0]


async def test_other_errors_of_the_event_loop_are_logged_as_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    limit_accept_log(loop)
    for _ in range(3):
        loop.call_exception_handler({"message": "something else"})
    assert caplog.text.count("something else") == 3


@pytest.mark.parametrize(
    ("sizes", "times"),
    [
        ([TRIM_BYTES], 1),
        ([TRIM_BYTES // 4] * 4, 1),
        ([TRIM_BYTES - 1, 1], 1),
        ([TRIM_BYTES, TRIM_BYTES - 1], 1),
        ([TRIM_BYTES, TRIM_BYTES], 2),  # the second may be freed after the first is given back
    ],
)
async def test_memory_that_large_requests_took_together_is_given_back(
    sizes: Sequence[int], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.process_limits.TRIM_SECONDS", 0.0)
    loop = asyncio.get_running_loop()
    trims: asyncio.Queue[None] = asyncio.Queue()
    memory = MemoryReturn(lambda: loop.call_soon_threadsafe(trims.put_nowait, None))
    for size in sizes:
        memory.after(size)
    async with asyncio.timeout(60):
        for _ in range(times):
            await trims.get()
    assert trims.empty()
