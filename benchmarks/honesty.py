"""How far a head's own estimate is from its accuracy on held-out data.

For each of the demo's data sets, each family and two sizes, a head is trained on seeded random
splits. The table shows the mean of (estimate - held-out accuracy) in points, with its standard
error. Embeddings are computed once with the default backbones and kept in the cache folder.

    python -m benchmarks.honesty [--cache FOLDER] [--splits 20] [--data textile digits sentiment]
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

import adapters
import models
from service.demo import data
from service.demo.data import Labelled

HELD_OUT = 500
FEW = 200
FAMILIES = ("ridge", "logistic", "auto")
SAMPLE = 2000
BATCH = 32

DATA: dict[str, tuple[models.Modality, Callable[[Path], list[Labelled]]]] = {
    "textile": (models.Modality.IMAGE, data.textile),
    "digits": (models.Modality.IMAGE, data.digits),
    "sentiment": (models.Modality.TEXT, data.sentiment),
}


def embedded(name: str, cache: Path) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Return the embeddings (n, dim) and labels (n,) of a data set, computed at most once."""
    path = cache / f"{name}.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        modality, load = DATA[name]
        examples = load(cache)
        random.Random(0).shuffle(examples)
        inputs, labels = zip(*examples[:SAMPLE], strict=True)
        backbone = models.load_backbone(models.default_backbone(modality), cache_dir=cache)
        prepared = [
            backbone.preprocess(item.read_bytes() if isinstance(item, Path) else item)
            for item in inputs
        ]
        starts = range(0, len(prepared), BATCH)
        batches = [backbone.forward(prepared[start : start + BATCH]) for start in starts]
        backbone.close()
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
