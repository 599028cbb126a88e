"""Memory of the host: what was freed goes back to the operating system."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable


def give_back_memory() -> None:
    """Let the C library hand back what it holds for later; a few milliseconds.

    After large weights were copied and dropped, glibc keeps what was between them. Elsewhere than
    under glibc nothing happens.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    except TypeError:  # Windows has no handle of the program itself
        return None
    return found
