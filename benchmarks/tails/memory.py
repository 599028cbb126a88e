"""How much memory programs take."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

MIB = 1024 * 1024


@dataclass(frozen=True)
class Memory:
    """MiB of a process and all that it started.

    Attributes:
        resident: RSS; what processes share counts once for each of them.
        proportional: PSS; what processes share is divided among them. Linux only.
    """

    resident: float
    proportional: float


def memory(pid: int) -> Memory:
    """Measure a running process and its descendants."""
    process = psutil.Process(pid)
    seen = [p.memory_full_info() for p in (process, *process.children(recursive=True))]
    return Memory(sum(m.rss for m in seen) / MIB, sum(m.pss for m in seen) / MIB)
