"""Values made at their first use, once, whichever thread comes first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from models.errors import BackboneError


class Closable(Protocol):
    """Takes memory until it is closed."""

    def close(self) -> None: ...


_T = TypeVar("_T", bound=Closable)


class Lazy(Generic[_T]):
    """Makes its value when it is first asked for; after a failure the next to ask tries again.

    Args:
        make: called under a lock, by the thread that asks first.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make: Callable[[], _T] | None = make
        self._value: _T | None = None
        self._lock = threading.Lock()

    def get(self) -> _T:
        """Return the value. Raises BackboneError once it is closed."""
        with self._lock:
            if self._make is None:
                raise BackboneError("the backbone is closed")
            if self._value is None:
                self._value = self._make()
            return self._value

    def close(self) -> None:
        """Close the value, if there is one, and make none any more."""
        with self._lock:
            value, self._value, self._make = self._value, None, None
        if value is not None:
            value.close()
