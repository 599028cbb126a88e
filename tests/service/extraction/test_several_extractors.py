"""Several extraction servers behind one name: one is used at a time, and another in its place."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from service.extraction import Extracted, remote_choice, remote_connection
from tests.service.extraction.far_extractor import Far, Link, connected
from tests.service.tiny_backbone import info, text_input


class Several:
    """Two servers on one port of localhost."""

    def __init__(self, port: int, *servers: Far) -> None:
        self._port = port
        self.servers = servers

    def connected(self) -> AbstractAsyncContextManager[Link]:
        return connected(self._port, host="dns:///localhost")

    @property
    def asked(self) -> list[Far]:
        """Those that were asked for embeddings."""
        return [server for server in self.servers if server.asked]

    def other(self) -> Far:
        """The one that was not asked for embeddings."""
        (server,) = (server for server in self.servers if not server.asked)
        return server


@pytest.fixture(autouse=True)
def _quick_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_RECONNECT_SECONDS", "LAST_DRAW_SECONDS"):
        monkeypatch.setattr(remote_connection, name, 0.01)


@pytest.fixture
async def several() -> AsyncIterator[Several]:
    first, second = Far(), Far()
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no address ::1")
    async with first.serving() as port, second.serving(at=f"[::1]:{port}"):
        yield Several(port, first, second)


async def embed(link: Link, text: str = "a") -> Extracted | Exception:
    (found,) = await link.extractor.embed("acme", info(), [text_input(text)])
    return found


async def test_calls_of_one_user_go_to_one_server(several: Several) -> None:
    async with several.connected() as link:
        for _ in range(8):
            assert isinstance(await embed(link), Extracted)
    assert len(several.asked) == 1


async def test_users_are_spread_by_lot(several: Several) -> None:
    while len(several.asked) < 2:  # ends sooner or later, and for a fixed choice never
        async with several.connected() as link:
            await embed(link)


async def test_another_server_is_drawn_after_a_time_without_a_break(
    several: Several, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_choice, "LASTS_SECONDS", 0.05)
    async with several.connected() as link:
        while len(several.asked) < 2:
            assert isinstance(await embed(link), Extracted)
        assert link.readiness == [True]


async def test_server_that_stops_serving_is_left_and_answers_what_it_has(
    several: Several,
) -> None:
    for server in several.servers:
        server.embeds.clear()
    async with several.connected() as link:
        under_way = asyncio.create_task(embed(link))
        await _until_asked(several)
        (leaving,), staying = several.asked, several.other()
        staying.embeds.set()
        leaving.serve(on=False)
        await link.until(ready=False)
        await link.until(ready=True)
        assert isinstance(await embed(link, "b"), Extracted)
        assert staying.asked == [["b"]]
        leaving.embeds.set()
        assert isinstance(await under_way, Extracted)


async def test_server_that_hangs_is_left(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_connection, "PROBE_SECONDS", 0.0)
    async with several.connected() as link:
        await embed(link)
        (hanging,), staying = several.asked, several.other()
        monkeypatch.setattr(remote_connection, "ANSWER_SECONDS", 0.2)
        before = hanging.checks  # the next one has so little time
        await hanging.changes.until(lambda: hanging.checks > before + 1)
        hanging.answers.clear()
        await link.until(ready=False)
        await link.until(ready=True)
        assert isinstance(await embed(link, "b"), Extracted)
        assert staying.asked == [["b"]]
        hanging.answers.set()


async def _until_asked(several: Several) -> None:
    waits = [asyncio.create_task(server.until_asked()) for server in several.servers]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
