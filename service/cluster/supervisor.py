"""``trunkline serve --workers N``: starts one extraction process and N that serve, and keeps them.

It prepares the store and holds its lock and the ports, and does nothing else, so that little can
happen to it. The others end with it, however it ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

from service.access.operator_key import ensure_key
from service.cluster.children import Child
from service.cluster.member import EXTRACTION, Member
from service.cluster.pages import answers
from service.config import ServerSettings
from service.errors import InvalidSettings
from service.logs import get_logger
from service.stopping import CLOSE_SECONDS, say_stopped
from service.store import Database, open_database
from service.store.change_feed import clear_changes
from service.store.data_directory import CLUSTER, lock_directory
from service.store.page_key import page_key
from trunkline.connection.addresses import MAX_SOCKET_PATH_BYTES

LONGEST_NAME = "worker-1000.messages"
KILL_SECONDS = 0.2
"""Time beyond what a process takes to stop by itself, after which it is killed."""

LOOK_SECONDS, PATIENCE_SECONDS = 10.0, 10.0
"""Time between two looks at whether a process answers, and time that it is given for that."""
MOST_MISSED = 3
"""Looks in a row, after which a process that does not answer is killed. One alone says little: the
machine may have slept."""

log = get_logger(__name__)


def check_folder(settings: ServerSettings) -> None:
    """Makes sure that sockets can lie in the data directory.

    Raises:
        InvalidSettings: their paths would be too long.
    """
    longest = settings.data_dir.absolute() / CLUSTER / LONGEST_NAME
    if (length := len(os.fsencode(longest))) > MAX_SOCKET_PATH_BYTES:
        raise InvalidSettings.at(
            "data_dir",
            "a path of a Unix socket in it has {value} bytes, at most {limit} are possible; name a "
            "shorter one, or serve with one worker",
            MAX_SOCKET_PATH_BYTES,
            length,
        )


def prepare(settings: ServerSettings) -> int:
    """Prepares the store for several processes; returns a descriptor that holds its lock.

    Raises:
        StartupError: what `open_database` raises.
    """
    database = open_database(
        settings.data_dir,
        new_store=settings.new_store,
        reserve_bytes=settings.disk_reserve_bytes,
    )
    try:
        for head, joined in database.joined_labels.items():
            log.info("labels became one with others", head=head, labels=joined)
        page_key(settings.data_dir)
        asyncio.run(_prepare(database, settings))
    finally:
        database.close()
    lock = lock_directory(settings.data_dir)
    folder = settings.data_dir / CLUSTER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return lock


async def _prepare(database: Database, settings: ServerSettings) -> None:
    await database.write(clear_changes)
    if settings.keys_required and not settings.insecure:
        await ensure_key(database, settings.data_dir)


class Supervisor:
    """Runs the processes until it is told to stop.

    Args:
        environment: of all of them, settings included.
        lock: of the data directory.
    """

    def __init__(self, settings: ServerSettings, environment: Mapping[str, str], lock: int) -> None:
        self._settings, self._lock = settings, lock
        self._folder = folder = settings.data_dir.absolute() / CLUSTER
        extracts = settings.extractor is None
        shared = dict(environment)
        self._extractor: Child | None = None
        if extracts:
            socket = folder / "extractor.sock"
            shared["TRUNKLINE_EXTRACTOR"] = f"unix:{socket}"
            own = {**environment, "TRUNKLINE_SOCKET": str(socket), "TRUNKLINE_HOST": "127.0.0.1"}
            self._extractor = Child(EXTRACTION, ["service.worker", EXTRACTION, str(folder)], own)
        self._workers = [_worker(member, shared) for member in _members(settings, folder, lock)]
        self._stopping = asyncio.Event()
        self._signals = 0
        self._started = False

    async def run(self) -> int:
        """Returns the status to exit with."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        children = [*([self._extractor] if self._extractor else []), *self._workers]
        running = {child: asyncio.create_task(self._keep(child)) for child in children}
        told = asyncio.create_task(self._stopping.wait())
        ready = asyncio.create_task(_until_ready(children))
        await asyncio.wait({ready, told, *running.values()}, return_when=asyncio.FIRST_COMPLETED)
        failed = not (ready.done() or told.done())
        if ready.done():
            self._started = True
            addresses = self._workers[0].addresses
            log.info("serving", workers=len(self._workers), **addresses)
            print(json.dumps(addresses), flush=True)
            watching = [asyncio.create_task(self._watch(child)) for child in children]
            await told
            for watch in watching:  # who stops may take its time
                watch.cancel()
        ready.cancel()
        self._stopping.set()
        await self._end([running[worker] for worker in self._workers])
        if self._extractor is not None:
            self._extractor.kill()  # nobody uses it any more, and it holds nothing
            await asyncio.wait([running[self._extractor]])
        say_stopped()
        return 1 if failed else 0

    async def _keep(self, child: Child) -> None:
        """Starts a process again whenever it ends; returns when that is not to be done."""
        while True:
            status = await child.run((self._lock,))
            if self._stopping.is_set():
                return
            if not self._started:
                log.error("the server does not start", process=child.name, status=status)
                return
            pause = child.pause()
            log.error(
                "a process ended; it is started anew",
                process=child.name,
                status=status,
                pause_seconds=pause,
            )
            if await self._stopped_within(pause):
                return

    async def _watch(self, child: Child) -> None:
        """Kills a process whenever it has ceased to answer, so that another takes its place."""
        missed = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            starts = not child.ready.is_set()
            well = starts or await answers(self._folder, child.name, PATIENCE_SECONDS)
            missed = 0 if well else missed + 1
            if missed == MOST_MISSED:
                log.error("a process does not answer; it is killed", process=child.name)
                child.kill()
                missed = 0

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    def _stop(self, number: int) -> None:
        self._signals += 1
        if self._signals == 1:
            log.info("stopping", drain_seconds=self._settings.drain_seconds)
        self._stopping.set()
        for worker in self._workers:
            worker.signal(number)

    async def _end(self, running: list[asyncio.Task[None]]) -> None:
        if not self._signals:  # one of them could not start
            for worker in self._workers:
                worker.signal(signal.SIGTERM)
        most = self._settings.drain_seconds + CLOSE_SECONDS + KILL_SECONDS
        _, late = await asyncio.wait(running, timeout=most)
        if late:
            log.warning("processes that did not stop were killed", processes=len(late))
            for worker in self._workers:
                worker.kill()
            await asyncio.wait(late)


async def _until_ready(children: Iterable[Child]) -> None:
    for child in children:
        await child.ready.wait()


def _members(settings: ServerSettings, folder: Path, lock: int) -> list[Member]:
    count, extracts = settings.workers, settings.extractor is None
    return [Member(i, count, folder, lock, extracts) for i in range(count)]


def _worker(member: Member, environment: Mapping[str, str]) -> Child:
    return Child(member.name, ["service.worker"], {**environment, **member.environment()})
