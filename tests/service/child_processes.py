"""Processes that this one has started, by the module they run."""

from __future__ import annotations

import psutil


def children_running(module: str) -> list[psutil.Process]:
    """Children of this process that run ``python -m module``."""
    return [
        child
        for child in psutil.Process().children()
        if child.is_running() and module in child.cmdline()
    ]
