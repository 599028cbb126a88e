"""How many gRPC calls are open, of each kind, and who is refused when there are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from service.errors import QueueFull

MAX_PROBES = 16
"""Health checks open at once on one connection."""

RETRY_SECONDS = 1.0


class OpenCalls:
    """Counts calls from their beginning until the last of them was read.

    Streams may last, so that half of the calls is left to what is soon answered. A probe counts
    for its connection alone: it gets through whatever others hold.

    Args:
        most: calls at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def begin(self, peer: str, *, lasting: bool, probe: bool) -> Callable[[object], None]:
        """Counts a call.

        Returns:
            What to call when it has ended, with anything.

        Raises:
            QueueFull: too many of its kind are open.
        """
        counted = [f"probe {peer}"] if probe else ["call", "stream"] if lasting else ["call"]
        if probe:
            self._check(counted[0], MAX_PROBES, "health checks of a connection")
        else:
            self._check("call", self._most, "calls", "max_calls")
            if lasting:
                self._check("stream", max(1, self._most // 2), "streams", "half of max_calls")
        for kind in counted:
            self._open[kind] += 1
        return lambda _: self._end(counted)

    def _end(self, counted: list[str]) -> None:
        for kind in counted:
            self._open[kind] -= 1
            if not self._open[kind]:
                del self._open[kind]

    def _check(self, kind: str, most: int, what: str, setting: str = "") -> None:
        if self._open[kind] >= most:
            raise QueueFull(
                f"calls: at most {most} {what} are open at once" + (setting and f" ({setting})"),
                field="calls",
                limit=most,
                value=self._open[kind],
                retry_after=RETRY_SECONDS,
            )
