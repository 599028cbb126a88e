"""A backbone of four numbers that takes no weights, its tails, and inputs for it."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

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
from models.backbone import LoadedTail
from models.errors import InvalidTail
from models.images import ImagePreprocessor
from models.tails import read_tail, tail_fingerprint, write_tail
from service.extraction import BackboneInfo
from service.requests import inputs
from trunkline.digest import text_digest

DIM = 4
MAX_LETTERS = 512
IMAGE_SIDE = 8
FINGERPRINT = "f" * 64


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


def tail_file(
    shift: float, *, whole: bool = False, fingerprint: str = FINGERPRINT, extra: int = 0
) -> bytes:
    """A tail that adds `shift` to what the tiny backbone makes of a text, and `extra` numbers."""
    tensors = {"shift": np.array([shift]), "extra": np.zeros(extra)}
    return write_tail(fingerprint, tensors, whole=whole)


class TinyTail:
    """Adds a number to the backbone's embedding."""

    def __init__(self, data: bytes, fingerprint: str) -> None:
        file = read_tail(data)
        if file.backbone != fingerprint:
            raise InvalidTail("the tail belongs to another backbone")
        self.fingerprint = tail_fingerprint(data)
        self.whole = file.whole
        self.nbytes = len(data)
        self.shift = file.tensors["shift"]
        self.batches: list[list[str]] = []
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    async def wait_until_closed(self) -> None:
        assert await asyncio.to_thread(self._closed.wait, 60)

    def run(self, rows: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        assert not self.closed
        texts = [_read(row) for row in rows]
        self.batches.append(texts)
        if any(text.startswith("cursed") for text in texts):
            raise RuntimeError("secret")
        return np.stack([vector_of(text) for text in texts]) + self.shift

    def close(self) -> None:
        self._closed.set()


class TinyBackbone:
    """Embeds short texts. A test may make it fail, or hold its batches back.

    `steps` are taken one per forward pass: an error to raise, or how many rows to leave out. A
    text that starts with "poison" makes every pass raise that it is in; one that starts with
    "cursed" every pass of a tail. An activation is what the text is made of: its letters' codes.
    """

    modality = Modality.TEXT
    fingerprint = FINGERPRINT
    dim = DIM
    engine = "torch"
    device = "cpu"
    cut = "layer.1"
    tail_blocks: tuple[str, ...] = ("layer.1", "layer.2")
    limits = InputLimits()

    def __init__(self, name: str = "tiny/text") -> None:
        self.name = name
        self.batches: list[list[str]] = []
        self.finished: list[list[str]] = []
        self.tails: list[TinyTail] = []
        self.steps: list[Exception | int] = []
        self.scale = 1.0
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
        data = np.frombuffer(raw.encode()[:MAX_LETTERS], np.uint8).astype(np.int64)
        return PreparedInput(data, len(data), len(raw) > MAX_LETTERS)

    def forward(self, batch: Sequence[PreparedInput]) -> NDArray[np.float32]:
        texts = self._pass(batch)
        return np.stack([vector_of(text) for text in texts])

    def activations(self, batch: Sequence[PreparedInput]) -> list[NDArray[np.float32]]:
        texts = self._pass(batch)
        kept = batch[: len(texts)]
        return [self.scale * row.data.astype(np.float32)[:, None] for row in kept]

    def finish(self, activations: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        texts = [_read(row) for row in activations]
        self.finished.append(texts)
        return np.stack([vector_of(text) for text in texts])

    def load_tail(self, data: bytes) -> LoadedTail:
        self.tails.append(TinyTail(data, self.fingerprint))
        return self.tails[-1]

    def _pass(self, batch: Sequence[PreparedInput]) -> list[str]:
        texts = [_read(row.data) for row in batch]
        self.batches.append(texts)
        self.on_batch()
        assert self.open.wait(60)
        if any(text.startswith("poison") for text in texts):
            raise RuntimeError("secret")
        step = self.steps.pop(0) if self.steps else 0
        if isinstance(step, Exception):
            raise step
        return texts[: len(texts) - step]

    def warm_up(self) -> None:
        self.warm_ups += 1
        if self.broken:
            raise BackboneError("still broken")

    def close(self) -> None:
        self.closed = True


def _read(letters: NDArray[Any]) -> str:
    """The text that token ids, of shape (tokens,), or an activation (tokens, 1), stand for."""
    return bytes(letters.astype(np.uint8).ravel()).decode()


class TinyImageBackbone(TinyBackbone):
    """Embeds a picture by its mean colour, and by how much its upper left is brighter."""

    modality = Modality.IMAGE

    def __init__(self) -> None:
        super().__init__("tiny/image")

    def preprocess(self, raw: RawInput) -> PreparedInput:
        return ImagePreprocessor(IMAGE_SIDE, self.limits).prepare(raw)

    def forward(self, batch: Sequence[PreparedInput]) -> NDArray[np.float32]:
        self.batches.append([""] * len(batch))
        pixels = np.stack([row.data for row in batch]).astype(np.float32) / 255
        colour = pixels.mean(axis=(1, 2))
        corner = pixels[:, :4, :4].mean(axis=(1, 2, 3)) - pixels.mean(axis=(1, 2, 3))
        return np.concatenate([colour, corner[:, None]], axis=1)
