"""The state of a running training job, with an event for those who watch it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import adapters
from service.store.head_records import HeadRecord
from service.store.jobs import JobRecord


@dataclass(eq=False, slots=True)
class RunningJob:
    """A job under way, and an event that is set, and replaced, at each change.

    Attributes:
        tuning: fields of `adapters.tuning.TuningProgress`, while blocks are fine-tuned.
        paused: whether its task was ended to begin anew.
        began: when it stopped waiting, on the performance counter.
    """

    head: HeadRecord
    job: JobRecord
    phase: str = "waiting for its turn"
    progress: float = 0.0
    tuning: Mapping[str, Any] | None = None
    paused: bool = False
    began: float = field(default_factory=time.perf_counter)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def spec(self) -> adapters.HeadSpec:
        """What is to be trained."""
        return adapters.HeadSpec.from_json(self.job.spec)

    def report(self, share: float, phase: str, details: Mapping[str, Any] | None = None) -> None:
        """Records how far it is, and notifies all who watch; see `adapters.Progress`.

        Args:
            details: fields of `adapters.tuning.TuningProgress`.
        """
        self.progress, self.phase, self.tuning = share, phase, details
        self.notify()

    def notify(self) -> None:
        """Wakes all who watch the job."""
        self.changed.set()
        self.changed = asyncio.Event()
