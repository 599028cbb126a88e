"""Data sets with their embeddings and their raw inputs side by side, computed at most once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import models
from adapters.advice import Pixels, Texts
from benchmarks.advice import made_up
from service.advice.small_images import small_pixels
from service.demo import data
from service.extraction.decoding import DecodeCalls, DecodeThreads
from service.metrics import Metrics
from service.requests.inputs import Kind, RawInput

SAMPLE = 2000
BATCH = 32

IMAGE, TEXT = models.Modality.IMAGE, models.Modality.TEXT
Items = Sequence[tuple[Path | str | bytes, str]]
DATA: dict[str, tuple[models.Modality, Callable[[Path], Items]]] = {
    "textile": (IMAGE, data.textile),
    "digits": (IMAGE, data.digits),
    "sentiment": (TEXT, data.sentiment),
    "made-up pixel": (IMAGE, lambda folder: made_up.pixel()),
    "made-up words": (TEXT, lambda folder: made_up.words()),
}


@dataclass(frozen=True, eq=False)
class Set:
    """A data set.

    Attributes:
        backbone: its modality's default.
        embeddings: float32 of shape (n, dim).
        labels: of shape (n,).
        raw: n texts, or pixels, uint8 of shape (n, width).
    """

    name: str
    backbone: str
    embeddings: NDArray[np.float32]
    labels: NDArray[np.str_]
    raw: list[str] | NDArray[np.uint8]

    def inputs(self, rows: NDArray[np.intp]) -> Pixels | Texts:
        """Return some of the raw inputs."""
        if isinstance(self.raw, list):
            return Texts([self.raw[row] for row in rows], len(np.unique(self.labels)))
        return Pixels(self.raw[rows])

    def option_inputs(self, option: str, rows: NDArray[np.intp]) -> Any:
        """Return some of the inputs as an option predicts on them."""
        if option == self.backbone:
            return self.embeddings[rows]
        if isinstance(self.raw, list):
            return [self.raw[row] for row in rows]
        return Pixels(self.raw[rows]).scaled


def load(name: str, cache: Path) -> Set:
    """Return a data set that is kept in the folder `cache`."""
    modality, read = DATA[name]
    path = cache / f"advice-{name.replace(' ', '-')}.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        items = list(read(cache))
        random.Random(0).shuffle(items)
        _prepare(modality, items[:SAMPLE], path)
    with np.load(path) as stored:
        backbone = models.default_backbone(modality)
        raw = stored["raw"]
        raw = raw.tolist() if modality is TEXT else raw
        return Set(name, backbone, stored["embeddings"], stored["labels"], raw)


async def _small(inputs: Sequence[RawInput]) -> NDArray[np.uint8]:
    threads = DecodeThreads()
    decoding = DecodeCalls(threads, Metrics(1))
    try:
        return await small_pixels(inputs, models.InputLimits(), decoding, "benchmark")
    finally:
        await decoding.close()
        threads.close()


def _prepare(modality: models.Modality, items: Items, path: Path) -> None:
    contents = [item.read_bytes() if isinstance(item, Path) else item for item, _ in items]
    raw: NDArray[np.str_] | NDArray[np.uint8]
    if modality is IMAGE:
        raw = asyncio.run(_small([RawInput(Kind.IMAGE, "", content) for content in contents]))
    else:
        raw = np.array(contents)
    backbone = models.load_backbone(models.default_backbone(modality), cache_dir=path.parent)
    prepared = [backbone.preprocess(content) for content in contents]
    starts = range(0, len(prepared), BATCH)
    batches = [backbone.forward(prepared[start : start + BATCH]) for start in starts]
    backbone.close()
    labels = np.array([label for _, label in items])
    np.savez(path, embeddings=np.concatenate(batches), labels=labels, raw=raw)
