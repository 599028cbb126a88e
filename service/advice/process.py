"""Compares options in a process of its own, which ends with the comparison."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.subprocesses import frames
from service.subprocesses.process import child_of_one_task


@dataclass(frozen=True, slots=True)
class AdviceTask:
    """What a comparison needs.

    Attributes:
        embeddings: float32 of shape (n, dim), by backbone.
        raw: uint8 of shape (n, width): the pixels of pictures; or n texts.
        labels: one per example.
        seed: decides how examples are dealt.
        groups: what each example belongs to, None for those of none.
    """

    embeddings: Mapping[str, NDArray[np.float32]]
    raw: NDArray[np.uint8] | Sequence[str]
    labels: Sequence[str]
    seed: int
    groups: Sequence[str | None] | None = None

    def pack(self) -> frames.Parts:
        """Packs the task as a frame."""
        arrays: dict[str, NDArray[Any]] = {
            f"embeddings/{name}": rows for name, rows in self.embeddings.items()
        }
        if isinstance(self.raw, np.ndarray):
            arrays["pixels"] = self.raw
        else:
            texts = [text.encode() for text in self.raw]
            arrays["texts"] = np.frombuffer(b"".join(texts), dtype=np.uint8)
            arrays["ends"] = np.cumsum([len(text) for text in texts], dtype=np.int64)
        header = {
            "backbones": list(self.embeddings),
            "labels": list(self.labels),
            "seed": self.seed,
            "groups": None if self.groups is None else list(self.groups),
        }
        return frames.pack(header, arrays)


async def compare_options(
    task: AdviceTask, threads: int, silence_seconds: float
) -> tuple[dict[str, Any], dict[str, float]]:
    """Returns `adapters.advice.Advice` as JSON, and the seconds that each option took.

    Cancelling it ends the process.

    Args:
        silence_seconds: how long the process may give no sign of life before it counts as hung.

    Raises:
        PreconditionFailed: nothing can be learned from these examples.
        FitFailed: the fault is ours.
        FitterDied: the process ended, for want of memory perhaps, or hung.
    """
    frame = await asyncio.to_thread(task.pack)
    async with child_of_one_task(
        "service.advice.worker", threads, "the process that compares", silence_seconds
    ) as child:
        answer, _ = await child.ask(frame)
    return answer["advice"], answer["seconds"]
