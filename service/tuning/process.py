"""Runs tunings, each in a process of its own, so that other trainings never wait for one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from adapters import Progress
from adapters.spec import ViewSet
from service.concurrency.file_threads import FileThreads
from service.concurrency.tenant_semaphore import TenantSemaphore
from service.subprocesses import frames
from service.subprocesses.process import child_of_one_task
from service.tuning.task import TuningResult, TuningTask, read_result, read_task, write_task

MakeViews = Callable[[ViewSet], Awaitable[str | None]]
"""Stores activations of views of a tuning's examples; returns why it cannot, or None."""


class TuningProcess:
    """Runs tunings one at a time, fairly by tenant; each has a folder, named after its job.

    The folder holds its task, its checkpoints and in the end its result, so that after a crash it
    goes on where it was.

    Args:
        folder: the folder of all tunings.
        threads: threads of a process.
        silence_seconds: how long a process may give no sign of life before it counts as hung.
    """

    def __init__(self, folder: Path, threads: int, silence_seconds: float) -> None:
        self._folder = folder
        self._threads = threads
        self._silence_seconds = silence_seconds
        self._turns = TenantSemaphore()
        self._files = FileThreads("tuning")

    def acquire(self, tenant: str) -> AbstractAsyncContextManager[None]:
        """Acquires the process for one tuning, fairly by tenant."""
        return self._turns.hold(tenant)

    async def task(self, job: str) -> TuningTask | None:
        """Returns what a job began with before a restart; None for a new one."""
        return await self._files.run(read_task, self._folder / job)

    async def begin(self, job: str, task: TuningTask) -> None:
        """Stores what a job begins with."""
        await self._files.run_shielded(write_task, self._folder / job, task)

    async def run(
        self, job: str, settings: Mapping[str, Any], progress: Progress, make_views: MakeViews
    ) -> TuningResult:
        """Tunes from the last checkpoint on; needs `acquire`. Cancelling it ends the process.

        Args:
            settings: `service.tuning.worker.Settings`, but for folder and threads.
            progress: called with the fields of `adapters.tuning.TuningProgress` as details.
            make_views: called for views that are tried, when they are; what it raises ends the
                process, too.

        Raises:
            PreconditionFailed: nothing can be learned from these examples, or the network cannot
                be loaded here.
            FitFailed: by a fault of ours.
            FitterDied: the process ended, for want of memory perhaps, or hung.
        """
        folder = self._folder / job
        result = await self._files.run(read_result, folder)
        if result is None:
            task = {**settings, "folder": str(folder), "threads": self._threads}
            async with child_of_one_task(
                "service.tuning.worker", self._threads, "the tuning process", self._silence_seconds
            ) as child:
                header, _ = await child.ask(frames.pack(task), progress)
                while "views" in header:
                    refusal = await make_views(ViewSet(header["views"], header["count"]))
                    header, _ = await child.ask(frames.pack({"refusal": refusal}), progress)
            result = await self._files.run(read_result, folder)
        assert result is not None
        return result

    async def delete(self, job: str) -> None:
        """Deletes a job's folder."""
        await self._files.run(shutil.rmtree, self._folder / job, ignore_errors=True)

    async def remove_stale(self, jobs: Collection[str]) -> None:
        """Deletes the folders of all other jobs."""
        for name in await self._files.run(_names, self._folder):
            if name not in jobs:
                await self.delete(name)


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []
