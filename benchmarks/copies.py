"""Whether an estimate holds where each photo is stored again and again: part of `honesty`.

400 photos of textiles, each also saved again as JPEG of several qualities, are embedded once. A
head is trained on 60 of them with all their copies, and measured on the other photos; beside that,
on the 60 alone.
"""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
from PIL import Image

import adapters
import models
from adapters.head import Head
from benchmarks.learning.data import BATCH
from benchmarks.learning.tables import points
from service.demo import data

PHOTOS, TRAINED = 400, 60
QUALITIES = (95, 90, 85, 75)
WAYS = ("alone", "found", "named")
"""Photos alone; with copies, whose groups are found; with copies, whose groups are named."""


def measure(cache: Path, splits: int, families: tuple[str, ...]) -> None:
    """Measure and print a line for each way and family."""
    stored = _embedded(cache)
    print(f"{TRAINED} photos and {len(QUALITIES)} copies of each: estimate - held-out accuracy")
    print(
        f"{'groups':10} {'family':9} {'effective':>9} {'estimate':>9} {'held-out':>9} {'gap':>14}"
    )
    for way in WAYS:
        for family in families:
            found = [_trial(*stored, family, seed, way) for seed in range(splits)]
            guess, truth, worth, held = (np.array(column) for column in zip(*found, strict=True))
            print(
                f"{way:10} {family:9} {worth.mean():9.1f} "
                f"{100 * guess.mean():8.2f}% {100 * truth.mean():8.2f}% "
                f"{points(guess - truth):>14}  interval holds {int(held.sum())} of {splits}",
                flush=True,
            )


def _trial(
    embeddings: np.ndarray, labels: np.ndarray, family: str, seed: int, way: str
) -> tuple[float, float, float, bool]:
    """Return estimate, held-out accuracy, effective examples, and whether the interval holds."""
    rows = np.random.default_rng(seed).permutation(len(labels))
    some, rest = rows[:TRAINED], rows[TRAINED:]
    versions = 1 if way == "alone" else embeddings.shape[1]
    named = [f"photo {row}" for row in some for _ in range(versions)]
    fitted = adapters.fit(
        embeddings[some, :versions].reshape(-1, embeddings.shape[2]),
        np.repeat(labels[some], versions).tolist(),
        adapters.HeadSpec(family, seed=seed),
        fingerprint="benchmark",
        groups=named if way == "named" else None,
    )
    estimate = fitted.report.estimate
    assert estimate is not None
    truth = _accuracy(fitted.head, embeddings[rest, 0], labels[rest].tolist())
    held = estimate.accuracy_low <= truth <= estimate.accuracy_high
    return estimate.accuracy, truth, estimate.effective_examples, held


def _accuracy(head: Head, embeddings: np.ndarray, labels: list[str]) -> float:
    predicted = head.logits(embeddings).argmax(axis=1)
    return float(np.mean(predicted == head.class_indices(labels)))


def _embedded(cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 embeddings (photos, versions, dim) and labels (photos,)."""
    path = cache / "copies.npz"
    if not path.exists():
        items = data.textile(cache)
        random.Random(0).shuffle(items)
        raws = [item.read_bytes() for item, _ in items[:PHOTOS] if isinstance(item, Path)]
        inputs = [one for raw in raws for one in (raw, *(_saved(raw, q) for q in QUALITIES))]
        name = models.default_backbone(models.Modality.IMAGE)
        backbone = models.load_backbone(name, cache_dir=cache)
        prepared = [backbone.preprocess(raw) for raw in inputs]
        starts = range(0, len(prepared), BATCH)
        batches = [backbone.forward(prepared[start : start + BATCH]) for start in starts]
        backbone.close()
        rows = np.concatenate(batches).reshape(len(raws), 1 + len(QUALITIES), -1)
        np.savez(path, embeddings=rows, labels=np.array([label for _, label in items[:PHOTOS]]))
    with np.load(path) as stored:
        return stored["embeddings"], stored["labels"]


def _saved(raw: bytes, quality: int) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(raw)).convert("RGB").save(out, "JPEG", quality=quality)
    return out.getvalue()
