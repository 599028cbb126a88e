"""Whether an estimate holds where each photo is stored again and again: part of `honesty`.

400 photos of textiles, each also saved again as JPEG of several qualities, are embedded once, and
1,600 other photos. A head is trained on 60 of the 400 with all their copies, and measured on all
other photos; beside that, on the 60 alone.
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
    embeddings: np.ndarray,
    others: np.ndarray,
    labels: np.ndarray,
    family: str,
    seed: int,
    way: str,
) -> tuple[float, float, float, bool]:
    """Return estimate, held-out accuracy, effective examples, and whether the interval holds."""
    rows = np.random.default_rng(seed).permutation(len(embeddings))
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
    unseen = np.concatenate([embeddings[rest, 0], others])
    truth = _accuracy(fitted.head, unseen, np.concatenate([labels[rest], labels[PHOTOS:]]).tolist())
    held = estimate.accuracy_low <= truth <= estimate.accuracy_high
    return estimate.accuracy, truth, estimate.effective_examples, held


def _accuracy(head: Head, embeddings: np.ndarray, labels: list[str]) -> float:
    predicted = head.logits(embeddings).argmax(axis=1)
    return float(np.mean(predicted == head.class_indices(labels)))


def _embedded(cache: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return float32 embeddings (photos, versions, dim), of other photos (n, dim), and labels."""
    path = cache / "photos-and-copies.npz"
    if not path.exists():
        items = data.textile(cache)
        random.Random(0).shuffle(items)
        raws = [item.read_bytes() for item, _ in items if isinstance(item, Path)]
        saved = [
            one for raw in raws[:PHOTOS] for one in (raw, *(_saved(raw, q) for q in QUALITIES))
        ]
        inputs = saved + raws[PHOTOS:]
        backbone = models.load_backbone(
            models.default_backbone(models.Modality.IMAGE), cache_dir=cache
        )
        batches = [
            backbone.forward([backbone.preprocess(raw) for raw in inputs[start : start + BATCH]])
            for start in range(0, len(inputs), BATCH)
        ]
        backbone.close()
        rows = np.concatenate(batches)
        copied, others = rows[: len(saved)], rows[len(saved) :]
        np.savez(
            path,
            embeddings=copied.reshape(PHOTOS, 1 + len(QUALITIES), -1),
            others=others,
            labels=np.array([label for _, label in items]),
        )
    with np.load(path) as stored:
        return stored["embeddings"], stored["others"], stored["labels"]


def _saved(raw: bytes, quality: int) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(raw)).convert("RGB").save(out, "JPEG", quality=quality)
    return out.getvalue()
