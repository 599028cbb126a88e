"""What the backbones of one process share: decoding threads, devices, tails."""

from __future__ import annotations

import asyncio
import os

import numpy as np

from models import Backbone, Modality, PreparedInput
from service.config import ExtractorSettings
from service.errors import PreconditionFailed
from service.extraction.batching import TURN_ROWS, BatchLimits
from service.extraction.decoding import DecodeThreads
from service.extraction.tail_cache import TailCache
from service.metrics import Metrics

BATCH_ROWS = {
    "cpu": {Modality.IMAGE: 4, Modality.TEXT: 16},
    "cuda": {Modality.IMAGE: 64, Modality.TEXT: 64},
}
"""On a CPU larger batches of images were no faster. Those of texts are larger, because a batch is
sorted into length buckets, which run one after the other; what bounds its time is its tokens."""
BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}


class DevicePasses:
    """The passes that may run at once on a device, and how many of them hang.

    Attributes:
        semaphore: bounds them; first come, first served: backbones take turns, batch by batch.
        hanging: those that hold it for too long; whoever notices it counts them.
    """

    def __init__(self, passes: int) -> None:
        self.semaphore = asyncio.Semaphore(passes)
        self.hanging = 0
        self._passes = passes

    @property
    def all_hang(self) -> bool:
        """Whether nothing can run until one of them ends."""
        return self.hanging >= self._passes


class SharedResources:
    """Limits of batches, and what backbones share. Lives on one event loop.

    Attributes:
        decode_threads: threads that decode the inputs of all backbones.
        tails: those of all backbones.
    """

    def __init__(
        self,
        settings: ExtractorSettings,
        metrics: Metrics,
        decode_threads: DecodeThreads | None = None,
    ) -> None:
        self._settings = settings
        self._devices: dict[str, DevicePasses] = {}
        self.metrics = metrics
        self.decode_threads = decode_threads or DecodeThreads(settings.decode_threads)
        self.tails = TailCache(settings.tail_cache_bytes, metrics)

    def batch_limits(self, backbone: Backbone) -> BatchLimits:
        """Returns the limits of what one pass of a backbone takes at once.

        Raises:
            PreconditionFailed: some valid inputs are larger than a batch may be.
        """
        cost = self._largest_cost(backbone)
        name, budget = "max_batch_cost", self._settings.max_batch_cost
        if backbone.modality is Modality.TEXT:
            name, budget = "max_batch_tokens", self._settings.max_batch_tokens
        budget = budget or max(BATCH_TOKENS[backbone.device], cost)
        if cost > budget:
            raise PreconditionFailed(
                f"{name}: must be at least {cost} for {backbone.name}, is {budget}: "
                "inputs would be refused for ever",
                field=name,
                limit=cost,
                value=budget,
            )
        return BatchLimits(
            max_rows=self._settings.max_batch_rows
            or BATCH_ROWS[backbone.device][backbone.modality],
            max_cost=budget,
            window_seconds=self._settings.batch_window_ms / 1000,
            concurrency=self._passes(backbone.device),
            turn_rows=TURN_ROWS,
            turn_cost=budget,
        )

    def device_passes(self, backbone: Backbone) -> DevicePasses:
        """Returns the passes on a backbone's device, which all backbones there share."""
        passes = self._passes(backbone.device)
        return self._devices.setdefault(backbone.device, DevicePasses(passes))

    async def close(self) -> None:
        """Ends the threads."""
        await self.tails.close()
        self.decode_threads.close()

    def _passes(self, device: str) -> int:
        if self._settings.passes or device != "cpu":
            return self._settings.passes or 1
        cores = os.cpu_count() or 1
        return max(1, cores // (self._settings.threads or cores))

    def _largest_cost(self, backbone: Backbone) -> int:
        """Returns the pixels of any image (all become equally large) or tokens of a long text."""
        if backbone.modality is Modality.TEXT:
            return backbone.preprocess("a " * (self._settings.max_text_bytes // 2)).cost
        return example_of(backbone).cost


def example_of(backbone: Backbone) -> PreparedInput:
    """Prepares some valid input."""
    text = backbone.modality is Modality.TEXT
    return backbone.preprocess("a" if text else np.zeros((8, 8, 3), np.uint8))
