"""An event loop whose clock moves only when nothing is left to do: seconds take no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Skips the wait for the next timer."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is left to do, and something is waited for")
        self.loop.now += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs what others run in threads at once, and lets the time pass that it says it takes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._spent = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        """Says that the function in a thread takes so long."""
        self._spent += seconds

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        self._spent = 0.0
        future: asyncio.Future[T] = self.create_future()
        try:
            settle, value = future.set_result, func(*args)
        except Exception as error:
            settle, value = future.set_exception, error  # type: ignore[assignment]
        self.call_later(self._spent, lambda: future.done() or settle(value))
        return future


def run_virtually(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Runs a coroutine to its end on a loop of its own."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()
