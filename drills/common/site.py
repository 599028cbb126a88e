"""Three servers behind HAProxy on one PostgreSQL, one Valkey and one extractor."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from drills.common.drill import Drill
from drills.common.kept import Command, Kept, Ours, Postgres
from service.access import operator_key
from tests.e2e import haproxy
from tests.e2e.processes import extractor_command, free_port, serve_command
from tests.service.shared.valkey import BINARY, BOUNDED

READY_SECONDS = 40.0
"""In which whatever was ended serves again, whatever else is ended meanwhile."""
DRAIN_SECONDS = 3
KINDS = ("server", "fitter", "extractor", "postgres", "connection", "valkey", "haproxy")
"""What is killed; a connection is one of PostgreSQL's processes, which has all of them end."""
DATABASE = "fleet"


class Site:
    """All of its processes.

    Args:
        slack: multiplies the bound of what starts.

    Attributes:
        grpc: where HAProxy takes calls, and `rest`.
        killed: how often a process of each kind was killed, and `rolled` a server restarted.
        slowest: seconds that a process took, at most, from its end until it served again.
    """

    def __init__(self, drill: Drill) -> None:
        self._folder = folder = drill.folder
        self._random = drill.random
        self._ready_seconds = READY_SECONDS * drill.slack
        self.killed: Counter[str] = Counter()
        self.rolled = 0
        self.violations: list[str] = []
        self.slowest = 0.0
        self.token = ""
        self._postgres = Postgres()
        self.store = self._postgres.process.url.set(database=DATABASE).render_as_string()
        path, cache = drill.sockets / "extractor", drill.sockets / "valkey"
        self._extractor = Ours("extractor", extractor_command("--socket", str(path)), folder)
        self._valkey = self._make_valkey(cache)
        ports = {name: (free_port(), free_port()) for name in haproxy.NAMES}
        options = [
            *("--store", self.store, "--store-connections", "4", "--auth", "required"),
            *("--extractor", f"unix:{path}", "--shared-cache", f"unix://{cache}"),
            *("--drain-seconds", str(DRAIN_SECONDS), "--fit-threads", "1"),
            *("--drift-delta", "1e-9"),
        ]
        self.servers = [
            Ours(
                name,
                serve_command(folder / name, "--grpc-port", rpc, "--rest-port", rest, *options),
                folder,
            )
            for name, (rpc, rest) in ports.items()
        ]
        ours = free_port(), free_port()
        self.grpc, self.rest = f"127.0.0.1:{ours[0]}", f"http://127.0.0.1:{ours[1]}"
        self._haproxy = Command(
            "haproxy",
            haproxy.command(folder / "haproxy.cfg", ports, ours),
            folder,
            lambda: haproxy.until_connected(ours[0], 1),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All of it within the block."""
        try:
            await self._up(self._postgres)
            statement = f"CREATE DATABASE {DATABASE}"
            await asyncio.to_thread(self._postgres.process.execute, statement)
            await self._up(self._valkey)
            await self._up(self._extractor)
            await self._up(self.servers[0])
            self.token = (self._folder / "one" / operator_key.FILE).read_text().strip()
            await asyncio.gather(*map(self._up, [*self.servers[1:], self._haproxy]))
            self.slowest = 0.0  # the first start makes files that later ones find
            yield
        finally:
            for process in (self._haproxy, *self.servers, self._extractor, self._valkey):
                await asyncio.to_thread(process.kill)
            await asyncio.to_thread(self._postgres.process.remove)

    async def kill(self, kind: str) -> bool:
        """Kills a process of this kind, and starts it again; returns whether there was one."""
        if kind == "fitter":
            found = any(server.kill_child("service.fitting.worker") for server in self.servers)
        elif kind == "connection":
            found = self._postgres.kill_backend(self._random.choice)
        else:
            found = await self._kill_and_start(self._of(kind), kind)
        self.killed[kind] += found and kind in ("fitter", "connection")
        return found

    async def roll(self) -> None:
        """Restarts the servers one after the other, as an operator does, for ever."""
        while True:
            for server in self.servers:
                async with server.lock:
                    status = await asyncio.to_thread(server.stop)
                    if status not in (0, -signal.SIGKILL):  # the latter is our own doing
                        self.violations.append(f"{server.name} stopped with status {status}")
                await self._up(server)
                self.rolled += 1
                await asyncio.sleep(self._random.uniform(0.5, 2))

    async def up(self) -> None:
        """Returns when all of it runs."""
        processes = (self._postgres, self._valkey, self._extractor, *self.servers, self._haproxy)
        await asyncio.gather(*map(self._up, processes))

    async def stop_servers(self) -> None:
        """Stops the servers for good, and reads their logs."""
        for server in self.servers:
            if status := await asyncio.to_thread(server.stop):
                self.violations.append(f"{server.name} stopped with status {status}")
        for process in (*self.servers, self._extractor):
            for log in process.logs:
                if "Traceback" in log.read_text():
                    self.violations.append(f"a traceback in {log.name}")

    def _of(self, kind: str) -> Kept:
        if kind == "server":
            return self._random.choice(self.servers)
        kinds = {
            "extractor": self._extractor,
            "postgres": self._postgres,
            "valkey": self._valkey,
            "haproxy": self._haproxy,
        }
        return kinds[kind]

    async def _kill_and_start(self, process: Kept, kind: str) -> bool:
        self.killed[kind] += 1  # before its end can be seen
        if not await asyncio.to_thread(process.kill):
            self.killed[kind] -= 1
            return False
        process.killed_at = time.monotonic()
        await self._up(process)
        return True

    async def _up(self, process: Kept) -> None:
        self.slowest = max(self.slowest, await process.until_up(self._ready_seconds))

    def _make_valkey(self, path: Path) -> Command:
        command = [str(BINARY), "--port", "0", "--unixsocket", str(path)]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self._folder), *BOUNDED]
        return Command("valkey", command, self._folder, lambda: _connect(path))


def _connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(str(path))
