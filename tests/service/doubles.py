"""Small real implementations of the interfaces that the service works with."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models import (
    BackboneError,
    InputLimits,
    InvalidInput,
    Modality,
    PreparedInput,
    RawInput,
)
from models.images import ImagePreprocessor
from service import inputs
from service.extraction import BackboneInfo, Extracted, Extractor
from trunkline.digest import text_digest

DIM = 4
FINGERPRINT = "f" * 64


class Changes:
    """Lets a test wait until what it is told about has come true."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def note(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()


def text_input(text: str) -> inputs.RawInput:
    return inputs.RawInput(inputs.Kind.TEXT, text_digest(text), text)


def digest_input(digest: str) -> inputs.RawInput:
    return inputs.RawInput(inputs.Kind.DIGEST, digest, None)


def vector_of(text: str) -> NDArray[np.float32]:
    """What every double here makes of a text; those with the same first letter are alike."""
    digest = hashlib.sha256(text.encode()).digest()
    vector = np.frombuffer(digest, np.uint8)[:DIM].astype(np.float32) / np.float32(100)
    vector[0] += 10 * ord(text[0])
    return vector


def info(name: str = "tiny/text", fingerprint: str = FINGERPRINT) -> BackboneInfo:
    return BackboneInfo(name, Modality.TEXT, DIM, fingerprint, "torch", "cpu", True)


class TinyBackbone:
    """Embeds short texts. A test may make it fail, or hold its batches back.

    `steps` are taken one per forward pass: an error to raise, or how many rows to leave out. A
    text that starts with "poison" makes every pass raise that it is in.
    """

    modality = Modality.TEXT
    fingerprint = FINGERPRINT
    dim = DIM
    engine = "torch"
    device = "cpu"

    def __init__(self, name: str = "tiny/text") -> None:
        self.name = name
        self.batches: list[list[str]] = []
        self.steps: list[Exception | int] = []
        self.warm_ups = 0
        self.broken = False
        self.closed = False
        self.open = threading.Event()
        self.open.set()
        self.on_batch: Callable[[], None] = lambda: None

    def preprocess(self, raw: RawInput) -> PreparedInput:
        assert isinstance(raw, str)
        if raw.startswith("bad"):
            raise InvalidInput("cannot be read", field="text", limit="readable", value=raw)
        return PreparedInput(np.frombuffer(raw.encode(), np.uint8).astype(np.int64), len(raw))

    def forward(self, batch: Sequence[PreparedInput]) -> NDArray[np.float32]:
        texts = [bytes(row.data.astype(np.uint8)).decode() for row in batch]
        self.batches.append(texts)
        self.on_batch()
        assert self.open.wait(60)
        if any(text.startswith("poison") for text in texts):
            raise RuntimeError("secret")
        step = self.steps.pop(0) if self.steps else 0
        if isinstance(step, Exception):
            raise step
        return np.stack([vector_of(text) for text in texts])[: len(texts) - step]

    def warm_up(self) -> None:
        self.warm_ups += 1
        if self.broken:
            raise BackboneError("still broken")

    def close(self) -> None:
        self.closed = True


class TinyImageBackbone(TinyBackbone):
    """Embeds a picture by its mean colour, and by how much its upper left is brighter."""

    modality = Modality.IMAGE

    def __init__(self) -> None:
        super().__init__("tiny/image")

    def preprocess(self, raw: RawInput) -> PreparedInput:
        return ImagePreprocessor(8, InputLimits()).prepare(raw)

    def forward(self, batch: Sequence[PreparedInput]) -> NDArray[np.float32]:
        self.batches.append([""] * len(batch))
        pixels = np.stack([row.data for row in batch]).astype(np.float32) / 255
        colour = pixels.mean(axis=(1, 2))
        corner = pixels[:, :4, :4].mean(axis=(1, 2, 3)) - pixels.mean(axis=(1, 2, 3))
        return np.concatenate([colour, corner[:, None]], axis=1)


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

    async def embed(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[inputs.RawInput],
        *,
        deadline: float | None = None,
    ) -> list[Extracted | Exception]:
        texts = [str(raw.content) for raw in inputs]
        self.asked.append(texts)
        self.changes.note()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.called_off.append(texts)
            self.changes.note()
            raise
        if self.error is not None:
            raise self.error
        outcomes = [self._outcome(text) for text in texts]
        return outcomes[: len(outcomes) - self.missing_rows]

    def _outcome(self, text: str) -> Extracted | Exception:
        if text.startswith("bad"):
            return InvalidInput("cannot be read", field="text", value=text)
        return Extracted(vector_of(text), 0.1, 0.2, 0.3)
