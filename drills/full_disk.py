"""A disk that is full to the last byte: beneath a running server, and at each start."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drills.common.drill import Drill, Outcome
from drills.common.servers import TEXTS, both_ways, serving
from tests.e2e.metrics import samples
from tests.e2e.processes import Running, serve_command
from tests.e2e.transports import Refused, Transport
from trunkline.v1 import common_pb2, heads_pb2

PROMISE = (
    "on a full disk the server starts and runs, predicts as before, refuses what makes the store "
    "grow, deletes, takes as much as was deleted, and says so"
)
SECONDS = 40.0
LONG_SECONDS = 1200.0
LOOKS, LOOK_SECONDS = 8, 0.25

MIB = 1024 * 1024
DISK_BYTES = 64 * MIB
RESERVE_BYTES = 8 * MIB
HEAD, OTHER = "tenants/full/heads/kept", "tenants/full/heads/other"
EXAMPLES, PART = 120, 30
TEXT_BYTES = 40_000
ROUNDS, LONG_ROUNDS = 1, 10

Mount = Callable[[Path, Path], None]


class NotMountable(Exception):
    """A small disk cannot be mounted here: nothing was attacked."""


async def run(drill: Drill) -> Outcome:
    """Fills a small disk beneath a server: of the first kind that can be mounted, or of each."""
    violations: list[str] = []
    skipped: list[str] = []
    times, worst = 0, 0.0
    for kind, mount in (("ext4", _ext4), ("tmpfs", _tmpfs)):
        if times and not drill.long:
            break
        for number in range(LONG_ROUNDS if drill.long else ROUNDS):
            folder = drill.folder / f"{kind}-{number}"
            try:
                with _mounted(folder, mount) as disk:
                    attack = _Attack(drill, folder, disk)
                    await attack.run()
            except NotMountable as error:
                skipped.append(f"{kind}: {error}")
                break
            times += attack.starts
            worst = max(worst, attack.worst)
            violations += [f"{kind}: {words}" for words in attack.violations]
    done = f"{times} starts on full disks of {DISK_BYTES // MIB} MiB, {RESERVE_BYTES // MIB} kept"
    if skipped:
        done += f" (skipped: {'; '.join(skipped)})"
    nothing = "" if times else f"no small disk can be mounted here: {'; '.join(skipped)}"
    return Outcome(done, times, worst, tuple(violations), nothing)


class _Attack:
    """One disk and the servers on it."""

    def __init__(self, drill: Drill, folder: Path, disk: Path) -> None:
        self.starts = 0
        self.worst = 0.0
        self.violations: list[str] = []
        self._random = drill.random
        self._folder = folder
        self._disk = disk
        self._ballast = disk / "ballast"
        self._command = serve_command(
            disk / "data", "--backbone", TEXTS, "--disk-reserve-bytes", str(RESERVE_BYTES)
        )
        self._texts = [self._text() for _ in range(EXAMPLES)]
        self._before: list[dict[str, float]] = []

    async def run(self) -> None:
        """A server that is killed on a full disk, one that is stopped on it, one that is freed."""
        await self._serve(self._fill_up, Running.kill)
        await self._serve(self._delete_some, self._stop)
        await self._serve(self._delete_all, self._stop)
        check = [sys.executable, "-m", "trunkline", "check", str(self._disk / "data")]
        ended = await asyncio.to_thread(subprocess.run, check, capture_output=True, check=False)
        self._expect(ended.returncode == 0, f"a check ends with {ended.stdout.decode()}")

    async def _serve(
        self, work: Callable[[Running, Transport], None], end: Callable[[Running], object]
    ) -> None:
        begun = time.monotonic()
        log = self._folder / f"log-{self.starts}"
        async with serving(self._command, log) as running:
            self.worst = max(self.worst, time.monotonic() - begun)
            self.starts += 1
            with both_ways(running) as ways:
                for way in ways if self._before else ():
                    self._compare(way)
                await asyncio.to_thread(work, running, ways[self.starts % 2])
            await asyncio.to_thread(end, running)
        self._expect("Traceback" not in log.read_text(), f"a traceback in {log.name}")

    def _fill_up(self, running: Running, way: Transport) -> None:
        for head in (HEAD, OTHER):
            parent, name = head.split("/heads/")
            request = heads_pb2.CreateHeadRequest(
                parent=parent, head_id=name, backbone=TEXTS, keep_inputs=True
            )
            way.call("CreateHead", request)
        self._upload(way, HEAD, self._texts)
        self._upload(way, OTHER, self._texts[:PART])
        spec = heads_pb2.HeadSpec(family="ridge", l2=1.0)
        way.call("TrainHead", heads_pb2.TrainHeadRequest(head=HEAD, spec=spec))
        self._before = [row.scores for row in way.predict(HEAD, self._probes()).rows]
        self._expect_refusal(way)
        self._expect_words(running, full=True)
        self._compare(way)

    def _delete_some(self, running: Running, way: Transport) -> None:
        self._expect_words(running, full=True)
        self._expect_refusal(way)
        listed = way.call("ListExamples", heads_pb2.ListExamplesRequest(head=HEAD, page_size=99))
        digests = [example.digest for example in listed.examples]
        for start in range(0, len(digests), PART):
            request = heads_pb2.DeleteExamplesRequest(
                head=HEAD, digests=digests[start : start + PART]
            )
            reply = self._try("a deletion", way, "DeleteExamples", request)
            if reply is not None:
                self._expect(reply.deleted == len(request.digests), "not all was deleted")
        try:
            self._upload(way, HEAD, [self._text() for _ in range(PART)])
        except Refused as error:
            self.violations.append(f"as much as was deleted is refused: {error}")
        self._compare(way)

    def _delete_all(self, running: Running, way: Transport) -> None:
        self._try("DeleteHead", way, "DeleteHead", heads_pb2.DeleteHeadRequest(name=OTHER))
        self._expect_words(running, full=True)
        self._ballast.unlink()
        self._upload(way, HEAD, [self._text() for _ in range(PART)])
        self._expect_words(running, full=False)

    def _stop(self, running: Running) -> None:
        status = running.terminate()
        self._expect(status == 0, f"stopping on a full disk ended with status {status}")

    def _try(self, what: str, way: Transport, method: str, request: Any) -> Any:
        try:
            return way.call(method, request)
        except Refused as error:
            self.violations.append(f"{what} is refused on a full disk: {error}")
            return None

    def _expect_refusal(self, way: Transport) -> None:
        """Uploads until the last room is used up, within the store and where its journal was."""
        refused = 0
        for _ in range(2 * EXAMPLES // PART):
            fill(self._ballast)
            try:
                self._upload(way, HEAD, [self._text() for _ in range(PART)])
            except Refused as error:
                known = error.code == "RESOURCE_EXHAUSTED" and "the disk is full" in error.message
                self._expect(known, f"an upload on a full disk: {error}")
                self._expect(error.retry_after is None, "a hint that promises nothing")
                refused += 1
                if refused > 1:
                    return
        self.violations.append("uploads are taken on a full disk")

    def _expect_words(self, running: Running, *, full: bool) -> None:
        with running.http() as http:
            # Asked, the server has a thread look at the disk; it may say so the next time only.
            for _ in range(LOOKS):
                ready = http.get("/readyz")
                value = samples(http, "trunkline_disk_full")
                if value == full == ("full" in ready.text):
                    break
                time.sleep(LOOK_SECONDS)
        self._expect(ready.status_code == 200, f"/readyz is {ready.status_code}")
        self._expect(("full" in ready.text) == full, f"/readyz says {ready.text!r}")
        self._expect(value == full, f"trunkline_disk_full is {value}")

    def _compare(self, way: Transport) -> None:
        rows = way.predict(HEAD, self._probes()).rows
        self._expect([row.scores for row in rows] == self._before, f"{way.name}: other scores")

    def _expect(self, held: bool, words: str) -> None:
        if not held:
            self.violations.append(words)

    def _upload(self, way: Transport, head: str, texts: list[str]) -> None:
        for start in range(0, len(texts), PART):
            part = texts[start : start + PART]
            way.add(head, [(common_pb2.Input(text=text), text[0]) for text in part])

    def _probes(self) -> list[common_pb2.Input]:
        return [common_pb2.Input(text=f"a probe of {number}") for number in range(10)]

    def _text(self) -> str:
        label = self._random.choice("ab")
        return label + self._random.randbytes(TEXT_BYTES // 2).hex()


def fill(path: Path) -> None:
    """Fills a disk to the last byte."""
    with path.open("ab", buffering=0) as file:
        for nbytes in (MIB, 4096, 1):
            try:
                while True:
                    file.write(bytes(nbytes))
            except OSError:
                pass


@contextmanager
def _mounted(folder: Path, mount: Mount) -> Iterator[Path]:
    if os.geteuid() != 0:
        raise NotMountable("only root mounts")
    disk = folder / "disk"
    disk.mkdir(parents=True)
    try:
        mount(folder, disk)
    except subprocess.CalledProcessError as error:
        raise NotMountable(f"{error}: {error.stderr.decode().strip()}") from error
    except FileNotFoundError as error:  # a command that is not installed
        raise NotMountable(str(error)) from error
    try:
        yield disk
    finally:
        _command("umount", "--lazy", str(disk))


def _tmpfs(folder: Path, disk: Path) -> None:
    _command("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk))


def _ext4(folder: Path, disk: Path) -> None:
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    _command("mkfs.ext4", "-q", "-m", "0", str(image))
    _command("mount", "-o", "loop", str(image), str(disk))


def _command(name: str, *arguments: str) -> None:
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"there is no {name}")
    subprocess.run([path, *arguments], check=True, capture_output=True)
