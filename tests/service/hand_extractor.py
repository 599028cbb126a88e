"""An extractor that embeds texts when the test lets it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from models import InvalidInput
from service.concurrency.demand import Demand
from service.extraction import BackboneInfo, Extracted, Extractor
from service.requests import inputs
from tests.service.tiny_backbone import MAX_LETTERS, info, vector_of
from tests.service.waiting import Changes


class HandExtractor(Extractor):
    """Embeds texts when the test lets it, and remembers what it was asked for."""

    def __init__(self, backbone: BackboneInfo | None = None) -> None:
        self.info = backbone or info()
        self.changes = Changes()
        self.asked: list[list[str]] = []
        self.called_off: list[list[str]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.error: Exception | None = None
        self.missing_rows = 0

    async def start(self, on_readiness: Callable[[bool], None]) -> None:
        on_readiness(True)

    async def close(self) -> None:
        pass

    @property
    def ready(self) -> bool:
        return True

    def backbones(self) -> tuple[BackboneInfo, ...]:
        return (self.info,)

    def forget_tail(self, fingerprint: str) -> None:
        pass

    async def embed(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[inputs.RawInput],
        *,
        deadline: float | None = None,
        demands: Sequence[Demand] = (),
    ) -> list[Extracted | Exception]:
        texts = [str(raw.content) for raw in inputs]
        self.asked.append(texts)
        self.changes.notify()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.called_off.append(texts)
            self.changes.notify()
            raise
        if self.error is not None:
            raise self.error
        outcomes = [self._outcome(text) for text in texts]
        return outcomes[: len(outcomes) - self.missing_rows]

    async def activations(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[inputs.RawInput],
        *,
        prepared: bool,
        deadline: float | None = None,
    ) -> list[NDArray[Any] | Exception]:
        raise NotImplementedError

    async def load_backbone(self, name: str) -> BackboneInfo:
        raise NotImplementedError

    async def unload_backbone(self, name: str) -> None:
        raise NotImplementedError

    def _outcome(self, text: str) -> Extracted | Exception:
        if text.startswith("bad"):
            return InvalidInput("cannot be read", field="text", value=text)
        return Extracted(vector_of(text), 0.1, 0.2, 0.3, len(text) > MAX_LETTERS)
