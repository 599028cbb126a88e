"""Clients that hold say of what they held too little, and let go of all of it."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import Iterator

import psutil
import pytest

from drills.common.holders import EMBED, Holders, Target
from tests.e2e.processes import free_port


def target(port: str) -> Target:
    return Target("nobody", f"http://127.0.0.1:{port}", f"127.0.0.1:{port}", "/", (EMBED,), "/body")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Takes connections and never a word of them."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        yield listening


async def test_each_kind_that_a_server_turns_away_is_named() -> None:
    holders = Holders(target(free_port()))
    await asyncio.gather(*holders.hold())
    named = [line.partition(" of ")[2] for line in holders.too_few()]
    wanted = [kind for kind in holders.kinds if kind.least]
    assert named == [f"{kind.count} {kind.name} held" for kind in wanted]
    assert len(wanted) >= 8


async def test_files_that_the_drill_lacks_are_an_error_and_nothing_stays_open(
    listener: socket.socket,
) -> None:
    files = psutil.Process().num_fds
    before, limits = files(), resource.getrlimit(resource.RLIMIT_NOFILE)
    holders = Holders(target(str(listener.getsockname()[1])))
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 50, limits[1]))
    try:
        tasks = holders.hold()
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        holders.leave()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert any(isinstance(error, OSError) and error.errno == errno.EMFILE for error in errors)
    assert holders.too_few()
    assert files() <= before
