"""The health of a backbone: whether it is ready, and probes while it is not."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable

from service.logs import get_logger
from service.metrics import Metrics

FIRST_PROBE_SECONDS = 1.0
LAST_PROBE_SECONDS = 30.0

log = get_logger(__name__)


class Health:
    """The state of a backbone, which follows its last forward pass.

    A failed or stuck pass makes it unready; after a failed one it is probed, at growing intervals,
    until a pass succeeds.

    Args:
        probe: runs the backbone once.
        on_change: is called at every change.
    """

    def __init__(
        self,
        name: str,
        probe: Callable[[], Awaitable[None]],
        on_change: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self.ready = False
        self._name = name
        self._probe = probe
        self._on_change = on_change
        self._metric = metrics.backbone_ready
        self._gauge = self._metric.labels(name)
        self._gauge.set(False)  # it may remember one of this name that was unloaded
        self._probing: asyncio.Task[None] | None = None

    def record(self, ready: bool) -> None:
        """Records that a pass has succeeded, or that one has failed or is stuck."""
        if ready != self.ready:
            self.ready = ready
            self._gauge.set(ready)
            self._on_change()

    def record_failure(self) -> None:
        """Records that a pass has failed, and probes until one succeeds."""
        self.record(False)
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe_until_ready())

    def close(self) -> None:
        """Stops probing; what is not loaded is neither ready nor unready."""
        if self._probing is not None:
            self._probing.cancel()
        with warnings.catch_warnings():
            # It warns that files keep the value; that is not exposed.
            warnings.simplefilter("ignore", UserWarning)
            self._metric.remove(self._name)

    async def _probe_until_ready(self) -> None:
        delay = FIRST_PROBE_SECONDS
        while not self.ready:
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_PROBE_SECONDS)
            try:
                await self._probe()
            except Exception:
                log.exception("backbone still fails", backbone=self._name)
            else:
                self.record(True)
